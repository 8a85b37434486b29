"""Candidates are laid over the photographs that they were made of, and keep their colours where they must."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
import pyarrow as pa
from annotated_types import Ge
from numpy.typing import NDArray

from ggt_hub.curation.alignment import align, limits_of
from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Outcome, Row
from ggt_hub.curation.structures import graded, small
from ggt_hub.errors import ImageError
from ggt_hub.images.shown import png, png_rgb, shown_rgb
from ggt_hub.metrics.checks import chromaticity_drift

Pixels = NDArray[np.uint8]
Limit = Annotated[float, Ge(0)]
Colours = Literal["none", "affine_rgb", "mean_std"]

MAY_CHANGE_COLOUR = ("haze", "low_light", "old_photo")
"""Categories in which restoring changes the colours of the whole picture; the others may not."""

_BLUR = 16.0  # pixels of 1024, beyond which colours are compared
_LEAST_GRADE, _EXPLAINED = 0.008, 0.4  # no good candidate has both; a grade of 6 % has 0.009 and 0.5


@dataclass(frozen=True)
class Register(Deciding):
    """Lays candidates over their photographs, or refuses them; limits in pixels of a picture of 1024.

    Attributes:
        inliers, corner, still, median, most, border: see `alignment.Limits`.
        colours: how colours are brought back where they may not have changed and the whole picture is graded (see
            `structures.graded`): a 3x3 map fitted on blurred pictures (as WildMoire has it), the mean and spread of
            each channel (HarnessIR), or not at all.
        drift: chromaticity drift up to which that is done; beyond, another stage refuses.
    """

    inliers: Limit = 0.25
    corner: Limit = 24.0
    still: Limit = 1.0
    median: Limit = 6.0
    most: Limit = 12.0
    border: Annotated[int, Ge(0)] = 16
    colours: Colours = "affine_rgb"
    drift: Limit = 0.10

    name: ClassVar[str] = "register"
    version: ClassVar[int] = 4
    needs: ClassVar[tuple[str, ...]] = ("lq", "candidate", "category")
    gives: ClassVar[Mapping[str, pa.DataType]] = {
        "lq": pa.large_binary(),
        "gt": pa.large_binary(),
        "registration": pa.string(),
    }

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep what can be laid over its photograph, both cut alike, with what was measured as JSON."""
        return [self._decide(row) for row in rows]

    def _decide(self, row: Row) -> Outcome:
        try:
            candidate = shown_rgb(row["candidate"])
        except ImageError as error:
            return Dropped("unreadable candidate", str(error))
        lq = png_rgb(row["lq"])
        found = align(candidate, lq, limits_of(self))
        told = json.dumps({name: round(value, 4) for name, value in found.statistics.items()})
        if found.lq is None or found.gt is None:
            return Dropped(f"register: {found.refused.partition(':')[0]}", f"{found.refused} {told}")
        gt = self._with_its_colours(found.gt, found.lq, row["category"])
        pictures = {"lq": row["lq"] if found.lq.shape == lq.shape else png(found.lq), "gt": png(gt)}
        return Kept({**pictures, "registration": told})

    def _with_its_colours(self, gt: Pixels, lq: Pixels, category: str | None) -> Pixels:
        if self.colours == "none" or category in MAY_CHANGE_COLOUR:
            return gt
        way, explained = graded(small(lq), small(gt))
        if not (way > _LEAST_GRADE and explained > _EXPLAINED):  # also where it is dark
            return gt
        if float(chromaticity_drift(gt[None], lq[None])[0]) > self.drift:
            return gt
        return affine_colours(gt, lq) if self.colours == "affine_rgb" else mean_colours(gt, lq)


def affine_colours(picture: Pixels, like: Pixels) -> Pixels:
    """A picture with the colours of another one of the same scene, by the linear map that fits blurred copies best.

    Args:
        picture: 8-bit RGB.
        like: of the same size.
    """
    sigma = _BLUR * max(picture.shape[:2]) / 1024
    blurred = [cv2.GaussianBlur(one.astype(np.float32), (0, 0), sigma)[::8, ::8] for one in (picture, like)]
    ours, theirs = (one.reshape(-1, 3).astype(np.float64) for one in blurred)
    way, *_ = np.linalg.lstsq(ours, theirs, rcond=None)
    return _to_levels(picture.astype(np.float64) @ way)


def mean_colours(picture: Pixels, like: Pixels) -> Pixels:
    """A picture whose channels have the mean and spread of another's; arguments as of `affine_colours`."""
    ours, theirs = picture.astype(np.float64), like.astype(np.float64)
    spread = theirs.std((0, 1)) / np.maximum(ours.std((0, 1)), 1e-6)
    return _to_levels((ours - ours.mean((0, 1))) * spread + theirs.mean((0, 1)))


def _to_levels(values: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
