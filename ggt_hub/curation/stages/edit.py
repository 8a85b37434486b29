"""Generators restore photographs: so many candidates each, every one a question of its own."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from annotated_types import Ge, Le

from ggt_hub.curation.generators.canvas import Box, off_canvas, on_canvas, size_of
from ggt_hub.curation.marks import mark_of_a_model
from ggt_hub.curation.stage import Context, Deciding, Dropped, Later, Outcome, Row, Split
from ggt_hub.curation.stages.asking import unanswered
from ggt_hub.errors import ModelClosedError
from ggt_hub.vlm import Asker, Question
from ggt_hub.vlm.asking import at_once


@dataclass(frozen=True)
class Edit(Deciding):
    """Candidates of each photograph by each generator; the files as they came are in the ledger.

    Attributes:
        candidates: of one photograph by one generator.
    """

    candidates: Annotated[int, Ge(1), Le(1000)] = 2

    name: ClassVar[str] = "edit"
    needs: ClassVar[tuple[str, ...]] = ("lq", "prompt")
    gives: ClassVar[Mapping[str, pa.DataType]] = {
        "candidate": pa.large_binary(),
        "generator": pa.string(),
        "drawn_by": pa.string(),
        "question": pa.string(),
        "mark": pa.string(),
    }
    edits: ClassVar[bool] = True

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Go on with each candidate as a row of its own; what a model refuses is counted, and nothing hides it."""
        parts: list[dict[str, Any]] = [{} for _ in rows]
        for name, asker in context.generators.items():
            wanted = [(place, n) for place in range(len(rows)) for n in range(self.candidates)]
            outcomes = at_once(
                partial(self._drawn, name, asker),
                [(rows[place], n) for place, n in wanted],
                asker.workers,
                f"{self.name}, {name}",
                "candidate",
            )
            for (place, n), outcome in zip(wanted, outcomes, strict=True):
                parts[place][f"{name}-{n}"] = outcome
        return [Split(one) for one in parts]

    def questions(self, rows: int) -> int:
        """One for each candidate."""
        return rows * self.candidates

    def _drawn(self, name: str, asker: Asker, wanted: tuple[Row, int]) -> Mapping[str, Any] | Dropped | Later:
        return drawn(name, asker, *wanted)


def drawn(name: str, asker: Asker, row: Row, number: int) -> Mapping[str, Any] | Dropped | Later:
    """A candidate of a photograph, as the columns that `Edit` gives, or why there is none.

    Args:
        name: of the generator.
        asker: who asks it.
        row: with `lq` and `prompt`.
        number: of the candidate; another one is another question.
    """
    service: Any = asker.service
    question, box = asked(row, asker)
    try:
        entry = asker.ask(question, (number, 0))
    except ModelClosedError as error:  # the others may go on
        warnings.warn(str(error), stacklevel=2)
        return Later(f"{name}: its quota is used up", str(error))
    if entry.state != "answered":
        outcome = unanswered(entry)
        named = re.match(r"[A-Z_]{4,}", entry.reason or "")  # as providers name their reasons
        return replace(outcome, reason=f"{name}: {named[0] if named else outcome.reason}")
    return {
        "candidate": off_canvas(entry.pictures[0], box),
        "generator": name,
        "drawn_by": service.model,
        "question": asker.key(question, (number, 0)),
        "mark": mark_of_a_model(entry.pictures[0]) or "",
    }


def asked(row: Row, asker: Asker) -> tuple[Question, Box | None]:
    """What a generator is asked about a photograph (`lq`, `prompt`), and where that lies on the canvas."""
    service: Any = asker.service
    shown, box = on_canvas(row["lq"], service.canvas(size_of(row["lq"])))
    return Question(row["prompt"], pictures=(shown,)), box
