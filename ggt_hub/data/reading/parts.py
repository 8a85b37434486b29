"""Cutting a data set into parts, each the input of one shard of work."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ggt_hub.data.pairs import PICTURES
from ggt_hub.data.reading.iterate import Undecoded, came_from_hub, fetch_rows
from ggt_hub.data.recognising.words import SPLITS
from ggt_hub.data.storage.ranges import open_source
from ggt_hub.data.storage.trees import parquet_below
from ggt_hub.errors import DatasetError

SHARD_BYTES = 500_000_000
"""Of the pictures of one shard, about."""

WINDOW = 32
# Of the pictures of a window, about: Arrow's arrays of bytes end at 2 GiB, and several windows are in memory.
WINDOW_BYTES = 2**28
_ROWS_AT_ONCE = 1024
PREVIEW, NEGATIVES, ALL = "preview", "negatives", "all"
"""Configs that are no data of their own: a few small pictures, candidates that were refused, and all others
together."""

APART = (PREVIEW, NEGATIVES)
"""Configs that nobody reads who does not ask for them by name."""


@dataclass(frozen=True)
class DatasetPart:
    """Rows `start` up to `start + rows` of a data set in memory or in the cache of `datasets`.

    `id` tells parts apart, and changes where their content may have changed.
    """

    id: str
    dataset: datasets.Dataset
    start: int
    rows: int

    @property
    def reads_disk(self) -> bool:
        """Whether its rows may name files of this machine."""
        return not came_from_hub(self.dataset)

    def tables(self) -> Iterator[pa.Table]:
        """The rows, undecoded, a few at a time."""
        rows = self.dataset.with_format("arrow")
        mine = self.dataset.select(range(self.start, self.start + self.rows))
        for start, stop in _windows(picture_sizes(mine)):
            yield rows[range(self.start + start, self.start + stop)]


@dataclass(frozen=True)
class ParquetPart:
    """A whole Parquet file, read without a copy in the cache of `datasets`.

    `reads_disk` says whether its rows may name files of this machine.
    """

    id: str
    path: str
    rows: int
    reads_disk: bool = True

    def tables(self) -> Iterator[pa.Table]:
        """The rows, undecoded, a few at a time."""
        file = pq.ParquetFile(self.path)
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        largest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
        for batch in file.iter_batches(max(1, min(WINDOW, WINDOW_BYTES // max(largest, 1)))):
            yield pa.Table.from_batches([batch])


Part = DatasetPart | ParquetPart


def parquet_files(folder: Path, config: str | None = None) -> dict[str, list[Path]]:
    """The Parquet files below a folder, by the split that their names begin with.

    Args:
        folder: an export or an index; what lies in `data/preview` and `data/negatives` is no data of it, unless
            that is asked for.
        config: the name of one folder below `data`; None takes all.

    Raises:
        DatasetError: if there is no such config.
    """
    paths = parquet_below(folder)
    configs = sorted({path.parent.name for path in paths} - {*APART})
    if config is not None and config not in (*configs, *APART, ALL):
        raise DatasetError(f"{folder} has no config {config!r}; it has {', '.join(configs)}")
    splits: dict[str, list[Path]] = {}
    for path in paths:
        if path.parent.name != config and (config not in (None, ALL) or path.parent.name in APART):
            continue
        splits.setdefault(SPLITS.get(path.stem.split("-")[0], "train"), []).append(path)
    return splits


def parquet_parts(
    folder: Path, config: str | None = None, *, reads_disk: bool = True
) -> dict[str, list[Part]]:
    """The Parquet files below a folder as parts, by split; see `parquet_files` and `ParquetPart`."""
    files = parquet_files(folder, config).items()
    return {split: [_whole_file(path, reads_disk) for path in paths] for split, paths in files}


def _whole_file(path: Path, reads_disk: bool) -> Part:
    status = path.stat()  # whoever copies a file may keep its time, but not its place
    version = f"{path.resolve()} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    return ParquetPart(version, str(path), pq.read_metadata(path).num_rows, reads_disk)


def dataset_parts(dataset: datasets.Dataset, max_bytes: int) -> list[Part]:
    """Cut a data set into parts whose pictures together have about `max_bytes`, at least one row each."""
    ends = np.cumsum(picture_sizes(dataset))
    parts: list[Part] = []
    start = 0
    while start < len(dataset):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + max_bytes, side="right")))
        parts.append(DatasetPart(f"{dataset._fingerprint} {start} {stop}", dataset, start, stop - start))
        start = stop
    return parts


def _windows(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Neighbouring rows, at most `WINDOW` and with about `WINDOW_BYTES` of pictures, at least one."""
    start, total = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and (row - start == WINDOW or total + size > WINDOW_BYTES):
            yield start, row
            start, total = row, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


def picture_sizes(dataset: datasets.Dataset) -> np.ndarray:
    """The size of the picture files of each row together, in bytes (int64), without reading them.

    Raises:
        DatasetError: if a row points into an archive and does not say where.
    """
    rows = dataset.with_format("arrow")
    tables = (rows[range(n, min(n + _ROWS_AT_ONCE, len(rows)))] for n in range(0, len(rows), _ROWS_AT_ONCE))
    return np.concatenate([np.zeros(0, np.int64), *(_sizes(table) for table in tables)])


def _sizes(table: pa.Table) -> np.ndarray:
    total = np.zeros(len(table), np.int64)
    for side in PICTURES:
        if side not in table.column_names:
            continue
        known = (
            table[f"{side}_size"].to_pylist() if f"{side}_size" in table.column_names else [None] * len(table)
        )
        # Chunk by chunk: what they hold together may be more than one array of Arrow can.
        sizes = [size for chunk in table[side].chunks for size in _lengths(chunk.field("bytes")).to_pylist()]
        paths = [path for chunk in table[side].chunks for path in chunk.field("path").to_pylist()]
        total += [
            size if size is not None else stated if stated is not None else _file_size(path)
            for size, stated, path in zip(sizes, known, paths, strict=True)
        ]
    return total


def _lengths(values: pa.Array) -> pa.Array:
    if pa.types.is_binary_view(values.type):  # of which Arrow does not tell the lengths
        return pa.array([None if value is None else value.as_buffer().size for value in values], pa.int64())
    return pc.binary_length(values).cast(pa.int64())


def rows_of(part: Part) -> Iterator[Undecoded]:
    """The rows of a part with the bytes of their pictures; shows progress, unless in one of many processes."""
    rows = fetch_rows(part.tables(), reads_disk=part.reads_disk)
    if multiprocessing.parent_process() is not None:
        return rows
    return iter(tqdm(rows, "Pairs", part.rows, leave=False, unit="pair", disable=None))


def _file_size(path: str | None) -> int:
    if path is None:
        return 0
    if "::" in path:
        raise DatasetError(f"{path}: the row does not say where in the archive its bytes are")
    if path.startswith("hf://"):
        return open_source(path).size
    return Path(path).stat().st_size if Path(path).is_file() else 0  # what is missing is told when it is read
