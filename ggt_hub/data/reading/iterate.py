"""`iter_pairs`: decoded pairs from any data set of pairs, at the speed of decoding.

Rows go through `datasets` undecoded, a window of them at a time. What a window points at is fetched in the
background, in few and parallel requests; a pair is decoded as soon as its own bytes are there.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.distributed import split_dataset_by_node

from ggt_hub.data.guard import guard_uploads
from ggt_hub.data.pairs import PICTURES
from ggt_hub.data.storage.archives import Place
from ggt_hub.data.storage.fetch import THREADS, Fetched, Fetcher, Wanted
from ggt_hub.errors import DatasetError, ImageError
from ggt_hub.images import read_image
from ggt_hub.images.picture import to_eight_bits
from ggt_hub.tasks import TASKS, Task

WINDOW = 32
_AHEAD = 2
_END = object()
GENERAL: Task = "general"

T = TypeVar("T")
R = TypeVar("R")
Row = dict[str, Any]
State = dict[str, Any]

_START: State = {"window": 0, "row": 0, "dataset": None}

logger = logging.getLogger(__name__)


def iter_pairs(
    dataset: datasets.Dataset | datasets.IterableDataset,
    *,
    seed: int | None = None,
    epoch: int = 0,
    part: tuple[int, int] | None = None,
    task: Task | None = None,
    window: int = WINDOW,
    threads: int = THREADS,
    workers: int = 1,
    skip_bad: bool = False,
    token: str | bool | None = None,
) -> "Pairs":
    """Iterate over decoded pairs.

    Args:
        dataset: rows of the pair schema, map-style or streaming; their pictures may be bytes, files on disk, or
            members of archives on disk or on the Hub.
        seed: None keeps the order. Else blocks of neighbours are shuffled, then the rows within each window:
            reading stays sequential, and a larger window mixes better.
        epoch: another order for each epoch.
        part: which part of how many is read, counted from 0, such as (2, 8); they do not meet. None reads all or,
            in a worker of a torch DataLoader, the worker's share.
        task: only pairs of this task; `general` are those of none that we know. Nothing else is fetched.
        window: rows fetched at a time; up to four windows of undecoded pictures are in memory.
        threads: parallel requests.
        workers: threads that decode; with two, twice as fast. In the workers of a DataLoader, leave it at 1.
        skip_bad: go on, with a warning, where a picture is damaged or missing.
        token: for gated repositories; None takes the one stored at login.

    Returns:
        An iterator of rows whose `lq` and `gt` are uint8 arrays HWC, RGB, upright (`gt` may be None). It has
        `state_dict()` and `load_state_dict()`, and shares its rows out among the workers of a torch DataLoader.

    Raises:
        DatasetError: while iterating, if a picture is damaged or missing; the message names the row.
        HubError: while iterating, if the Hub does not answer.
    """
    guard_uploads()
    return _pairs(Stream(dataset, seed, epoch, part, task, window, threads, token), workers, skip_bad, _START)


@dataclass
class Undecoded:
    """A row without its pictures, and the bytes of each (None where there is none), or why they are missing."""

    row: Row
    files: dict[str, Fetched | None]


class Pairs:
    """The iterator that `iter_pairs` gives."""

    def __init__(self, stream: "Stream", workers: int, skip_bad: bool) -> None:
        self._stream, self._workers, self._skip_bad = stream, workers, skip_bad
        self._rows: Iterator[tuple[State, Row | DatasetError]] | None = None
        self._state, self._is_over = dict(_START), False

    def __iter__(self) -> "Pairs":
        if self._is_over:  # another pass
            self.load_state_dict(_START)
        return self

    def __next__(self) -> Row:
        if self._rows is None:  # not before: a worker of a DataLoader reads its own share, in its own process
            self._rows = _mapped(_decoded, self._stream.after(self._state), self._workers)
        for state, row in self._rows:
            self._state = state
            if not isinstance(row, Exception):
                return row
            if not self._skip_bad:
                raise row
            logger.warning("Left out: %s", row)
        self._is_over = True
        raise StopIteration

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on after the last pair that was given; plain numbers and dicts."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another iterator with the same data set and arguments has stopped."""
        self._state, self._is_over = dict(state), False
        self._rows = None

    def __reduce__(self) -> tuple[Any, ...]:
        """For workers that are started anew: it goes on there where it is here."""
        return _pairs, (self._stream, self._workers, self._skip_bad, self._state)


def _pairs(stream: "Stream", workers: int, skip_bad: bool, state: State) -> Pairs:
    kind = _for_data_loaders() if "torch" in sys.modules else Pairs
    pairs = kind(stream, workers, skip_bad)
    pairs.load_state_dict(state)
    return pairs


