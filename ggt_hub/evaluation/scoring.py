"""What is measured, and how pictures are cut before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ggt_hub.errors import EvaluationError, GGTHubError
from ggt_hub.evaluation.rows import NO_REFERENCE, Row, put
from ggt_hub.metrics import compute, get_metric
from ggt_hub.vlm import Judge

_MOST_CROPPED = 32


def metric_names(text: str) -> tuple[str, ...]:
    """Names as a person writes them, with commas between; each counts once.

    Raises:
        EvaluationError: if there is none.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise EvaluationError("--metrics names none: write some with commas between, such as psnr,ssim")
    return names


def said(error: Exception) -> str:
    """What an error says, of those that are not ours with their kind."""
    if isinstance(error, GGTHubError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@dataclass(frozen=True)
class Scoring:
    """What is measured besides the suite's own metrics.

    Attributes:
        metrics: names of metrics; None for the suite's.
        weights: folder with the weights of perceptual metrics.
        judge: rates each picture before and after for RS and FS; None leaves them out.
        repeats: how often the judge rates each picture; the first rating counts, all of them give its noise.
        planted: so many inputs are also rated as if they were results, which gives its noise where nothing changed.
        crop_border: pixels cut from each side before a picture is scored.
        crop_to_fit: where a picture and its reference differ by up to 32 pixels, cut both at the right and bottom.
        task_model: folder or Hub id of the network that a suite with a downstream task asks.

    Raises:
        EvaluationError: for a negative number.
    """

    metrics: tuple[str, ...] | None = None
    weights: Path | None = None
    judge: Judge | None = None
    repeats: int = 1
    planted: int = 0
    crop_border: int = 0
    crop_to_fit: bool = False
    task_model: str | None = None

    def __post_init__(self) -> None:
        if self.crop_border < 0 or self.planted < 0 or self.repeats < 1:
            raise EvaluationError(
                "a border and planted pictures are 0 or more, ratings of a picture 1 or more"
            )

    def protocols(self, names: Sequence[str]) -> dict[str, str]:
        """What the metrics compute, with what is cut before."""
        cut = f"; {self.crop_border} pixels of each side cut off before" if self.crop_border else ""
        cut += "; cropped at the right and bottom to the size of both" if self.crop_to_fit else ""
        return {name: get_metric(name).protocol + cut for name in names}

    def score(self, row: Row, picture: Any, gt: Any, names: Sequence[str], end: str = "") -> None:
        """Put the scores of one picture into its row, each under the metric's name and `end`.

        Args:
            row: changed in place.
            picture: an array `H x W x C`.
            gt: its reference; None where there is none.
            names: of metrics that can be had.
            end: of the names in the row.
        """
        height, width = picture.shape[:2]
        if min(height, width) <= 2 * self.crop_border:
            for name in names:
                put(
                    row,
                    name + end,
                    None,
                    f"failed: {self.crop_border} pixels off each side leave nothing of {width}x{height}",
                )
            return
        picture, gt = self._cut(picture, gt)
        for name in names:
            if gt is None and get_metric(name).needs_reference:
                put(row, name + end, None, NO_REFERENCE)
                continue
            try:
                value = float(
                    compute([name], [picture], None if gt is None else [gt], weights=self.weights)[name][0]
                )
            except Exception as error:  # noqa: BLE001  a metric may be anybody's code; it fails for this picture alone
                put(row, name + end, None, f"failed: {said(error)}")
                continue
            if math.isfinite(value):
                put(row, name + end, value)
            else:
                put(row, name + end, None, "undefined for this picture")

    def _cut(self, picture: Any, gt: Any) -> tuple[Any, Any]:
        if self.crop_to_fit and gt is not None:
            height, width = np.minimum(picture.shape[:2], gt.shape[:2])
            lost = np.maximum(picture.shape[:2], gt.shape[:2]) - (height, width)
            if max(lost) <= _MOST_CROPPED:
                picture, gt = picture[:height, :width], gt[:height, :width]
        border = self.crop_border
        if border:
            picture, gt = (
                None if side is None else side[border:-border, border:-border] for side in (picture, gt)
            )
        return picture, gt
