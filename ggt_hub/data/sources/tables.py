"""Pairs in tables (Parquet, Arrow) whose columns are called as somebody liked, or pictures in folders of tasks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.builder import Key

from ggt_hub import hub
from ggt_hub.data.batches import batched
from ggt_hub.data.pairs import PAIR_FEATURES, PICTURES, pair_row
from ggt_hub.data.recognising.columns import Columns, recognise
from ggt_hub.data.recognising.words import split_of, task_of
from ggt_hub.data.sources.versions import with_version
from ggt_hub.data.storage.archives import IMAGE_SUFFIXES
from ggt_hub.data.storage.trees import File, local_tree
from ggt_hub.errors import DatasetError

TABLES = (".parquet", ".arrow")
QUALITY = "quality"
_ROWS_AT_ONCE = 16
_OF_PAIRS = {"id", "lq", "gt", "source"}


def are_pairs(tables: Sequence[Path]) -> bool:
    """Whether there are tables, all of the pair schema; others are read by what their columns say."""
    return bool(tables) and all(set(pq.read_schema(path).names) >= _OF_PAIRS for path in tables)


@dataclass
class TableConfig(datasets.BuilderConfig):
    """Which tables, and what was told of their columns.

    Attributes:
        repository: its id; without effect where there is a `data_dir`.
        revision: the commit of the repository or, of a copy in `data_dir`, a digest of what is there.
        lq, gt: the names of the columns of pictures, where they do not say it themselves.
    """

    repository: str | None = None
    revision: str | None = None
    lq: str | None = None
    gt: str | None = None


class PairTables(datasets.ArrowBasedBuilder):
    """The rows of tables as pairs; the columns are recognised by type and name."""

    BUILDER_CONFIG_CLASS = TableConfig
    BUILDER_CONFIGS = (TableConfig(name="default", version="1.0.0"),)
    NAME = "pairs"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **with_version(self.NAME, self.BUILDER_CONFIGS[0].repository, kwargs))
        if self.config.data_dir is None:
            hub.remember_token(self.config.repository, self.token)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=PAIR_FEATURES)

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        folder = self.config.data_dir or self._download()
        files = local_tree(folder).files
        tables = [file for suffix in TABLES for file in files if file.suffix == suffix]
        kind = tables[0].suffix if tables else None
        chosen = [f for f in tables if f.suffix == kind] or [f for f in files if f.suffix in IMAGE_SUFFIXES]
        if not chosen:
            raise DatasetError(f"{folder} holds neither Parquet nor Arrow files nor pictures")
        # What is wrong is better said now than in the middle of the work.
        naming = self._naming(chosen) if kind else _picture_ids(chosen)
        splits = groupby(sorted(chosen, key=_split), _split)
        return [
            datasets.SplitGenerator(
                name=split, gen_kwargs={"files": [(f.path, f.uri) for f in part], "naming": naming}
            )
            for split, part in splits
        ]

    def _download(self) -> Path:
        folder = hub.snapshot(
            self.config.repository,
            repo_type="dataset",
            revision=self.config.revision,
            token=self.token,
            allow_patterns=[f"*{suffix}" for suffix in TABLES],
        )
        hub.check_hashes(folder)
        return folder

    def _columns(self, table: pa.Table, path: str) -> Columns:
        return recognise(table, path, lq=self.config.lq, gt=self.config.gt)

    def _naming(self, files: list[File]) -> str:
        """How ids are made, so that none comes twice: of the id column alone, with the task, or by counting."""
        ids: list[tuple[str | None, str]] = []
        for file in files:
            columns = self._columns(next(_tables(file.uri)), file.path)
            if columns.id is None:
                return "counted"
            ids += columns.ids(_plain_columns(file.uri, [c for c in (columns.id, columns.task) if c]))
        if len({name for _, name in ids}) == len(ids):
            return "named"
        return "by task" if len(set(ids)) == len(ids) and all(task for task, _ in ids) else "counted"

    def _generate_tables(self, files: list[tuple[str, str]], naming: Any) -> Iterator[tuple[Key, pa.Table]]:
        schema = PAIR_FEATURES.arrow_schema
        for number, (path, uri) in enumerate(files):
            for part, rows in enumerate(batched(self._rows(path, uri, naming), _ROWS_AT_ONCE)):
                yield Key(number, part), pa.Table.from_pylist(rows, schema)

    def _rows(self, path: str, uri: str, naming: Any) -> Iterator[dict[str, Any]]:
        """The rows of a table, or the one row of a picture that lies in the folder of its task."""
        if Path(path).suffix.lower() in IMAGE_SUFFIXES:
            picture = {"bytes": None, "path": uri}
            yield pair_row(naming[path], picture, None, source=self.dataset_name, task=task_of(path))
            return
        columns: Columns | None = None
        stem = path.rpartition(".")[0]
        for number, table in enumerate(_tables(uri)):
            if set(table.column_names) >= set(PAIR_FEATURES):  # they need no telling
                yield from map(self._checked, table.select(list(PAIR_FEATURES)).to_pylist())
                continue
            columns = columns or self._columns(table, path)
            for row in columns.rows(table, self.dataset_name, f"{stem}-{number:04d}", naming):
                yield self._checked(row)

    def _checked(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row, if it names no file of this machine though it comes from the Hub."""
        for side in PICTURES if self.config.data_dir is None else ():
            path = (row[side] or {}).get("path")
            if path and not row[side]["bytes"] and not path.rpartition("::")[2].startswith("hf://"):
                raise DatasetError(
                    f"{side} of {row['id']!r}: the row names {path}, a file of this machine, but comes from the "
                    "Hub: it is not read"
                )
        return row


