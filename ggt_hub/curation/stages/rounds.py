"""Candidates in rounds: a model looks at each attempt, and the next one is told what was wrong with it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa
from annotated_types import Ge
from pydantic import BaseModel, Field

from ggt_hub.curation.stage import Context, Deciding, Dropped, Later, Outcome, Role, Row, Split
from ggt_hub.curation.stages.asking import unanswered
from ggt_hub.curation.stages.edit import Edit, drawn
from ggt_hub.curation.words import words
from ggt_hub.curation.zooms import Pixels, whole
from ggt_hub.errors import ImageError
from ggt_hub.images.shown import png, png_rgb, shown_rgb
from ggt_hub.metrics.checks import chromaticity_drift, ssim_at_192
from ggt_hub.vlm import Asker, Question
from ggt_hub.vlm.asking import at_once
from ggt_hub.vlm.structured import ask_structured


class Comparison(BaseModel):
    """What is said of all attempts so far; see `words/attempts.yaml`."""

    redo: bool
    best: Annotated[int, Field(ge=1)]
    defect: str


@dataclass(frozen=True)
class EditInRounds(Deciding):
    """The best of some attempts, each made of the photograph, with an instruction that names the last defect.

    HarnessIR's loop: the model that looks sees the photograph, every attempt and two numbers of each, never an
    instruction; it says whether to try again, which attempt is best, and what is wrong with that one.

    Attributes:
        rounds: attempts of one photograph by one generator, at most.
        side: of the pictures shown, in pixels.
    """

    rounds: Annotated[int, Ge(1)] = 3
    side: Annotated[int, Ge(64)] = 1024

    name: ClassVar[str] = "edit-in-rounds"
    tokens: ClassVar[int] = 512
    temperature: ClassVar[float] = 0.2
    needs: ClassVar[tuple[str, ...]] = ("lq", "prompt", "category")
    gives: ClassVar[Mapping[str, pa.DataType]] = {
        **Edit.gives,
        "prompt": pa.string(),
        "attempts": pa.string(),
    }
    asks: ClassVar[Role | None] = "vision"
    edits: ClassVar[bool] = True
    replies: ClassVar[type[BaseModel] | None] = Comparison
    words: ClassVar[tuple[str, ...]] = ("attempts", "judging")

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Go on with one row for each generator, with the instruction that its attempt had, and all verdicts."""
        parts: list[dict[str, Any]] = [{} for _ in rows]
        for name, asker in context.generators.items():
            work = partial(self._best, name, asker, context.asks)
            outcomes = at_once(work, rows, asker.workers, f"{self.name}, {name}", "photograph")
            for place, outcome in zip(parts, outcomes, strict=True):
                place[name] = outcome
        return [Split(one) for one in parts]

    def questions(self, rows: int) -> int:
        """One to the generator for each attempt, and as many about them."""
        return rows * self.rounds

    def _best(
        self, name: str, generator: Asker, eyes: Asker, row: Row
    ) -> Mapping[str, Any] | Dropped | Later:
        prompt, attempts, told = row["prompt"], [], []
        found: Mapping[str, Any] | Dropped | Later
        for number in range(self.rounds):
            found = drawn(name, generator, row | {"prompt": prompt}, number)
            if isinstance(found, Later):
                return found
            if isinstance(found, Dropped):
                continue  # refused: the same again, which is another question
            attempts.append(dict(found) | {"prompt": prompt})
            said = self._compared(row, attempts, eyes)
            if not isinstance(said, Comparison):
                return said
            told.append(said.model_dump())
            best = attempts[said.best - 1]
            if not said.redo:
                break
            prompt = words("attempts")["again"].format(prompt=row["prompt"], defect=said.defect)
        return best | {"attempts": json.dumps(told)} if attempts else found

    def _compared(
        self, row: Row, attempts: Sequence[Mapping[str, Any]], eyes: Asker
    ) -> Comparison | Dropped | Later:
        lq = png_rgb(row["lq"])
        try:
            shown = [shown_rgb(one["candidate"]) for one in attempts]
        except ImageError as error:
            return Dropped("unreadable candidate", str(error))
        told, rules = words("attempts"), words("judging")
        text = told["request"].format(
            count=len(shown),
            category=rules["categories"].get(row["category"], rules["categories"]["general"]),
            rule=rules["rules"].get(row["category"], rules["rules"]["general"]),
            numbers=" ".join(_numbers(number, lq, one) for number, one in enumerate(shown, 1)),
        )
        pictures = tuple(png(whole(one, self.side)) for one in (lq, *shown))
        said, entry = ask_structured(eyes, Question(text, told["system"], pictures), Comparison)
        if said is None:
            return unanswered(entry)
        if said.best > len(shown):
            return Dropped("no verdict", f"attempt {said.best} of {len(shown)}")
        return said


def _numbers(number: int, lq: Pixels, attempt: Pixels) -> str:
    """What HarnessIR measures of an attempt, in words."""
    if attempt.shape != lq.shape:
        attempt = np.asarray(cv2.resize(attempt, lq.shape[1::-1], interpolation=cv2.INTER_AREA))
    likeness, drift = (
        float(check(attempt[None], lq[None])[0]) for check in (ssim_at_192, chromaticity_drift)
    )
    return f"Attempt {number}: structure {likeness:.2f}, shift of colours {drift:.3f}."
