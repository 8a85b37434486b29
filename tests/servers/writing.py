"""The calls of the Hub that write: repositories, uploads of large files, commits, tags and branches.

`write` answers one call, or returns None where the call is not one of these. Large files go to the second host,
in one piece or in parts, and are there for good once they are complete, whether or not a commit ever names them:
that is what lets a client resume.
"""

import base64
import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.servers.answers import Answer, error, json_answer
from tests.servers.repositories import KINDS, LFS_SIZE, LFS_SUFFIXES, Blob, Commit, Repository, keep_bytes

if TYPE_CHECKING:
    from tests.servers.local_hub import HubHandler, LocalHub, StoreHandler

GIT_LFS = re.compile(
    r"^/(?:(?P<kind>datasets|spaces)/)?(?P<id>[^/]+/[^/]+)\.git/info/lfs/(?P<call>objects/batch|verify|complete)$"
)
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in sorted(LFS_SUFFIXES))


@dataclass
class Uploads:
    """Large files on their way: what each signed link may receive, and the parts that have come.

    Files of more than `part_size` bytes are asked for in parts of that size.
    """

    folder: Path
    part_size: int = 5 << 20
    blobs: dict[str, Blob] = field(default_factory=dict)
    expected: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    _counter: Any = field(default_factory=itertools.count)

    def sign(self, oid: str, part: int | None = None) -> str:
        """The signature of a link that receives one file, or one part of it."""
        signature = f"{oid}-{next(self._counter)}"
        self.expected[signature] = (oid, part)
        return signature

    def receive(self, signature: str, data: bytes) -> Answer:
        """Take what was PUT to a signed link; a whole file must be the one that was announced."""
        if signature not in self.expected:
            return Answer(403, b"the link has expired")
        oid, part = self.expected[signature]
        if part is not None:
            self.parts[oid, part] = data
            return Answer(200, headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})
        return self.finish(oid, data)

    def finish(self, oid: str, data: bytes) -> Answer:
        if hashlib.sha256(data).hexdigest() != oid:
            return Answer(400, b"the content is not what was announced")
        self.blobs[oid] = keep_bytes(data, self.folder, is_lfs=True)
        return Answer(200)

    def complete(self, oid: str, parts: list[dict]) -> Answer:
        """Put the parts of a file together, each of which the client names by the tag that it was given."""
        found = [self.parts.get((oid, part["partNumber"]), b"") for part in parts]
        tags = [f'"{hashlib.md5(data).hexdigest()}"' for data in found]
        if tags != [part["etag"] for part in parts]:
            return Answer(400, b"a part is missing or differs")
        return self.finish(oid, b"".join(found))


def receive(handler: "StoreHandler") -> Answer:
    """A PUT to the second host."""
    signature = parse_qs(urlsplit(handler.path).query).get("Upload", [""])[0]
    return handler.server.hub.uploads.receive(signature, handler.body)


def write(handler: "HubHandler", path: str) -> Answer | None:
    """Answer a call that is not about one repository, or one to do with large files."""
    if path == "/api/whoami-v2":
        handler.check_member()
        return json_answer(_whoami(handler.server.hub))
    if path == "/api/repos/create":
        return _create(handler, json.loads(handler.body))
    if path == "/api/repos/delete":
        return _delete(handler, json.loads(handler.body))
    if path == "/api/validate-yaml":
        return _validate(json.loads(handler.body))
    if found := GIT_LFS.match(path):
        repository = handler.repository(found["kind"] or "models", found["id"])
        if (
            found["call"] != "complete"
        ):  # that one the client calls without its token: only who PUT the parts can
            handler.check_member()
        return _large_files(handler.server.hub, repository, found["call"], json.loads(handler.body))
    return None


def write_to(handler: "HubHandler", repository: Repository, call: str, rest: str) -> Answer | None:
    """Answer a call that changes one repository."""
    calls = {
        ("POST", "preupload"): _preupload,
        ("POST", "commit"): _commit,
        ("PUT", "settings"): _settings,
        ("POST", "tag"): _tag,
        ("DELETE", "tag"): _untag,
        ("POST", "branch"): _branch,
        ("DELETE", "branch"): _unbranch,
    }
    answer = calls.get((handler.command, call))
    if answer is None:
        return None
    handler.check_member()
    return answer(handler, repository, unquote(rest))


