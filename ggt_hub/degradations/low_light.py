"""Low light: too few photons, so a dark picture in which the sensor's noise shows."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator, default_rng

from ggt_hub.degradations.base import Array, Degradation, Parameters, Range, between, draw_seed
from ggt_hub.tasks import Task

DISPLAY_GAMMA = 2.2


@dataclass(frozen=True)
class LowLight(Degradation):
    """Under-exposure in linear light, then sensor noise, then the display curve again.

    dark = clip(exposure * image^(2.2 * contrast) + noise)^(1 / 2.2); the noise has a part that does not depend on
    the light (read noise) and one that grows with its square root (shot noise).

    Attributes:
        exposure: share of the light that arrives.
        contrast: exponent of an additional tone curve; above 1 the shadows sink deeper than the lights. Half of
            the draws have none.
        read_noise: standard deviation, as a share of white in linear light.
        shot_noise: standard deviation at white, likewise.
    """

    name: ClassVar[str] = "low_light"
    task: ClassVar[Task] = "low_light"

    exposure: Range = (0.5, 0.05)
    contrast: Range = (1.0, 1.6)
    read_noise: Range = (0.0, 0.02)
    shot_noise: Range = (0.0, 0.03)

    def sample(self, rng: Generator, severity: float) -> Parameters:
        return {
            "exposure": between(self.exposure, severity),
            "contrast": float(rng.uniform(*self.contrast)) if rng.random() < 0.5 else 1.0,
            "read_noise": float(rng.uniform(*self.read_noise)),
            "shot_noise": float(rng.uniform(*self.shot_noise)),
            "seed": draw_seed(rng),
        }

    def apply(self, image: Array, parameters: Parameters) -> Array:
        rng = default_rng(parameters["seed"])
        light = parameters["exposure"] * image ** np.float32(DISPLAY_GAMMA * parameters["contrast"])
        read = parameters["read_noise"] * rng.standard_normal(image.shape, dtype=np.float32)
        shot = parameters["shot_noise"] * np.sqrt(light) * rng.standard_normal(image.shape, dtype=np.float32)
        dark = np.clip(light + read + shot, 0.0, 1.0) ** (1.0 / DISPLAY_GAMMA)
        return dark.astype(np.float32)
