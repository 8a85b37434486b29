"""What a mixture draws from: pictures by number, or streams of pairs that are read in order."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import datasets
import numpy as np
from numpy.typing import NDArray

from ggt_hub.data.pairs import scale_of
from ggt_hub.data.reading.iterate import Pairs, decode, iter_pairs, row_files
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
    def by_task(self) -> Mapping[str, Sequence[int]]:
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
    by_task: Mapping[str, Sequence[int]] = {}

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
    def by_task(self) -> dict[str, list[int]]:
        """See `Source`."""
        found: dict[str, list[int]] = {}
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

    Tasks come as they lie: a stream has no table of them to draw from.

    Args:
        name: what it is called.
        rows: of the pair schema.
        seed: of the order: shards, and neighbours within a window, see `iter_pairs`.
        part: see `turn_to`.

    Attributes:
        name: see above.
        tells_quality: whether it knows how good its pictures are.
        is_clean: whether its pictures are clean ones, rather than pairs.
        last: the id of the pair that came last; "" where it could not be read.
    """

    by_task: Mapping[str, Sequence[int]] = {}
    last = ""

    def __init__(self, name: str, rows: datasets.IterableDataset, seed: int, part: Part = (0, 1)) -> None:
        self.name, self._rows, self._seed = name, rows, seed
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
        self._part, self._epoch, self._pairs = part, 0, self._of_epoch(part, 0)

    def __next__(self) -> Found:
        """The next pair; after the last one the first of another order.

        Raises:
            DatasetError: if it cannot be had; the one after it may.
        """
        self.last = ""
        row = next(self._pairs, None)
        if row is None:
            self._epoch += 1
            self._pairs = self._of_epoch(self._part, self._epoch)
            row = next(self._pairs)
        self.last = str(row["id"])
        return _found(row, row["lq"], row["gt"])

    def state_dict(self) -> State:
        """How far it is read; plain numbers and dicts."""
        return {"epoch": self._epoch, "pairs": self._pairs.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Go on where another one of the same data set and seed was."""
        self._epoch = state["epoch"]
        self._pairs = self._of_epoch(self._part, self._epoch)
        self._pairs.load_state_dict(state["pairs"])

    def _of_epoch(self, part: Part, epoch: int) -> Pairs:
        return iter_pairs(self._rows, seed=self._seed, epoch=epoch, part=part)


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
    rows = splits["train"] if "train" in splits else next(iter(splits.values()))
    return Stream(f"{STREAM}{source}", rows, seed, (process, processes))


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
