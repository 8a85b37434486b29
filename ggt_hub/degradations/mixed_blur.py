"""Mixed blur: the kernels of Real-ESRGAN, from Gaussians to plateaus, and the ringing of a sharp low-pass."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import cv2
import numpy as np
from annotated_types import Ge, Le
from numpy.random import Generator
from numpy.typing import NDArray

from ggt_hub.degradations.base import Array, Degradation, Parameters, Range, Sample, between
from ggt_hub.tasks import Task

Kind = Literal[
    "gaussian_iso", "gaussian_aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"
]

_SHARES: dict[Kind, float] = {
    "gaussian_iso": 0.45,
    "gaussian_aniso": 0.25,
    "generalized_iso": 0.12,
    "generalized_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}
_LARGE = 13  # side, from which on a sinc may cut lower

Weights = NDArray[np.float64]
"""A square of odd side."""


@dataclass(frozen=True)
class MixedBlur(Degradation):
    """Convolution with one of the kernels of Real-ESRGAN (arXiv 2107.10833, sections 3.1 and 3.3).

    With d the distance from the centre in deviations, a generalised Gaussian is exp(-d^(2 shape) / 2), a plateau
    1 / (1 + d^(2 shape)). `sinc` cuts off all frequencies above a bound, whatever their direction, and so makes
    edges ring. Borders are reflected. The defaults are the settings of the first of the two passes; where no
    severity is given, they are drawn as there.

    Attributes:
        sigma: deviation of the kernel, in pixels; along both axes for the kinds that end in `aniso`.
        size: smallest and largest side of the kernel; all odd sides between have equal chance.
        generalized: smallest and largest shape of the generalised Gaussian; half of the draws are below 1.
        plateau: those of the plateau.
        sinc: the share of draws that are a sinc filter.
        cutoff: of a sinc filter, in radians a pixel; pi keeps all that lies along rows and columns.
        cutoff_large: the same for sides from 13 on.
        kinds: what the other draws choose from, with the published shares.
    """

    name: ClassVar[str] = "mixed_blur"
    task: ClassVar[Task] = "blur"

    sigma: Range = (0.2, 3.0)
    size: tuple[int, int] = (7, 21)
    generalized: tuple[float, float] = (0.5, 4.0)
    plateau: tuple[float, float] = (1.0, 2.0)
    sinc: Annotated[float, Ge(0), Le(1)] = 0.1
    cutoff: Range = (np.pi, np.pi / 3)
    cutoff_large: Range = (np.pi, np.pi / 5)
    kinds: tuple[Kind, ...] = tuple(_SHARES)

    @classmethod
    def alone(cls) -> Self:
        return cls(sigma=(0.0, 3.0), sinc=0.0)

    def draw(self, rng: Generator, severity: float) -> Parameters:
        size = int(rng.choice(np.arange(self.size[0] | 1, self.size[1] + 1, 2)))
        if rng.random() < self.sinc:
            limits = self.cutoff if size < _LARGE else self.cutoff_large
            return {"kind": "sinc", "size": size, "cutoff": between(limits, severity)}
        shares = np.array([_SHARES[kind] for kind in self.kinds])
        kind = str(rng.choice(self.kinds, p=shares / shares.sum()))
        parameters = {"kind": kind, "size": size, "shape": self._shape(rng, kind)}
        if kind.endswith("aniso"):
            # The larger of two uniform numbers is the root of one, and the smaller uniform below it.
            sigma = between(self.sigma, severity**0.5)
            shorter, angle = float(rng.uniform(self.sigma[0], sigma)), float(rng.uniform(0.0, 180.0))
            return parameters | {"sigma": [sigma, shorter], "angle": angle}
        sigma = between(self.sigma, severity)
        return parameters | {"sigma": [sigma, sigma], "angle": 0.0}

    def _shape(self, rng: Generator, kind: str) -> float:
        if kind.startswith("gaussian"):
            return 1.0
        low, high = self.plateau if kind.startswith("plateau") else self.generalized
        return float(rng.uniform(low, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, high))

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        # OpenCV goes through a Fourier transform where the kernel is large.
        blurred = cv2.filter2D(sample.lq, -1, kernel(parameters), borderType=cv2.BORDER_REFLECT_101)
        return replace(sample, lq=np.clip(blurred, 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """Deviation of the kernel; of a sinc, of the Gaussian that halves what is at its bound. 1 is 3 pixels."""
        if parameters["kind"] == "sinc":
            return {"blur": float(np.sqrt(2 * np.log(2)) / parameters["cutoff"] / 3)}
        weights = kernel(parameters).astype(np.float64)
        return {"blur": float(np.sqrt((weights * _distance(len(weights)) ** 2).sum() / 2) / 3)}


def kernel(parameters: Parameters) -> Array:
    """The convolution kernel (odd square, sums to 1) that the parameters describe."""
    if parameters["kind"] == "sinc":
        weights = _sinc(parameters["cutoff"], parameters["size"])
    elif max(parameters["sigma"]) == 0:
        weights = np.ones((1, 1))
    else:
        powers = _deviations(parameters) ** parameters["shape"]
        is_plateau = parameters["kind"].startswith("plateau")
        weights = 1 / (1 + powers) if is_plateau else np.exp(-powers / 2)
    return (weights / weights.sum()).astype(np.float32)


def _deviations(parameters: Parameters) -> Weights:
    """Square of the distance from the centre, in deviations along the two axes of the ellipse."""
    x, y = _offsets(parameters["size"])
    longer, shorter = (max(sigma, 1e-3) for sigma in parameters["sigma"])
    cosine, sine = np.cos(np.deg2rad(parameters["angle"])), np.sin(np.deg2rad(parameters["angle"]))
    return ((x * cosine + y * sine) / longer) ** 2 + ((y * cosine - x * sine) / shorter) ** 2


def _sinc(cutoff: float, size: int) -> Weights:
    """A round pass band, c J1(c r) / (2 pi r); c^2 / (4 pi) in the centre."""
    r = _distance(size)
    centre = r == 0
    r[centre] = 1.0
    weights = cutoff * _bessel_j1(cutoff * r) / (2 * np.pi * r)
    weights[centre] = cutoff**2 / (4 * np.pi)
    return weights


def _bessel_j1(x: Weights) -> Weights:
    """Bessel's function of the first kind and order 1, by his integral.

    Means over a whole period are exact up to rounding where the points outnumber x, here at most 63.
    """
    angles = (np.arange(128) + 0.5) * np.pi / 128
    return np.cos(angles - x[..., None] * np.sin(angles)).mean(axis=-1)


def _offsets(size: int) -> tuple[Weights, Weights]:
    """Columns and rows from the centre."""
    offsets = np.arange(size, dtype=np.float64) - size // 2
    x, y = np.meshgrid(offsets, offsets)
    return x, y


def _distance(size: int) -> Weights:
    return np.hypot(*_offsets(size))