def _whoami(hub: "LocalHub") -> dict:
    organisations = [{"type": "org", "name": name, "roleInOrg": "write"} for name in sorted(hub.namespaces)]
    token = {"accessToken": {"displayName": "test", "role": "write"}}
    return {"type": "user", "name": "tester", "orgs": organisations, "auth": {"type": "access_token"} | token}


def _named(handler: "HubHandler", body: dict) -> tuple[str, str]:
    kind = body.get("type") or "model"
    return kind, f"{body.get('organization') or 'tester'}/{body['name']}"


def _create(handler: "HubHandler", body: dict) -> Answer:
    handler.check_member()
    hub, (kind, repo_id) = handler.server.hub, _named(handler, body)
    if repo_id.split("/")[0] not in {"tester", *hub.namespaces}:
        raise error(403, "Forbidden", f"You have no right to create {repo_id}")
    if kind == "space" and not body.get("sdk"):
        raise error(400, "BadRequest", "a Space needs an sdk")
    url = f"{hub.url}/{'' if kind == 'model' else KINDS[kind] + '/'}{repo_id}"
    if (KINDS[kind], repo_id) in hub.repositories:
        return json_answer({"url": url, "error": "You already created this repo"}, 409)
    repository = Repository(kind, repo_id, private=body.get("visibility") == "private")
    first = {".gitattributes": keep_bytes(ATTRIBUTES.encode(), hub.uploads.folder)}
    repository.commit(first, "main", (), title="initial commit")
    hub.repositories[KINDS[kind], repo_id] = repository
    return json_answer({"url": url, "name": repo_id})


def _delete(handler: "HubHandler", body: dict) -> Answer:
    handler.check_member()
    kind, repo_id = _named(handler, body)
    handler.repository(KINDS[kind], repo_id)
    del handler.server.hub.repositories[KINDS[kind], repo_id]
    return Answer(200)


def _validate(body: dict) -> Answer:
    """The rules that cards break most often; the real Hub has more."""
    parts = body["content"].split("---\n", 2)
    try:
        header = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else {}
    except yaml.YAMLError as problem:
        return json_answer({"errors": [{"message": str(problem)}], "warnings": []}, 400)
    errors = [] if isinstance(header.get("tags", []), list) else ['"tags" must be an array']
    if body["repoType"] == "space":
        errors += [f'"{key}" is required' for key in ("title", "sdk") if not header.get(key)]
        errors += [
            f'"{key}" must be one of {sorted(COLOURS)}'
            for key in ("colorFrom", "colorTo")
            if header.get(key) not in COLOURS
        ]
        if len(header.get("short_description") or "") > 60:
            errors.append('"short_description" length must be less than or equal to 60 characters')
    if errors:
        return json_answer({"errors": [{"message": text} for text in errors], "warnings": []}, 400)
    empty = [] if header else [{"message": "empty or missing yaml metadata in repo card"}]
    return json_answer({"errors": [], "warnings": empty})


def _large_files(hub: "LocalHub", repository: Repository, call: str, body: dict) -> Answer:
    if call == "complete":
        return hub.uploads.complete(body["oid"], body["parts"])
    if call == "verify":
        blob = hub.uploads.blobs.get(body["oid"])
        return Answer(200) if blob and blob.size == body["size"] else Answer(404, b"not here")
    prefix = "" if repository.kind == "model" else f"{KINDS[repository.kind]}/"
    lfs = f"{hub.url}/{prefix}{repository.repo_id}.git/info/lfs"
    objects = [_object(hub, lfs, wanted["oid"], wanted["size"]) for wanted in body["objects"]]
    return json_answer({"transfer": "basic", "objects": objects})


