"""What a data set holds, said without downloading it."""

from collections import Counter
from pathlib import Path
from typing import Any

from ggt_hub.data.pairs import PICTURES
from ggt_hub.data.reading.loading import SOURCES
from ggt_hub.data.recognising.inventory import describe, look_into
from ggt_hub.data.recognising.pairing import Pair, pair_up
from ggt_hub.data.recognising.told import Told
from ggt_hub.data.sources import lmdbs
from ggt_hub.data.sources.lmdbs import holds_lmdb
from ggt_hub.data.sources.tables import TABLES, columns_of, statistics
from ggt_hub.data.storage.archives import Member
from ggt_hub.data.storage.fetch import read_member
from ggt_hub.data.storage.trees import File, Tree, find_tree
from ggt_hub.errors import DatasetError, ImageError
from ggt_hub.images import read_image

_EXAMPLES = 3
_LOOKED_AT = 64


def describe_source(source: str, revision: str | None = None, told: Told | None = None) -> dict[str, Any]:
    """Say what a data set holds, without downloading it, and whether its pictures can be paired.

    Args:
        source: a name, a repository or a folder.
        revision: of the repository.
        told: what is known of its pictures; see `told.Told`.

    Raises:
        DatasetError: if there is no such folder.
        HubError: if the repository or revision cannot be had.
    """
    contents = look_into(_tree(source, revision))
    found = describe(contents)
    if not contents.pictures and (tables := [f for f in contents.tree.files if f.suffix in TABLES]):
        return found | _describe_tables(source, tables, revision, told)
    if Path(source).is_dir() and holds_lmdb(source):
        return found | {"lmdb": [str(path.relative_to(source)) for path in lmdbs.find(source)]}
    try:
        pairing = pair_up(contents.pictures, contents.mentions, told=told)
    except DatasetError as error:
        return found | {"pairs": 0, "why_not_paired": str(error)}
    counts: dict[str, dict[str, int]] = {}
    for pair in pairing.pairs:
        splits = counts.setdefault(pair.task or "unknown", {})
        splits[pair.split] = splits.get(pair.split, 0) + 1
    return found | {
        "pairs": len(pairing.pairs),
        "tasks": counts,
        "rules": list(pairing.rules),
        "examples": [
            {"lq": pair.lq.path, "gt": pair.gt and pair.gt.path} for pair in _spread(pairing.pairs, _EXAMPLES)
        ],
        "unpaired": [member.path for member in pairing.unpaired],
        "sizes": _sizes(pairing.pairs),
    }


def _describe_tables(
    source: str, tables: list[File], revision: str | None, told: Told | None
) -> dict[str, Any]:
    """What the columns of tables are; at the Hub they are not looked into, for that would download them."""
    if tables[0].uri.startswith("hf://"):
        return {"tables": len(tables)}
    columns, rows = columns_of(tables, lq=told.lq if told else None, gt=told.gt if told else None)
    sides = {side: getattr(columns, side) for side in ("lq", "gt", "task", "prompt", "id")}
    return {"tables": len(tables), "rows": rows, "columns": sides} | statistics(tables, columns)


def _sizes(pairs: list[Pair]) -> dict[str, Any]:
    """Sizes of some pictures on disk, at equal distances; at the Hub nothing is downloaded for it."""
    chosen = [pair for pair in _spread(pairs, _LOOKED_AT) if not pair.lq.file.uri.startswith("hf://")]
    found = {side: [_size(member) for pair in chosen if (member := getattr(pair, side))] for side in PICTURES}
    sizes = {side: [size for size in of_side if size] for side, of_side in found.items()}
    return {
        "looked_at": len(chosen),
        **{
            side: {"smallest": min(s), "median": sorted(s)[len(s) // 2], "largest": max(s)}
            for side, s in sizes.items()
            if s
        },
        "scales": dict(
            Counter(gt[0] / lq[0] for lq, gt in zip(found["lq"], found["gt"], strict=False) if lq and gt)
        ),
    }


def _size(member: Member) -> tuple[int, int] | None:
    """Width and height; None for a picture that cannot be read."""
    try:
        return read_image(read_member(member), name=member.path).size
    except (DatasetError, ImageError):
        return None


def _spread(pairs: list[Pair], count: int) -> list[Pair]:
    """A few pairs at equal distances."""
    return pairs[:: max(1, len(pairs) // count)][:count]


def _tree(source: str, revision: str | None) -> Tree:
    entry = SOURCES.get(source)
    repo_id = entry.builder.BUILDER_CONFIGS[0].repository if entry else None
    return find_tree(repo_id or source, revision=revision)
