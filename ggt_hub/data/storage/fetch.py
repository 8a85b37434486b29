"""The bytes of many members at once: neighbours in an archive come in one request, requests in parallel."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ggt_hub.data.storage.archives import (
    IN_TAR,
    Member,
    Place,
    header_end,
    list_members,
    payload,
    span,
    unpack,
)
from ggt_hub.data.storage.ranges import Window, open_source
from ggt_hub.data.storage.trees import File
from ggt_hub.errors import DatasetError, HubError

THREADS = 4
MAX_RANGE = 8 << 20
MAX_GAP = 64 << 10
_INSIDE = ("zip://", "tar://")


class Wanted(NamedTuple):
    """A picture's bytes to fetch: a member of an archive or, without `place`, the whole file at `uri`."""

    uri: str
    name: str = ""
    place: Place | None = None

    def __str__(self) -> str:
        return f"{self.uri}::{self.name}" if self.place else self.uri


# What came of a `Wanted`: its bytes, or why there are none. One bad picture never costs its neighbours.
Fetched = bytes | DatasetError | HubError


class Fetcher:
    """Fetches with a few threads; a context manager.

    Leaving it takes no lock and waits for nobody: a generator that uses it may be ended by the garbage collector in
    any thread, even in the one that is just handing work to this pool. What is queued then finds that it is over,
    and the threads end when the pool is collected.
    """

    def __init__(self, threads: int = THREADS, token: str | bool | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
        self._token, self._is_over = token, False

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True

    def fetch(self, wanted: Sequence[Wanted]) -> list[Future[Fetched]]:
        """Begin to fetch all, in the order given; each is there as soon as its own bytes are."""
        placed = [self._placed(item) for item in wanted]
        futures: list[Future[Fetched]] = [Future() for _ in wanted]
        for run in _runs(placed):
            self._pool.submit(self._read, [placed[n] for n in run], [futures[n] for n in run])
        return futures

    def _placed(self, wanted: Wanted) -> Wanted:
        """Look up a member of which only the address is known (`zip://NAME::ARCHIVE`, `tar://...`)."""
        if wanted.place is not None or not wanted.uri.startswith(_INSIDE):
            return wanted
        name, _, archive = wanted.uri.partition("://")[2].partition("::")
        try:
            place = _directory(archive, self._token).get(name)
        except (DatasetError, HubError):
            place = None  # `_whole_file` says so, for each row by its name
        return Wanted(archive, name, place) if place else wanted

    def _read(self, run: list[Wanted], futures: list[Future[Fetched]]) -> None:
        """Read neighbours in one archive, or a single file; whoever waits for one of them gets an answer."""
        left = iter(futures)
        if self._is_over:
            return  # nobody waits
        try:
            for data in self._each(run):
                next(left).set_result(data)
        except (DatasetError, HubError) as error:  # what keeps one from being read keeps those behind it too
            for future in left:
                future.set_result(error)
        except BaseException as error:
            for future in left:
                future.set_exception(error)
            raise

    def _each(self, run: list[Wanted]) -> Iterator[Fetched]:
        if run[0].place is None:
            yield _whole_file(run[0].uri, self._token)
            return
        places = [(wanted, wanted.place) for wanted in run if wanted.place]
        stop = max(span(place, wanted.name)[1] for wanted, place in places)
        with open_source(run[0].uri, self._token).window(run[0].place.offset, stop) as window:
            for wanted, place in places:
                yield _member(wanted, place, window)


def _member(wanted: Wanted, place: Place, window: Window) -> Fetched:
    try:
        if place.method == IN_TAR:
            return window.read(place.offset, place.offset + place.size)
        header = window.read(place.offset, header_end(place, wanted.name))
        return unpack(window.read(*payload(header, place)), place)
    except DatasetError as error:
        return DatasetError(f"{wanted}: {error}")


@lru_cache(maxsize=16)
def _directory(archive: str, token: str | bool | None) -> dict[str, Place | None]:
    """The places of all members of an archive."""
    file = File(archive, open_source(archive, token).size, archive)
    return {member.name: member.place for member in list_members(file, token)[0]}


def _runs(wanted: Sequence[Wanted]) -> Iterator[list[int]]:
    """Positions of `wanted` that one request serves: near each other in the same archive."""

    def place(position: int) -> tuple[str, int]:
        item = wanted[position]
        return item.uri, item.place.offset if item.place else -1

    run: list[int] = []
    start = stop = 0
    for position in sorted(range(len(wanted)), key=place):
        item = wanted[position]
        first, last = span(item.place, item.name) if item.place else (0, 0)
        follows = run and item.place and wanted[run[0]].place and wanted[run[0]].uri == item.uri
        if not follows or first > stop + MAX_GAP or last > start + MAX_RANGE:
            if run:
                yield run
            run, start, stop = [], first, last
        run.append(position)
        stop = max(stop, last)
    if run:
        yield run


def _whole_file(uri: str, token: str | bool | None) -> bytes:
    if uri.startswith("hf://"):
        source = open_source(uri, token)
        return source.read(0, source.size)
    if uri.startswith(_INSIDE):
        raise DatasetError(f"{uri}: there is no such archive, or it cannot be read, or has no such member")
    try:
        return Path(uri).read_bytes()
    except OSError as error:
        raise DatasetError(f"{uri} cannot be read: {error.strerror}") from error


def read_member(member: Member, token: str | bool | None = None) -> bytes:
    """Read one member.

    Raises:
        DatasetError: if it is damaged or missing.
        HubError: if the Hub does not give it.
    """
    with Fetcher(1, token) as fetcher:
        (future,) = fetcher.fetch([Wanted(member.file.uri, member.name, member.place)])
        data = future.result()
    if isinstance(data, Exception):
        raise data
    return data
