"""The builder behind all datasets that are read in place: rows point at pictures in archives or in a folder."""

import hashlib
import logging
from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets.builder import Key

from ggt_hub import hub
from ggt_hub.commit import locked
from ggt_hub.data.pairs import POINTER_FEATURES
from ggt_hub.data.recognising.inventory import look_into
from ggt_hub.data.recognising.told import Told
from ggt_hub.data.sources.index import build_index, explain_refused, fault_of, lost_tasks, read_summary
from ggt_hub.data.sources.versions import with_version
from ggt_hub.data.storage.trees import Tree, hub_tree, local_tree
from ggt_hub.errors import DatasetError

SPLITS = ("train", "validation", "test")
# Rows in a shard: neighbours in an archive, so that their bytes come in few requests however shards are shuffled.
BLOCK = 64

Block = tuple[str, int, int, int]

logger = logging.getLogger(__name__)


@dataclass
class IndexedConfig(datasets.BuilderConfig):
    """Which part of a dataset, and of which version.

    Attributes:
        task: one task, or None for all.
        folder: the part of the repository that holds the data, "" for all of it.
        repository: its id; without effect where there is a `data_dir`.
        revision: its commit or, of a folder, a digest of what is in it; found out if not given.
        max_pairs: at most so many rows in a split, spread evenly over the tasks.
        validation: the share of the training pairs to set apart as split `validation`, chosen by their ids.
        by_order: pair by order where names do not tell; see `pairing.pair_up`.
        lq, gt, include, exclude, template: which pictures count and which side they are; see `told.Told`.
    """

    task: str | None = None
    folder: str = ""
    repository: str | None = None
    revision: str | None = None
    max_pairs: int | None = None
    validation: float = 0.0
    by_order: bool = False
    lq: str | None = None
    gt: str | None = None
    include: str | None = None
    exclude: str | None = None
    template: str | None = None

    @property
    def told(self) -> Told:
        """What was told of the pictures."""
        return Told(self.lq, self.gt, self.include, self.exclude, self.template)

    def check(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            DatasetError: naming the one, and its range.
        """
        if self.max_pairs is not None and self.max_pairs < 1:
            raise DatasetError(f"max_pairs={self.max_pairs} leaves nothing: give 1 or more, or None for all")
        if not 0 <= self.validation < 1:
            raise DatasetError(
                f"validation={self.validation} is no share of the training pairs: give 0 up to 1"
            )


class IndexedPairs(datasets.ArrowBasedBuilder, ABC):
    """Rows that point at the pictures of a dataset, on the Hub at one commit or in `data_dir`."""

    BUILDER_CONFIG_CLASS = IndexedConfig
    NAME = "pairs"
    is_refreshed = False
    """Whether to make the index anew though there is one (`download_mode="force_redownload"`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **with_version(self.NAME, self.BUILDER_CONFIGS[0].repository, kwargs))
        if self.config.data_dir is None:
            hub.remember_token(self.config.repository, self.token)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=POINTER_FEATURES)

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        self.config.check()
        index = self.index()
        summary = read_summary(index)
        counts, refused = summary["rows"], summary["refused"]
        if refused and (self.config.task is None or self.config.task in lost_tasks(refused)):
            raise DatasetError(explain_refused(summary["repository"], refused) + self._what_is_left(counts))
        tasks = [task for task in counts if self.config.task in (None, task)]
        if not tasks:
            raise DatasetError(
                f"{self.dataset_name} at {self.config.revision[:8]} has no pairs of {self.config.task!r}; it has "
                f"{', '.join(sorted(counts))}"
            )
        there = {split for task in tasks for split in counts[task]}
        if self.config.validation:
            there.add("validation")
        sizes = {(split, task): counts[task].get(split, 0) for split in SPLITS for task in tasks}
        return [self._split(name, index, sizes) for name in SPLITS if name in there]

    def _what_is_left(self, counts: dict[str, Any]) -> str:
        configs = [config.name for config in self.BUILDER_CONFIGS if config.task in counts]
        return f"\nConfigs that can be loaded: {', '.join(configs)}" if configs else ""

    def _split(self, name: str, index: Path, sizes: dict[tuple[str, str], int]) -> datasets.SplitGenerator:
        """List the blocks of a split; rows of `train` that belong to `validation` are told apart one by one."""
        files = {name, "train"} if name == "validation" and self.config.validation else {name}
        rows = {
            f"{index}/data/{task}/{file}.parquet": n
            for (file, task), n in sizes.items()
            if file in files and n
        }
        taken = _spread(rows, self.config.max_pairs)
        blocks = [block for path, count in taken.items() for block in _blocks(path, count)]
        return datasets.SplitGenerator(name=name, gen_kwargs={"blocks": blocks, "split": name})

    def _generate_tables(self, blocks: list[Block], split: str) -> Iterator[tuple[Key, pa.Table]]:
        for number, (path, group, start, stop) in enumerate(blocks):
            table = _row_group(path, group).slice(start, stop - start)
            if self.config.validation and Path(path).stem == "train":
                table = table.filter(_chosen(table["id"], self.config.validation, split == "validation"))
            if len(table):
                yield Key(number, 0), table

    def index(self) -> Path:
        """The folder of the index (see `index.py`); built on first use and cached by version."""
        config = self.config
        key = hashlib.sha256(
            f"{config.folder} {config.by_order} {config.told} {self.hash}".encode()
        ).hexdigest()[:16]
        folder = Path(self._cache_dir_root) / "ggt_hub_indexes" / f"{self.name}-{config.revision[:16]}-{key}"
        with locked(folder.with_suffix(".lock"), waits=True):  # the workers of a loader come here all at once
            if folder.is_dir() and not self.is_refreshed:
                fault = fault_of(folder)
                if fault is None:
                    return folder
                logger.warning(
                    "The index of %s in the cache is damaged and made anew: %s", self.dataset_name, fault
                )
            self.is_refreshed = False
            return self._build(folder)

    def _build(self, folder: Path) -> Path:
        contents = look_into(self.tree(), self.token)
        build_index(
            contents, folder, source=self.dataset_name, told=self.config.told, by_order=self.config.by_order
        )
        summary = read_summary(folder)
        for trouble in ("refused", "unpaired", "problems"):
            if listed := summary[trouble]:
                lines = "\n".join(map(str, listed))
                logger.warning("%s, %d %s:\n%s", self.dataset_name, len(listed), trouble, lines)
        return folder

    def tree(self) -> Tree:
        """The files that the dataset consists of.

        Raises:
            DatasetError: if there are none.
        """
        config = self.config
        at_hub = config.data_dir is None
        tree = (
            hub_tree(config.repository, config.revision, self.token)
            if at_hub
            else local_tree(config.data_dir)
        )
        part = self.choose_part(tree)
        if not part.files:
            raise DatasetError(f"{tree.name} has no files in {config.folder or 'it'!r}")
        return part

    def choose_part(self, tree: Tree) -> Tree:
        """The part of a tree that the config asks for."""
        return tree.under(self.config.folder) if self.config.folder else tree


