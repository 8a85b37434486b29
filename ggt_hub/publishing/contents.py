"""What goes into a repository: its files, hashed, and its card, filled in."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ggt_hub.errors import EvaluationError, PublishError
from ggt_hub.publishing.cards import render_card
from ggt_hub.publishing.manifest import Listing
from ggt_hub.publishing.results import RESULTS, results_table
from ggt_hub.publishing.standalone import standalone

CARD = "README.md"
_SHOWN_HIDDEN = {RESULTS, ".gitattributes"}


@dataclass(frozen=True)
class Item:
    """One file of a repository.

    Attributes:
        path: where it goes in the repository.
        source: where its bytes are, or the bytes.
        size: in bytes.
        sha256: of its content, hexadecimal; what the Hub calls a large file by.
        git_sha1: git's id of its content, hexadecimal; what the Hub calls a small file by.
    """

    path: str
    source: Path | bytes
    size: int
    sha256: str
    git_sha1: str


def collect(listing: Listing, namespace: str, names: Iterable[str], written_for: str) -> list[Item]:
    """Gather the files of a repository, its card rendered.

    Args:
        listing: which repository.
        namespace: where it goes to.
        names: all repositories of the manifest, whose ids the card may mention.
        written_for: the namespace that the cards in the source tree name.

    Raises:
        PublishError: if the folder or the card is missing, or the card cannot be filled in.
    """
    sources: dict[str, Path | bytes] = dict(_files(listing))
    card = sources.pop(CARD, None)
    if not isinstance(card, Path):
        raise PublishError(
            f"{listing.name} has no {CARD}: write one in its folder, or name it by card in the manifest"
        )
    values = {"namespace": namespace, "version": listing.version, "tag": listing.tag}
    if listing.results:
        values["results"] = _tables(listing)
    moved = [(f"{written_for}/{name}", f"{namespace}/{name}") for name in names]
    text = render_card(card.read_text(encoding="utf-8"), listing.name, values, moved)
    items = [_item(CARD, text.encode())]
    if listing.kind == "model" and listing.folder is not None:
        sources |= standalone(listing.folder)
    return items + [_item(path, source) for path, source in sorted(sources.items())]


def gather(folder: Path) -> list[Item]:
    """All files of a folder but hidden ones, its card as it is."""
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    shown = {relative.as_posix(): path for relative, path in paths.items() if _is_shown(relative)}
    return [
        _item(path, source.read_bytes() if path == CARD else source) for path, source in sorted(shown.items())
    ]


def _tables(listing: Listing) -> str:
    try:
        return "\n\n".join(results_table(run) for run in listing.results)
    except EvaluationError as error:
        raise PublishError(f"{listing.name}: {error}") from error


def _files(listing: Listing) -> dict[str, Path]:
    """Path in the repository -> file: of the folder, of what belongs to the card, and the card itself."""
    if listing.folder is not None and not listing.folder.is_dir():
        how = f"make it with `{listing.made_by}`" if listing.made_by else "correct folder in the manifest"
        raise PublishError(f"{listing.name}: the folder {listing.folder} does not exist: {how}")
    if listing.card is not None and not listing.card.is_file():
        raise PublishError(f"{listing.name}: the card {listing.card} does not exist: write it")
    beside_card = listing.card.with_suffix("") if listing.card else None
    found = {}
    for folder in filter(None, (listing.folder, beside_card)):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and _is_shown(path.relative_to(folder)):
                found[path.relative_to(folder).as_posix()] = path
    for run in listing.results:
        found |= {f"{RESULTS}/{path.name}": path for path in sorted((run / RESULTS).glob("*.yaml"))}
    if listing.card:
        found[CARD] = listing.card
    return found


def _is_shown(path: Path) -> bool:
    """Whether a file is content: neither hidden nor made by Python itself. `.env` stays, to be refused by name."""
    hidden = any(part.startswith(".") and part not in _SHOWN_HIDDEN for part in path.parts)
    return "__pycache__" not in path.parts and (not hidden or path.name == ".env")


def _item(path: str, source: Path | bytes) -> Item:
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    for chunk in _chunks(source):
        sha256.update(chunk)
        sha1.update(chunk)
    return Item(path, source, size, sha256.hexdigest(), sha1.hexdigest())


def _chunks(source: Path | bytes) -> Iterable[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(1 << 22):
            yield chunk