def columns_of(files: list[File], *, lq: str | None = None, gt: str | None = None) -> tuple[Columns, int]:
    """What the columns of tables on disk are, by the first one, and how many rows all have.

    Raises:
        DatasetError: as `columns.recognise`.
    """
    columns = recognise(next(_tables(files[0].uri)), files[0].path, lq=lq, gt=gt)
    return columns, sum(len(table) for file in files for table in _tables(file.uri))


def statistics(files: list[File], columns: Columns) -> dict[str, Any]:
    """How many rows there are of each task, and how the column `quality` (0..1) is spread, where there is one."""
    found: dict[str, Any] = {}
    if columns.task:
        tasks = [task for file in files for task in columns.tasks(_plain_columns(file.uri, [columns.task]))]
        found["tasks"] = dict(Counter(task or "unknown" for task in tasks))
    if QUALITY in columns.further:
        values = [v for file in files for v in _plain_columns(file.uri, [QUALITY])[QUALITY].to_pylist()]
        known = [value for value in values if value is not None]
        quarters = np.quantile(known, [0, 0.25, 0.5, 0.75, 1]).tolist() if known else []
        found["quality"] = {"known": len(known), "unknown": len(values) - len(known), "quartiles": quarters}
    return found


def _picture_ids(files: list[File]) -> dict[str, str]:
    """Paths without their endings, but where those would be equal."""
    stems = Counter(file.path.rpartition(".")[0] for file in files)
    return {f.path: stem if stems[stem := f.path.rpartition(".")[0]] == 1 else f.path for f in files}


def _split(file: File) -> str:
    """The split that a file is of: by its folder or, of a table, by its name too."""
    return split_of(file.path.replace("-", "/") if file.suffix in TABLES else file.path)


def _plain_columns(path: str, names: list[str]) -> pa.Table:
    if path.endswith(".parquet"):
        return pq.read_table(path, columns=names)
    return pa.concat_tables(table.select(names) for table in _tables(path))


def _tables(path: str) -> Iterator[pa.Table]:
    """The content of a Parquet or Arrow file, a few rows at a time; one without rows if there are none."""
    if path.endswith(".parquet"):
        file, has_rows = pq.ParquetFile(path), False
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            has_rows = True
            yield pa.Table.from_batches([batch])
        if not has_rows:
            yield file.schema_arrow.empty_table()
        return
    with pa.memory_map(path) as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            reader = pa.ipc.open_file(source)
        whole = reader.read_all()
    for start in range(0, max(len(whole), 1), _ROWS_AT_ONCE):
        yield whole.slice(start, _ROWS_AT_ONCE)