@lru_cache(maxsize=4)
def _row_group(path: str, group: int) -> pa.Table:
    return pq.ParquetFile(path).read_row_group(group)


def _blocks(path: str, rows: int) -> list[Block]:
    """Cut the first `rows` rows of an index file into shards."""
    metadata, blocks = pq.read_metadata(path), []
    for group in range(metadata.num_row_groups):
        size = min(rows, metadata.row_group(group).num_rows)
        blocks += [(path, group, start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
        rows -= size
    return blocks


def _spread(sizes: dict[str, int], total: int | None) -> dict[str, int]:
    """Take at most `total` rows in all, as evenly as the sizes allow."""
    left, taken = sum(sizes.values()) if total is None else total, {}
    for place, (path, size) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
        taken[path] = min(size, left // (len(sizes) - place))
        left -= taken[path]
    return {path: taken[path] for path in sizes}


def _chosen(ids: pa.ChunkedArray, share: float, wanted: bool) -> pa.Array:
    """Which rows belong to the validation share, by their ids alone; or, if not `wanted`, which do not."""
    limit = share * 2**32
    hashes = [int.from_bytes(hashlib.sha256(pair_id.encode()).digest()[:4]) for pair_id in ids.to_pylist()]
    chosen = pa.array([value < limit for value in hashes], pa.bool_())
    return chosen if wanted else pc.invert(chosen)
