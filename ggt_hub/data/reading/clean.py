"""Clean pictures, wherever they are: a folder of photographs, or the ground truth of a data set."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import datasets

from ggt_hub.commit import file_sha256
from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.reading.iterate import row_files
from ggt_hub.data.reading.loading import SOURCES, load_dataset
from ggt_hub.data.reading.opening import find_pairs, open_splits, training_rows
from ggt_hub.errors import DatasetError
from ggt_hub.files import list_pictures


class Clean(Protocol):
    """One clean picture."""

    @property
    def name(self) -> str:
        """Unique among those of its source; a relative path where it is a file."""
        ...

    @property
    def source(self) -> str:
        """What it comes from, by whose licence it is bound."""
        ...

    @property
    def version(self) -> str:
        """Another one once its content may be another."""
        ...

    def read(self) -> bytes:
        """Its file.

        Raises:
            DatasetError, OSError: if it cannot be had.
        """
        ...


@dataclass(frozen=True)
class CleanFile:
    """A file on disk; `source` is what it comes from."""

    path: Path
    name: str
    source: str

    @property
    def version(self) -> str:
        """Its place and what the file system says of it; of a link to nothing that it cannot be read."""
        try:
            state = self.path.stat()
        except OSError:
            return f"{self.path} unreadable"
        return f"{self.path} {state.st_size} {state.st_mtime_ns} {state.st_ino} {state.st_ctime_ns}"

    def read(self) -> bytes:
        """Its bytes."""
        return self.path.read_bytes()


@dataclass(frozen=True)
class CleanRow:
    """The picture of a row; `source` is the data set that it comes from, by whose licence it is bound."""

    rows: datasets.Dataset
    number: int
    name: str
    source: str

    @property
    def version(self) -> str:
        """Its place in its data set, as `datasets` names that."""
        return f"{self.rows._fingerprint} {self.number}"

    def read(self) -> bytes:
        """The bytes of its file."""
        found = row_files(self.rows, self.number, ["gt"]).files["gt"]
        if isinstance(found, bytes):
            return found
        raise DatasetError(f"{self.name}: {found or 'there is no clean picture'}")


def find_clean(source: str | Path) -> list[Clean]:
    """The clean pictures that a person names, in an order that is always the same.

    Args:
        source: a folder of photographs, searched to the bottom; a data set of pairs, of which the ground truth is
            taken; or any data set on the Hub with one column of pictures. Of a data set the split `train` is read,
            or the only one that it has.

    Raises:
        DatasetError: if there are none.
        HubError: if the data set cannot be had.
    """
    folder, name = Path(source).expanduser(), str(source)
    if not folder.is_dir() and (folder.exists() or not (name in SOURCES or name.count("/") == 1)):
        raise DatasetError(f"no clean pictures in {name}: give a folder, or a data set by its name or id")
    splits = find_pairs(folder) if folder.is_dir() else _splits(name)
    if splits:
        return _of_rows(training_rows(splits, name), name)
    source = _in_unicode(folder.resolve().name)
    files = [
        CleanFile(path, _in_unicode(path.relative_to(folder).as_posix()), source)
        for path in list_pictures(folder)
    ]
    if not files:
        raise DatasetError(f"no clean pictures in {name}: it holds no photographs")
    return [*files]


def clean_rows(folder: Path) -> datasets.Dataset:
    """The photographs of a folder as rows of the pair schema, whose `gt` they are.

    Raises:
        DatasetError: if there are none.
    """
    source, paths = folder.resolve().name, list_pictures(folder.resolve())
    if not paths:
        raise DatasetError(f"no pictures in {folder}: name a folder that holds some, or a data set")
    names = [path.relative_to(folder.resolve()).as_posix() for path in paths]
    rows = [
        pair_row(name, None, {"bytes": None, "path": str(path)}, source=source)
        | {"gt_sha256": file_sha256(path)}
        for name, path in zip(names, paths, strict=True)
    ]
    return datasets.Dataset.from_list(rows, features=PAIR_FEATURES)


def _in_unicode(name: str) -> str:
    """A name as tables can hold it; bytes that are no UTF-8 are spelt out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _splits(name: str) -> dict[str, datasets.Dataset]:
    """The splits of a data set of pairs, or of one that has a single column of pictures, which then is `gt`."""
    try:
        return open_splits(name)
    except DatasetError as reason:
        found = load_dataset(name)
        splits = dict(found) if isinstance(found, dict) else {"train": found}
        return {split: _as_clean(rows, reason) for split, rows in splits.items()}


def _as_clean(rows: datasets.Dataset, reason: DatasetError) -> datasets.Dataset:
    columns = [column for column, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if len(columns) != 1:
        raise reason
    only = rows.select_columns(columns).cast_column(columns[0], datasets.Image(decode=False))
    only = only.rename_column(columns[0], "gt") if columns[0] != "gt" else only
    return only.add_column("id", [f"{number:06d}" for number in range(len(rows))])


def _of_rows(rows: datasets.Dataset, name: str) -> list[Clean]:
    gt = rows.with_format("arrow").select_columns("gt")[:]["gt"]
    sources = rows["source"] if "source" in rows.column_names else [name] * len(rows)
    told = zip(rows["id"], sources, strict=True)
    return [CleanRow(rows, n, str(row), source) for n, (row, source) in enumerate(told) if gt[n].is_valid]
