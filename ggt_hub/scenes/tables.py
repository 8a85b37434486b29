"""Assets in Parquet, as data sets on the Hub hold pictures: unpacked once, into the cache folder of its library."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggt_hub.commit import committed_folder, file_sha256, locked
from ggt_hub.errors import DegradationError

_ROWS_AT_ONCE = 50


def find_tables(assets: Path, kind: str) -> list[Path]:
    """The tables of a kind: those below `KIND` and `data/KIND`, as `datasets` names the files of a config."""
    return sorted(
        path for place in (assets / kind, assets / "data" / kind) for path in place.rglob("*.parquet")
    )


def unpacked(tables: Sequence[Path], endings: Collection[str]) -> Path:
    """A folder with the files that tables hold, byte for byte, by the names that their rows give.

    A row without a name of one of the endings, or with one that was there before, has its number.

    Raises:
        DegradationError: if a table cannot be read, has not one column of files, or a row holds none.
    """
    from huggingface_hub.constants import HF_HOME

    content = hashlib.sha256("".join(map(file_sha256, tables)).encode()).hexdigest()
    folder = Path(HF_HOME) / "ggt-hub" / "assets" / content
    with locked(folder.with_name(f"{content}.lock"), waits=True):
        if not folder.is_dir():
            with committed_folder(folder) as new:
                _unpack(tables, endings, new)
    return folder


def _unpack(tables: Sequence[Path], endings: Collection[str], folder: Path) -> None:
    taken: set[str] = set()
    for number, row in enumerate(row for table in tables for row in _rows(table)):
        name = PurePosixPath(row.get("path") or "").name
        if name in taken or PurePosixPath(name).suffix.lower() not in endings:
            name = f"{number:06d}.png"  # the content says what it is
        taken.add(name)
        (folder / name).write_bytes(row["bytes"])


def _rows(table: Path) -> Iterator[dict[str, Any]]:
    """The cells of the one column that holds files, as `datasets` stores pictures: bytes and path."""
    try:
        with pq.ParquetFile(table) as file:
            columns = [field.name for field in file.schema_arrow if _holds_files(field.type)]
            if len(columns) != 1:
                raise DegradationError(
                    f"the assets in {table} have {len(columns)} columns of pictures "
                    f"({', '.join(columns) or 'none'}): keep one"
                )
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                for row in batch.column(0).to_pylist():
                    if row is None or row["bytes"] is None:
                        raise DegradationError(
                            f"the assets in {table} have rows without a file in {columns[0]!r}: remove those rows"
                        )
                    yield row
    except (OSError, pa.ArrowException) as error:
        raise DegradationError(f"the assets in {table} cannot be read: {error}: replace the table") from error


def _holds_files(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(kind.field(n).name == "bytes" for n in range(kind.num_fields))
