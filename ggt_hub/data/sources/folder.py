"""Pairs of one's own: a folder with `lq/` and `gt/`, with telling file names, with archives, or with a manifest."""

from pathlib import Path

from ggt_hub.data.recognising.manifests import read_manifest
from ggt_hub.data.recognising.pairing import tells_sides
from ggt_hub.data.sources.indexed import IndexedConfig, IndexedPairs
from ggt_hub.data.sources.tables import TABLES, are_pairs
from ggt_hub.data.storage.archives import IMAGE_SUFFIXES, MANIFEST_SUFFIXES, list_members
from ggt_hub.data.storage.trees import File, local_tree, parquet_below
from ggt_hub.errors import DatasetError

# What the stock loaders know how to read; a folder that has any of it is theirs.
_STOCK_SUFFIXES = {".parquet", ".arrow", ".lance"}
_STOCK_NAMES = (
    "metadata.jsonl",
    "metadata.csv",
    "metadata.parquet",
    "dataset_info.json",
    "dataset_dict.json",
)


class PairFolder(IndexedPairs):
    """Pairs in a folder (`data_dir`), or in any dataset `repository` that holds plain files or zips."""

    BUILDER_CONFIGS = (IndexedConfig(name="default", version="1.0.0"),)


def is_pair_folder(folder: str | Path) -> bool:
    """Whether a folder holds pairs in a form that the stock library would take for single pictures."""
    files = local_tree(folder).files
    if any(_lists_pairs(file) for file in files if file.path in ("metadata.jsonl", "metadata.csv")):
        return True
    suffixes = {file.suffix for file in files}
    names = {Path(file.path).name for file in files}
    if suffixes & _STOCK_SUFFIXES or names & set(_STOCK_NAMES):
        return False
    pictures = [file.path for file in files if file.suffix in IMAGE_SUFFIXES]
    has_manifest = bool(pictures) and any(file.suffix in MANIFEST_SUFFIXES for file in files)
    tars = [file for file in files if file.suffix == ".tar"]
    return tells_sides(pictures) or has_manifest or ".zip" in suffixes or any(map(_holds_samples, tars[:1]))


def holds_tables(folder: str | Path) -> bool:
    """Whether a folder holds tables: of pairs, which pictures may illustrate, or others and no pictures."""
    suffixes = {file.suffix for file in local_tree(folder).files}
    if not suffixes & (IMAGE_SUFFIXES | {".zip", ".tar"}):
        return bool(suffixes & set(TABLES))
    return are_pairs(parquet_below(Path(folder)))


def _holds_samples(tar: File) -> bool:
    """Whether a WebDataset archive holds pairs (`0001.lq.png`, `0001.gt.png`) and not single pictures."""
    try:
        return tells_sides(member.name for member in list_members(tar)[0])
    except DatasetError:
        return False


def _lists_pairs(file: File) -> bool:
    """Whether the metadata of an image folder name two pictures in each row (`lq_file_name`, `gt_file_name`)."""
    try:
        return any(entry.gt for entry in read_manifest(file.path, Path(file.uri).read_bytes()))
    except DatasetError:
        return False
