"""Bytes by range, from a file on disk or from a file in a repository of the Hub.

A Hub file is asked once where its bytes lie (a large file redirects to a signed link that works for a while);
that address is remembered, and renewed when it expires. A broken connection is taken up where it broke.
"""

import io
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import build_hf_headers, get_session

from ggt_hub.errors import DatasetError, HubError
from ggt_hub.hub import explained

TRIES = 5
FIRST_PAUSE = 0.5
TIMEOUT = 30.0
TAIL = 1 << 16


class Source(Protocol):
    """Something that bytes are read from, by any number of threads at once."""

    uri: str
    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Read exactly the bytes from `start` up to `stop`."""
        ...

    def window(self, start: int, stop: int) -> "Window":
        """What reads fastest when all that is wanted lies between `start` and `stop`."""
        ...


class Window(Protocol):
    """The part of a source that `Source.window` gives; what lies outside can be read too, but not as fast."""

    def read(self, start: int, stop: int) -> bytes:
        """Read exactly the bytes from `start` up to `stop`."""
        ...


def open_source(uri: str, token: str | bool | None = None) -> Source:
    """Open `hf://datasets/NAMESPACE/NAME@COMMIT/PATH` or a path on disk; what is open is shared.

    Raises:
        DatasetError: if there is no such file on disk.
        HubError: if the Hub does not give the file.
    """
    if uri.startswith("hf://"):
        return _open_at_hub(uri, token)
    try:
        status = Path(uri).stat()
        return _open_on_disk(uri, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DatasetError(f"{uri} cannot be opened: {error.strerror}") from error


@lru_cache(maxsize=256)
def _open_at_hub(uri: str, token: str | bool | None) -> Source:
    return HubSource(uri, token)


# A lock that some thread held when the process forked would never be given back in the child.
os.register_at_fork(after_in_child=_open_at_hub.cache_clear)


@lru_cache(maxsize=256)
def _open_on_disk(uri: str, *_version: int) -> Source:
    return DiskSource(uri)


class DiskSource:
    """A file on disk, read without a position of its own, so that threads and forks may share it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._descriptor = os.open(uri, os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, start: int, stop: int) -> bytes:
        """See `Source`."""
        data = os.pread(self._descriptor, stop - start, start)
        if len(data) != stop - start:
            raise DatasetError(f"{self.uri} ends before byte {stop}: it is truncated; fetch it again")
        return data

    def window(self, start: int, stop: int) -> Window:
        """See `Source`. On a disk, many small reads cost less than one large read that is then cut up."""
        return self


class HubSource:
    """A file in a dataset repository at one commit, read by HTTP ranges."""

    def __init__(self, uri: str, token: str | bool | None = None) -> None:
        self._repo_id, _, rest = uri.removeprefix("hf://datasets/").partition("@")
        self._commit, _, path = rest.partition("/")
        self.uri = uri
        self._page = hf_hub_url(self._repo_id, path, repo_type="dataset", revision=self._commit)
        self._token = token
        self._lock = threading.Lock()
        self._address = ""
        self._renew(expired=None)

    def _renew(self, expired: str | None) -> None:
        """Ask the Hub where the bytes lie, unless another thread has done so since `expired` was read."""
        with self._lock:
            if expired is not None and self._address != expired:
                return
            with explained(self._repo_id, "dataset", self._commit):
                found = get_hf_file_metadata(self._page, token=self._token, retry_on_errors=True)
            self._address, self.size = found.location, found.size or 0

    def _headers(self, address: str) -> dict[str, str]:
        """The token goes to the Hub alone, never to the host that it redirects to."""
        at_hub = urlsplit(address).netloc == urlsplit(constants.ENDPOINT).netloc
        return build_hf_headers(token=self._token if at_hub else False)

    def read(self, start: int, stop: int) -> bytes:
        """See `Source`."""
        return b"".join(self._chunks(start, stop))

    def window(self, start: int, stop: int) -> Window:
        """See `Source`. From a server, one request for all."""
        stop = min(stop, self.size)
        return _Piece(self, start, stop, self._chunks(start, stop))

    def _chunks(self, start: int, stop: int) -> list[bytes]:
        """The bytes from `start` up to `stop` in pieces, as they arrived."""
        if stop > self.size:
            raise DatasetError(f"{self.uri} ends before byte {stop}: the index belongs to another file")
        chunks: list[bytes] = []
        position, tries, trouble = start, 0, ""
        while position < stop:
            if tries == TRIES:
                raise HubError(
                    f"{self.uri}: bytes {start} to {stop} cannot be had ({trouble}): try again later"
                )
            before = len(chunks)
            trouble = self._read_some(chunks, position, stop)
            position += sum(map(len, chunks[before:]))
            tries = 0 if len(chunks) > before else tries + 1
            if tries:
                time.sleep(FIRST_PAUSE * 2 ** (tries - 1))
        return chunks

    def _read_some(self, chunks: list[bytes], start: int, stop: int) -> str:
        """Append what one request gives to `chunks`; return what went wrong, "" if nothing."""
        address = self._address
        headers = {
            **self._headers(address),
            "Range": f"bytes={start}-{stop - 1}",
            "Accept-Encoding": "identity",
        }
        try:
            with get_session().stream("GET", address, headers=headers, timeout=TIMEOUT) as response:
                if response.status_code in (401, 403):
                    self._renew(expired=address)
                elif response.status_code == 206:
                    chunks.extend(response.iter_raw())
                    return ""
                elif response.status_code == 200:
                    raise DatasetError(
                        f"{urlsplit(address).netloc} does not serve ranges: download {self.uri} "
                        "and give the copy on disk by data_dir="
                    )
                elif response.headers.get("Retry-After", "").isdigit():
                    time.sleep(min(60, int(response.headers["Retry-After"])))
                return f"status {response.status_code}"
        except HTTPError as error:
            return f"{type(error).__name__}: {error}"


class _Piece:
    """A range that was read at once, in chunks as they arrived: cut into members, each byte is copied once."""

    def __init__(self, source: Source, start: int, stop: int, chunks: Sequence[bytes]) -> None:
        self._source, self._start, self._stop = source, start, stop
        self._chunks = chunks
        self._ends = list(accumulate(map(len, chunks), initial=start))[1:]

    def read(self, start: int, stop: int) -> bytes:
        """See `Window`. What lies outside is read from the source."""
        if not self._start <= start <= stop <= self._stop:
            return self._source.read(start, stop)
        parts = []
        for number in range(bisect_right(self._ends, start), len(self._chunks)):
            first = self._ends[number] - len(self._chunks[number])
            if first >= stop:
                break
            parts.append(memoryview(self._chunks[number])[max(0, start - first) : stop - first])
        return b"".join(parts)


class SourceFile(io.RawIOBase):
    """A `Source` as a read-only file object. Its tail, where archives keep their directory, is read at once."""

    def __init__(self, source: Source) -> None:
        self._source, self._position = source, 0
        self._tail_start = max(0, source.size - TAIL)
        self._tail = source.read(self._tail_start, source.size) if source.size else b""

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; past the end is allowed, before the start is not."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, all that are left if it is negative."""
        start = self._position
        stop = self._source.size if size < 0 else min(self._source.size, start + size)
        self._position = max(start, stop)
        if stop <= start:
            return b""
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : stop - self._tail_start]
        return self._source.read(start, stop)
