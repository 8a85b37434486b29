"""Tables that others have printed: a CSV of numbers, and a YAML of where they come from."""

import csv
from collections.abc import Collection, Sequence
from importlib.resources import files
from typing import Any

import yaml

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.suite import Suite
from ggt_hub.reports import Table

_FOLDER = files(__name__)


def list_published() -> list[str]:
    """Names of the tables."""
    return sorted(path.name[:-4] for path in _FOLDER.iterdir() if path.name.endswith(".csv"))


def load_published(name: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """What is known of a table (title, source, protocol, note), and its rows as printed.

    Raises:
        EvaluationError: if there is no such table.
    """
    if name not in list_published():
        raise EvaluationError(f"no published table {name!r}: there are {', '.join(list_published())}")
    about = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    lines = (_FOLDER / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return about, list(csv.DictReader(lines))


def published_table(suite: Suite, results: dict[str, Any]) -> Table | None:
    """The table to show beside our scores, marked as quoted; None where it does not compare.

    A table of a judge's ratings is shown if protocol, judge and rubric agree. One that says which metrics of ours
    it holds is shown for its suite's set, in the metrics that the run has.

    Args:
        suite: names the table, and its set in the table.
        results: the content of `results.json`.
    """
    if suite.published is None:
        return None
    about, rows = load_published(suite.published)
    title, note = f"Quoted: {about['title']}", f"{about['source']}. {about['note']}"
    if "metrics" in about:
        known = {printed: ours for printed, ours in about["metrics"].items() if ours in results["protocols"]}
        return _by_method([row for row in rows if row["set"] == suite.published_set], known, title, note)
    if not _same_judge(about, results["judge"]):
        return None
    columns = list(rows[0])
    cells = [[_number(row[column]) for column in columns] for row in rows if row["task"] == "all"]
    return Table(columns, cells, title=title, note=note)


def _by_method(
    rows: Sequence[dict[str, str]], metrics: Collection[str], title: str, note: str
) -> Table | None:
    """A line for each method, a column for each metric, of a table with a line for each number."""
    printed = {(row["method"], row["metric"]): _number(row["value"]) for row in rows}
    columns = [metric for metric in metrics if any(name == metric for _, name in printed)]
    methods = dict.fromkeys(method for method, _ in printed)
    cells = [[method, *(printed.get((method, metric)) for metric in columns)] for method in methods]
    return Table(["method", *columns], cells, title=title, note=note) if columns else None


def _same_judge(about: dict[str, Any], judge: dict[str, str | None] | None) -> bool:
    ours = {key: (judge or {}).get(key) for key in ("protocol", "judge", "rubric_sha256")}
    return None not in ours.values() and ours == {key: about.get(key) for key in ours}


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
