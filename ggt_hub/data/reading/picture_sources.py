"""What a mixture draws from: pictures by number, or streams of pairs that are read in order."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import datasets
import numpy as np
from numpy.typing import NDArray

from ggt_hub.data.pairs import scale_of
from ggt_hub.data.reading.iterate import GENERAL, Pairs, decode, iter_pairs, row_files
from ggt_hub.data.reading.loading import SOURCES, load_dataset
from ggt_hub.data.reading.opening import find_pairs, open_splits, training_rows
from ggt_hub.errors import DatasetError, did_you_mean
from ggt_hub.files import list_pictures
from ggt_hub.images.shown import shown_rgb
from ggt_hub.tasks import TASKS, Task

STREAM = "stream:"
"""In front of the name of a data set that is to be streamed."""

Pixels = NDArray[np.uint8]
State = dict[str, Any]
Part = tuple[int, int]


class Found(NamedTuple):
    """A pair, 8-bit RGB, what is to be undone in it, how good `gt` is, and what it shows; clean without `lq`."""

    lq: Pixels | None
    gt: Pixels
    task: Task = "general"
    quality: float | None = None
    prompt: str | None = None


class Source(Protocol):
    """Pictures by number.

    Attributes:
        name: what it is called.
        tells_quality: whether it knows how good they are, of most at least.
        is_clean: whether its pictures are clean ones, rather than pairs.
    """

    name: str
    tells_quality: bool
    is_clean: bool

    @property
    def by_task(self) -> Mapping[Task, Sequence[int]]:
        """Numbers of the pairs of each task; empty of clean pictures."""
        ...

    def __len__(self) -> int: ...

    def load(self, number: int) -> Found:
        """Read one.

        Raises:
            DatasetError, ImageError: if it cannot be had.
        """
        ...

    def row_of(self, number: int) -> str:
        """By what a person finds it: the path of a file, or the id of a row."""
        ...


class _Photographs:
    """A folder of clean photographs, searched to the bottom."""

    tells_quality, is_clean = False, True
    by_task: Mapping[Task, Sequence[int]] = {}

    def __init__(self, folder: Path) -> None:
        self.name, self.paths = str(folder), list_pictures(folder)
        if not self.paths:
            raise DatasetError(f"no photographs under {folder}: name a folder that holds some, or a data set")

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, number: int) -> Found:
        return Found(None, shown_rgb(self.paths[number]))

    def row_of(self, number: int) -> str:
        return str(self.paths[number])


class _Rows:
    """Rows of the pair schema. One without `lq` is a clean picture."""

    def __init__(self, name: str, rows: datasets.Dataset) -> None:
        self.name, self.rows = name, rows
        self.tells_quality = "quality" in rows.column_names
        self.is_clean = row_files(rows, 0).files["lq"] is None

    @cached_property
    def by_task(self) -> dict[Task, list[int]]:
        """See `Source`."""
        found: dict[Task, list[int]] = {}
        if self.is_clean:
            return found
        for number, task in enumerate(self.rows["task"] if "task" in self.rows.column_names else ()):
            found.setdefault(task if task in TASKS else "general", []).append(number)
        return found

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, number: int) -> Found:
        row = row_files(self.rows, number)
        return _found(row.row, decode(row, "lq"), decode(row, "gt"))

    def row_of(self, number: int) -> str:
        return str(self.rows.with_format("arrow")[number : number + 1]["id"][0].as_py())


def open_source(source: str | Path) -> Source:
    """The pictures that a person names: a folder of pairs or of clean photographs, or a data set of pairs.

    Args:
        source: a folder, a name that `load_dataset` knows, or an id on the Hub. Of a data set its split `train`
            is read, or the only one that it has.

    Raises:
        DatasetError: if it holds nothing to train on.
        HubError: if it cannot be had.
    """
    folder, name = Path(source).expanduser(), str(source)
    may_be_at_hub = name.count("/") == 1 and not name.startswith((".", "~", "/"))
    if not (folder.is_dir() or name in SOURCES or may_be_at_hub):
        raise DatasetError(
            f"no photographs under {name}: there is no such folder, and no data set of that name "
            f"({', '.join(SOURCES)}, or an id on the Hub){did_you_mean(name, SOURCES)}"
        )
    splits = find_pairs(folder) if folder.is_dir() else open_splits(name)
    if not splits:
        return _Photographs(folder)
    return _Rows(name, training_rows(splits, name))


class Stream:
    """Pairs of a data set that is not downloaded, in the order in which they are read, and again in another.

    All come in one order, or those of each task in an order of its own, in which the rest is passed over.

    Args:
        name: what it is called.
        rows: of the pair schema.
        seed: of the order: shards, and neighbours within a window, see `iter_pairs`.
        part: see `turn_to`.
        column: opens the rows again with the column `task` alone, where that is had for less.

    Attributes:
        name: see above.
        tells_quality: whether it knows how good its pictures are.
        is_clean: whether its pictures are clean ones, rather than pairs.
        last: the id of the pair that came last; "" where it could not be read.
    """

    by_task: Mapping[Task, Sequence[int]] = {}
    last = ""

    def __init__(
        self,
        name: str,
        rows: datasets.IterableDataset,
        seed: int,
        part: Part = (0, 1),
        column: Callable[[], datasets.IterableDataset] | None = None,
    ) -> None:
        self.name, self._rows, self._seed, self._column = name, rows, seed, column
        first = next(iter_pairs(rows, window=1, skip_bad=True), None)
        if first is None:
            raise DatasetError(f"{name} holds no rows to train on")
        if first["gt"] is None or "id" not in first:
            there = ", ".join(column for column in first if first[column] is not None)
            raise DatasetError(
                f"{name} has no pairs, only the columns {there}: a stream is of pairs as `ggt-hub data export` "
                "writes them"
            )
        self.tells_quality, self.is_clean = "quality" in first, first["lq"] is None
        self.turn_to(part)

    def turn_to(self, part: Part) -> None:
        """Begin with this part of so many, which do not meet, counted from 0."""
        self._part, self._orders = part, dict[Task | None, tuple[int, Pairs]]()

    @cached_property
    def tasks(self) -> list[Task]:
        """Those of its pairs, sorted; the whole column is read for that. None of clean pictures."""
        if self.is_clean:
            return []
        if "task" not in (self._rows.column_names or ()):
            return [GENERAL]
        column, found = self._column() if self._column else self._rows, set[Task]()
        for table in column.select_columns(["task"]).with_format("arrow").iter(batch_size=1000):
            found |= {task if task in TASKS else GENERAL for task in table["task"].unique().to_pylist()}
        return sorted(found)

    def read(self, task: Task | None = None) -> Found | None:
        """The next pair, of all or of a task; after the last one the first of another order. None if it has none.

        Raises:
            DatasetError: if it cannot be had; the one after it may.
        """
        self.last = ""
        if task not in self._orders:
            self._begin(task, 0)
        epoch, pairs = self._orders[task]
        row = next(pairs, None) or next(self._begin(task, epoch + 1), None)
        if row is None:
            return None
        self.last = str(row["id"])
        return _found(row, row["lq"], row["gt"])

    def state_dict(self) -> State:
        """How far each order is read; plain numbers and dicts."""
        orders = self._orders.items()
        return {task or "": {"epoch": at, "pairs": pairs.state_dict()} for task, (at, pairs) in orders}

    def load_state_dict(self, state: State) -> None:
        """Go on where another one of the same data set and seed was."""
        self._orders = {}
        for task, told in state.items():
            self._begin(cast(Task, task) or None, told["epoch"]).load_state_dict(told["pairs"])

    def _begin(self, task: Task | None, epoch: int) -> Pairs:
        pairs = iter_pairs(self._rows, seed=self._seed, epoch=epoch, part=self._part, task=task)
        self._orders[task] = epoch, pairs
        return pairs


def open_stream(source: str, seed: int, process: int = 0, processes: int = 1) -> Stream:
    """A data set read from the Hub, or from a folder of tables, while training goes on.

    Args:
        source: a name that `load_dataset` knows, an id on the Hub, or a folder.
        seed: of the order.
        process: which of several reads it, each its share.
        processes: how many there are.

    Raises:
        DatasetError: if it holds no pairs.
        HubError: if it cannot be had.
    """
    try:
        splits = load_dataset(source, streaming=True)
    except (FileNotFoundError, ValueError) as error:
        raise DatasetError(f"{source} cannot be streamed: {' '.join(str(error).split())[:300]}") from error
    if "train" not in splits and len(splits) > 1:
        raise DatasetError(f"{source} has no split train, only {', '.join(splits)}: name data to train on")
    split = "train" if "train" in splits else next(iter(splits))
    return Stream(
        f"{STREAM}{source}", splits[split], seed, (process, processes), partial(_task_column, source, split)
    )


def _task_column(source: str, split: str) -> datasets.IterableDataset:
    """Of Parquet files that column alone is read; other formats know no columns."""
    try:
        return load_dataset(source, streaming=True, columns=["task"])[split]
    except (TypeError, ValueError, DatasetError):
        return load_dataset(source, streaming=True)[split]


def _found(row: Mapping[str, Any], lq: Pixels | None, gt: Pixels | None) -> Found:
    if gt is None:
        raise DatasetError(f"{row['id']!r} has no ground truth")
    if lq is not None and scale_of(lq.shape, gt.shape) is None:
        raise DatasetError(
            f"{row['id']!r}: the sides of gt ({_size(gt)}) are not those of lq ({_size(lq)}) "
            "times a whole number"
        )
    task, prompt = row.get("task"), row.get("prompt")
    known: Task = task if task in TASKS else "general"  # a data set may have words of its own
    return Found(lq, gt, known, _quality(row.get("quality")), prompt if isinstance(prompt, str) else None)


def _quality(told: Any) -> float | None:
    """A data set of others may have a column of that name that holds words, or another scale."""
    return float(told) if isinstance(told, (int, float)) and 0 <= told <= 1 else None


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
