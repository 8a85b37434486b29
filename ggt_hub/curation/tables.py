"""What stages have decided: one table for each slice of rows, in Arrow's file format, read column by column."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ggt_hub.curation.ids import hidden, is_of
from ggt_hub.curation.stage import Dropped, Kept, Later, Outcome, Row, Split
from ggt_hub.errors import CurationError

TAKEN_DOWN = Dropped("taken down")

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
    _write(path, pa.table(columns, pa.schema(_OWN | dict(gives))))
    return {"in": len(ids), **_counts(rows)}


def tells_of(path: Path, gone: Collection[str]) -> bool:
    """Whether a table has rows that were made of some with which the run began, or names one of these."""
    rows = read_columns(path, ["id", "detail"])
    return any(is_of(row["id"], gone) or row["detail"] in gone for row in rows)


def rewrite_without(path: Path, gone: Collection[str], begins: bool, unfinished: Path) -> dict[str, Any]:
    """Write a table again without some rows and all that was made of them.

    Args:
        path: the table.
        gone: ids of rows with which the run began.
        begins: whether it is the table with which these begin: there they are dropped, by other names.
        unfinished: what to write to.

    Returns:
        As `write_table`.
    """
    table = _read(path, None)
    rows = []
    for row in table.to_pylist():
        if not is_of(row["id"], gone):
            rows.append(row | ({"detail": TAKEN_DOWN.reason} if row["detail"] in gone else {}))
        elif begins:
            name = hidden(row["id"])
            rows.append(dict.fromkeys(row) | _row(name, name, TAKEN_DOWN))
    _write(unfinished, pa.Table.from_pylist(rows, table.schema))
    return {"in": len({row["parent"] for row in rows}), **_counts(rows)}


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    pa.default_memory_pool().release_unused()  # else each process keeps what its largest tables took


def _counts(rows: Sequence[Row]) -> dict[str, Any]:
    """How many rows go on, and how many were dropped and postponed, by reason."""
    counts = {
        state: dict(Counter(row["reason"] for row in rows if row["state"] == state))
        for state in ("dropped", "later")
    }
    return {"kept": sum(row["state"] == "kept" for row in rows), **counts}


def _rows(name: str, outcome: Outcome) -> list[Row]:
    """What a table holds of an outcome."""
    if isinstance(outcome, Split):
        return [_row(f"{name}/{part}", name, one) for part, one in outcome.parts.items()]
    return [_row(name, name, outcome)]


def _row(name: str, parent: str, outcome: Mapping[str, Any] | Kept | Dropped | Later) -> Row:
    own = {"id": name, "parent": parent, "reason": "", "detail": ""}
    if isinstance(outcome, (Dropped, Later)):
        own |= {"reason": outcome.reason, "detail": outcome.detail}
        return own | (
            {"state": "dropped", **outcome.values} if isinstance(outcome, Dropped) else {"state": "later"}
        )
    values = outcome.values if isinstance(outcome, Kept) else outcome
    return own | {"state": "kept"} | dict(values)


def has_postponed(path: Path) -> bool:
    """Whether a table has rows that are to be tried again; of a damaged one it is not known."""
    try:
        return path.is_file() and "later" in _read(path, ["state"])["state"].to_pylist()
    except CurationError:
        return False


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


def read_kept(
    tables: Sequence[Path], columns: Sequence[str], only: Collection[str] | None = None
) -> list[Row]:
    """The rows of a slice that its last stage has kept; a column that several stages gave is of the last.

    Args:
        tables: of the stages so far, in order.
        columns: what is read.
        only: ids of some rows; None for all.
    """
    last = _read(tables[-1], ["id", "state"]).to_pylist()
    rows: list[Row] = [
        {"id": one["id"]} for one in last if one["state"] == "kept" and (only is None or one["id"] in only)
    ]
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


def read_dropped(tables: Sequence[Path], columns: Sequence[str]) -> list[Row]:
    """The rows of a slice that its last stage has dropped, with `reason` and `detail`.

    Parts that ended as they were split off were no rows before, and are among them only with values of their own.
    """
    table = _read(tables[-1], None)
    own = [name for name in table.column_names if name not in _OWN]
    is_told = reduce(pc.or_, map(pc.is_valid, table.select(own)), pc.equal(table["id"], table["parent"]))
    wanted = ["id", "parent", "reason", "detail", *(name for name in columns if name in own)]
    ended = table.select(wanted).filter(pc.and_(is_told, pc.equal(table["state"], "dropped"))).to_pylist()
    if not ended or len(tables) == 1:
        return []
    before = {row["id"]: row for row in read_kept(tables[:-1], columns, {row["parent"] for row in ended})}
    return [
        before[row["parent"]] | {name: value for name, value in row.items() if value is not None}
        for row in ended
    ]


def read_columns(path: Path, columns: Sequence[str], only: Collection[str] | None = None) -> list[Row]:
    """Some columns of a table, null where it has none of that name; of some rows, by their ids, or of all."""
    there = set(_names(path))
    table = _read(path, [*({"id", *columns} & there)])
    if only is not None:
        table = table.filter(pc.is_in(table["id"], pa.array([*only], pa.string())))
    rows = table.select([name for name in columns if name in there]).to_pylist()
    return [dict.fromkeys(columns) | row for row in rows]


def _names(path: Path) -> list[str]:
    with _opened(path) as reader:
        return reader.schema.names


def _read(path: Path, columns: list[str] | None) -> pa.Table:
    with _opened(path) as reader:
        table = reader.read_all()
        return table if columns is None else table.select(columns)


@contextmanager
def _opened(path: Path) -> Iterator[pa.ipc.RecordBatchFileReader]:
    try:
        with pa.memory_map(str(path)) as file:
            yield pa.ipc.open_file(file)
    except pa.ArrowInvalid as error:
        raise CurationError(f"{path} is damaged: move it away and run again, which makes it anew") from error
