"""Resize: a picture that was shrunk and enlarged again, and so lost its detail; or that stays small."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator

from ggt_hub.degradations.base import Degradation, Parameters, Range, Sample, between
from ggt_hub.degradations.resampling import Filter, resampled
from ggt_hub.tasks import Task


@dataclass(frozen=True)
class Resize(Degradation):
    """Down by a factor, and up again to the size it had unless it is to stay small, as for super-resolution.

    RealRestorer counts resizing as a form of compression (arXiv 2603.25502, synthesis of the nine types), hence
    the task.

    Attributes:
        scale: the smaller picture's sides as a share of the original's.
        down: filters for shrinking, to choose from with equal chance.
        up: filters for enlarging, likewise.
        enlarge: False leaves `lq` small. Its sides are then those of `gt` over a whole number, the nearest to
            1 / scale; what `gt` has more at the right and at the bottom is cut off.
    """

    name: ClassVar[str] = "resize"
    task: ClassVar[Task] = "compression"

    scale: Range = (0.9, 0.25)
    down: tuple[Filter, ...] = ("area", "linear", "cubic", "antialiased_cubic", "antialiased_lanczos")
    up: tuple[Filter, ...] = ("linear", "cubic", "lanczos")
    enlarge: bool = True

    @classmethod
    def alone(cls) -> Self:
        return cls(scale=(1.0, 0.25))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        return {
            "scale": between(self.scale, severity),
            "down": str(rng.choice(self.down)),
            "up": str(rng.choice(self.up)),
        }

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        if not self.enlarge:
            return _shrunk(sample, parameters)
        height, width = sample.lq.shape[:2]
        small = (max(1, round(width * parameters["scale"])), max(1, round(height * parameters["scale"])))
        shrunk = resampled(sample.lq, small, parameters["down"])
        grown = resampled(shrunk, (width, height), parameters["up"])
        return replace(sample, lq=np.clip(grown, 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """How much the picture was enlarged; 1 is three times. One that stays small is as sharp as any."""
        return {"resize": (1 / parameters["scale"] - 1) / 2} if self.enlarge else {}


def _shrunk(sample: Sample, parameters: Parameters) -> Sample:
    height, width = sample.lq.shape[:2]
    factor = min(round(1 / parameters["scale"]), height, width)
    small = (width // factor, height // factor)
    kept = sample.lq[: small[1] * factor, : small[0] * factor]
    before = sample.scale  # an earlier step may have made `lq` smaller already
    gt = sample.gt[: len(kept) * before, : kept.shape[1] * before]
    lq = np.clip(resampled(np.ascontiguousarray(kept), small, parameters["down"]), 0.0, 1.0)
    return replace(sample, lq=lq, gt=sample.gt if gt.shape == sample.gt.shape else gt.copy())