def _object(hub: "LocalHub", lfs: str, oid: str, size: int) -> dict:
    """What to do with one large file: nothing where it is here already."""
    described = {"oid": oid, "size": size}
    if oid in hub.uploads.blobs:
        return described
    upload: dict = {"href": hub.upload_link(oid)}
    if size > hub.uploads.part_size:
        count = -(-size // hub.uploads.part_size)
        parts = {f"{n:05d}": hub.upload_link(oid, part=n) for n in range(1, count + 1)}
        upload = {"href": f"{lfs}/complete", "header": {"chunk_size": str(hub.uploads.part_size), **parts}}
    return described | {"actions": {"upload": upload, "verify": {"href": f"{lfs}/verify"}}}


def _preupload(handler: "HubHandler", repository: Repository, revision: str) -> Answer:
    there = handler.commit(repository, revision).files
    files = []
    for file in json.loads(handler.body)["files"]:
        path, blob = file["path"], there.get(file["path"])
        is_lfs = Path(path).suffix in LFS_SUFFIXES or file["size"] > LFS_SIZE
        mode = {"path": path, "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False}
        files.append(mode | ({"oid": blob.etag} if blob else {}))
    return json_answer({"files": files})


def _commit(handler: "HubHandler", repository: Repository, branch: str) -> Answer:
    """Apply the lines of a commit, all or none of them."""
    lines = [json.loads(line) for line in handler.body.splitlines()]
    header = lines[0]["value"]
    if branch not in repository.branches:
        raise error(404, "RevisionNotFound", f"Invalid rev id: {branch}")
    parent = repository.branches[branch]
    if header.get("parentCommit", parent) != parent:
        raise error(412, "PreconditionFailed", "A commit has happened since. Please refresh and try again.")
    files = dict(repository.commits[parent].files)
    for line in lines[1:]:
        _apply(handler.server.hub, files, line["key"], line["value"])
    sha = repository.commit(files, branch, (), title=header["summary"])
    url = f"{handler.server.hub.url}/{repository.repo_id}/commit/{sha}"
    return json_answer({"success": True, "commitOid": sha, "commitUrl": url, "pullRequestUrl": None})


def _apply(hub: "LocalHub", files: dict[str, Blob], key: str, value: dict) -> None:
    path = value["path"]
    if key == "file":
        files[path] = keep_bytes(base64.b64decode(value["content"]), hub.uploads.folder)
    elif key == "lfsFile":
        if value["oid"] not in hub.uploads.blobs:
            raise error(404, "LFSFileNotFound", f"the content of {path} was not uploaded")
        files[path] = hub.uploads.blobs[value["oid"]]
    elif key == "deletedFile":
        if path not in files:
            raise error(404, "EntryNotFound", "A file with this name doesn't exist")
        del files[path]
    elif key == "deletedFolder":
        for name in [name for name in files if name.startswith(f"{path.rstrip('/')}/")]:
            del files[name]
    else:
        raise Answer(400, f"unknown line {key}".encode())


def _settings(handler: "HubHandler", repository: Repository, _: str) -> Answer:
    wanted = json.loads(handler.body)
    if "gated" in wanted:
        repository.gated = bool(wanted["gated"])
    if "visibility" in wanted:
        repository.private = wanted["visibility"] == "private"
    return json_answer({})


def _tag(handler: "HubHandler", repository: Repository, revision: str) -> Answer:
    name = json.loads(handler.body)["tag"]
    if name in repository.tags:
        raise error(409, "Conflict", f"Tag {name} exists already")
    repository.tags[name] = handler.commit(repository, revision).sha
    return json_answer({})


def _untag(handler: "HubHandler", repository: Repository, name: str) -> Answer:
    if repository.tags.pop(name, None) is None:
        raise error(404, "RevisionNotFound", f"Invalid rev id: {name}")
    return json_answer({})


def _branch(handler: "HubHandler", repository: Repository, name: str) -> Answer:
    if name in repository.branches:
        raise error(409, "Conflict", f"Branch {name} exists already")
    start = json.loads(handler.body or b"{}").get("startingPoint", "main")
    repository.branches[name] = handler.commit(repository, start).sha
    return json_answer({})


def _unbranch(handler: "HubHandler", repository: Repository, name: str) -> Answer:
    if repository.branches.pop(name, None) is None:
        raise error(404, "RevisionNotFound", f"Invalid rev id: {name}")
    return json_answer({})


def history(repository: Repository, commit: Commit | None) -> list[dict]:
    """A commit and those before it, newest first, as the call `commits` lists them."""
    listed = []
    while commit is not None:
        listed.append(
            {
                "id": commit.sha,
                "title": commit.title,
                "message": "",
                "date": "2026-06-01T12:00:00.000Z",
                "authors": [{"user": "tester"}],
            }
        )
        commit = repository.commits[commit.parent] if commit.parent else None
    return listed
