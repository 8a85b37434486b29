"""Two runs over the same pictures: is one better, by how much, and where?"""

from dataclasses import dataclass
from pathlib import Path

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation import results
from ggt_hub.evaluation.statistics import Interval, bootstrap


@dataclass(frozen=True)
class Difference:
    """How B differs from A in one metric.

    Attributes:
        metric: its name.
        task: a task, or "all pictures".
        pictures: how many both runs scored.
        difference: mean of B - A with its paired 95 % interval.
    """

    metric: str
    task: str
    pictures: int
    difference: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.difference.low > 0 or self.difference.high < 0


def compare(a: Path, b: Path) -> list[Difference]:
    """Paired differences of all metrics that both runs have, over all pictures and for each task.

    Only pictures that both runs scored are compared, since a difference needs both; their number is stated.

    Args:
        a: the output folder of one `bench run`.
        b: that of another, over the same suite.

    Raises:
        EvaluationError: if a folder holds no results, or the runs share no picture or differ in their suite,
            pictures, judge or protocol.
    """
    (about_a, rows_a), (about_b, rows_b) = results.read(a), results.read(b)
    for key in ("suite", "protocols", "judge"):
        if about_a[key] != about_b[key]:
            raise EvaluationError(f"the runs differ in {key}: {about_a[key]!r} and {about_b[key]!r}")
    scored = {row["id"]: row for row in rows_a if not row["error"]}
    pairs = [(scored[row["id"]], row) for row in rows_b if row["id"] in scored and not row["error"]]
    if not pairs:
        raise EvaluationError(f"{a} and {b} share no picture that both scored")
    if other := [x["id"] for x, y in pairs if x["lq_sha256"] != y["lq_sha256"]]:
        raise EvaluationError(
            f"{len(other)} pictures differ between the runs, such as {other[0]}: rerun one of them"
        )
    names = [name for name in pairs[0][0] if name in pairs[0][1] and name not in results.NOT_SCORES]
    groups = {"all pictures": pairs} | {
        task: [pair for pair in pairs if pair[0]["task"] == task]
        for task in dict.fromkeys(x["task"] for x, _ in pairs)
    }
    wanted = [(name, task) for name in names if not name.endswith("_before") for task in groups]
    rises = {(name, task): _rises(groups[task], name) for name, task in wanted}
    return [
        Difference(name, task, len(values), bootstrap(values))
        for (name, task), values in rises.items()
        if values
    ]


def _rises(pairs: list[tuple[results.Row, results.Row]], name: str) -> list[float]:
    return [y[name] - x[name] for x, y in pairs if x[name] is not None and y[name] is not None]
