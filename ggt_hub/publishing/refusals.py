"""Everything that forbids to publish files: licences, secrets, limits, and what would not work on the Hub."""

import ast
import mmap
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import pyarrow.parquet as pq

from ggt_hub import __version__
from ggt_hub.data.guard import check_shareable
from ggt_hub.data.terms import NOTES, sources_of
from ggt_hub.errors import DatasetError
from ggt_hub.publishing.cards import check_card
from ggt_hub.publishing.contents import CARD, Item
from ggt_hub.publishing.manifest import Listing
from ggt_hub.publishing.results import check_results

MAX_FILE_BYTES = 20_000_000_000
"""The Hub advises files below 20 GB; it refuses 50 GB."""
MAX_FILES, MAX_FILES_IN_FOLDER = 100_000, 10_000

_SECRET_NAMES = re.compile(r"(?:^|/)(?:\.env|\.netrc|\.git-credentials|id_[a-z0-9]+|.*\.(?:pem|key|p12))$")
_SECRETS = {
    "a Hugging Face token": rb"\bhf_[A-Za-z]{30,}\b",
    "a GitHub token": rb"\bgh[pousr]_[A-Za-z0-9]{36}\b",
    "a key of an AI service": rb"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}\b",
    "an AWS key": rb"\bAKIA[A-Z0-9]{16}\b",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----",
}
# Files of a dataset whose content can be told. Pictures in archives or Arrow files might be anybody's.
_DATASET_SUFFIXES = {".parquet", ".json", ".jsonl", ".csv", ".md", ".txt", ".yaml", ""}
_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def check(listing: Listing, items: list[Item]) -> list[str]:
    """Find what forbids to publish these files: one sentence each, naming the file; empty if nothing does."""
    paths = {item.path for item in items}
    (card,) = (item.source for item in items if item.path == CARD)
    problems = check_card(listing.kind, card.decode() if isinstance(card, bytes) else "", paths)
    problems += _check_limits(items)
    for item in items:
        problems += _check_secrets(item) + _check_script(listing, item) + _check_requirements(item)
        problems += check_results(item.path, item.source) if isinstance(item.source, Path) else []
    problems += _check_pictures(listing, items)
    return [f"{listing.name}: {problem}" for problem in problems]


def _check_limits(items: list[Item]) -> list[str]:
    problems = [
        f"{item.path} has {item.size} bytes, more than {MAX_FILE_BYTES}: split it"
        for item in items
        if item.size > MAX_FILE_BYTES
    ]
    if len(items) > MAX_FILES:
        problems.append(f"{len(items)} files are more than {MAX_FILES}: put them into Parquet")
    folders = Counter(str(PurePosixPath(item.path).parent) for item in items)
    return problems + [
        f"the folder {folder} has {count} files, more than {MAX_FILES_IN_FOLDER}: divide it"
        for folder, count in folders.items()
        if count > MAX_FILES_IN_FOLDER
    ]


def _check_secrets(item: Item) -> list[str]:
    problems = [f"{item.path} is a file for secrets: remove it"] if _SECRET_NAMES.search(item.path) else []
    if item.size == 0:
        return problems
    if isinstance(item.source, bytes):
        return problems + _secrets_in(item.path, item.source)
    with item.source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return problems + _secrets_in(item.path, content)


def _secrets_in(path: str, content: bytes | mmap.mmap) -> list[str]:
    return [
        f"{path} holds {what}: remove it, and revoke it"
        for what, pattern in _SECRETS.items()
        if re.search(pattern, content)
    ]


def _check_script(listing: Listing, item: Item) -> list[str]:
    """Python must at least compile; a dataset with a script of its own name is refused by `datasets`."""
    if not item.path.endswith(".py") or isinstance(item.source, bytes):
        return []
    if listing.kind == "dataset" and PurePosixPath(item.path).stem == listing.name:
        return [
            f"{item.path} has the name of its dataset, which makes `datasets` refuse to load it: rename it"
        ]
    try:
        ast.parse(item.source.read_bytes(), item.path)
    except SyntaxError as error:
        return [f"{item.path} is not Python: {error}"]
    return []


def _check_requirements(item: Item) -> list[str]:
    """A Space at a tag must always run with the package that it was published with."""
    if item.path != "requirements.txt" or isinstance(item.source, bytes):
        return []
    return [
        f"requirements.txt says {line!r}: end it with =={__version__}, so that this version never changes"
        for line in item.source.read_text(encoding="utf-8").splitlines()
        if re.match(r"ggt-hub\b", line) and not line.endswith(f"=={__version__}")
    ]


def _check_pictures(listing: Listing, items: list[Item]) -> list[str]:
    """Refuse pictures of data sets that may not be shared, in whatever form they could come."""
    if listing.folder is None:
        return []
    tables = [item for item in items if item.path.endswith(".parquet") and isinstance(item.source, Path)]
    problems = [
        f"{item.path} has no column source, so that whose pictures it holds cannot be told: add it"
        for item in tables
        if "source" not in pq.read_schema(item.source).names
    ]
    if problems:
        return problems
    try:
        check_shareable(listing.folder)
    except DatasetError as error:
        problems.append(str(error))
    if listing.kind != "dataset":
        return problems
    sources = [
        s for s in sources_of(listing.folder.rglob("*.parquet")) if s in NOTES and not NOTES[s].may_be_shared
    ]
    for item in items:
        suffix = PurePosixPath(item.path).suffix.lower()
        if sources and suffix in _PICTURE_SUFFIXES:
            problems.append(
                f"{item.path} is a picture in a repository of {sources[0]}, which may not be shared"
            )
        elif suffix not in _DATASET_SUFFIXES | _PICTURE_SUFFIXES | {".py"}:
            problems.append(
                f"{item.path}: what such a file holds cannot be told; publish Parquet or an index"
            )
        elif sources and suffix == ".parquet" and isinstance(item.source, Path):
            problems += [
                f"{item.path}: column {column} holds bytes; {sources[0]} may not be shared"
                for column in _columns_with_bytes(item.source)
            ]
    return problems


def _columns_with_bytes(path: Path) -> list[str]:
    """The columns of a Parquet file that hold anything but text and numbers, and are not all null."""
    file = pq.ParquetFile(path)
    binary = [
        column.path
        for column in (file.schema.column(n) for n in range(len(file.schema)))
        if column.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
        and column.logical_type.type == "NONE"
    ]
    return [path for path in binary if _holds_any(file, path)]


def _holds_any(file: pq.ParquetFile, column: str) -> bool:
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=[column]).flatten()
        if any(part.null_count < len(table) for part in table.columns):
            return True
    return False
