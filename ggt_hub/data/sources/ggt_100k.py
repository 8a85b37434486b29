"""GGT-100K: 103,707 real low-quality photographs with generated ground truth, and 500 test pairs.

Kong, Zhao, Sun, Wu, Zhang, "GGT-100K: Generative Ground Truth for Generalizable Real-World Image Restoration",
arXiv 2605.31039. It lies on the Hub as zip archives that may not be re-hosted; the rows point into them.
"""

import logging
from dataclasses import replace
from functools import cache
from pathlib import Path

import datasets

from ggt_hub import hub
from ggt_hub.data.pairs import POINTER_FEATURES
from ggt_hub.data.recognising.inventory import WEIGHTS_FOLDER
from ggt_hub.data.sources.index import fault_of, read_summary
from ggt_hub.data.sources.indexed import IndexedConfig, IndexedPairs
from ggt_hub.data.storage.trees import Tree
from ggt_hub.data.terms import NOTES
from ggt_hub.errors import DatasetError, HubError

REPOSITORY = "VCLab-PolyU/GGT-100K"
INDEX_REPOSITORY = "ggt-hub/ggt-100k"
_NOTE = NOTES["ggt-100k"]
CATEGORIES = ("general", "rain", "haze", "snow", "low_light", "old_photo")
_FOLDER, _EXISTING = "GGT-100K", "Existing-dataset"

logger = logging.getLogger(__name__)


def _config(name: str, task: str | None = None, folder: str = _FOLDER) -> IndexedConfig:
    return IndexedConfig(name=name, version="1.0.0", task=task, folder=folder, repository=REPOSITORY)


class GGT100K(IndexedPairs):
    """Pairs of GGT-100K: `all`, one config for each category, and `existing` for the data sets beside it."""

    BUILDER_CONFIGS = (
        _config("all"),
        *(_config(task, task) for task in CATEGORIES),
        _config("existing", folder=_EXISTING),
    )
    DEFAULT_CONFIG_NAME = "all"
    NAME = "ggt-100k"

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Real low-quality photographs with generated ground truth: pointers into the archives of "
            "the authors.",
            features=POINTER_FEATURES,
            homepage=_NOTE.url,
            citation=_NOTE.citation,
            license=_NOTE.licence,
        )

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        _show_licence()
        return super()._split_generators(dl_manager)

    def choose_part(self, tree: Tree) -> Tree:
        """The asked-for folder; of a copy without it, everything but what is not GGT-100K."""
        part = tree.under(self.config.folder)
        if part.files or self.config.folder != _FOLDER:
            return part
        others = tuple(f for f in tree.files if f.path.split("/")[0] not in (_EXISTING, WEIGHTS_FOLDER))
        return replace(tree, files=others)

    def _build(self, folder: Path) -> Path:
        return self._published() or super()._build(folder)

    def _published(self) -> Path | None:
        """The published index, if there is one of the commit that is asked for."""
        config = self.config
        if (
            config.data_dir
            or config.repository != REPOSITORY
            or config.folder != _FOLDER
            or config.by_order
            or config.told
        ):
            return None
        try:
            folder = hub.snapshot(INDEX_REPOSITORY, repo_type="dataset", revision="main", token=self.token)
            hub.check_hashes(folder)
            summary = read_summary(folder)
        except (HubError, DatasetError) as error:
            logger.info("There is no published index to use: %s", error)
            return None
        if summary["commit"] != config.revision:
            return None
        if fault := fault_of(folder, f"hf://datasets/{REPOSITORY}@{config.revision}/"):
            logger.warning("The published index %s is not used: %s", INDEX_REPOSITORY, fault)
            return None
        return folder


@cache
def _show_licence() -> None:
    logger.warning(
        "%s is licensed %s: no commercial use, and no converted or filtered copies may be shared. See %s",
        _NOTE.title,
        _NOTE.licence,
        _NOTE.url,
    )
