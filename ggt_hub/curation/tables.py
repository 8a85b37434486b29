"""What stages have decided: one table for each slice of rows, in Arrow's file format, read column by column."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ggt_hub.curation.stage import Kept, Outcome, Row

_STATES = {"Kept": "kept", "Dropped": "dropped", "Later": "later"}
_OWN = {"id": pa.string(), "state": pa.string(), "reason": pa.string(), "detail": pa.string()}


def write_table(
    path: Path, ids: Sequence[str], outcomes: Sequence[Outcome], gives: Mapping[str, pa.DataType]
) -> dict[str, Any]:
    """Write what was decided of some rows.

    Returns:
        How many rows came in, and how many were kept, dropped and postponed, by reason.
    """
    if len(outcomes) != len(ids):
        raise ValueError(f"a stage gave {len(outcomes)} outcomes for {len(ids)} rows")
    columns: dict[str, list[Any]] = {name: [] for name in (*_OWN, *gives)}
    counts: dict[str, Counter[str]] = {"dropped": Counter(), "later": Counter()}
    for name, outcome in zip(ids, outcomes, strict=True):
        state = _STATES[type(outcome).__name__]
        reason, detail = ("", "") if isinstance(outcome, Kept) else (outcome.reason, outcome.detail)
        values = outcome.values if isinstance(outcome, Kept) else {}
        if state in counts:
            counts[state][reason] += 1
        told = {"id": name, "state": state, "reason": reason, "detail": detail}
        for column, content in columns.items():
            content.append(told[column] if column in told else values.get(column))
    schema = pa.schema(_OWN | dict(gives))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_table(pa.table(columns, schema))
    kept = columns["state"].count("kept")
    return {"in": len(ids), "kept": kept, **{state: dict(count) for state, count in counts.items()}}


def has_postponed(path: Path) -> bool:
    """Whether a table has rows that are to be tried again."""
    return path.is_file() and "later" in _read(path, ["state"])["state"].to_pylist()


@dataclass(frozen=True)
class Rows:
    """The rows of some slices that all stages have kept; pictures are read as they are taken.

    Attributes:
        slices: of each the tables of its stages, in order.
        columns: what is read.
    """

    slices: tuple[tuple[Path, ...], ...]
    columns: tuple[str, ...]

    def __iter__(self) -> Iterator[Row]:
        for tables in self.slices:
            yield from read_kept(tables, self.columns)


def read_kept(tables: Sequence[Path], columns: Sequence[str]) -> list[Row]:
    """The rows of a slice that its last stage has kept, with columns that any of its stages gave."""
    last = _read(tables[-1], ["id", "state"])
    ids = [one["id"] for one in last.to_pylist() if one["state"] == "kept"]
    rows: dict[str, Row] = {name: {"id": name} for name in ids}
    for column in columns:
        table = next(path for path in reversed(tables) if column in _names(path))
        found = _read(table, ["id", column])
        for name, value in zip(found["id"].to_pylist(), found[column], strict=True):
            if name in rows:
                rows[name][column] = value.as_py()
    return list(rows.values())


def _names(path: Path) -> list[str]:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).schema.names


def _read(path: Path, columns: list[str]) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all().select(columns)
