"""Strengths from votes: closed forms, planted strengths, and what cannot be compared."""

import math
from itertools import combinations

import numpy as np
import pytest

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.bradley_terry import bradley_terry

POINTS = 400 / math.log(10)


@pytest.mark.parametrize(("wins", "losses", "ties"), [(7, 3, 0), (7, 3, 4), (5, 0, 0), (0, 0, 2)])
def test_of_two_it_is_the_logarithm_of_the_odds_with_its_standard_error(
    wins: int, losses: int, ties: int
) -> None:
    votes = [("a", "b", 1.0)] * wins + [("b", "a", 1.0)] * losses + [("b", "a", 0.5)] * ties
    found = bradley_terry(votes)
    for_a, for_b = wins + ties / 2 + 0.5, losses + ties / 2 + 0.5
    odds, error = math.log(for_a / for_b), math.sqrt(1 / for_a + 1 / for_b)
    for name, sign in (("a", 1), ("b", -1)):
        assert found[name].points == pytest.approx(sign * POINTS * odds / 2, abs=1e-6)
        half = POINTS * 1.959963985 * error / 2  # each moves half of their difference
        assert found[name].low == pytest.approx(found[name].points - half, abs=1e-4)
        assert found[name].high == pytest.approx(found[name].points + half, abs=1e-4)


def planted(votes: int, seed: int) -> tuple[dict[str, float], list[tuple[str, str, float]]]:
    """Strengths in points, mean 0, and votes of a chain of neighbours and second neighbours."""
    truth = dict(zip("abcdef", (300.0, 150.0, 50.0, -50.0, -150.0, -300.0), strict=True))
    rng = np.random.default_rng(seed)
    told = []
    for one, other in combinations(truth, 2):
        if abs(ord(one) - ord(other)) <= 2:
            chance = 1 / (1 + 10 ** ((truth[other] - truth[one]) / 400))
            told += [(one, other, float(won)) for won in rng.random(votes) < chance]
    return truth, told


def test_planted_strengths_are_recovered() -> None:
    truth, votes = planted(4000, seed=1)
    found = bradley_terry(votes)
    assert [*found] == [*truth]
    assert [found[name].points for name in truth] == pytest.approx([*truth.values()], abs=12)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = []
    for seed in range(60):
        truth, votes = planted(40, seed)
        found = bradley_terry(votes)
        held += [found[name].low <= points <= found[name].high for name, points in truth.items()]
    assert 0.91 <= np.mean(held) <= 0.99  # of 360, of which six at a time depend on each other


def test_the_likelihood_is_highest_there() -> None:
    _, votes = planted(5, seed=3)
    found = bradley_terry(votes)
    votes += [(one, other, 0.5) for one, other in {(one, other) for one, other, _ in votes}]

    def likelihood(points: dict[str, float]) -> float:
        odds = [((points[one] - points[other]) / POINTS, share) for one, other, share in votes]
        return -sum(share * np.logaddexp(0, -gap) + (1 - share) * np.logaddexp(0, gap) for gap, share in odds)

    best = {name: one.points for name, one in found.items()}
    for name in best:
        for step in (-1, 1):
            assert likelihood(best | {name: best[name] + step}) < likelihood(best)


def test_who_was_never_compared_is_named() -> None:
    votes = [("a", "b", 1.0), ("c", "d", 1.0), ("d", "e", 0.5)]
    with pytest.raises(
        EvaluationError, match="a, b and c, d, e have never been compared, not even through others"
    ):
        bradley_terry(votes)
    assert {*bradley_terry([*votes, ("b", "e", 0.0)])} == {*"abcde"}


def test_no_votes_are_no_strengths() -> None:
    assert bradley_terry([]) == {}
