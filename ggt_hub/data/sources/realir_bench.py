"""RealIR-Bench: 464 real degraded photographs of nine tasks, without ground truth.

The benchmark of RealRestorer (arXiv 2603.25502). It is published as Arrow files whose columns are not documented,
so they are recognised by type and name; a copy on disk may also be a folder with one sub-folder for each task.
"""

import datasets

from ggt_hub.data.pairs import PAIR_FEATURES
from ggt_hub.data.sources.tables import PairTables, TableConfig
from ggt_hub.data.terms import NOTES

NAME = "realir-bench"
REPOSITORY = "RealRestorer/RealIR-Bench"


class RealIRBench(PairTables):
    """The degraded photographs with their tasks; `gt` is null."""

    BUILDER_CONFIGS = (TableConfig(name="default", version="1.0.0", repository=REPOSITORY),)
    NAME = NAME

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Real degraded photographs of nine tasks, without ground truth.",
            features=PAIR_FEATURES,
            homepage=NOTES[NAME].url,
            license=NOTES[NAME].licence,
        )
