"""What files a dataset has, in a repository at one commit or in a folder on disk."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from ggt_hub import hub
from ggt_hub.errors import DatasetError
from ggt_hub.files.folders import is_junk


@dataclass(frozen=True, slots=True)
class File:
    """A file of a tree: its path inside, its size in bytes, the address that `ranges.open_source` reads."""

    path: str
    size: int
    uri: str

    @property
    def suffix(self) -> str:
        """The ending in lower case, with its dot."""
        return PurePosixPath(self.path).suffix.lower()


@dataclass(frozen=True)
class Tree:
    """The files of a repository or folder, in the order of their paths.

    `version` identifies the content: the commit of a repository, or a digest of the names, sizes and times of
    a folder's files.
    """

    name: str
    version: str
    files: tuple[File, ...]

    def under(self, folder: str) -> "Tree":
        """The part of the tree below one folder."""
        return Tree(self.name, self.version, tuple(f for f in self.files if f.path.startswith(f"{folder}/")))


def hub_tree(repo_id: str, commit: str, token: str | bool | None = None) -> Tree:
    """List a dataset repository at a commit.

    Raises:
        HubError: if the Hub does not answer with the list.
    """
    prefix = f"hf://datasets/{repo_id}@{commit}"
    with hub.explained(repo_id, "dataset", commit):
        entries = list(
            HfApi(token=token).list_repo_tree(repo_id, repo_type="dataset", revision=commit, recursive=True)
        )
    found = [File(e.path, e.size, f"{prefix}/{e.path}") for e in entries if isinstance(e, RepoFile)]
    return Tree(repo_id, commit, tuple(sorted(found, key=lambda file: file.path)))


def local_tree(folder: str | Path) -> Tree:
    """List a folder on disk.

    Raises:
        DatasetError: if there is no such folder.
    """
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise DatasetError(f"{folder} is not a folder: give the one that holds the data")
    found, digest = [], hashlib.sha256()
    for path in _walk(root):
        stat = path.stat()
        relative = path.relative_to(root).as_posix()
        found.append(File(relative, stat.st_size, str(path)))
        digest.update(f"{relative}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return Tree(str(root), digest.hexdigest()[:40], tuple(found))


def _walk(root: Path) -> list[Path]:
    """All files, sorted; what is hidden (such as a download's `.cache`) or junk is not data."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_junk(name)]
        found += [Path(folder, name) for name in names if not is_junk(name)]
    return sorted(found)


def find_tree(source: str, *, revision: str | None = None, token: str | bool | None = None) -> Tree:
    """List `source`: a folder on disk if there is one of that name, else a dataset repository."""
    if Path(source).expanduser().is_dir():
        return local_tree(source)
    commit = hub.resolve(source, repo_type="dataset", revision=revision, token=token)
    return hub_tree(source, commit, token)
