"""RS and FS of a run: the judge rates each picture before and after, LPIPS compares the two."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ggt_hub.evaluation.suite import Item
from ggt_hub.metrics import METRICS, available, fs, lpips, rs
from ggt_hub.vlm import Judge
from ggt_hub.vlm.judge import rgb_image


def rate(
    rows: Sequence[dict[str, Any]],
    items: Sequence[Item],
    output: Path,
    judge: Judge,
    weights: Path | None,
) -> dict[str, str]:
    """Add `rating_before`, `rating_after`, `RS`, `lpips_to_input` and `FS` to the rows of restored pictures.

    A picture that cannot be rated gets an error in its row: it makes the score incomplete, it is not left out
    of a mean.

    Args:
        rows: one for each item, changed in place.
        items: what was restored.
        output: folder of the run.
        judge: who rates.
        weights: folder with the weights of LPIPS.

    Returns:
        The reason why there is no FS, where LPIPS cannot be had; otherwise nothing.

    Raises:
        JudgeError: if the judge fails for good; its replies are kept.
    """
    _, missing = available(["lpips"], weights)
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
            row["error"] = first.refused or second.refused or "the judge gave no readable rating"
            continue
        row["RS"] = float(rs(first.score, second.score))
        if not missing:
            row["lpips_to_input"] = _distance(item.lq, result, weights)
            row["FS"] = float(fs(row["lpips_to_input"], row["RS"]))
    return {"FS": missing["lpips"]} if missing else {}


def rating_protocols(judge: Judge) -> dict[str, str]:
    """What the numbers of `rate` are, in one line each."""
    return {
        "RS": f"rise of the rating 1..5, not less than 0; {judge.protocol.name}, asked of {judge.chat.model}",
        "FS": f"0.2 x RS x (1 - LPIPS to the input); {judge.protocol.aggregate}",
        "lpips_to_input": f"{METRICS['lpips'].protocol}; between result and degraded input",
    }


def _distance(lq: Any, result: Path, weights: Path | None) -> float:
    before, after = rgb_image(lq), rgb_image(result)
    if after.size != before.size:  # as the published code: the result goes to the input's size
        after = after.resize(before.size, Image.Resampling.LANCZOS)
    return float(lpips(after, before, weights=weights)[0])
