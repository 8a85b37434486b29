"""People decide: what most of them keep goes on, and what they have not seen yet waits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pyarrow as pa
from annotated_types import Ge

from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Later, Outcome, Row


@dataclass(frozen=True)
class Reviewed(Deciding):
    """Keeps what most of its reviewers keep, by the labels in the folder of the run (`labels.jsonl`).

    A candidate is decided once labels that are still to come cannot change it. Who is unsure does not keep.

    Attributes:
        reviewers: people who look at each candidate.
    """

    reviewers: Annotated[int, Ge(1)] = 3

    name: ClassVar[str] = "reviewed"
    gives: ClassVar[Mapping[str, pa.DataType]] = {"review": pa.string()}
    reviews: ClassVar[bool] = True

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep, with how many people said what as JSON; drop; or wait for `curate review`."""
        return [self._decide(context.labels.get(row["id"], {})) for row in rows]

    def _decide(self, said: Mapping[str, int]) -> Outcome:
        given = sum(said.values())
        people = max(given, self.reviewers)
        keep, told = said.get("keep", 0), json.dumps(dict(sorted(said.items())))
        if keep > people / 2:
            return Kept({"review": told})
        if keep + people - given <= people / 2:
            return Dropped("reviewed: refused", told)
        return Later("to be reviewed", f"{given} of {self.reviewers}")
