"""Low light: too few photons, so a dark picture in which the sensor's noise shows."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator, default_rng

from ggt_hub.degradations.base import Array, Degradation, Parameters, Range, Sample, between, draw_seed
from ggt_hub.degradations.light import DISPLAY_GAMMA
from ggt_hub.tasks import Task


@dataclass(frozen=True)
class LowLight(Degradation):
    """Under-exposure in linear light, then sensor noise, then the display curve again.

    dark = clip(exposure * cast * image^(2.2 * contrast) + noise)^(1 / 2.2); the noise has a part that does not
    depend on the light (read noise) and one that grows with its square root (shot noise).

    Attributes:
        exposure: share of the light that arrives.
        contrast: exponent of an additional tone curve; above 1 the shadows sink deeper than the lights. Half of
            the draws have none.
        read_noise: standard deviation, as a share of white in linear light.
        shot_noise: standard deviation at white, likewise.
        cast: the largest colour cast: the light of each channel is multiplied by up to exp(cast) or exp(-cast); the
            mean of the exponents is then moved to 0. 0 has none.
        grows: whether contrast, noise and cast grow with the severity, too; else they are drawn whatever it is.
        lifted: whether the ground truth is as bright as it was; else it is as dark, without noise: so a restorer
            learns to clean dark pictures without lifting them.
    """

    name: ClassVar[str] = "low_light"
    task: ClassVar[Task] = "low_light"

    exposure: Range = (0.5, 0.05)
    contrast: Range = (1.0, 1.6)
    read_noise: Range = (0.0, 0.02)
    shot_noise: Range = (0.0, 0.03)
    cast: float = 0.0
    grows: bool = False
    lifted: bool = True

    @classmethod
    def alone(cls) -> Self:
        return cls(exposure=(1.0, 0.05), cast=0.35, grows=True)

    def draw(self, rng: Generator, severity: float) -> Parameters:
        def drawn(limits: Range) -> float:
            return float(rng.uniform(limits[0], between(limits, severity) if self.grows else limits[1]))

        parameters = {
            "exposure": between(self.exposure, severity),
            "contrast": drawn(self.contrast) if rng.random() < 0.5 else 1.0,
            "read_noise": drawn(self.read_noise),
            "shot_noise": drawn(self.shot_noise),
            "seed": draw_seed(rng),
        }
        return parameters | ({"cast": self._cast(rng, severity)} if self.cast else {})

    def _cast(self, rng: Generator, severity: float) -> list[float]:
        """Exponents of the channels' factors."""
        limit = between((0.0, self.cast), severity) if self.grows else self.cast
        exponents = rng.uniform(-limit, limit, 3)
        return [float(exponent) for exponent in exponents - exponents.mean()]

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        rng, light = default_rng(parameters["seed"]), _light(sample.lq, parameters)
        read = parameters["read_noise"] * rng.standard_normal(light.shape, dtype=np.float32)
        shot = parameters["shot_noise"] * np.sqrt(light) * rng.standard_normal(light.shape, dtype=np.float32)
        dark = replace(sample, lq=_displayed(light + read + shot))
        return dark if self.lifted else replace(dark, gt=_displayed(_light(sample.gt, parameters)))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """The share of the light that is missing."""
        return {"low_light": 1 - parameters["exposure"]}


def _light(image: Array, parameters: Parameters) -> Array:
    """What arrives, in linear light."""
    light: Array = parameters["exposure"] * image ** np.float32(DISPLAY_GAMMA * parameters["contrast"])
    return light * np.exp(np.array(parameters["cast"], np.float32)) if "cast" in parameters else light


def _displayed(light: Array) -> Array:
    return (np.clip(light, 0.0, 1.0) ** (1.0 / DISPLAY_GAMMA)).astype(np.float32)
