"""Blur: out of focus (disk), camera movement (line), and the Gaussian of cheap optics and smoothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ggt_hub.degradations.base import Array, Degradation, Parameters, Range, Sample, between
from ggt_hub.tasks import Task

Kind = Literal["gaussian", "defocus", "motion"]

Offsets = NDArray[np.float64]
"""A small square grid, for building kernels."""


@dataclass(frozen=True)
class Blur(Degradation):
    """Convolution with one kernel for the whole picture, borders reflected.

    Attributes:
        sigma: standard deviation of the Gaussian along its longer axis, in pixels.
        elongation: the shorter axis as a share of the longer one is drawn between this and 1.
        radius: radius of the disk of a defocused lens, in pixels.
        length: length of the line of a camera movement, in pixels.
        kinds: the kernels to choose from, with equal chance.
    """

    name: ClassVar[str] = "blur"
    task: ClassVar[Task] = "blur"

    sigma: Range = (0.4, 4.0)
    elongation: float = 0.4
    radius: Range = (0.7, 6.0)
    length: Range = (2.0, 20.0)
    kinds: tuple[Kind, ...] = ("gaussian", "defocus", "motion")

    @classmethod
    def alone(cls) -> Self:
        return cls(sigma=(0.0, 4.0), radius=(0.0, 6.0), length=(0.0, 20.0))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        kind = str(rng.choice(self.kinds))
        angle = float(rng.uniform(0.0, 180.0))
        if kind == "defocus":
            return {"kind": kind, "radius": between(self.radius, severity)}
        if kind == "motion":
            return {"kind": kind, "length": between(self.length, severity), "angle": angle}
        sigma = between(self.sigma, severity)
        shorter = sigma * float(rng.uniform(self.elongation, 1.0))
        return {"kind": kind, "sigma": [sigma, shorter], "angle": angle}

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        blurred = cv2.filter2D(sample.lq, -1, kernel(parameters), borderType=cv2.BORDER_REFLECT)
        # Large kernels go through a Fourier transform, which rounds below 0.
        return replace(sample, lq=np.clip(blurred, 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """Mean standard deviation of the kernel along its axes; 1 is 3 pixels."""
        if parameters["kind"] == "gaussian":
            deviation = float(np.mean(parameters["sigma"]))
        elif parameters["kind"] == "defocus":
            deviation = parameters["radius"] / 2
        else:
            deviation = parameters["length"] / np.sqrt(12) / 2
        return {"blur": deviation / 3}


def kernel(parameters: Parameters) -> Array:
    """The convolution kernel (odd square, sums to 1) that the parameters describe."""
    if parameters["kind"] == "gaussian":
        weights = _gaussian(parameters["sigma"], parameters["angle"])
    elif parameters["kind"] == "defocus":
        weights = _disk(parameters["radius"])
    else:
        weights = _line(parameters["length"], parameters["angle"])
    return (weights / weights.sum()).astype(np.float32)


def _grid(radius: int) -> tuple[Offsets, Offsets]:
    """Column and row offsets from the centre, each of side 2 * radius + 1."""
    offsets = np.arange(-radius, radius + 1, dtype=np.float64)
    x, y = np.meshgrid(offsets, offsets)
    return x, y


def _rotated(radius: int, angle: float) -> tuple[Offsets, Offsets]:
    """Offsets along and across a direction, `angle` degrees from the row axis."""
    x, y = _grid(radius)
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def _gaussian(sigma: Sequence[float], angle: float) -> Offsets:
    sigma = [max(deviation, 1e-3) for deviation in sigma]  # 0 is one pixel, and no division
    along, across = _rotated(int(np.ceil(3 * max(sigma))), angle)
    return np.exp(-0.5 * ((along / sigma[0]) ** 2 + (across / sigma[1]) ** 2))


def _disk(radius: float) -> Offsets:
    x, y = _grid(int(np.ceil(radius)))
    return _soft_step(radius - np.hypot(x, y))


def _line(length: float, angle: float) -> Offsets:
    along, across = _rotated(int(np.ceil(length / 2)), angle)
    return _soft_step(length / 2 - np.abs(along)) * _soft_step(0.5 - np.abs(across))


def _soft_step(distance: Offsets) -> Offsets:
    """1 inside, 0 outside, linear over the pixel that the edge crosses: so radii need not be whole numbers."""
    return np.clip(distance + 0.5, 0.0, 1.0)
