"""The stages that ask a model in words: captions, prompts and their check, the inspection of pictures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pyarrow as pa
from annotated_types import Ge

from ggt_hub.curation.stage import (
    Beginning,
    Context,
    Deciding,
    Dropped,
    Kept,
    Later,
    Outcome,
    Role,
    Row,
    Seed,
)
from ggt_hub.curation.words import words
from ggt_hub.data.batches import batched
from ggt_hub.vlm import Asker, Question
from ggt_hub.vlm.asking import at_once
from ggt_hub.vlm.judge import png_for_rating
from ggt_hub.vlm.ledger import Entry
from ggt_hub.vlm.structured import NOT_AS_ASKED

_LINE = re.compile(r"^\W*(\d+)\s*[.):\-]\s*(.+?)\s*$", re.MULTILINE)
_YES_OR_NO = re.compile(r"\W*(yes|no)\b[\s:.,*-]*(.*)", re.IGNORECASE | re.DOTALL)
_VERDICT = re.compile(r"\W*(keep|remove)\b[\s:.,*-]*(.*)", re.IGNORECASE | re.DOTALL)


def ask_all(asker: Asker, title: str, questions: Sequence[tuple[Question, int]]) -> list[Entry]:
    """What is known of each question; the number tells repeats of the same words apart."""
    return at_once(lambda one: asker.ask(one[0], [one[1], 0]), questions, asker.workers, title, "question")


def unanswered(entry: Entry) -> Dropped | Later:
    """What becomes of a row whose question has no answer."""
    if entry.state == "in a batch":
        return Later("in a batch", "ggt-hub curate fetch brings it")
    if entry.state == "possibly billed":
        return Later("possibly billed", f"{entry.reason}; --ask-again asks it again")
    reason = entry.reason or ""
    return Dropped(NOT_AS_ASKED if reason.startswith(NOT_AS_ASKED) else "the model refuses", reason)


@dataclass(frozen=True)
class Caption(Deciding):
    """A vision-language model describes each photograph."""

    name: ClassVar[str] = "caption"
    needs: ClassVar[tuple[str, ...]] = ("photograph",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {"caption": pa.string()}
    asks: ClassVar[Role | None] = "vision"
    words: ClassVar[tuple[str, ...]] = ("captions",)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep what it describes."""
        told = words("captions")
        asked = [
            (Question(told["request"], told["system"], (png_for_rating(row["photograph"]),)), 0)
            for row in rows
        ]
        return [self._decide(entry) for entry in ask_all(context.asks, self.name, asked)]

    def _decide(self, entry: Entry) -> Outcome:
        if entry.state != "answered":
            return unanswered(entry)
        caption = " ".join((entry.content or "").split())
        return Kept({"caption": caption}) if caption else Dropped("an empty caption")


