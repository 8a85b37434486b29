"""What files a dataset has, in a repository at one commit or in a folder on disk."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants
from huggingface_hub.hf_api import RepoFile

from ggt_hub import hub
from ggt_hub.errors import DatasetError
from ggt_hub.files.folders import walk


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

    `version` identifies the content: the commit of a repository, or a digest of where a folder is and of the names,
    sizes and times of its files. `problems` are files and folders that cannot be read, with the reasons.
    """

    name: str
    version: str
    files: tuple[File, ...]
    problems: tuple[tuple[str, str], ...] = ()

    def under(self, folder: str) -> "Tree":
        """The part of the tree below one folder."""
        return replace(self, files=tuple(f for f in self.files if f.path.startswith(f"{folder}/")))


def hub_tree(repo_id: str, commit: str, token: str | bool | None = None) -> Tree:
    """List a dataset repository at a commit.

    Raises:
        HubError: if the Hub does not answer with the list.
    """
    prefix = f"hf://datasets/{repo_id}@{commit}"
    if constants.HF_HUB_OFFLINE:
        return _cached_tree(repo_id, commit, prefix)
    with hub.explained(repo_id, "dataset", commit):
        entries = list(
            HfApi(token=token).list_repo_tree(repo_id, repo_type="dataset", revision=commit, recursive=True)
        )
    found = [File(e.path, e.size, f"{prefix}/{e.path}") for e in entries if isinstance(e, RepoFile)]
    return Tree(repo_id, commit, tuple(sorted(found, key=lambda file: file.path)))


def _cached_tree(repo_id: str, commit: str, prefix: str) -> Tree:
    """What the local cache holds of a commit, such as after `hf download`."""
    root = hub.snapshot(repo_id, repo_type="dataset", revision=commit, local_files_only=True)
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    found = [(path.relative_to(root).as_posix(), path.stat().st_size) for path in paths]
    return Tree(repo_id, commit, tuple(File(path, size, f"{prefix}/{path}") for path, size in found))


def local_tree(folder: str | Path) -> Tree:
    """List a folder on disk.

    Raises:
        DatasetError: if there is no such folder.
    """
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise DatasetError(f"{folder} is not a folder: give the one that holds the data")
    # The rows hold whole paths: the same files in another place are another version.
    found, digest, problems = [], hashlib.sha256(os.fsencode(root)), dict[str, str]()
    for path in sorted(walk(root, problems)):
        try:
            status = path.stat()
        except OSError as error:
            problems[str(path)] = error.strerror or "it cannot be looked at"
            continue
        relative = path.relative_to(root).as_posix()
        found.append(File(relative, status.st_size, str(path)))
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest.update(os.fsencode(f"{relative}\0{state}\n"))
    return Tree(str(root), digest.hexdigest()[:40], tuple(found), tuple(problems.items()))


def parquet_below(folder: Path) -> list[Path]:
    """The Parquet files of a folder, sorted, but those that are hidden or in hidden folders: notes of a run."""
    found = sorted(folder.rglob("*.parquet"))
    return [
        path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def find_tree(source: str, *, revision: str | None = None, token: str | bool | None = None) -> Tree:
    """List `source`: a folder on disk if there is one of that name, else a dataset repository."""
    if Path(source).expanduser().is_dir():
        return local_tree(source)
    commit = hub.resolve(source, repo_type="dataset", revision=revision, token=token)
    return hub_tree(source, commit, token)