@cache
def _for_data_loaders() -> type[Pairs]:
    """`Pairs` of the kind that a torch DataLoader knows; torch itself is imported by those who use it."""
    from torch.utils.data import IterableDataset

    class TorchPairs(Pairs, IterableDataset):
        """Pairs for a torch DataLoader."""

    return TorchPairs


def _decoded(found: tuple[State, Undecoded]) -> tuple[State, Row | DatasetError]:
    state, item = found
    try:
        return state, item.row | {side: decode(item, side) for side in PICTURES}
    except DatasetError as error:
        return state, error


def _mapped(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map`, in order; by more than one thread a few items ahead of what is asked for."""
    if workers == 1:  # in the caller's thread, which costs nothing
        yield from map(function, items)
        return
    pool, pending = ThreadPoolExecutor(workers, thread_name_prefix="decode"), deque[Future[R]]()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > _AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        _give_up(pending)


def decode(item: Undecoded, side: str) -> np.ndarray | None:
    """Decode one picture of a row to a uint8 array HWC, RGB; None where there is none.

    Raises:
        DatasetError: if it is damaged or missing.
    """
    data = item.files[side]
    if data is None:
        return None
    name = f"{side} of {item.row['id']!r}"
    if isinstance(data, Exception):
        raise type(data)(f"{name}: {data}") from data
    try:
        pixels = read_image(data, name=name).pixels
    except ImageError as error:
        raise DatasetError(str(error)) from error
    if pixels.dtype != np.uint8:
        pixels = to_eight_bits(pixels)
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


class Stream:
    """Undecoded rows with the bytes of their pictures, window by window, in a reproducible order."""

    def __init__(
        self,
        dataset: datasets.Dataset | datasets.IterableDataset,
        seed: int | None = None,
        epoch: int = 0,
        part: tuple[int, int] | None = None,
        task: Task | None = None,
        window: int = WINDOW,
        threads: int = THREADS,
        token: str | bool | None = None,
    ) -> None:
        self._dataset, self._order, self._part, self._task = dataset, (seed, epoch), part, task
        self._window, self._threads, self._token = window, threads, token
        self._reads_disk = not came_from_hub(dataset)

    def after(self, state: State) -> Iterator[tuple[State, Undecoded]]:
        """The rows after a state, each with the state after it."""
        number, done = state["window"], state["row"]
        with Fetcher(self._threads, self._token) as fetcher:
            shared = _share(self._dataset, self._part)
            windows = _windows(shared, self._order, self._window, number, state["dataset"])
            fetched = (
                (before, _fetch(_of_task(table, self._task), fetcher, self._reads_disk))
                for before, table in windows
            )
            for before, items in _in_background(fetched, _AHEAD):
                for position in self._order_within(number, len(items))[done:]:
                    done += 1
                    yield {"window": number, "row": done, "dataset": before}, items[position]()
                number, done = number + 1, 0

    def _order_within(self, number: int, size: int) -> list[int]:
        seed, epoch = self._order
        if seed is None:
            return list(range(size))
        return np.random.default_rng((seed, epoch, number)).permutation(size).tolist()


def _windows(
    dataset: Any, order: tuple[int | None, int], window: int, number: int, state: Any
) -> Iterator[tuple[Any, pa.Table]]:
    """Rows as Arrow tables, from window `number` on, each with the state before it."""
    dataset = dataset.with_format("arrow")
    seed, epoch = order
    if isinstance(dataset, datasets.Dataset):
        for rows in _row_windows(len(dataset), seed, epoch, window)[number:]:
            yield None, dataset[rows]
        return
    if seed is not None:
        dataset = dataset.shuffle(seed=seed, buffer_size=1)  # a buffer of one shuffles shards alone
        dataset.set_epoch(epoch)
    if state is not None:
        dataset.load_state_dict(state)
    before = dataset.state_dict()
    for table in dataset.iter(batch_size=window):
        yield before, table
        before = dataset.state_dict()


def _of_task(table: pa.Table, task: Task | None) -> pa.Table:
    if task is None or "task" not in table.column_names:
        return table
    if task != GENERAL:
        return table.filter(pc.equal(table["task"], task))
    others = pa.array([known for known in TASKS if known != GENERAL])
    return table.filter(pc.invert(pc.is_in(table["task"], value_set=others)))


def _row_windows(size: int, seed: int | None, epoch: int, window: int) -> list[range]:
    starts = np.arange(0, size, window)
    if seed is not None:
        starts = np.random.default_rng((seed, epoch)).permutation(starts)
    return [range(start, min(start + window, size)) for start in starts.tolist()]


def _share(dataset: Any, part: tuple[int, int] | None) -> Any:
    """The part that was named, the whole data set or, in a worker of a torch DataLoader, the worker's share."""
    if part is not None:
        return split_dataset_by_node(dataset, *part) if part[1] > 1 else dataset
    torch = sys.modules.get("torch")
    worker = torch.utils.data.get_worker_info() if torch is not None else None
    if worker is None:
        return dataset
    shards = len(dataset) if isinstance(dataset, datasets.Dataset) else dataset.num_shards
    if worker.id >= shards:
        return datasets.Dataset.from_dict({})
    return dataset.shard(num_shards=min(shards, worker.num_workers), index=worker.id)


def came_from_hub(dataset: Any) -> bool:
    """Whether somebody else wrote the rows: then they may not name files of this machine."""
    if isinstance(dataset, datasets.Dataset):
        folders = {part for file in dataset.cache_files for part in Path(file["filename"]).parts}
        return any("___" in folder for folder in folders)  # how `datasets` writes namespace/name
    return "hf://datasets/" in str(getattr(dataset._ex_iterable, "kwargs", "")) if dataset else False


def _fetch(table: pa.Table, fetcher: Fetcher, reads_disk: bool) -> list[Callable[[], Undecoded]]:
    """Split a table into rows and pictures, and begin to fetch what is not in it; a call waits for its row."""
    rows = table.drop_columns([side for side in PICTURES if side in table.column_names]).to_pylist()
    files: list[dict[str, Any]] = [dict.fromkeys(PICTURES) for _ in rows]
    wanted: list[tuple[int, str, Wanted]] = []
    for side in PICTURES:
        pictures = table[side].to_pylist() if side in table.column_names else [None] * len(rows)
        for number, picture in enumerate(pictures):
            if picture is None:
                continue
            path = picture["path"]
            if picture["bytes"] is not None:
                files[number][side] = picture["bytes"]
            elif path is not None and not (reads_disk or _is_at_hub(rows[number], side, path)):
                files[number][side] = DatasetError(
                    f"the row names {path}, a file of this machine, but comes from the Hub: it is not read"
                )
            elif path is not None:
                wanted.append((number, side, _wanted(rows[number], side, path)))
    futures = fetcher.fetch([w for _, _, w in wanted])
    for (number, side, _), future in zip(wanted, futures, strict=True):
        files[number][side] = future
    return [partial(_waited_for, row, pictures) for row, pictures in zip(rows, files, strict=True)]


def _waited_for(row: Row, files: dict[str, Any]) -> Undecoded:
    return Undecoded(row, {s: f.result() if isinstance(f, Future) else f for s, f in files.items()})


def _is_at_hub(row: Row, side: str, path: str) -> bool:
    return (row.get(f"{side}_archive") or path.rpartition("::")[2]).startswith("hf://")


def _wanted(row: Row, side: str, path: str) -> Wanted:
    archive = row.get(f"{side}_archive")
    if archive is None:
        return Wanted(path)
    place = Place(*(row[f"{side}_{name}"] for name in Place._fields))
    return Wanted(archive, path.partition("://")[2].removesuffix(f"::{archive}"), place)


def fetch_rows(
    tables: Iterable[pa.Table],
    threads: int = THREADS,
    token: str | bool | None = None,
    *,
    reads_disk: bool = True,
) -> Iterator[Undecoded]:
    """The rows of some tables with the bytes of their pictures, read ahead; see `iter_pairs`.

    Args:
        tables: undecoded rows.
        threads: parallel requests.
        token: for gated repositories.
        reads_disk: whether rows may name files of this machine; those of others may not.
    """
    with Fetcher(threads, token) as fetcher:
        for rows in _in_background((_fetch(table, fetcher, reads_disk) for table in tables), _AHEAD):
            for row in rows:
                yield row()


def row_files(rows: datasets.Dataset, number: int, sides: Iterable[str] = PICTURES) -> Undecoded:
    """One row of a data set with the bytes of its pictures, wherever they lie.

    Args:
        rows: undecoded rows of the pair schema.
        number: which one.
        sides: what is fetched; the rest is None.
    """
    table = rows.with_format("arrow")[number : number + 1]
    others = [side for side in PICTURES if side not in sides and side in table.column_names]
    (row,) = fetch_rows([table.drop_columns(others)], threads=1, reads_disk=not came_from_hub(rows))
    return row


def _in_background(items: Iterable[T], ahead: int) -> Iterator[T]:
    """The same items, made by another thread up to `ahead` of them early."""
    iterator = iter(items)
    pool, pending = ThreadPoolExecutor(1, thread_name_prefix="ahead"), deque[Future[Any]]()
    try:
        pending.extend(pool.submit(next, iterator, _END) for _ in range(ahead))
        while (item := pending.popleft().result()) is not _END:
            pending.append(pool.submit(next, iterator, _END))
            yield item
    finally:
        _give_up(pending)


def _give_up(pending: Iterable[Future[Any]]) -> None:
    """End a generator with a pool of threads, from whatever thread the garbage collector does it.

    The pool is not shut down, which takes its lock: its threads end when it is collected with the generator.
    """
    for future in pending:
        future.cancel()
