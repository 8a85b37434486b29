"""RS and FS, the scores of RealIR-Bench (RealRestorer, arXiv 2603.25502), from ratings and LPIPS.

The paper and its code differ in how per-picture values become one number; both ways are here, by name. The
ratings come from a judge (`ggt_hub.vlm`); LPIPS compares the result with its *degraded* input.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ggt_hub.metrics.pictures import Array

Aggregate = Literal["mean of products", "product of means"]


def rs(rating_before: ArrayLike, rating_after: ArrayLike) -> Array:
    """By how much the rating (1..5) rose, not less than 0; 0..4 for each picture, as the published code has it."""
    return np.maximum(0.0, np.asarray(rating_after, np.float64) - np.asarray(rating_before, np.float64))


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
