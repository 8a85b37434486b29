"""What a dataset consists of: pictures, manifests, weights, and what cannot be read in place."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm.auto import tqdm

from ggt_hub.data.recognising.manifests import Mention, read_manifest, read_sample
from ggt_hub.data.storage.archives import (
    IMAGE_SUFFIXES,
    MANIFEST_SUFFIXES,
    WEIGHT_SUFFIXES,
    Member,
    Problem,
    list_members,
    summarise,
    why_nested,
    why_refused,
)
from ggt_hub.data.storage.fetch import read_member
from ggt_hub.data.storage.trees import File, Tree
from ggt_hub.errors import DatasetError

THREADS = 4
# A dataset has a few manifests; more files of such an ending are captions or the like, one for each picture.
MAX_MANIFESTS = 64
WEIGHTS_FOLDER = "pretrained-model"


@dataclass
class Contents:
    """Everything found in a tree, archives looked into."""

    tree: Tree
    archives: dict[str, list[Member]] = field(default_factory=dict)
    loose: list[Member] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    weights: list[File] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def pictures(self) -> list[Member]:
        """All pictures, those in archives first."""
        members = [member for found in self.archives.values() for member in found]
        return [member for member in [*members, *self.loose] if _suffix(member.name) in IMAGE_SUFFIXES]


def look_into(tree: Tree, token: str | bool | None = None) -> Contents:
    """List a tree with the central directories of its zip archives; nothing else is downloaded but manifests.

    Raises:
        HubError: if the Hub does not answer.
    """
    contents = Contents(tree, problems=[Problem(*problem) for problem in tree.problems])
    archives = []
    for file in tree.files:
        if WEIGHTS_FOLDER in PurePosixPath(file.path).parts or file.suffix in WEIGHT_SUFFIXES:
            contents.weights.append(file)
        elif file.suffix == ".zip" or (file.suffix == ".tar" and not file.uri.startswith("hf://")):
            archives.append(file)
        elif reason := why_refused(file):
            contents.refused.append(Problem(file.path, reason))
        else:
            contents.loose.append(Member(file.path, file.path, file))
    _list_archives(contents, archives, token)
    _read_manifests(contents, token)
    for archive in archives:
        if archive.suffix == ".tar":
            contents.mentions += _read_samples(archive, contents.archives.get(archive.path, []))
    return contents


def _list_archives(contents: Contents, archives: list[File], token: str | bool | None) -> None:
    def list_one(archive: File) -> tuple[list[Member], list[Problem]] | Problem:
        try:
            return list_members(archive, token)
        except DatasetError as error:
            return Problem(archive.path, str(error).removeprefix(f"{archive.path}: "))

    with ThreadPoolExecutor(THREADS) as pool:
        listed = pool.map(list_one, archives)
        for archive, found in zip(
            archives, tqdm(listed, "Reading directories", len(archives), disable=None), strict=True
        ):
            if isinstance(found, Problem):
                contents.refused.append(found)
                continue
            members, problems = found
            contents.archives[archive.path] = members
            contents.problems += problems
            contents.refused += [
                Problem(f"{archive.path}::{member.name}", reason)
                for member in members
                if (reason := why_nested(member.name))
            ]


def _read_manifests(contents: Contents, token: str | bool | None) -> None:
    members = [member for found in contents.archives.values() for member in found]
    found = [m for m in [*members, *contents.loose] if _suffix(m.name) in MANIFEST_SUFFIXES]
    if len(found) > MAX_MANIFESTS:
        return
    for member in found:
        try:
            mentions = read_manifest(member.path, read_member(member, token))
        except DatasetError as error:
            contents.problems.append(Problem(member.path, str(error)))
            continue
        if mentions:
            contents.manifests.append(member.path)
            contents.mentions += mentions


def _read_samples(archive: File, members: list[Member]) -> list[Mention]:
    """What the JSON of each sample of a WebDataset archive says of its low-quality picture (`0001.json`)."""
    pictures = {m.name.partition(".")[0]: m for m in members if re.search(r"\.lq\.\w+$", m.name)}
    mentions = []
    with Path(archive.uri).open("rb") as file:
        for member in members:
            picture = pictures.get(member.name.removesuffix(".json"))
            if picture is None or member.place is None:
                continue
            file.seek(member.place.offset)
            mentions += read_sample(
                picture.path, file.read(member.place.size), f"{archive.path}::{member.name}"
            )
    return mentions


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def describe(contents: Contents) -> dict[str, Any]:
    """Sum up, for people and programs: archives with their folders and endings, weights, what is wrong."""
    tree = contents.tree
    return {
        "source": tree.name,
        "version": tree.version,
        "files": len(tree.files),
        "bytes": sum(file.size for file in tree.files),
        "pictures": len(contents.pictures),
        "archives": [_describe_archive(tree, path, found) for path, found in contents.archives.items()],
        "loose_files": dict(Counter(_suffix(member.name) for member in contents.loose)),
        "manifests": contents.manifests,
        "weights": [{"path": file.path, "bytes": file.size} for file in contents.weights],
        "refused": summarise(contents.refused),
        "problems": summarise(contents.problems),
    }


def _describe_archive(tree: Tree, path: str, members: list[Member]) -> dict[str, Any]:
    return {
        "path": path,
        "bytes": next(file.size for file in tree.files if file.path == path),
        "members": len(members),
        "folders": dict(Counter(str(PurePosixPath(member.name).parent) for member in members)),
        "endings": dict(Counter(_suffix(member.name) for member in members)),
        "methods": dict(
            Counter("stored" if m.place and m.place.method == 0 else "deflated" for m in members)
        ),
        "first": members[0].name if members else None,
        "last": members[-1].name if members else None,
    }