@dataclass(frozen=True)
class WritePrompts(Beginning):
    """A language model writes prompts of scenes, under rules.

    Attributes:
        count: prompts.
        at_once: prompts in one question.
    """

    count: Annotated[int, Ge(1)]
    at_once: Annotated[int, Ge(1)] = 10

    name: ClassVar[str] = "write-prompts"
    tokens: ClassVar[int] = 1024
    temperature: ClassVar[float] = 1
    gives: ClassVar[Mapping[str, pa.DataType]] = {"prompt": pa.string(), "topic": pa.string()}
    asks: ClassVar[Role | None] = "language"
    words: ClassVar[tuple[str, ...]] = ("scenes",)

    def seeds(self, source: str) -> list[Seed]:
        """One for each prompt: its number, its question and its line there."""
        return [
            Seed(f"prompt-{n:07d}", str(n), (n // self.at_once, n % self.at_once)) for n in range(self.count)
        ]

    def questions(self, rows: int) -> int:
        """One for several prompts."""
        return -(-rows // self.at_once)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep the lines that were written; the topics come in turn."""
        told = words("scenes")
        numbers = [*dict.fromkeys(row["seed"][0] for row in rows)]
        topics = {number: told["topics"][number % len(told["topics"])] for number in numbers}
        asked = [(Question(self._request(topics[number]), told["system"]), number) for number in numbers]
        entries = dict(zip(numbers, ask_all(context.asks, self.name, asked), strict=True))
        lines = {number: _lines(entry) for number, entry in entries.items()}
        outcomes: list[Outcome] = []
        for question, line in (row["seed"] for row in rows):
            prompt = lines[question].get(line + 1)
            if entries[question].state != "answered":
                outcomes.append(unanswered(entries[question]))
            elif prompt is None:
                outcomes.append(Dropped("not written"))
            else:
                outcomes.append(Kept({"prompt": prompt, "topic": topics[question]}))
        return outcomes

    def _request(self, topic: str) -> str:
        told = words("scenes")
        return told["request"].format(count=self.at_once, topic=topic, rules=" ".join(told["rules"]))


@dataclass(frozen=True)
class CheckPrompts(Deciding):
    """A second pass reads the prompts against the same rules and refuses; what it says nothing about goes, too.

    Attributes:
        at_once: prompts in one question.
    """

    at_once: Annotated[int, Ge(1)] = 10

    name: ClassVar[str] = "check-prompts"
    tokens: ClassVar[int] = 512
    needs: ClassVar[tuple[str, ...]] = ("prompt",)
    asks: ClassVar[Role | None] = "language"
    words: ClassVar[tuple[str, ...]] = ("scenes",)

    def questions(self, rows: int) -> int:
        """One for several prompts."""
        return -(-rows // self.at_once)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep what it says to keep."""
        groups = [*batched([row["prompt"] for row in rows], self.at_once)]
        asked = [(Question(self._request(group), words("scenes")["check_system"]), 0) for group in groups]
        entries = ask_all(context.asks, self.name, asked)
        return [
            self._decide(entry, number)
            for group, entry in zip(groups, entries, strict=True)
            for number, _ in enumerate(group, 1)
        ]

    def _request(self, prompts: list[str]) -> str:
        told = words("scenes")
        listed = "".join(f"\n{number}. {prompt}" for number, prompt in enumerate(prompts, 1))
        return told["check"].format(count=len(prompts), prompts=f"{listed}\n", rules=" ".join(told["rules"]))

    def _decide(self, entry: Entry, number: int) -> Outcome:
        if entry.state != "answered":
            return unanswered(entry)
        verdict = _VERDICT.match(_lines(entry).get(number, ""))
        if verdict is None:
            return Dropped("no verdict", entry.content or "")
        return Kept() if verdict[1].lower() == "keep" else Dropped("breaks a rule", verdict[2].strip())


@dataclass(frozen=True)
class Inspect(Deciding):
    """A vision-language model looks at each generated picture and says yes, or no and why."""

    name: ClassVar[str] = "inspect"
    needs: ClassVar[tuple[str, ...]] = ("picture",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {"inspection": pa.string()}
    asks: ClassVar[Role | None] = "vision"
    words: ClassVar[tuple[str, ...]] = ("inspection",)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep where it says yes."""
        told = words("inspection")
        asked = [
            (Question(told["request"], told["system"], (png_for_rating(row["picture"]),)), 0) for row in rows
        ]
        return [self._decide(entry) for entry in ask_all(context.asks, self.name, asked)]

    def _decide(self, entry: Entry) -> Outcome:
        if entry.state != "answered":
            return unanswered(entry)
        reply = _YES_OR_NO.match(entry.content or "")
        if reply is None:
            return Dropped("no verdict", entry.content or "")
        if reply[1].lower() == "yes":
            return Kept({"inspection": entry.content})
        kind = next((kind for kind in words("inspection")["kinds"] if kind in reply[2].lower()), "other")
        return Dropped(f"inspection: {kind}", reply[2].strip())


def _lines(entry: Entry) -> dict[int, str]:
    """The numbered lines of a reply; the first counts where a number comes twice."""
    lines: dict[int, str] = {}
    for number, text in _LINE.findall(entry.content or ""):
        lines.setdefault(int(number), text)
    return lines
