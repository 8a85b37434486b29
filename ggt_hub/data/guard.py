"""Pictures that may not be shared: known by what rows say of their origin, and kept from being uploaded."""

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from ggt_hub.data.terms import NOTES, Note
from ggt_hub.errors import DatasetError

_KINDS = (Dataset, IterableDataset, DatasetDict, IterableDatasetDict)
_ROWS_OF_A_STREAM = 256


def guard_uploads() -> None:
    """Make `push_to_hub` refuse what comes from a data set that may not be shared: it would embed the pictures.

    Other data are pushed as ever. What `map`, `select`, `save_to_disk` and the like make of such rows is refused
    too, for the rows go on saying where they come from; that is why the classes themselves are changed, and not
    what was loaded. Called by all functions of ours that load, never by an import.
    """
    for kind in _KINDS:
        if not hasattr(kind.push_to_hub, "__wrapped__"):
            kind.push_to_hub = _refusing(kind.push_to_hub)


def _refusing(push: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(push)
    def push_to_hub(self: Any, *args: Any, **kwargs: Any) -> Any:
        for dataset in self.values() if isinstance(self, dict) else (self,):
            if note := unshareable(dataset):
                raise DatasetError(
                    f"{note.title} is licensed {note.licence}: its pictures may not be uploaded again, and "
                    "push_to_hub would embed them. Publish an index instead (`ggt-hub data index`), whose "
                    "files hold no pictures"
                )
        return push(self, *args, **kwargs)

    return push_to_hub


def unshareable(dataset: Any) -> Note | None:
    """The data set that some rows come from and whose pictures may not be shared; None if there is none."""
    for note in NOTES.values():
        if not note.may_be_shared and note.url in (dataset.info.homepage or ""):
            return note
    found = (_note_of(table) for table in _tables(dataset))
    return next((note for note in found if note), None)


def _tables(dataset: Any) -> Iterator[pa.Table]:
    """All rows, undecoded; of a stream the first few."""
    if isinstance(dataset, Dataset):
        yield from dataset.with_format("arrow").iter(batch_size=1000)
        return
    rows = list(dataset.decode(False).take(_ROWS_OF_A_STREAM)) if dataset.features else []
    if rows:
        yield pa.Table.from_pylist([{name: row[name] for name in row if _tells(row[name])} for row in rows])


def _tells(value: Any) -> bool:
    return isinstance(value, (str, dict))


def _note_of(table: pa.Table) -> Note | None:
    """The first data set that may not be shared and that texts or the paths of pictures in a table name."""
    for note_name, note in NOTES.items():
        if note.may_be_shared:
            continue
        if "source" in table.column_names and _is_text(table["source"].type):
            names = [name.lower() for name in pc.unique(table["source"]).to_pylist() if name]
            if note_name in names:
                return note
        if any(_mentions(values, note.marks) for values in _addresses(table)):
            return note
    return None


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _addresses(table: pa.Table) -> Iterator[pa.Array]:
    """The columns that say where pictures lie."""
    for name in table.column_names:
        for chunk in table[name].chunks:
            if pa.types.is_struct(chunk.type) and "path" in {field.name for field in chunk.type}:
                yield chunk.field("path")
            elif name.endswith("_archive") and _is_text(chunk.type):
                yield chunk


def _mentions(values: pa.Array, marks: Iterable[str]) -> bool:
    if not _is_text(values.type):
        return False
    return any(pc.any(pc.match_substring(values, mark)).as_py() for mark in marks)


def check_shareable(folder: Path) -> None:
    """Refuse a folder with converted pictures of a data set whose licence forbids to share them.

    An index, which holds no pictures, may be shared.

    Raises:
        DatasetError: naming the data set and its licence.
    """
    for path in sorted(folder.rglob("*.parquet")):
        file = pq.ParquetFile(path)
        sides = [side for side in ("lq", "gt") if side in file.schema_arrow.names]
        telling = [name for name in file.schema_arrow.names if name == "source" or name.endswith("_archive")]
        for group in range(file.num_row_groups if sides else 0):
            table = file.read_row_group(group, columns=[*sides, *telling])
            note = _note_of(table)
            if note and _holds_pictures(table):
                raise DatasetError(
                    f"{path.name} holds pictures of {note.title}, whose licence ({note.licence}) forbids to share "
                    "converted copies: publish an index instead (`ggt-hub data index`)"
                )


def _holds_pictures(table: pa.Table) -> bool:
    return any(
        chunk.field("bytes").null_count < len(chunk)
        for side in ("lq", "gt")
        if side in table.column_names
        for chunk in table[side].chunks
    )
