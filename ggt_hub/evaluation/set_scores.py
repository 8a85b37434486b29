"""Scores of all pictures together: distances of sets, and what other networks make of the pictures."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ggt_hub.errors import EvaluationError, MetricUnavailableError
from ggt_hub.evaluation.downstream import downstream_task
from ggt_hub.evaluation.rows import Row
from ggt_hub.evaluation.scoring import Scoring, said
from ggt_hub.evaluation.suite import Item, Suite, as_rgb
from ggt_hub.metrics import SET_METRICS
from ggt_hub.metrics.of_sets import SetMetric

SetScores = dict[str, dict[str, float]]
"""Of each score, by name, what it says of the pictures `before` and `after`, and where it applies `clean`."""


class SetScorer(Protocol):
    """What gives scores of a whole set.

    Attributes:
        protocols: what each score is, by name.
        directions: whether higher or lower is better, by name.
        sides: of which pictures it says something: `before`, `after`, `clean`.
    """

    @property
    def protocols(self) -> dict[str, str]: ...  # noqa: D102

    @property
    def directions(self) -> dict[str, str]: ...  # noqa: D102

    @property
    def sides(self) -> tuple[str, ...]: ...  # noqa: D102

    def score(self, items: Sequence[Item], picture: Callable[[Item], Any]) -> dict[str, float]:
        """Scores of what `picture` gives for each item."""


class Distance:
    """A metric of `SET_METRICS`, of the pictures to their references."""

    sides = ("before", "after")

    def __init__(self, metric: type[SetMetric], weights: Path | None) -> None:
        metric(weights)  # what it needs is had before anything is restored
        self._metric, self._weights = metric, weights
        self.protocols = {metric.name: metric.protocol}
        self.directions: dict[str, str] = {metric.name: metric.direction}

    def score(self, items: Sequence[Item], picture: Callable[[Item], Any]) -> dict[str, float]:
        """The distance.

        Raises:
            EvaluationError: if an item has no reference.
            MetricError: if there are fewer than two pictures.
        """
        metric = self._metric(self._weights)
        for item in items:
            if (truth := item.gt) is None:
                raise EvaluationError(f"{item.id} has no reference")
            metric.update([as_rgb(picture(item))], [as_rgb(truth)])
        return {metric.name: metric.compute()}


def set_scorers(
    suite: Suite, names: Sequence[str], scoring: Scoring, device: Any
) -> tuple[list[SetScorer], dict[str, str]]:
    """What scores the set of a suite: the metrics of sets among some names, and the suite's downstream task.

    Returns:
        The scorers, and the reason for each metric that cannot be had here.

    Raises:
        EvaluationError: if the downstream task lacks something.
        HubError: if its network cannot be had.
    """
    scorers: list[SetScorer] = []
    left_out: dict[str, str] = {}
    for name in names:
        try:
            scorers.append(Distance(SET_METRICS[name], scoring.weights))
        except MetricUnavailableError as error:
            left_out[name] = str(error)
    if suite.downstream:
        scorers.append(
            downstream_task(suite.name, Path(suite.source), suite.downstream, scoring.task_model, device)
        )
    return scorers, left_out


def score_sets(
    scorers: Sequence[SetScorer], items: Sequence[Item], rows: Sequence[Row], restored: Callable[[Item], Path]
) -> tuple[SetScores, dict[str, str]]:
    """Score the pictures before and after, and the clean ones where all are there.

    A score is over all pictures: where one was not restored there is none.

    Args:
        scorers: of `set_scorers`.
        items: what was restored.
        rows: one for each item.
        restored: where each result lies.

    Returns:
        The scores, and the reason for each that there is not.
    """
    scores: SetScores = {}
    left_out: dict[str, str] = {}
    failed = sum(bool(row["error"]) for row in rows)
    pictures: dict[str, Callable[[Item], Any]] = {"before": lambda item: item.lq, "after": restored}
    if all(item.truth is not None for item in items):
        pictures["clean"] = lambda item: item.gt
    for scorer in scorers:
        try:
            if failed:
                raise EvaluationError(f"it is over all pictures, and {failed} of {len(rows)} failed")
            for side in scorer.sides:
                found = scorer.score(items, pictures[side]) if side in pictures else {}
                for name, value in found.items():
                    if math.isfinite(value):
                        scores.setdefault(name, {})[side] = value
        except Exception as error:  # noqa: BLE001  a network may be anybody's; the other scores stay
            left_out |= dict.fromkeys(scorer.directions, said(error))
    return scores, left_out
