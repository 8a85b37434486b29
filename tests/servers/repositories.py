"""What the local Hub keeps: repositories with commits, branches and tags, their files stored by content."""

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

# The real Hub decides by .gitattributes and size; these are the endings that its default file lists.
LFS_SUFFIXES = {".zip", ".tar", ".7z", ".parquet", ".arrow", ".safetensors", ".bin", ".pt", ".npz"}
LFS_SIZE = 1 << 20
KINDS = {"model": "models", "dataset": "datasets", "space": "spaces"}


@dataclass(frozen=True)
class Blob:
    """One version of one file: where its bytes lie, and the two hashes that the Hub calls it by."""

    stored: Path
    size: int
    sha256: str
    sha1: str
    is_lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.sha1


@dataclass(frozen=True)
class Commit:
    """A snapshot of a repository; its id follows from its content and its parent."""

    files: dict[str, Blob]
    title: str
    parent: str | None

    @cached_property
    def sha(self) -> str:
        lines = [f"{path} {blob.sha256}" for path, blob in sorted(self.files.items())]
        return hashlib.sha1("\n".join([str(self.parent), self.title, *lines]).encode()).hexdigest()

    def entry(self, path: str) -> dict | None:
        """Describe a file or folder as the calls `tree` and `paths-info` do; None where there is none."""
        if path in self.files:
            return _describe_file(path, self.files[path])
        if any(name.startswith(f"{path}/") for name in self.files):
            return {
                "type": "directory",
                "oid": hashlib.sha1(path.encode()).hexdigest(),
                "size": 0,
                "path": path,
            }
        return None

    def tree(self, folder: str, recursive: bool) -> list[dict]:
        """List what lies under `folder` ("" is the root), folders included."""
        inside = [PurePosixPath(name) for name in self.files if not folder or name.startswith(f"{folder}/")]
        names = {str(path) for path in inside}
        names |= {str(parent) for path in inside for parent in path.parents if str(parent) != "."}
        names = {name for name in names if not folder or name.startswith(f"{folder}/")}
        if not recursive:
            depth = len(PurePosixPath(folder).parts) + 1
            names = {name for name in names if len(PurePosixPath(name).parts) == depth}
        return [self.entry(name) for name in sorted(names)]


def _describe_file(path: str, blob: Blob) -> dict:
    entry: dict = {"type": "file", "oid": blob.sha1, "size": blob.size, "path": path}
    if blob.is_lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
    return entry


@dataclass
class Repository:
    """A repository: every commit by id, and the names that point at them."""

    kind: str
    repo_id: str
    gated: bool = False
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> Commit | None:
        """Find the commit that a branch, a tag or a commit id names."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(sha)

    def commit(self, files: dict[str, Blob], branch: str, tags: Iterable[str], title: str) -> str:
        """Append a commit to `branch`, point `tags` at it, and return its id."""
        commit = Commit(files, title, self.branches.get(branch))
        self.commits[commit.sha] = commit
        self.branches[branch] = commit.sha
        self.tags.update(dict.fromkeys(tags, commit.sha))
        return commit.sha


def read_folder(folder: Path, store: Path) -> dict[str, Blob]:
    """Copy every file of `folder` into `store`, named by its SHA-256, and return them by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _keep(path, store) for path in files}


def keep_bytes(data: bytes, store: Path, is_lfs: bool = False) -> Blob:
    """Put a file's content into `store`, named by its SHA-256."""
    sha256 = hashlib.sha256(data).hexdigest()
    stored = store / sha256
    stored.write_bytes(data)
    sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return Blob(stored, len(data), sha256, sha1, is_lfs)


def _keep(path: Path, store: Path) -> Blob:
    size = path.stat().st_size
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            sha1.update(chunk)
    stored = store / sha256.hexdigest()
    if not stored.exists():
        shutil.copyfile(path, stored)
    is_lfs = path.suffix in LFS_SUFFIXES or size > LFS_SIZE
    return Blob(stored, size, sha256.hexdigest(), sha1.hexdigest(), is_lfs)
