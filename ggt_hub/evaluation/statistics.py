"""Means with bootstrap intervals (Efron 1979): how much would the number move with other pictures?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_DRAWS = 2000


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: ArrayLike, seed: int = 0, combine: Callable[..., Any] = np.asarray) -> Interval:
    """The mean of some values with the percentile interval of 2,000 resamples.

    No value is left out: NaN or infinity makes the mean that.

    Args:
        values: one for each picture; differences of a pair give the paired interval. Or several for each,
            `N x K`, whose means are combined.
        seed: of the resamples; the same for all columns of a table.
        combine: makes one number of K means.
    """
    sample = np.asarray(values, np.float64)
    if len(sample) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    columns = sample.reshape(len(sample), -1)
    rng = np.random.default_rng(seed)
    # One resample at a time: all at once, those of a hundred thousand pictures would take gigabytes.
    means = [columns[rng.integers(0, len(columns), len(columns))].mean(axis=0) for _ in range(_DRAWS)]
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(combine(*np.transpose(means)), [2.5, 97.5], method="nearest")
    return Interval(float(combine(*columns.mean(axis=0))), float(low), float(high))
