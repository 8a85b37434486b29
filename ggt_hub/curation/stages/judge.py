"""A vision-language model judges candidates beside their photograph, and is tried before it is believed."""

import hashlib
import heapq
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa
from annotated_types import Ge, Le
from numpy.typing import NDArray
from pydantic import BaseModel

from ggt_hub.commit import commit_json
from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Learning, Outcome, Role, Row
from ggt_hub.curation.stages.asking import unanswered
from ggt_hub.curation.verdicts import Judgement, Scores, Verdict, judgement_of, scored
from ggt_hub.curation.words import words
from ggt_hub.curation.zooms import details, whole
from ggt_hub.errors import JudgeError
from ggt_hub.images.shown import png, png_rgb
from ggt_hub.vlm import Asker, Question
from ggt_hub.vlm.asking import at_once
from ggt_hub.vlm.ledger import Entry
from ggt_hub.vlm.structured import ask_structured

Pixels = NDArray[np.uint8]
Score = Annotated[float, Ge(0), Le(100)]

AUDIT = "audit.json"
_CANDIDATE = re.compile(r"/[^/@]+(?=(/@[^/]+)?$)")
NOT_THE_BEST = "another candidate is better"


@dataclass(frozen=True)
class Judge(Learning, Deciding):
    """Sees the photograph, then its candidates in random order, whole and in details, and never a prompt.

    Before anything else it is tried on pairs that were planted: the photograph itself, and another scene. One that
    accepts too many of these judges nothing.

    Attributes:
        removed: least D: how much of the damage has to be gone.
        faithful: least F.
        details: where a candidate is least like its photograph.
        side: of the pictures shown, in pixels.
        audited: photographs of which pairs are planted, two each; 0 for none.
        caught: least share of planted pairs that it has to refuse.
    """

    removed: Score = 60.0
    faithful: Score = 80.0
    details: Annotated[int, Ge(1)] = 3
    side: Annotated[int, Ge(64)] = 1024
    audited: Annotated[int, Ge(0)] = 20
    caught: Annotated[float, Ge(0), Le(1)] = 0.9

    name: ClassVar[str] = "judge"
    tokens: ClassVar[int] = 2048
    needs: ClassVar[tuple[str, ...]] = ("lq", "gt", "category", "generator")
    gives: ClassVar[Mapping[str, pa.DataType]] = {"judgement": pa.string()}
    asks: ClassVar[Role | None] = "vision"
    replies: ClassVar[type[BaseModel] | None] = Judgement
    words: ClassVar[tuple[str, ...]] = ("judging",)

    def questions(self, rows: int) -> int:
        """One for each photograph, and those that try the judge."""
        return rows + 2 * min(self.audited, rows)

    def learn(self, rows: Iterable[Row], context: Context, working: Path, folder: Path) -> dict[str, Any]:
        """What comes of the planted pairs, each with its verdict, in `audit.json`.

        Raises:
            JudgeError: if too many were accepted.
        """
        drawn = heapq.nsmallest(self.audited, rows, key=lambda row: _draw(context.seed, row["id"]))
        asker = context.asks
        found = at_once(
            lambda one: self._tried(*one, asker), _planted(drawn), asker.workers, "trying the judge", "pair"
        )
        counts = {
            state: sum(one["state"] == state for one in found) for state in ("caught", "missed", "unanswered")
        }
        told = counts["caught"] + counts["missed"]
        if told and counts["caught"] < self.caught * told:
            raise JudgeError(
                f"{asker.service.model} accepts {counts['missed']} of {told} pairs that were planted (nothing "
                "changed, or another scene), so nothing that it says is used: choose another model for "
                "models.vision, or lower judge.caught"
            )
        commit_json(folder / AUDIT, {**counts, "pairs": found})
        return counts

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Of each photograph keep the best candidate that suffices, with what was said of it as JSON."""
        of_photograph = defaultdict(list)
        for row in rows:
            of_photograph[photograph_of(row)].append(row)
        asker = context.asks
        outcomes: dict[str, Outcome] = {}
        for found in at_once(
            lambda group: self._judged(group, context.seed, asker),
            of_photograph.values(),
            asker.workers,
            self.name,
            "photograph",
        ):
            outcomes |= found
        return [outcomes[row["id"]] for row in rows]

    def _judged(self, group: list[Row], seed: int, asker: Asker) -> dict[str, Outcome]:
        """The outcome of each candidate of a photograph, by its id."""
        shown = sorted(group, key=lambda row: _draw(seed, row["id"]))
        pairs = [(png_rgb(row["lq"]), png_rgb(row["gt"])) for row in shown]
        judgement, entry = self._ask(pairs, shown[0]["category"], asker)
        if judgement is None:
            return {row["id"]: unanswered(entry) for row in shown}
        verdicts = judgement.by_number
        scores = [
            scored(verdict, self.removed, self.faithful, is_same=np.array_equal(*pair))
            for verdict, pair in zip(verdicts, pairs, strict=True)
        ]
        best = _best(scores, judgement.best_index - 1)
        return {
            row["id"]: _outcome(scores[n], _told(verdicts[n], scores[n], len(shown)), is_best=n == best)
            for n, row in enumerate(shown)
        }

    def _tried(self, kind: str, row: Row, gt: Pixels, asker: Asker) -> dict[str, Any]:
        """What the judge says of a planted pair; its own words count, not what the pixels say."""
        judgement, _ = self._ask([(png_rgb(row["lq"]), gt)], row["category"], asker)
        if judgement is None:
            return {"id": row["id"], "planted": kind, "state": "unanswered"}
        scores = scored(judgement.candidates[0], self.removed, self.faithful)
        state = "caught" if scores.refused else "missed"
        return {"id": row["id"], "planted": kind, "state": state, **scores.told()}

    def _ask(
        self, pairs: Sequence[tuple[Pixels, Pixels]], category: str, asker: Asker
    ) -> tuple[Judgement | None, Entry]:
        """What is said of candidates, each with its photograph as it was cut with it."""
        told = words("judging")
        text = told["request"].format(
            count=len(pairs),
            details=self.details,
            category=told["categories"].get(category, told["categories"]["general"]),
            rule=told["rules"].get(category, told["rules"]["general"]),
        )
        pictures = [whole(pairs[0][0], self.side)]
        for lq, gt in pairs:
            pictures += [whole(gt, self.side), details(lq, gt, self.details)]
        question = Question(text, told["system"], tuple(map(png, pictures)))
        return ask_structured(asker, question, judgement_of(len(pairs)))


def photograph_of(row: Mapping[str, Any]) -> str:
    """The id of what a candidate was made of; of a patch, which follows the candidate, its place as well."""
    return _CANDIDATE.sub("", str(row["id"]), count=1)


def _planted(drawn: Sequence[Row]) -> list[tuple[str, Row, Pixels]]:
    """Of each row the photograph itself, and a candidate of another one, as candidates."""
    found = [("unchanged", row, png_rgb(row["lq"])) for row in drawn]
    for row, other in pairwise([*drawn, *drawn[:1]]):
        if photograph_of(row) != photograph_of(other):
            height, width = png_rgb(row["lq"]).shape[:2]
            scene = cv2.resize(png_rgb(other["gt"]), (width, height), interpolation=cv2.INTER_AREA)
            found.append(("another scene", row, scene))
    return found


def _draw(seed: int, name: str) -> str:
    """By which rows are put in an order that is random and always the same."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def _best(scores: Sequence[Scores], favourite: int) -> int | None:
    """Of the candidates that suffice the judge's favourite, or the one with the highest DF."""
    good = [n for n, one in enumerate(scores) if not one.refused]
    if favourite in good:
        return favourite
    return max(good, key=lambda n: scores[n].df, default=None)


def _told(verdict: Verdict, scores: Scores, count: int) -> str:
    """What is kept of a verdict: all of it, what follows from it, and among how many it stood."""
    said = verdict.model_dump()
    return json.dumps({**scores.told(), "of": count, "said": said}, ensure_ascii=False)


def _outcome(scores: Scores, told: str, *, is_best: bool) -> Outcome:
    if scores.refused:
        return Dropped(f"judge: {scores.refused}", told)
    return Kept({"judgement": told}) if is_best else Dropped(NOT_THE_BEST, told)
