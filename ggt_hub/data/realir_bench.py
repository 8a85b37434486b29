"""RealIR-Bench: 464 real degraded photographs of nine tasks, without ground truth.

The benchmark of RealRestorer (arXiv 2603.25502). It is published as Arrow files whose columns are not documented,
so they are recognised by type and name; a copy on disk may also be a folder with one sub-folder for each task.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.builder import Key

from ggt_hub import hub
from ggt_hub.data.archives import IMAGE_SUFFIXES
from ggt_hub.data.batches import batched
from ggt_hub.data.columns import Columns, recognise
from ggt_hub.data.notes import NOTES
from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.trees import File, local_tree
from ggt_hub.data.versions import with_version
from ggt_hub.data.words import split_of, task_of
from ggt_hub.errors import DatasetError

NAME = "realir-bench"
REPOSITORY = "RealRestorer/RealIR-Bench"
_TABLES = (".parquet", ".arrow")
_ROWS_AT_ONCE = 16


@dataclass
class RealIRBenchConfig(datasets.BuilderConfig):
    """Which version: the commit of the repository or, of a copy in `data_dir`, a digest of what is there."""

    repository: str = REPOSITORY
    revision: str | None = None


class RealIRBench(datasets.ArrowBasedBuilder):
    """The degraded photographs with their tasks; `gt` is null."""

    BUILDER_CONFIG_CLASS = RealIRBenchConfig
    BUILDER_CONFIGS = (RealIRBenchConfig(name="default", version="1.0.0"),)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **with_version(NAME, REPOSITORY, kwargs))

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Real degraded photographs of nine tasks, without ground truth.",
            features=PAIR_FEATURES,
            homepage=NOTES[NAME].url,
            license=NOTES[NAME].licence,
        )

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        folder = self.config.data_dir or self._download()
        files = local_tree(folder).files
        tables = [file for suffix in _TABLES for file in files if file.suffix == suffix]
        kind = tables[0].suffix if tables else None
        chosen = [f for f in tables if f.suffix == kind] or [f for f in files if f.suffix in IMAGE_SUFFIXES]
        if not chosen:
            raise DatasetError(f"{folder} holds neither Parquet nor Arrow files nor pictures")
        if kind:
            # What is wrong is better said now than in the middle of the work.
            recognise(next(_tables(chosen[0].uri)), chosen[0].path)
        splits = groupby(sorted(chosen, key=_split), _split)
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"files": [(f.path, f.uri) for f in part]})
            for split, part in splits
        ]

    def _download(self) -> Path:
        folder = hub.snapshot(
            self.config.repository,
            repo_type="dataset",
            revision=self.config.revision,
            token=self.token,
            allow_patterns=[f"*{suffix}" for suffix in _TABLES],
        )
        hub.check_hashes(folder)
        return folder

    def _generate_tables(self, files: list[tuple[str, str]]) -> Iterator[tuple[Key, pa.Table]]:
        schema = PAIR_FEATURES.arrow_schema
        for number, (path, uri) in enumerate(files):
            for part, rows in enumerate(batched(self._rows(path, uri), _ROWS_AT_ONCE)):
                yield Key(number, part), pa.Table.from_pylist(rows, schema)

    def _rows(self, path: str, uri: str) -> Iterator[dict[str, Any]]:
        """The rows of a table, or the one row of a picture that lies in the folder of its task."""
        if Path(path).suffix in IMAGE_SUFFIXES:
            picture = {"bytes": None, "path": uri}
            yield pair_row(
                path.rpartition(".")[0], picture, None, source=self.dataset_name, task=task_of(path)
            )
            return
        columns: Columns | None = None
        for number, table in enumerate(_tables(uri)):
            columns = columns or recognise(table, path)
            yield from columns.rows(table, self.dataset_name, f"{Path(path).stem}-{number:04d}")


def _split(file: File) -> str:
    """The split that a file is of: by its folder or, of a table, by its name too."""
    return split_of(file.path.replace("-", "/") if file.suffix in _TABLES else file.path)


def _tables(path: str) -> Iterator[pa.Table]:
    """The content of a Parquet or Arrow file, a few rows at a time."""
    if path.endswith(".parquet"):
        for batch in pq.ParquetFile(path).iter_batches(_ROWS_AT_ONCE):
            yield pa.Table.from_batches([batch])
        return
    with pa.memory_map(path) as file:
        try:
            reader = pa.ipc.open_stream(file)
        except pa.ArrowInvalid:
            reader = pa.ipc.open_file(file)
        whole = reader.read_all()
    for start in range(0, len(whole), _ROWS_AT_ONCE):
        yield whole.slice(start, _ROWS_AT_ONCE)
