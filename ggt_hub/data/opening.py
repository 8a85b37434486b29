"""From what a person names on the command line (a name, a repository, a folder) to its rows."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset
from datasets import config as config_datasets

from ggt_hub import hub
from ggt_hub.data import lmdbs
from ggt_hub.data.archives import Member
from ggt_hub.data.cards import write_card
from ggt_hub.data.contents import describe, look_into
from ggt_hub.data.export import SHARD_BYTES, write_sums
from ggt_hub.data.fetch import read_member
from ggt_hub.data.folder import PairFolder
from ggt_hub.data.guard import guard_uploads
from ggt_hub.data.index import copy_index, explain_refused, read_summary
from ggt_hub.data.indexed import IndexedPairs
from ggt_hub.data.lmdbs import PairLmdb, holds_lmdb
from ggt_hub.data.loading import SOURCES, find_builder, load_dataset_builder
from ggt_hub.data.pairing import Pair, pair_up
from ggt_hub.data.pairs import PICTURES
from ggt_hub.data.parts import Part, dataset_parts, parquet_files, parquet_parts
from ggt_hub.data.tables import TABLES, PairTables, columns_of, statistics
from ggt_hub.data.told import Told
from ggt_hub.data.trees import File, Tree, find_tree
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
        pairing = pair_up(contents.pictures, contents.entries, told=told)
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


def make_index(
    source: str,
    folder: Path,
    *,
    revision: str | None = None,
    data_dir: str | None = None,
    card: Path | None = None,
    told: Told | None = None,
) -> dict[str, Any]:
    """Write the index of a data set, with its card (see `cards.write_card`), ready to be published.

    Returns:
        The content of `index.json`.

    Raises:
        DatasetError: if the data set cannot be indexed, or `folder` holds other files where the index belongs, or
            its source.
        HubError: if the repository or revision cannot be had.
    """
    check_apart(folder, source, data_dir)
    builder = _builder(source, revision, data_dir, told=told)
    if not isinstance(builder, IndexedPairs):
        raise DatasetError(f"{source} is published as a table: it needs no index")
    index = builder.index()
    summary = read_summary(index)
    if summary["refused"]:
        raise DatasetError(explain_refused(summary["repository"], summary["refused"]))
    copy_index(index, folder)
    write_card(folder, card, folder.resolve().name)
    write_sums(folder)
    return summary


def _builder(
    source: str,
    revision: str | None,
    data_dir: str | None,
    config: str | None = None,
    told: Told | None = None,
) -> Any:
    guard_uploads()
    further = asdict(told) if told else {}
    source = _by_repository().get(source, source)
    if source not in SOURCES and Path(source).is_dir():
        source, data_dir = "pairs", source
    if source in SOURCES:
        return load_dataset_builder(
            source, config, revision=revision, data_dir=data_dir, **_of(further, source, data_dir)
        )
    kind = PairTables if _holds_tables_at_hub(source, revision) else PairFolder
    arguments = _of(further, source, None, kind)
    return kind(repository=source, revision=revision, dataset_name=source.rpartition("/")[2], **arguments)


def _of(further: dict[str, Any], source: str, data_dir: str | None, kind: Any = None) -> dict[str, Any]:
    """What was told, as far as the builder knows it: of tables, only the names of columns can be told."""
    kind = kind or (find_builder(source, data_dir) or (PairFolder,))[0]
    if issubclass(kind, PairLmdb):
        return {}
    if not issubclass(kind, PairTables):
        return further
    if told := [name for name, value in further.items() if value and name not in ("lq", "gt")]:
        raise DatasetError(f"{source} holds tables: of those, {told[0]} cannot be told, only lq and gt")
    return {name: value for name, value in further.items() if name in ("lq", "gt")}


def _holds_tables_at_hub(source: str, revision: str | None) -> bool:
    return any(file.suffix in TABLES for file in find_tree(source, revision=revision).files)


def _by_repository() -> dict[str, str]:
    """The names of the data sets that load by name, by their repositories: terms and layouts come with them."""
    configs = {name: entry.builder.BUILDER_CONFIGS[0] for name, entry in SOURCES.items()}
    return {
        config.repository: name for name, config in configs.items() if getattr(config, "repository", None)
    }


def check_apart(output: Path, *sources: str | None) -> None:
    """Refuse an output folder that holds its source, or lies in it.

    Raises:
        DatasetError: naming both.
    """
    made = output.expanduser().resolve()
    for source in filter(None, sources):
        there = Path(source).expanduser().resolve()
        if there.is_dir() and (there.is_relative_to(made) or made.is_relative_to(there)):
            raise DatasetError(f"{output} and its source {source} overlap: choose an --output outside of it")


def open_splits(
    source: str,
    config: str | None = None,
    *,
    revision: str | None = None,
    data_dir: str | None = None,
    told: Told | None = None,
) -> dict[str, Dataset]:
    """Load the splits of a data set, undecoded rows that may point into archives.

    Args:
        source: a name, a repository or a folder.
        config: a part of it.
        revision: of the repository.
        data_dir: a copy on disk.
        told: what is known of its pictures; see `told.Told`.

    Raises:
        DatasetError: if it holds no pairs.
        HubError: if the repository or revision cannot be had.
    """
    folder = _folder_of_tables(source, revision)
    if folder is not None:
        # A cache folder of the data set's own: by its name rows from the Hub are known for what they are.
        cache = (
            None
            if Path(source).is_dir()
            else f"{config_datasets.HF_DATASETS_CACHE}/{source.replace('/', '___')}"
        )
        files = parquet_files(folder, config).items()
        return {
            split: Dataset.from_parquet([str(path) for path in paths], cache_dir=cache)
            for split, paths in files
        }
    builder = _builder(source, revision, data_dir, config, told)
    builder.download_and_prepare()
    return dict(builder.as_dataset())


def open_parts(
    source: str,
    config: str | None = None,
    *,
    revision: str | None = None,
    data_dir: str | None = None,
    told: Told | None = None,
) -> tuple[dict[str, list[Part]], Path | None]:
    """Open a data set part by part; Parquet files are read where they are, without a copy in the cache.

    Returns:
        The parts of each split, and the folder of the Parquet files if it is such.
    """
    folder = _folder_of_tables(source, revision)
    if folder is not None:
        return parquet_parts(folder, config, reads_disk=Path(source).is_dir()), folder
    splits = open_splits(source, config, revision=revision, data_dir=data_dir, told=told)
    return {split: dataset_parts(rows, SHARD_BYTES) for split, rows in splits.items()}, None


def _folder_of_tables(source: str, revision: str | None) -> Path | None:
    """The folder, on disk or downloaded, if the data set consists of Parquet files of the pair schema."""
    if source in SOURCES:
        return None
    if Path(source).is_dir():
        return Path(source) if _are_pairs(sorted(Path(source).rglob("*.parquet"))) else None
    tree = find_tree(source, revision=revision)
    if not any(file.suffix == ".parquet" for file in tree.files):
        return None
    folder = hub.snapshot(
        source, repo_type="dataset", revision=revision, allow_patterns=["*.parquet", "SHA256SUMS"]
    )
    hub.check_hashes(folder)
    return folder if _are_pairs(sorted(folder.rglob("*.parquet"))) else None


def _are_pairs(tables: list[Path]) -> bool:
    """Whether there are tables, of the pair schema; others are read by what their columns say."""
    names = {"id", "lq", "gt", "source"}
    return bool(tables) and all(names <= set(pq.read_schema(path).names) for path in tables)
