"""Means with bootstrap intervals (Efron 1979): how much would the number move with other pictures?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_DRAWS = 2000


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: ArrayLike, seed: int = 0) -> Interval:
    """The mean of some values with the percentile interval of 2,000 resamples.

    Infinite values (PSNR of equal pictures) make the mean infinite; NaN is not left out but makes it NaN.

    Args:
        values: one for each picture; differences of a pair give the paired interval.
        seed: of the resamples; the same for all columns of a table.
    """
    sample = np.asarray(values, np.float64)
    if len(sample) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    chosen = np.random.default_rng(seed).integers(0, len(sample), (_DRAWS, len(sample)))
    means = sample[chosen].mean(axis=1)
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(means, [2.5, 97.5], method="nearest")
    return Interval(float(sample.mean()), float(low), float(high))
