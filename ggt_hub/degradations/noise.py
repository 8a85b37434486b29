"""Noise: independent, photon-limited, and the coarse grain that cameras' own processing leaves behind."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.random import Generator, default_rng

from ggt_hub.degradations.base import Array, Degradation, Parameters, Range, Sample, between, draw_seed
from ggt_hub.tasks import Task

Kind = Literal["gaussian", "poisson", "grain"]


@dataclass(frozen=True)
class Noise(Degradation):
    """Additive noise, clipped to the range of the picture.

    `gaussian` is independent per pixel and channel; `poisson` grows with the square root of the brightness and has
    the same deviation at white; `grain` is smoothed over neighbouring pixels and mostly shared by the channels, as
    after demosaicing and in-camera smoothing.

    Attributes:
        sigma: standard deviation, in levels of 255.
        grain_size: range of the smoothing of `grain`, standard deviation in pixels.
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "noise"
    task: ClassVar[Task] = "noise"

    sigma: Range = (3.0, 60.0)
    grain_size: Range = (0.4, 1.2)
    kinds: tuple[Kind, ...] = ("gaussian", "poisson", "grain")

    @classmethod
    def alone(cls) -> Self:
        return cls(sigma=(0.0, 60.0))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        kind = str(rng.choice(self.kinds))
        parameters: Parameters = {"kind": kind, "sigma": between(self.sigma, severity)}
        if kind == "grain":
            parameters["size"] = float(rng.uniform(*self.grain_size))
            parameters["chroma"] = float(rng.uniform(0.1, 0.7))
        return parameters | {"seed": draw_seed(rng)}

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        rng, image = default_rng(parameters["seed"]), sample.lq
        sigma = np.float32(parameters["sigma"] / 255.0)
        if parameters["kind"] == "grain":
            field = _grain(rng, image.shape, parameters["size"], parameters["chroma"])
        else:
            field = rng.standard_normal(image.shape, dtype=np.float32)
        if parameters["kind"] == "poisson":
            field *= np.sqrt(image)
        return replace(sample, lq=np.clip(image + sigma * field, 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """The deviation; 1 is 50 levels."""
        return {"noise": parameters["sigma"] / 50}


def _grain(rng: Generator, shape: tuple[int, ...], size: float, chroma: float) -> Array:
    """Smoothed noise of unit deviation: a shared field plus `chroma` times one of each channel's own."""
    shared = rng.standard_normal((*shape[:2], 1), dtype=np.float32)
    field = shared + np.float32(chroma) * rng.standard_normal(shape, dtype=np.float32)
    smooth = cv2.GaussianBlur(field, (0, 0), size, borderType=cv2.BORDER_REFLECT)
    return smooth / np.float32(np.sqrt(1 + chroma**2) * _gain_of_smoothing(size))


def _gain_of_smoothing(size: float) -> float:
    """Deviation that unit white noise keeps after OpenCV's Gaussian filter: the norm of its kernel."""
    taps = cv2.getGaussianKernel(2 * int(np.ceil(4 * size)) + 1, size)
    return float((taps**2).sum())
