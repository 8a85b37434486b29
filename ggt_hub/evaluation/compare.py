"""Two runs over the same pictures: is one better, by how much, and where?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation import results
from ggt_hub.evaluation.rows import Row, score_names, scored
from ggt_hub.evaluation.statistics import FEWEST, Interval, bootstrap, holm, swap_test

_CLEAR = 0.05
_JUDGE = ("judge", "revision", "parameters", "protocol", "rubric_sha256")


@dataclass(frozen=True)
class Difference:
    """How B differs from A in one metric.

    Attributes:
        metric: its name.
        task: a task, or "all pictures".
        pictures: how many both runs scored.
        direction: whether "higher" or "lower" is better.
        difference: mean of B - A with its paired 95 % interval.
        p: how often such a difference comes about by chance (`statistics.swap_test`), corrected for the number of
            rows shown (Holm).
    """

    metric: str
    task: str
    pictures: int
    direction: str
    difference: Interval
    p: float

    @property
    def is_clear(self) -> bool:
        """Whether the difference is more than chance, after six pictures or more."""
        return self.pictures >= FEWEST and self.p < _CLEAR

    @property
    def better(self) -> str | None:
        """The run that is clearly better, "A" or "B"; None if none is."""
        if not self.is_clear or self.difference.mean == 0:
            return None
        return "B" if (self.difference.mean > 0) == (self.direction == "higher") else "A"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        differences: of each metric that both runs have, over all pictures and for each task.
        notes: what a reader must know: pictures and metrics that only one run has, runs that are incomplete.
    """

    differences: list[Difference]
    notes: list[str]


def compare(a: Path, b: Path) -> Comparison:
    """Paired differences of the metrics that both runs have.

    Only pictures that both runs scored are compared, since a difference needs both; what is left out is said.

    Args:
        a: the output folder of one `bench run`.
        b: that of another, over the same suite.

    Raises:
        EvaluationError: if a folder holds no results, or the runs share no picture or differ in their suite,
            pictures, references, judge or protocols.
    """
    (about_a, rows_a), (about_b, rows_b) = results.read(a), results.read(b)
    check_alike(about_a, about_b)
    others = {row["id"]: row for row in rows_b}
    pairs = [(row, others[row["id"]]) for row in rows_a if row["id"] in others]
    both = [pair for pair in pairs if not pair[0]["error"] and not pair[1]["error"]]
    if not both:
        raise EvaluationError(f"{a} and {b} share no picture that both scored")
    _check_same_pictures(both)
    names = [name for name in score_names(rows_a, before=False) if name in score_names(rows_b, before=False)]
    names = [name for name in names if name != "rating_before"]  # of the inputs, which are the same
    tasks = dict.fromkeys(x["task"] for x, _ in both)
    groups = {"all pictures": both}
    if len(tasks) > 1:
        groups |= {task: [pair for pair in both if pair[0]["task"] == task] for task in tasks}
    directions = about_a["directions"] | about_b["directions"]
    aggregate = about_a["judge"]["aggregate"] if about_a["judge"] else None
    found = [
        _difference(group, name, task, directions[name], aggregate)
        for name in names
        for task, group in groups.items()
        if _scored_by_both(group, name)
    ]
    corrected = [replace(one, p=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]
    return Comparison(corrected, _notes(about_a, about_b, rows_a, rows_b, both, names))


def _difference(
    pairs: Sequence[tuple[Row, Row]], name: str, task: str, direction: str, aggregate: Any
) -> Difference:
    known = _scored_by_both(pairs, name)
    (first, combine), (second, _) = (
        results.means_of([pair[side] for pair in known], name, aggregate) for side in (0, 1)
    )
    width = np.asarray(first).reshape(len(known), -1).shape[1]
    together = np.concatenate(
        [np.asarray(side, float).reshape(len(known), width) for side in (first, second)], 1
    )

    def rise(*means: Any) -> Any:
        return combine(*means[width:]) - combine(*means[:width])

    interval = bootstrap(together, combine=rise)
    return Difference(name, task, len(known), direction, interval, swap_test(first, second, combine=combine))


def _scored_by_both(pairs: Sequence[tuple[Row, Row]], name: str) -> list[tuple[Row, Row]]:
    return [pair for pair in pairs if len(scored(pair, name)) == 2]


def check_alike(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Refuse runs whose numbers do not compare.

    Raises:
        EvaluationError: saying in what they differ.
    """
    for key in ("suite", "crop_border", "crop_to_fit"):
        if a[key] != b[key]:
            raise EvaluationError(f"the runs differ in {key}: {a[key]!r} and {b[key]!r}")
    for name in a["protocols"].keys() & b["protocols"].keys():
        ours, theirs = a["protocols"][name], b["protocols"][name]
        if ours != theirs and not (name in ("RS", "FS") and a["judge"] != b["judge"]):
            raise EvaluationError(f"the runs differ in the protocol of {name}: {ours!r} and {theirs!r}")
    if a["judge"] and b["judge"]:
        for key in _JUDGE:
            if a["judge"].get(key) != b["judge"].get(key):
                ours, theirs = a["judge"].get(key), b["judge"].get(key)
                raise EvaluationError(f"the runs differ in {key} of the judge: {ours!r} and {theirs!r}")


def _check_same_pictures(pairs: Sequence[tuple[Row, Row]]) -> None:
    for column, what in (("lq_sha256", "pictures"), ("gt_sha256", "references")):
        if other := [x["id"] for x, y in pairs if x.get(column) != y.get(column)]:
            raise EvaluationError(
                f"{len(other)} {what} differ between the runs, such as {other[0]}: rerun one of them"
            )


def _notes(
    about_a: dict[str, Any],
    about_b: dict[str, Any],
    rows_a: Sequence[Row],
    rows_b: Sequence[Row],
    both: Sequence[tuple[Row, Row]],
    names: Sequence[str],
) -> list[str]:
    notes = []
    for label, about, rows in (("A", about_a, rows_a), ("B", about_b, rows_b)):
        if not about["complete"]:
            notes.append(
                f"{label} is incomplete: {len(about['failed'])} of {len(rows)} pictures failed or lack a score"
                + "".join(f"; {name} is missing" for name in about["left_out"])
            )
        if about["limit"] is not None:
            notes.append(f"{label} is part of a suite: only the first {about['limit']} pictures were run")
    if len(both) < max(len(rows_a), len(rows_b)):
        notes.append(
            f"compared over the {len(both)} pictures that both have; A has {len(rows_a)}, B {len(rows_b)}"
        )
    for label, rows in (("A", rows_a), ("B", rows_b)):
        alone = [name for name in score_names(rows, before=False) if name not in (*names, "rating_before")]
        if alone:
            notes.append(f"only {label} has {', '.join(alone)}")
    return notes
