"""A Hugging Face Hub on the loopback interface: the calls that the real clients make (to write: `writing`).

Two ports, as in the real world: the Hub itself, and the store of large files that it redirects to with signed
links. Repositories come from folders; a test may break what it likes (`LocalHub.break_next`) and read what
was asked for (`LocalHub.requests`) and by how many `connections`.
"""

import itertools
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.servers.answers import Answer, error, json_answer
from tests.servers.faults import Fault, Faults
from tests.servers.repositories import KINDS, Blob, Commit, Repository, read_folder
from tests.servers.writing import Uploads, history, receive, write, write_to

API = re.compile(
    r"^/api/(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)(?:/(?P<call>[^/]+)(?:/(?P<rest>.*))?)?$"
)
RESOLVE = re.compile(
    r"^/(?:(?P<kind>datasets|spaces)/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)$"
)
RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")
DATE = "2026-06-01T12:00:00.000Z"


@dataclass(frozen=True)
class Request:
    """One line of the log: who was asked (`hub` or `store`) for what, and the status that was answered."""

    host: str
    method: str
    path: str
    range: str | None
    status: int


class LocalHub:
    """The state of the server, and what a test does to it.

    Example:
        with LocalHub() as hub:
            sha = hub.add("dataset", "org/pairs", folder, tags=["v1.0"])
            HfApi(endpoint=hub.url).dataset_info("org/pairs")
    """

    def __init__(self) -> None:
        # Bound now, listening later: the address is known at once, and until `start` connections are refused.
        self._sockets = {"hub": _bound_socket(), "store": _bound_socket()}
        self._servers: list[_Server] = []
        self._folder = tempfile.TemporaryDirectory(prefix="local-hub-")
        self.reset()

    def reset(self) -> None:
        """Forget all repositories, uploads, tokens, faults and requests."""
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.uploads = Uploads(Path(self._folder.name))
        self.members: set[str] = set()
        self.namespaces: set[str] = set()
        self.faults = Faults()
        self.requests: list[Request] = []
        self.connections = 0
        self._links: dict[str, Blob] = {}
        self._counter = itertools.count()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._sockets['hub'].getsockname()[1]}"

    def add(
        self,
        kind: str,
        repo_id: str,
        folder: str | Path,
        *,
        revision: str = "main",
        tags: Iterable[str] = (),
        gated: bool = False,
    ) -> str:
        """Commit the content of `folder` to a branch of a repository, made if need be; return the commit id.

        A gated repository is read only with a token in `members`, who may also write.
        """
        repository = self.repositories.setdefault((KINDS[kind], repo_id), Repository(kind, repo_id))
        repository.gated = gated
        files = read_folder(Path(folder), Path(self._folder.name))
        return repository.commit(files, revision, tags, title=f"Commit {len(repository.commits) + 1}")

    def break_next(self, match: str = "", **fault: Any) -> None:
        """Do something wrong to the next requests; see `Fault` for what."""
        self.faults.add(Fault(match, **fault))

    def cut_after(self, requests: int, when: str = "before") -> None:
        """Let so many requests through, cut the next, and refuse all others until `mend`; see `Faults.strike`."""
        self.faults.cut_after(requests, when)

    def mend(self) -> None:
        """Let everything through again."""
        self.faults.mend()

    def expire_links(self) -> None:
        """Make every signed link handed out so far answer 403."""
        self._links.clear()

    def asked(self, match: str = "", method: str | None = None) -> list[Request]:
        """The requests so far whose path matches `match`."""
        return [r for r in self.requests if re.search(match, r.path) and method in (None, r.method)]

    def sign(self, blob: Blob) -> str:
        """A link into the store that works until it expires."""
        signature = f"{blob.sha256}-{next(self._counter)}"
        self._links[signature] = blob
        return f"{self._store_url}/{blob.sha256}?Signature={signature}"

    def upload_link(self, oid: str, part: int | None = None) -> str:
        """A link into the store that receives a file, or one part of it."""
        return f"{self._store_url}/{oid}?Upload={self.uploads.sign(oid, part)}"

    @property
    def _store_url(self) -> str:
        return f"http://127.0.0.1:{self._sockets['store'].getsockname()[1]}"

    def signed(self, signature: str) -> Blob | None:
        return self._links.get(signature)

    def start(self) -> "LocalHub":
        if not self._servers:
            handlers = {"hub": HubHandler, "store": StoreHandler}
            self._servers = [_Server(self, self._sockets[name], handlers[name]) for name in handlers]
            for server in self._servers:
                threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
        for bound in self._sockets.values():
            bound.close()
        self._folder.cleanup()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()


