"""How sure a mean and a difference are: BCa intervals (Efron 1987), swap tests (Fisher 1935), Holm (1979).

They take means of one or of several columns (`N x K`) that `combine` makes one number of, since FS of a run may be
a product of means. And how far two people agree: kappa (Cohen 1960).
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

FEWEST = 6
"""Pairs below which no difference is clear: that all of five go one way happens by chance in one of 16 cases."""

_DRAWS = 9999
_EXACT = 14  # pairs up to which all 2^n swaps are tried
_AT_ONCE = 4_000_000  # numbers drawn at a time
_LEVEL = 0.95

Combine = Callable[..., Any]


class Interval(NamedTuple):
    """A mean and its 95 % interval; NaN where there is none."""

    mean: float
    low: float
    high: float


def bootstrap(values: ArrayLike, seed: int = 0, combine: Combine = np.asarray) -> Interval:
    """The mean of some values with its bias-corrected and accelerated interval, from 9,999 resamples.

    No value is left out: NaN or infinity makes the mean that. One value has no interval, equal values one of no
    width.

    Args:
        values: one for each picture; differences of a pair give the paired interval. Or several for each,
            `N x K`, whose means are combined.
        seed: of the resamples; the same for all columns of a table.
        combine: makes one number of K means.
    """
    columns = _columns(values)
    if len(columns) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    mean = float(combine(*columns.mean(axis=0)))
    if len(columns) == 1 or not np.isfinite(columns).all():
        return Interval(mean, float("nan"), float("nan"))
    if (columns == columns[0]).all():
        return Interval(mean, mean, mean)
    drawn = np.sort(combine(*_resampled_means(columns, seed).T))
    without_one = combine(*((columns.sum(axis=0) - columns) / (len(columns) - 1)).T)
    low, high = (float(drawn[int(at)]) for at in _ranks(drawn, mean, without_one))
    return Interval(mean, low, high)


def swap_test(a: ArrayLike, b: ArrayLike, seed: int = 0, combine: Combine = np.asarray) -> float:
    """How often a difference as large as that of `b` and `a` comes about if the two are alike: the two-sided p.

    If they are, each pair may as well be swapped. All swaps are tried for up to 14 pairs, else 9,999 are drawn.

    Args:
        a: `N` values of one run, or `N x K` whose means are combined.
        b: those of the other, in the same order.
        seed: of the swaps.
        combine: makes one number of K means.
    """
    first, second = _columns(a), _columns(b)
    count, change = len(first), _columns(b) - _columns(a)
    means = first.mean(axis=0), second.mean(axis=0)
    seen = abs(combine(*means[1]) - combine(*means[0]))
    exact = count <= _EXACT
    as_large = 0
    for swaps in _all_swaps(count) if exact else _drawn_swaps(count, seed):
        moved = swaps @ change / count
        differences = combine(*(means[1] - moved).T) - combine(*(means[0] + moved).T)
        as_large += int((np.abs(differences) >= seen - 1e-12 * max(1.0, seen)).sum())
    return as_large / 2**count if exact else (as_large + 1) / (_DRAWS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are, in the order given."""
    order = np.argsort(p_values, kind="stable")
    raised = np.maximum.accumulate([p_values[at] * (len(order) - rank) for rank, at in enumerate(order)])
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(raised, 1.0)
    return [float(p) for p in corrected]


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """How far two people agree beyond chance: 1 where they always do, 0 where chance would do as well.

    Cohen 1960, equation 1: `(p_o - p_e) / (1 - p_e)`, of the share of equal labels and of that which is to be
    expected if each gave his labels at random. Not a number where both know one label only, or there are none.

    Args:
        first: labels of one of them.
        second: labels of the other for the same things, in the same order.
    """
    labels = sorted({*first, *second})
    shares = [
        np.array([said.count(label) for label in labels]) / max(1, len(said)) for said in (first, second)
    ]
    equal = float(np.mean([a == b for a, b in zip(first, second, strict=True)])) if first else math.nan
    by_chance = float(shares[0] @ shares[1])
    return (equal - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def _columns(values: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    sample = np.asarray(values, np.float64)
    return sample.reshape(len(sample), -1 if sample.size else 1)


def _resampled_means(columns: np.ndarray, seed: int) -> np.ndarray:
    rng, count = np.random.default_rng(seed), len(columns)
    return np.concatenate(
        [
            columns[rng.integers(0, count, (rows, count))].mean(axis=1)
            for rows in _portions(_DRAWS, columns.size)
        ]
    )


def _ranks(drawn: np.ndarray, mean: float, without_one: np.ndarray) -> tuple[float, float]:
    """Where the ends of the interval stand among the sorted resamples (Efron 1987, equations 2.3 and 6.6)."""
    normal = NormalDist()
    below = (np.mean(drawn < mean) + np.mean(drawn <= mean)) / 2
    bias = normal.inv_cdf(float(np.clip(below, 0.5 / _DRAWS, 1 - 0.5 / _DRAWS)))
    spread = without_one.mean() - without_one
    scale = (spread**2).sum() ** 1.5
    acceleration = float((spread**3).sum() / (6 * scale)) if scale else 0.0

    def rank(tail: float) -> float:
        z = bias + normal.inv_cdf(tail)
        share = normal.cdf(bias + z / (1 - acceleration * z))
        return min(max(round(share * (_DRAWS + 1)) - 1, 0), _DRAWS - 1)

    return rank((1 - _LEVEL) / 2), rank((1 + _LEVEL) / 2)


def _all_swaps(count: int) -> list[np.ndarray]:
    numbers = np.arange(2**count)[:, None]
    return [((numbers >> np.arange(count)) & 1).astype(np.float64)]


def _drawn_swaps(count: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 2, (rows, count)).astype(np.float64) for rows in _portions(_DRAWS, count))


def _portions(total: int, size: int) -> list[int]:
    """How many of `total` rows of that size are made at a time, so that a hundred thousand pictures fit."""
    step = max(1, _AT_ONCE // size)
    return [min(step, total - start) for start in range(0, total, step)]
