"""From what a person names on the command line (a name, a repository, a folder) to its rows."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from datasets import config as config_datasets
from pyarrow.parquet import read_metadata

from ggt_hub import hub
from ggt_hub.data.guard import guard_uploads
from ggt_hub.data.reading.loading import SOURCES, find_builder, load_dataset_builder
from ggt_hub.data.reading.parts import SHARD_BYTES, Part, dataset_parts, parquet_files, parquet_parts
from ggt_hub.data.recognising.pairing import tells_sides
from ggt_hub.data.recognising.told import Told
from ggt_hub.data.sources.folder import PairFolder, is_pair_folder
from ggt_hub.data.sources.lmdbs import PairLmdb
from ggt_hub.data.sources.tables import TABLES, PairTables, are_pairs
from ggt_hub.data.storage.trees import find_tree, parquet_below
from ggt_hub.errors import DatasetError
from ggt_hub.files import list_pictures


def open_builder(
    source: str,
    revision: str | None,
    data_dir: str | None,
    config: str | None = None,
    told: Told | None = None,
) -> Any:
    """The builder of a data set; arguments as for `open_splits`."""
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
        files = parquet_files(folder, config)
        filled = {
            split: of for split, of in files.items() if any(read_metadata(path).num_rows for path in of)
        }
        if not filled:
            raise DatasetError(f"{source} holds no pairs: there are no rows in its tables")
        return {
            split: Dataset.from_parquet([str(path) for path in paths], cache_dir=cache)
            for split, paths in filled.items()
        }
    builder = open_builder(source, revision, data_dir, config, told)
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
        return Path(source) if are_pairs(parquet_below(Path(source))) else None
    tree = find_tree(source, revision=revision)
    if not any(file.suffix == ".parquet" for file in tree.files):
        return None
    folder = hub.snapshot(
        source, repo_type="dataset", revision=revision, allow_patterns=["*.parquet", "SHA256SUMS"]
    )
    hub.check_hashes(folder)
    return folder if are_pairs(parquet_below(folder)) else None


def find_pairs(folder: Path, told: Told | None = None) -> dict[str, Dataset]:
    """The splits of a folder of pairs; none for a folder of single pictures.

    Raises:
        DatasetError: if there are pairs, by the names or by what is told, that cannot be read.
    """
    has_tables = bool(parquet_below(folder))
    if not (told or has_tables or is_pair_folder(folder)):
        return {}
    try:
        return open_splits(str(folder.resolve()), told=told)
    except DatasetError:
        # A text file beside single pictures looks like a manifest; names like lq and gt leave no doubt.
        pictures = [] if told or has_tables else list_pictures(folder)
        if not pictures or tells_sides(path.relative_to(folder).as_posix() for path in pictures):
            raise
        return {}


def training_rows(splits: dict[str, Dataset], source: str) -> Dataset:
    """The split to learn from: `train`, or the only one that there is.

    Raises:
        DatasetError: if there are several of other names, or it has no rows.
    """
    if "train" not in splits and len(splits) > 1:
        raise DatasetError(f"{source} has no split train, only {', '.join(splits)}: name data to train on")
    rows = splits["train"] if "train" in splits else next(iter(splits.values()))
    if not len(rows):
        raise DatasetError(f"{source} holds no rows to train on")
    return rows
