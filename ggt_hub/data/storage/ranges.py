"""Bytes by range, from a file on disk or from a file in a repository of the Hub.

A Hub file is asked once where its bytes lie (a large file redirects to a signed link that works for a while);
that address is remembered, and renewed when it expires. A broken connection is taken up where it broke.

The Hub's client finds the address, requests reads what lies there: httpx hands out pieces of at most 64 KB, each
copied several times under the interpreter's lock, and decoding waits for that lock.
"""

import io
import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import truststore
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.utils import build_hf_headers
from urllib3.exceptions import HTTPError

from ggt_hub import hub
from ggt_hub.errors import DatasetError, HubError
from ggt_hub.hub import explained

# Seconds before each further try. The first comes at once: a link expires, a connection that rested is closed.
PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
TIMEOUT = 30.0
TAIL = 1 << 16
# So much is read at a time, and lost at most where a connection breaks.
_AT_ONCE = 1 << 20
# So much is rather read to no purpose than asked for anew, or than a connection given up.
_WORTH_READING = 1 << 17
_CONNECTIONS = 32


class Source(Protocol):
    """Something that bytes are read from, by any number of threads at once."""

    uri: str
    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Read exactly the bytes from `start` up to `stop`."""
        ...

    def window(self, start: int, stop: int) -> "AbstractContextManager[Window]":
        """Open what reads fastest from `start` to `stop`, forward, by one thread."""
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
        cached = hub.cached_file(uri)
        return _open_on_disk(str(cached)) if cached else _open_at_hub(uri, hub.token_for(uri, token))
    try:
        status = Path(uri).stat()
        return _open_on_disk(uri, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DatasetError(f"{uri} cannot be opened: {error.strerror}") from error


@lru_cache(maxsize=256)
def _open_at_hub(uri: str, token: str | bool | None) -> Source:
    return HubSource(uri, token)


@lru_cache
def _session() -> requests.Session:
    """The connections, shared by all threads."""
    session = requests.Session()
    session.auth = _as_it_is  # else requests would look for a password in ~/.netrc
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=_CONNECTIONS))
    return session


class _Adapter(requests.adapters.HTTPAdapter):
    """Trusts whom the operating system trusts, as the Hub's client does."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        super().init_poolmanager(*args, ssl_context=context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return super().proxy_manager_for(*args, ssl_context=context, **kwargs)


def _as_it_is(request: Any) -> Any:
    return request


def _forget_all() -> None:
    """A child process shares neither connections with its parent, nor locks that some thread held at the fork."""
    _open_at_hub.cache_clear()
    _session.cache_clear()


os.register_at_fork(after_in_child=_forget_all)


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

    def window(self, start: int, stop: int) -> AbstractContextManager[Window]:
        """See `Source`. On a disk, nothing is faster than to read what is wanted when it is wanted."""
        return nullcontext(self)


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
        with self.window(start, stop) as window:
            return window.read(start, stop)

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Window]:
        """See `Source`. One request for all; each byte is there as soon as it has arrived."""
        reader = _Reader(self, start, min(stop, self.size))
        try:
            yield reader
        finally:
            reader.close()

    def request(self, start: int, stop: int) -> Any:
        """Ask for a range; the body is to be read.

        Raises:
            DatasetError: if the server knows no ranges.
            HubError: if the Hub does not tell the address any more.
            requests.RequestException: if the server does not answer, or not with the range.
        """
        address = self._address
        headers = {
            **self._headers(address),
            "Range": f"bytes={start}-{stop - 1}",
            "Accept-Encoding": "identity",
        }
        response = _session().get(address, headers=headers, timeout=TIMEOUT, stream=True)
        status = response.status_code
        if status == 206 or (status == 200 and start == 0):
            return response.raw
        response.close()
        if status == 200:
            raise DatasetError(
                f"{urlsplit(address).netloc} does not serve ranges: download {self.uri} "
                "and give the copy on disk by data_dir="
            )
        if status in (401, 403):
            self._renew(expired=address)
        elif response.headers.get("Retry-After", "").isdigit():
            time.sleep(min(60, int(response.headers["Retry-After"])))
        raise requests.HTTPError(f"status {status}")


class _Reader:
    """A range of a Hub file, read forward from one response or, where that breaks, from the next."""

    def __init__(self, source: HubSource, start: int, stop: int) -> None:
        self._source, self._position, self._stop = source, start, stop
        self._body: Any = None

    def read(self, start: int, stop: int) -> bytes:
        """See `Window`. What lies further back, or far ahead, is another request."""
        if stop > self._source.size:
            raise DatasetError(
                f"{self._source.uri} ends before byte {stop}: the index belongs to another file"
            )
        if start < self._position:
            return self._source.read(start, stop)
        if stop > self._stop or start - self._position > _WORTH_READING:
            self.close()
            self._position, self._stop = start, max(stop, self._stop)
        self._take(start - self._position)
        return self._take(stop - start)

    def _take(self, count: int) -> bytes:
        """The next bytes."""
        parts = []
        while count:
            part = self._some(min(count, _AT_ONCE))
            parts.append(part)
            count -= len(part)
            self._position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _some(self, count: int) -> bytes:
        """Up to `count` of the next bytes, at least one."""
        trouble = "the connection is closed"
        for pause in (*PAUSES, None):
            try:
                if self._body is None:
                    self._body = self._source.request(self._position, self._stop)
                if part := self._body.read(count, decode_content=False):
                    return part
            except HubError:
                raise
            except (HTTPError, OSError) as error:
                trouble = str(error)
            self.close()
            if pause is not None:
                time.sleep(pause)
        raise HubError(
            f"{self._source.uri}: bytes {self._position} to {self._stop} cannot be had ({trouble}): try again later"
        )

    def close(self) -> None:
        """Give the connection back, by reading what is left of the response if that is little."""
        body, self._body = self._body, None
        if body is None:
            return
        with suppress(HTTPError, OSError):
            if (body.length_remaining or 0) <= _WORTH_READING:
                body.drain_conn()
        body.close()


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
