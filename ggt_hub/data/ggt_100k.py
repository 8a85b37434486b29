"""GGT-100K: 103,707 real low-quality photographs with generated ground truth, and 500 test pairs.

Kong, Zhao, Sun, Wu and Zhang, "GGT-100K: Generative Ground Truth for Generalizable Real-World Image Restoration",
arXiv 2605.31039. The dataset lies on the Hub as zip archives that may not be re-hosted; this builder gives rows
that point into them.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets.builder import Key

from ggt_hub import hub
from ggt_hub.data.contents import WEIGHTS_FOLDER, look_into
from ggt_hub.data.index import build_index, read_summary
from ggt_hub.data.pairs import POINTER_FEATURES
from ggt_hub.data.trees import Tree, hub_tree, local_tree
from ggt_hub.data.versions import code_hash
from ggt_hub.errors import DatasetError, HubError

SOURCE = "ggt-100k"
REPOSITORY = "VCLab-PolyU/GGT-100K"
INDEX_REPOSITORY = "ggt-hub/ggt-100k"
FOLDER, EXISTING = "GGT-100K", "Existing-dataset"
CATEGORIES = ("general", "rain", "haze", "snow", "low_light", "old_photo")
LICENCE = "cc-by-nc-nd-4.0"
# Rows in a shard: neighbours in an archive, so that their bytes come in few requests however shards are shuffled.
BLOCK = 64

Block = tuple[str, int, int, int]

logger = logging.getLogger(__name__)


@dataclass
class GGT100KConfig(datasets.BuilderConfig):
    """Which part of GGT-100K, and of which version.

    Attributes:
        task: one category, or None for all.
        folder: the part of the repository.
        repo_id: the repository.
        revision: its commit or, of a copy in `data_dir`, a digest of what is there; found out if not given.
        max_pairs: at most so many rows in a split, spread evenly over the categories.
        validation: the share of the training pairs to set apart as split `validation`, chosen by their ids.
        by_order: pair by order where names do not tell; see `pairing.pair_up`.
    """

    task: str | None = None
    folder: str = FOLDER
    repo_id: str = REPOSITORY
    revision: str | None = None
    max_pairs: int | None = None
    validation: float = 0.0
    by_order: bool = False


class GGT100K(datasets.ArrowBasedBuilder):
    """Rows of GGT-100K that point into its archives, on the Hub at one commit or in `data_dir`."""

    BUILDER_CONFIG_CLASS = GGT100KConfig
    BUILDER_CONFIGS = (
        GGT100KConfig(name="all", version="1.0.0"),
        *(GGT100KConfig(name=task, version="1.0.0", task=task) for task in CATEGORIES),
        GGT100KConfig(name="existing", version="1.0.0", folder=EXISTING),
    )
    DEFAULT_CONFIG_NAME = "all"

    def __init__(
        self, *args: Any, revision: str | None = None, data_dir: str | None = None, **kwargs: Any
    ) -> None:
        repo_id, token = kwargs.get("repo_id", REPOSITORY), kwargs.get("token")
        if data_dir is not None:
            revision = local_tree(data_dir).version
        else:
            revision = hub.resolve(repo_id, repo_type="dataset", revision=revision, token=token)
        kwargs = {"dataset_name": SOURCE, "hash": code_hash()} | {
            k: v for k, v in kwargs.items() if v is not None
        }
        super().__init__(*args, revision=revision, data_dir=data_dir, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Real low-quality photographs with generated ground truth, as pointers into the authors' "
            "archives.",
            features=POINTER_FEATURES,
            homepage=f"https://huggingface.co/datasets/{REPOSITORY}",
            license=LICENCE,
        )

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        _show_licence()
        index = self._index()
        counts = read_summary(index)["rows"]
        tasks = [task for task in counts if self.config.task in (None, task)]
        if not tasks:
            raise DatasetError(
                f"{SOURCE} at {self.config.revision[:8]} has no pairs of {self.config.task!r}; it has "
                f"{', '.join(sorted(counts))}"
            )
        found = dict.fromkeys(("train", "validation", "test"))
        names = [name for name in found if any(name in counts[task] for task in tasks)]
        if self.config.validation and "validation" not in names:
            names.insert(names.index("train") + 1 if "train" in names else 0, "validation")
        return [self._split(name, index, counts, tasks) for name in names]

    def _split(
        self, name: str, index: Path, counts: dict[str, dict[str, int]], tasks: list[str]
    ) -> datasets.SplitGenerator:
        """The blocks of a split; a share of the training rows goes to `validation` row by row."""
        files = [name, "train"] if name == "validation" and self.config.validation else [name]
        sizes = {
            f"{index}/data/{t}/{f}.parquet": counts[t][f] for f in files for t in tasks if f in counts[t]
        }
        blocks = [
            block
            for path, rows in _spread(sizes, self.config.max_pairs).items()
            for block in _blocks(path, rows)
        ]
        return datasets.SplitGenerator(name=name, gen_kwargs={"blocks": blocks, "split": name})

    def _generate_tables(self, blocks: list[Block], split: str) -> Iterator[tuple[Key, pa.Table]]:
        for number, (path, group, start, stop) in enumerate(blocks):
            table = _row_group(path, group).slice(start, stop - start)
            if self.config.validation and Path(path).stem == "train":
                table = table.filter(_chosen(table["id"], self.config.validation, split == "validation"))
            if len(table):
                yield Key(number, 0), table

    def _index(self) -> Path:
        """The folder of the index: cached, published for this very commit, or built now."""
        config = self.config
        key = hashlib.sha256(f"{config.folder} {config.by_order} {self.hash}".encode()).hexdigest()[:16]
        name = Path(config.data_dir).name if config.data_dir else config.repo_id.replace("/", "--")
        cached = Path(self._cache_dir_root) / "ggt_hub_indexes" / f"{name}-{config.revision[:16]}-{key}"
        if cached.is_dir():
            return cached
        if published := self._published_index():
            return published
        contents = look_into(self._part(), self.token)
        summary = build_index(contents, cached, source=SOURCE, by_order=config.by_order)
        for trouble in ("unpaired", "problems"):
            if summary[trouble]:
                logger.warning(
                    "%s: %d %s:\n%s", SOURCE, len(summary[trouble]), trouble, "\n".join(summary[trouble])
                )
        return cached

    def _part(self) -> Tree:
        """The files of the wanted part; of a repository that is laid out otherwise, all but the other parts."""
        config = self.config
        tree = (
            local_tree(config.data_dir)
            if config.data_dir
            else hub_tree(config.repo_id, config.revision, self.token)
        )
        part = tree.under(config.folder)
        if part.files or config.folder != FOLDER:
            return part
        others = tuple(f for f in tree.files if f.path.split("/")[0] not in (EXISTING, WEIGHTS_FOLDER))
        return Tree(tree.name, tree.version, others)

    def _published_index(self) -> Path | None:
        """The published index, if there is one of the commit that is asked for."""
        config = self.config
        if config.data_dir or config.repo_id != REPOSITORY or config.folder != FOLDER or config.by_order:
            return None
        try:
            folder = hub.snapshot(INDEX_REPOSITORY, repo_type="dataset", token=self.token)
            summary = read_summary(folder)
        except (HubError, DatasetError) as error:
            logger.debug("No published index: %s", error)
            return None
        return folder if summary["commit"] == config.revision else None


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
    """Take at most `total` rows in all, as evenly as the sizes allow, the smallest first."""
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


@cache
def _show_licence() -> None:
    logger.warning(
        "GGT-100K is licensed %s: no commercial use, and no converted or filtered copies may be shared. "
        "See https://huggingface.co/datasets/%s",
        LICENCE,
        REPOSITORY,
    )