def _bound_socket() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.bind(("127.0.0.1", 0))
    return bound


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def process_request(self, request: Any, client_address: Any) -> None:
        self.hub.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may hang up as they like; anything else is a fault of the server and is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def __init__(self, hub: LocalHub, bound: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(bound.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.hub = bound, hub
        self.server_activate()


class _Handler(BaseHTTPRequestHandler):
    """Ask the subclass for an `Answer`, break it if a test wants so, and send it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    host = ""
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `LocalHub.requests` is the log."""

    def do_GET(self) -> None:
        hub, fault = self.server.hub, self.server.hub.faults.take(self.command, self.path) or Fault()
        cut = hub.faults.strike()
        self.body = self._read_body(is_cut=cut == "during") if cut != "before" else b""
        if cut in ("before", "during") or fault.hang_up:
            self._hang_up()
            return
        time.sleep(hub.faults.delay_each + fault.delay)
        try:
            answer = self.answer() if fault.status is None else Answer(fault.status, b"broken by a test")
        except Answer as early:
            answer = early
        self._hang_up() if cut else self._send(answer, fault)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _read_body(self, is_cut: bool) -> bytes:
        """The body of the request, or only its first half."""
        size = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(size // 2 if is_cut else size)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self) -> Answer:
        raise NotImplementedError

    def _send(self, answer: Answer, fault: Fault) -> None:
        size = answer.file.stat().st_size if answer.file else len(answer.body)
        start, end = 0, size
        if answer.file and answer.status == 200 and self.headers.get("Range") and not fault.whole:
            start, end = _parse_range(self.headers["Range"], size)
            answer.status = 206 if start < end else 416
            answer.headers["Content-Range"] = (
                f"bytes {start}-{end - 1}/{size}" if start < end else f"bytes */{size}"
            )
        self.server.hub.requests.append(
            Request(self.host, self.command, self.path, self.headers.get("Range"), answer.status)
        )
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(end - start), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(answer, start, end, fault)

    def _send_body(self, answer: Answer, start: int, end: int, fault: Fault) -> None:
        stop = end if fault.drop_after is None else min(end, start + fault.drop_after)
        if answer.file and not fault.flip_byte:
            with answer.file.open("rb") as file:
                self.connection.sendfile(file, start, stop - start) if stop > start else None
        else:
            body = bytearray((answer.file.read_bytes() if answer.file else answer.body)[start:stop])
            if fault.flip_byte:
                body[len(body) // 2] ^= 1
            self.wfile.write(body)
        if stop < end:
            self._hang_up()


def _parse_range(header: str, size: int) -> tuple[int, int]:
    first, last = RANGE.match(header).groups()  # type: ignore[union-attr]
    if not first:
        return max(0, size - int(last)), size
    return min(int(first), size), min(int(last) + 1 if last else size, size)


class StoreHandler(_Handler):
    """The second host: large files behind signed links."""

    host = "store"

    def answer(self) -> Answer:
        if self.command == "PUT":
            return receive(self)
        signature = parse_qs(urlsplit(self.path).query).get("Signature", [""])[0]
        blob = self.server.hub.signed(signature)
        if blob is None:
            raise Answer(403, b"the link has expired")
        return Answer(200, headers={"Accept-Ranges": "bytes"}, file=blob.stored)


class HubHandler(_Handler):
    """The Hub: information, trees and references in JSON; files themselves or a redirect to the store."""

    host = "hub"

    def answer(self) -> Answer:
        path = urlsplit(self.path).path
        if written := write(self, path):
            return written
        if found := API.match(path):
            repository = self.repository(found["kind"], found["id"])
            if written := write_to(self, repository, found["call"] or "", found["rest"] or ""):
                return written
            return self._api(repository, found["call"] or "revision", found["rest"] or "main")
        if found := RESOLVE.match(path):
            repository = self.repository(found["kind"] or "models", found["id"])
            return self._resolve(repository, unquote(found["rev"]), unquote(found["path"]))
        raise self._unknown_repository()

    @property
    def _token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def check_member(self) -> None:
        """Let only members write."""
        if self._token not in self.server.hub.members:
            raise error(401, "Unauthorized", "Invalid username or password.")

    def repository(self, kind: str, repo_id: str) -> Repository:
        repository = self.server.hub.repositories.get((kind, repo_id))
        if repository is None or (repository.private and self._token not in self.server.hub.members):
            raise self._unknown_repository()
        return repository

    def _unknown_repository(self) -> Answer:
        """Answer as the real Hub: it does not tell strangers whether a private repository exists."""
        return error(404 if self._token else 401, "RepoNotFound", "Repository not found")

    def commit(self, repository: Repository, revision: str) -> Commit:
        commit = repository.resolve(revision)
        if commit is None:
            raise error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _api(self, repository: Repository, call: str, rest: str) -> Answer:
        if call == "refs":
            return json_answer(_refs(repository))
        revision, _, path = rest.partition("/")
        commit = self.commit(repository, unquote(revision))
        query = parse_qs(urlsplit(self.path).query)
        if call == "revision":
            return json_answer(_info(repository, commit, "blobs" in query))
        if call == "commits":
            return json_answer(history(repository, commit))
        if call == "tree":
            folder = unquote(path).strip("/")
            if folder and commit.entry(folder) is None:
                raise error(404, "EntryNotFound", f"{folder} does not exist on {revision}")
            return json_answer(commit.tree(folder, query.get("recursive", [""])[0].lower() in ("true", "1")))
        if call == "paths-info":
            entries = [commit.entry(path) for path in parse_qs(self.body.decode())["paths"]]
            return json_answer([entry for entry in entries if entry])
        raise Answer(404, b"no such call")

    def _resolve(self, repository: Repository, revision: str, path: str) -> Answer:
        if repository.gated and self._token not in self.server.hub.members:
            status = 403 if self._token else 401
            raise error(
                status, "GatedRepo", f"Access to {repository.kind} {repository.repo_id} is restricted."
            )
        commit = self.commit(repository, revision)
        blob = commit.files.get(path)
        if blob is None:
            answer = error(404, "EntryNotFound", "Entry not found")
            answer.headers["X-Repo-Commit"] = commit.sha
            raise answer
        headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
        if not blob.is_lfs:
            return Answer(200, headers=headers, file=blob.stored)
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.sha256}"'}
        return Answer(302, b"", headers | {"Location": self.server.hub.sign(blob)})


def _refs(repository: Repository) -> dict:
    def described(kind: str, names: dict[str, str]) -> list[dict]:
        return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": sha} for n, sha in names.items()]

    branches, tags = described("heads", repository.branches), described("tags", repository.tags)
    return {"branches": branches, "tags": tags, "converts": []}


def _info(repository: Repository, commit: Commit, with_blobs: bool) -> dict:
    return {
        "_id": commit.sha[:24],
        "id": repository.repo_id,
        "author": repository.repo_id.split("/")[0],
        "sha": commit.sha,
        "lastModified": DATE,
        "createdAt": DATE,
        "private": repository.private,
        "gated": "auto" if repository.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [_sibling(path, blob, with_blobs) for path, blob in sorted(commit.files.items())],
        "cardData": _card(commit),
    }


def _sibling(path: str, blob: Blob, with_blobs: bool) -> dict:
    described: dict = {"rfilename": path}
    if with_blobs:
        described |= {"size": blob.size, "blobId": blob.sha1}
    if with_blobs and blob.is_lfs:
        described["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": 134}
    return described


def _card(commit: Commit) -> dict | None:
    readme = commit.files.get("README.md")
    parts = readme.stored.read_text().split("---\n", 2) if readme else []
    return yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
