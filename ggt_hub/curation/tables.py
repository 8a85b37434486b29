"""What stages have decided: one table for each slice of rows, in Arrow's file format, read column by column."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ggt_hub.curation.stage import Dropped, Kept, Later, Outcome, Row, Split

_OWN = {name: pa.string() for name in ("id", "parent", "state", "reason", "detail")}


def write_table(
    path: Path, ids: Sequence[str], outcomes: Sequence[Outcome], gives: Mapping[str, pa.DataType]
) -> dict[str, Any]:
    """Write what was decided of some rows.

    Returns:
        How many rows came in, how many go on, and how many were dropped and postponed, by reason.
    """
    if len(outcomes) != len(ids):
        raise ValueError(f"a stage gave {len(outcomes)} outcomes for {len(ids)} rows")
    rows = [row for name, outcome in zip(ids, outcomes, strict=True) for row in _rows(name, outcome)]
    columns = {name: [row.get(name) for row in rows] for name in (*_OWN, *gives)}
    schema = pa.schema(_OWN | dict(gives))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_table(pa.table(columns, schema))
    counts = {
        state: dict(Counter(row["reason"] for row in rows if row["state"] == state))
        for state in ("dropped", "later")
    }
    return {"in": len(ids), "kept": columns["state"].count("kept"), **counts}


def _rows(name: str, outcome: Outcome) -> list[Row]:
    """What a table holds of an outcome."""
    if isinstance(outcome, Split):
        return [
            {"id": f"{name}/{part}", "parent": name, "state": "kept", "reason": "", "detail": "", **values}
            for part, values in outcome.parts.items()
        ]
    own = {"id": name, "parent": name, "reason": "", "detail": ""}
    if isinstance(outcome, Kept):
        return [own | {"state": "kept"} | dict(outcome.values)]
    state = {Dropped: "dropped", Later: "later"}[type(outcome)]
    return [own | {"state": state, "reason": outcome.reason, "detail": outcome.detail}]


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
    """The rows of a slice that its last stage has kept; a column that several stages gave is of the last."""
    last = _read(tables[-1], ["id", "state"]).to_pylist()
    rows: list[Row] = [{"id": one["id"]} for one in last if one["state"] == "kept"]
    wanted, names = set(columns), [row["id"] for row in rows]
    for path in reversed(tables):
        here = sorted(wanted & set(_names(path)))
        wanted -= set(here)
        table = _read(path, ["id", "parent", *here])
        places = {name: place for place, name in enumerate(table["id"].to_pylist())}
        for row, name in zip(rows, names, strict=True):
            row |= {column: table[column][places[name]].as_py() for column in here}
        parents = table["parent"].to_pylist()
        names = [parents[places[name]] for name in names]
        if not wanted:
            break
    return rows


def _names(path: Path) -> list[str]:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).schema.names


def _read(path: Path, columns: list[str]) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all().select(columns)
