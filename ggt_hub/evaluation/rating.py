"""RS and FS of a run: the judge rates each picture before and after, LPIPS compares the two."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ggt_hub.errors import GGTHubError
from ggt_hub.evaluation.rows import Row, fail, put
from ggt_hub.evaluation.scoring import Scoring
from ggt_hub.evaluation.suite import Item
from ggt_hub.metrics import METRICS, available, fs, lpips, rs
from ggt_hub.vlm import Judge
from ggt_hub.vlm.judge import Rating, rgb_image

DIRECTIONS = {
    "rating_before": "higher",
    "rating_after": "higher",
    "RS": "higher",
    "lpips_to_input": "lower",
    "FS": "higher",
}
"""What the judge adds to a row, and whether higher or lower is better."""


def degradations(items: Sequence[Item]) -> list[str]:
    """What the judge is asked about in each picture."""
    return [item.task.replace("_", " ") for item in items]


def rate(
    rows: Sequence[Row], items: Sequence[Item], output: Path, scoring: Scoring
) -> tuple[dict[str, str], dict[str, Any] | None]:
    """Add `rating_before`, `rating_after`, `RS`, `lpips_to_input` and `FS` to the rows of restored pictures.

    A picture that cannot be rated makes the score incomplete and stays out of the means of these alone.

    Args:
        rows: one for each item, changed in place.
        items: what was restored.
        output: folder of the run.
        scoring: with a judge.

    Returns:
        The reason why there is no FS, where LPIPS cannot be had, otherwise nothing; and the judge's own noise,
        where that was asked for.

    Raises:
        JudgeError: if the judge fails for good; its replies are kept.
    """
    judge = scoring.judge
    assert judge is not None  # noqa: S101
    _, missing = available(["lpips"], scoring.weights)
    for row in rows:
        if row["error"]:
            fail(row, DIRECTIONS, row["error"])
    restored = [(row, item) for row, item in zip(rows, items, strict=True) if not row["error"]]
    before = [partial(getattr, item, "lq") for _, item in restored]
    after = [output / "restored" / f"{item.id}.png" for _, item in restored]
    names = degradations([item for _, item in restored])
    ratings = [judge.rate(before + after, names + names, repeat) for repeat in range(scoring.repeats)]
    count = len(restored)
    for number, (row, item) in enumerate(restored):
        _put_scores(row, ratings[0][number], ratings[0][count + number])
        if row["RS"] is not None and not missing:
            _put_fs(row, item, after[number], scoring.weights)
        elif not missing:
            for name in ("lpips_to_input", "FS"):
                put(row, name, None, row["RS_status"])
        if scoring.repeats > 1:
            row["ratings_before"] = [of_all[number].score for of_all in ratings]
            row["ratings_after"] = [of_all[count + number].score for of_all in ratings]
    planted = min(scoring.planted, count)
    again = judge.rate(before[:planted], names[:planted], repeat=1) if planted else []
    for (row, _), rating in zip(restored, again, strict=False):
        row["rating_unchanged"] = rating.score
    reason = {"FS": missing["lpips"]} if missing else {}
    return reason, _noise([row for row, _ in restored], scoring)


def rating_protocols(judge: Judge) -> dict[str, str]:
    """What the numbers of `rate` are, in one line each."""
    return {
        "RS": f"rise of the rating 1..5, not less than 0; {judge.protocol.name}, asked of {judge.chat.model}",
        "lpips_to_input": f"{METRICS['lpips'].protocol}; between result and degraded input",
        "FS": f"0.2 x RS x (1 - LPIPS to the input); {judge.protocol.aggregate}",
    }


def _put_scores(row: Row, before: Rating, after: Rating) -> None:
    for name, rating in (("rating_before", before), ("rating_after", after)):
        put(row, name, rating.score, _status(rating))
    if before.score is None or after.score is None:
        put(row, "RS", None, _status(before if before.score is None else after))
    else:
        put(row, "RS", float(rs(before.score, after.score)))


def _status(rating: Rating) -> str:
    if rating.score is not None:
        return "scored"
    return f"refused: {rating.refused}" if rating.refused else "failed: the judge gave no readable rating"


def _put_fs(row: Row, item: Item, result: Path, weights: Path | None) -> None:
    try:
        distance = _distance(item.lq, result, weights)
    except (GGTHubError, OSError, RuntimeError) as error:
        for name in ("lpips_to_input", "FS"):
            put(row, name, None, f"failed: {error}")
        return
    put(row, "lpips_to_input", distance)
    put(row, "FS", float(fs(distance, row["RS"])))


def _distance(lq: Any, result: Path, weights: Path | None) -> float:
    before, after = rgb_image(lq), rgb_image(result)
    if after.size != before.size:  # as the published code: the result goes to the input's size
        after = after.resize(before.size, Image.Resampling.LANCZOS)
    return float(lpips(after, before, weights=weights)[0])


def _noise(rows: Sequence[Row], scoring: Scoring) -> dict[str, Any] | None:
    """How far the judge agrees with itself: what an unchanged picture gains, how ratings of one picture spread."""
    noise: dict[str, Any] = {}
    unchanged = [
        (row["rating_before"], row["rating_unchanged"])
        for row in rows
        if row.get("rating_unchanged") is not None and row["rating_before"] is not None
    ]
    if scoring.planted:
        gains = rs(*zip(*unchanged, strict=True)).tolist() if unchanged else []
        noise["unchanged"] = {"count": len(gains), "RS": float(np.mean(gains)) if gains else None}
    if scoring.repeats > 1:
        several = [
            row[side] for row in rows for side in ("ratings_before", "ratings_after") if None not in row[side]
        ]
        variance = np.mean([np.var(ratings, ddof=1) for ratings in several]) if several else None
        noise["repeated"] = {
            "ratings": scoring.repeats,
            "count": len(several),
            "deviation": None if variance is None else float(np.sqrt(variance)),
            "equal": None if not several else float(np.mean([len(set(ratings)) == 1 for ratings in several])),
        }
    return noise or None
