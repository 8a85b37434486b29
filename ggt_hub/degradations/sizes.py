"""Steps of a chain that change the size of `lq` alone: to one that is drawn, and in the end to one that fits."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, ClassVar, Self

import numpy as np
from annotated_types import Ge
from numpy.random import Generator

from ggt_hub.degradations.base import Array, Degradation, Parameters, Range, Sample, between
from ggt_hub.degradations.resampling import Filter, resampled
from ggt_hub.tasks import Task

_SMALL_SIDE = 512
"""Pictures whose shorter side is less are small."""


@dataclass(frozen=True)
class Rescale(Degradation):
    """`lq` at a drawn size, at which the next steps of a chain work; `fit` must come after it.

    As in Real-ESRGAN (arXiv 2107.10833, section 3.2), and in RealRestorer's blur (arXiv 2603.25502). Sides are
    rounded down, to at least 1.

    Attributes:
        scale: what both sides are multiplied by, evenly drawn where no severity is given.
        divides: whether `scale` is what they are divided by instead: then that is what is evenly drawn.
        shares: chances of enlarging, shrinking, and neither; none: there is no such choice, and all of `scale` is
            drawn alike. With them `scale` goes from the largest to the smallest, 1 between them.
        of_gt: n: the sides are those of `gt` over n times the scale; 0: those of `lq` times it.
        small: in place of `scale` where the shorter side of the picture is below 512 pixels.
        filters: to choose from with equal chance; see `resampling.resampled`.
        shifts: whether sampling is by the scale as it was drawn even though the size is rounded. So the published
            pipelines have it: the picture moves, by up to a pixel at its right and its bottom. Else it does not.
    """

    name: ClassVar[str] = "rescale"
    task: ClassVar[Task] = "compression"

    scale: Range = (1.0, 0.25)
    divides: bool = False
    shares: tuple[float, float, float] | tuple[()] = ()
    of_gt: Annotated[int, Ge(0)] = 0
    small: Range | tuple[()] = ()
    filters: tuple[Filter, ...] = ("pooled", "linear", "cubic")
    shifts: bool = False

    @classmethod
    def alone(cls) -> Self:
        return cls()

    def draw(self, rng: Generator, severity: float) -> Parameters:
        parameters: Parameters = {"scale": self._scale(self.scale, severity)}
        if self.small:
            parameters["small"] = self._scale(self.small, severity)
        return parameters | {"filter": str(rng.choice(self.filters))}

    def _scale(self, limits: Range, severity: float) -> float:
        if not self.shares:
            return between(limits, severity)
        up, down, kept = np.array(self.shares) / sum(self.shares)
        if severity < up:
            return between((limits[0], 1.0), severity / up)
        return 1.0 if severity < up + kept else between((1.0, limits[1]), (severity - up - kept) / down)

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        height, width = sample.lq.shape[:2]
        is_small = "small" in parameters and min(height, width) < _SMALL_SIDE
        scale = Fraction(parameters["small" if is_small else "scale"])
        scale = 1 / scale if self.divides else scale
        wide, high = (Fraction(side) for side in (width, height))
        if self.of_gt:
            high, wide = (Fraction(side, self.of_gt) for side in sample.gt.shape[:2])
        size = (max(1, int(wide * scale)), max(1, int(high * scale)))
        if size == (width, height):
            return sample
        exact = (wide * scale / width, high * scale / height)
        keeps = (
            self.shifts and parameters["filter"] != "pooled" and min(exact[0] * width, exact[1] * height) >= 1
        )
        lq = resampled(sample.lq, size, parameters["filter"], exact if keeps else None)
        return replace(sample, lq=np.clip(lq, 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """How much smaller it became, as of `resize`; nothing where it became larger."""
        scale = 1 / parameters["scale"] if self.divides else parameters["scale"]
        return {"resize": max(0.0, 1 / scale - 1) / 2}


@dataclass(frozen=True)
class Fit(Degradation):
    """`lq` at the size of `gt`, or at a whole fraction of it: how a chain with `rescale` ends.

    What `gt` has more at the right and at the bottom than a multiple is cut off, and from `lq` what belongs to it.

    Attributes:
        part: n: the sides are those of `gt` over n; where a picture is smaller than that, over its shorter side.
        filters: to choose from with equal chance; see `resampling.resampled`.
        wraps: whether values beyond 0..1 come out at the other end, as in the published blur of RealRestorer, which
            has 255 levels by the lowest eight bits. Else they become 0 and 1.
    """

    name: ClassVar[str] = "fit"
    task: ClassVar[Task] = "compression"

    part: Annotated[int, Ge(1)] = 1
    filters: tuple[Filter, ...] = ("antialiased_cubic",)
    wraps: bool = False

    @classmethod
    def alone(cls) -> Self:
        return cls()

    def draw(self, rng: Generator, severity: float) -> Parameters:
        return {"filter": str(rng.choice(self.filters))}

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        rows, columns = sample.gt.shape[:2]
        height, width = sample.lq.shape[:2]
        part = min(self.part, rows, columns)
        size = (columns // part, rows // part)
        gt = sample.gt[: size[1] * part, : size[0] * part]
        lq, whole = sample.lq, gt.shape == sample.gt.shape
        if size != (width, height) or not whole:
            ratio = None if whole else (Fraction(columns, part * width), Fraction(rows, part * height))
            lq = resampled(lq, size, parameters["filter"], ratio)
        lq = _wrapped(lq) if self.wraps else np.clip(lq, 0.0, 1.0)
        return replace(sample, lq=lq, gt=sample.gt if whole else gt.copy())

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """None: what was lost was lost before."""
        return {}


def _wrapped(image: Array) -> Array:
    """Whole levels of 255, decimals cut off, modulo 256."""
    levels = (image * np.float32(255)).astype(np.int32) & 255
    return levels.astype(np.float32) / np.float32(255)
