"""RS and FS of a run: the judge rates each picture before and after, LPIPS compares the two."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ggt_hub.evaluation.suite import Item
from ggt_hub.images import read_image
from ggt_hub.metrics import compute, fs, rs
from ggt_hub.vlm import Judge


def rate(
    rows: Sequence[dict[str, Any]], items: Sequence[Item], output: Path, judge: Judge, weights: Path | None
) -> None:
    """Add `rating_before`, `rating_after`, `lpips_to_input`, `RS` and `FS` to the rows of restored pictures.

    A picture that cannot be rated gets an error in its row: it makes the score incomplete, it is not left out
    of a mean.

    Raises:
        JudgeError: if the judge fails for good; its replies are kept.
    """
    rated = [(row, item) for row, item in zip(rows, items, strict=True) if row["error"] is None]
    after = [output / "restored" / f"{item.id}.png" for _, item in rated]
    names = [item.task.replace("_", " ") for _, item in rated]
    pictures = [item.lq for _, item in rated] + after
    ratings = judge.rate(pictures, names + names)
    for (row, item), result, first, second in zip(
        rated, after, ratings[: len(rated)], ratings[len(rated) :], strict=True
    ):
        row["rating_before"], row["rating_after"] = first.score, second.score
        if first.score is None or second.score is None:
            row["error"] = "the judge gave no readable rating"
            continue
        row["RS"] = float(rs(first.score, second.score))
        row |= _faithfulness(item.lq, result, row["RS"], weights)
        if "FS" not in row:
            row["error"] = "LPIPS, and so FS, could not be had"


def _faithfulness(lq: Any, result: Path, rise: float, weights: Path | None) -> dict[str, float]:
    before = read_image(lq).to_pil().convert("RGB")
    after = read_image(result).to_pil().convert("RGB")
    if after.size != before.size:  # as the published code: the result goes to the input's size
        after = after.resize(before.size, Image.Resampling.LANCZOS)
    scores = compute(["lpips"], np.asarray(after), np.asarray(before), weights=weights)
    if "lpips" not in scores:
        return {}
    distance = float(scores["lpips"][0])
    return {"lpips_to_input": distance, "FS": float(fs(distance, rise))}
