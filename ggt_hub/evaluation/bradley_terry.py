"""How much better one is than another, from votes on pairs: the model of Bradley and Terry (1952)."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ggt_hub.errors import EvaluationError
from ggt_hub.reports.page import Cell, Table

_POINTS = 400 / math.log(10)
_NORMAL = 1.959963984540054  # the 97.5th percentile
_PRECISION = 1e-10
_MOST_STEPS = 100_000


class Strength(NamedTuple):
    """How strong one is, with its 95 % interval, in points: 400 more is odds of ten to one; the mean is 0."""

    points: float
    low: float
    high: float


def bradley_terry(duels: Iterable[tuple[str, str, float]]) -> Mapping[str, Strength]:
    """The strengths by which votes are likeliest.

    A tie counts as half a win for each (so that the odds of a win are `p_i / p_j`), and each two who have met are
    given one tie that nobody cast: without it whoever has won all has no finite strength. For two it makes the odds
    `(wins + 1/2) / (losses + 1/2)` (Haldane, Anscombe 1956). Found by minorisation (Hunter 2004, equation 3);
    intervals by the information of Fisher, as if votes were independent of each other.

    Args:
        duels: the first, the second, and what of the vote is for the first: 1, 0.5 or 0.

    Returns:
        By their names, the strongest first.

    Raises:
        EvaluationError: if some have never met any of the others, not even through third ones.
    """
    told = [*duels]
    if not told:
        return {}
    names = sorted({name for one, other, _ in told for name in (one, other)})
    number = {name: n for n, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for one, other, share in told:
        wins[number[one], number[other]] += share
        wins[number[other], number[one]] += 1 - share
    met = wins + wins.T > 0
    _check_connected(names, met)
    wins += met / 2
    strengths = _likeliest(wins)
    spread = np.sqrt(np.diag(np.linalg.pinv(_information(wins + wins.T, strengths))))
    found = {
        name: Strength(*(_POINTS * (strengths[n] + z * spread[n]) for z in (0, -_NORMAL, _NORMAL)))
        for name, n in number.items()
    }
    return dict(sorted(found.items(), key=lambda one: -one[1].points))


def strengths_table(strengths: Mapping[str, Strength], votes: int, left_out: int) -> Table:
    """For reports.

    Args:
        strengths: of `bradley_terry`.
        votes: how many they are of.
        left_out: how many there are besides, of other results.
    """
    others = f" {left_out} votes are of other results, and are left out." if left_out else ""
    note = (
        f"{votes} votes on pairs.{others} Bradley and Terry's model: 400 points more are odds of ten to one; a tie "
        "is half a win for each, and each two who have met are given one more. Intervals are 95 %, as if votes "
        "were independent."
    )
    rows: list[list[Cell]] = [[label, *(round(value) for value in one)] for label, one in strengths.items()]
    return Table(["name", "points", "low", "high"], rows, "What people prefer", note)


def _likeliest(wins: np.ndarray) -> np.ndarray:
    """Logarithms of the strengths, whose mean is 0."""
    met, won = wins + wins.T, wins.sum(axis=1)
    logs = np.zeros(len(wins))
    for _ in range(_MOST_STEPS):
        strengths = np.exp(logs)
        new = np.log(won / (met / (strengths[:, None] + strengths)).sum(axis=1))
        new -= new.mean()
        step, logs = np.abs(new - logs).max(initial=0), new
        if step < _PRECISION:
            break
    return logs


def _information(met: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Fisher's, of the logarithms."""
    wins = 1 / (1 + np.exp(logs - logs[:, None]))
    weights = met * wins * (1 - wins)
    return np.diag(weights.sum(axis=1)) - weights


def _check_connected(names: list[str], met: np.ndarray) -> None:
    reached, new = set[int](), {0}
    while new:
        reached |= new
        new = {int(other) for one in new for other in np.flatnonzero(met[one])} - reached
    if apart := [name for n, name in enumerate(names) if n not in reached]:
        together = [name for n, name in enumerate(names) if n in reached]
        raise EvaluationError(
            f"{', '.join(together)} and {', '.join(apart)} have never been compared, not even through others, so "
            "nobody knows which are better: vote on pairs of both"
        )
