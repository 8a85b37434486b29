"""RS and FS, the scores of RealIR-Bench (RealRestorer, arXiv 2603.25502), from ratings and LPIPS.

The paper and its code differ in how per-picture values become one number; both ways are here, by name. The
ratings come from a judge (`ggt_hub.vlm`); LPIPS compares the result with its *degraded* input.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ggt_hub.errors import MetricError
from ggt_hub.metrics.pictures import Array

Aggregate = Literal["mean of products", "product of means"]


def rs(rating_before: ArrayLike, rating_after: ArrayLike) -> Array:
    """By how much the rating rose, not less than 0; 0..4 for each picture, as the published code has it.

    Raises:
        MetricError: if there is none, one is missing or outside of 1..5, or before and after differ in number.
    """
    before, after = (_ratings(ratings) for ratings in (rating_before, rating_after))
    if before.shape != after.shape:
        raise MetricError(
            f"{before.size} ratings before but {after.size} after: give one before and one after each"
        )
    return np.maximum(0.0, after - before)


def _ratings(ratings: ArrayLike) -> Array:
    try:
        values = np.asarray(ratings, np.float64)
    except (TypeError, ValueError) as error:
        raise MetricError(f"ratings must be numbers from 1 to 5: {error}") from error
    if not values.size:
        raise MetricError("there is no rating: give one before and one after each picture")
    if wrong := [float(value) for value in values.reshape(-1) if not 1 <= value <= 5]:
        raise MetricError(f"a rating of {wrong[0]:g}: ratings are numbers from 1 (extreme) to 5 (none)")
    return values


def fs(lpips: ArrayLike, rs: ArrayLike) -> Array:
    """0.2 x RS x (1 - LPIPS) for each picture: how much was removed, and how little else was changed."""
    return 0.2 * np.asarray(rs, np.float64) * (1 - np.asarray(lpips, np.float64))


def mean_fs(lpips: ArrayLike, rs: ArrayLike, aggregate: Aggregate) -> float:
    """FS of a set of pictures.

    Args:
        lpips: distance of each result from its degraded input.
        rs: of each picture.
        aggregate: "mean of products" as the published code computes it, "product of means" as the paper's
            tables do.
    """
    if aggregate == "mean of products":
        return float(fs(lpips, rs).mean())
    return float(fs(np.asarray(lpips).mean(), np.asarray(rs).mean()))
