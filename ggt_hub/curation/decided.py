"""What a run has decided so far, read from its folder, for reports and calibration."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ggt_hub.curation.run import FUNNEL, LEARNED, RUN, TABLES
from ggt_hub.curation.stage import Beginning, Row
from ggt_hub.curation.stages import STAGES
from ggt_hub.curation.tables import read_columns, read_kept
from ggt_hub.errors import CurationError
from ggt_hub.shards import read_report


@dataclass(frozen=True)
class Decided:
    """A run, read.

    Attributes:
        folder: of the run.
        told: its `run.yaml`.
    """

    folder: Path
    told: dict[str, Any]

    @property
    def funnel(self) -> list[dict[str, Any]]:
        """What `funnel.json` says, of each stage.

        Raises:
            CurationError: if it is damaged.
        """
        path = self.folder / FUNNEL
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        except ValueError as error:
            raise CurationError(f"{path} is damaged ({error}): run again, which writes it anew") from error

    @property
    def stages(self) -> list[str]:
        """Those that have decided something, in order."""
        names = [next(iter(one)) for one in self.told["stages"]]
        return [name for name in names if any((self.folder / TABLES / name).glob("*.arrow"))]

    def settings(self, stage: str) -> dict[str, Any] | None:
        """Of a stage; None where the run has none of that name."""
        return next((one[stage] for one in self.told["stages"] if stage in one), None)

    def learned(self, stage: str) -> Path | None:
        """The folder of what a stage has learned last; None where it has learned nothing."""
        report = read_report(self.folder / TABLES, f"{stage}/learned.json")
        return self.folder / LEARNED / report["folder"] if report and "folder" in report else None

    def slices(self, stage: str) -> Iterator[list[Path]]:
        """Of each slice the tables up to a stage, from where its rows began."""
        before = self.stages[: self.stages.index(stage) + 1]
        begun = max(n for n, name in enumerate(before) if issubclass(STAGES[name], Beginning))
        for path in sorted((self.folder / TABLES / stage).glob("*.arrow")):
            yield [self.folder / TABLES / name / path.name for name in before[begun:]]

    def outcomes(
        self, stage: str, columns: Sequence[str], only: Collection[str] | None = None
    ) -> Iterator[Row]:
        """What a stage has decided of each row: `id`, `state`, `reason`, `detail`, and columns of it and before.

        Args:
            stage: its name; nothing where it has decided nothing yet.
            columns: see above.
            only: ids of some rows; None for all.
        """
        if stage not in self.stages:
            return
        for tables in self.slices(stage):
            own = read_columns(tables[-1], ["id", "parent", "state", "reason", "detail", *columns], only)
            parents = None if only is None else {row["parent"] for row in own}
            if parents == set():
                continue
            earlier = (
                {row["id"]: row for row in read_kept(tables[:-1], columns, parents)} if tables[1:] else {}
            )
            for row in own:
                before = earlier.get(row["parent"], {})
                yield before | {
                    name: value for name, value in row.items() if value is not None or name not in before
                }


def read_run(folder: Path) -> Decided:
    """Open the folder of a run.

    Raises:
        CurationError: if it is none.
    """
    try:
        told = yaml.safe_load((folder / RUN).read_text(encoding="utf-8"))
        known = all(next(iter(one)) in STAGES for one in told["stages"])
    except (OSError, yaml.YAMLError, TypeError, LookupError) as error:
        raise CurationError(f"{folder} is the folder of no run: {RUN} cannot be read") from error
    if not known:
        raise CurationError(f"{folder} is of a run with stages that this version does not have")
    return Decided(folder, told)
