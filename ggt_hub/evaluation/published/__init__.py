"""Tables that others have printed: a CSV of numbers, and a YAML of where they come from."""

import csv
from importlib.resources import files
from typing import Any

import yaml

from ggt_hub.errors import EvaluationError
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


def published_table(name: str | None, judge: dict[str, str | None] | None) -> Table | None:
    """The table to show beside our scores, marked as quoted; None unless protocol, judge and rubric agree.

    Args:
        name: of the table; None where a suite has none.
        judge: `Judge.identity` of our run; None for a run without one.
    """
    if name is None or judge is None:
        return None
    about, rows = load_published(name)
    ours = {key: judge[key] for key in ("protocol", "judge", "rubric_sha256")}
    if None in ours.values() or ours != {key: about.get(key) for key in ours}:
        return None
    columns = list(rows[0])
    cells = [[_number(row[column]) for column in columns] for row in rows if row["task"] == "all"]
    return Table(
        columns, cells, title=f"Quoted: {about['title']}", note=f"{about['source']}. {about['note']}"
    )


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
