"""One row for each picture of a run: what each metric says of it, or why it says nothing.

Beside each score `NAME` stands `NAME_status`: "scored", "no reference", or one of "undefined", "refused" and
"failed" with the reason. One metric that has no score of a picture never takes the picture from another.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
SCORED, NO_REFERENCE, OTHER_SIZE = "scored", "no reference", "another size than the result"

_STATUS = "_status"
_BEFORE = "_before"
_PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\":]+[/\\])+")


def new_row(picture: str, task: str) -> Row:
    """A row without scores."""
    return {"id": picture, "task": task, "error": None}


def put(row: Row, name: str, value: float | None, status: str = SCORED) -> None:
    """Note a score, or why there is none."""
    row[name], row[name + _STATUS] = value, without_paths(status)


def fail(row: Row, names: Iterable[str], reason: str) -> None:
    """Note that a picture could not be restored or read, so that no metric has a score of it."""
    row["error"] = without_paths(reason)
    for name in names:
        put(row, name, None, f"failed: {reason}")


def score_names(rows: Iterable[Row], *, before: bool = True) -> list[str]:
    """Names of all scores in some rows, in order; without `before` those of the results alone."""
    columns = dict.fromkeys(key for row in rows for key in row if key.endswith(_STATUS))
    names = [key.removesuffix(_STATUS) for key in columns]
    return [name for name in names if before or not name.endswith(_BEFORE)]


def scored(rows: Iterable[Row], name: str) -> list[Row]:
    """The rows that have that score."""
    return [row for row in rows if row.get(name + _STATUS) == SCORED]


def applies(row: Row, name: str) -> bool:
    """Whether a picture ought to have that score."""
    return row.get(name + _STATUS) not in (None, NO_REFERENCE, OTHER_SIZE)


def has_scores(row: Row) -> bool:
    """Whether any metric scored a picture."""
    return any(row[name + _STATUS] == SCORED for name in score_names([row], before=False))


def problems(row: Row) -> str | None:
    """Why scores of a picture are missing; None if none is."""
    if row["error"]:
        return str(row["error"])
    without: dict[str, list[str]] = {}
    for name in score_names([row], before=False):
        if applies(row, name) and row[name + _STATUS] != SCORED:
            without.setdefault(row[name + _STATUS], []).append(name)
    return "; ".join(f"{', '.join(names)} {status}" for status, names in without.items()) or None


def without_paths(text: str) -> str:
    """A message without the folders of this machine: results are published."""
    return " ".join(_PATH.sub("", text).split())


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The rows as the columns of a table."""
    names = dict.fromkeys(key for row in rows for key in row)
    return {name: [row.get(name) for row in rows] for name in names}
