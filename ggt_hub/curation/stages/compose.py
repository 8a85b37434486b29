"""The instructions by which generators restore: one of a category, or one that is written for each photograph."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Outcome, Role, Row
from ggt_hub.curation.stages.asking import ask_all, unanswered
from ggt_hub.curation.words import text_of, words
from ggt_hub.curation.zooms import glance
from ggt_hub.vlm import Question
from ggt_hub.vlm.ledger import Entry

_GIVES = {"prompt": pa.string(), "template": pa.string()}


@dataclass(frozen=True)
class Compose(Deciding):
    """The fixed instruction of each category: an end state, what must stay, and the rule of colours."""

    name: ClassVar[str] = "compose"
    needs: ClassVar[tuple[str, ...]] = ("category",)
    gives: ClassVar[Mapping[str, pa.DataType]] = _GIVES
    words: ClassVar[tuple[str, ...]] = ("instructions",)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep all."""
        return [
            Kept({"prompt": fixed_prompt(row["category"]), "template": _template("fixed")}) for row in rows
        ]


@dataclass(frozen=True)
class ComposeAdaptive(Deciding):
    """An instruction of its own for each photograph, by a vision-language model, from what was diagnosed."""

    name: ClassVar[str] = "compose-adaptive"
    tokens: ClassVar[int] = 1024
    needs: ClassVar[tuple[str, ...]] = ("lq", "category", "diagnosis")
    gives: ClassVar[Mapping[str, pa.DataType]] = _GIVES
    asks: ClassVar[Role | None] = "vision"
    words: ClassVar[tuple[str, ...]] = ("instructions",)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep what was written."""
        asked = [(self._question(row), 0) for row in rows]
        return [self._decide(entry) for entry in ask_all(context.asks, self.name, asked)]

    def _question(self, row: Row) -> Question:
        told, found = words("instructions"), json.loads(row["diagnosis"])
        request = told["adaptive"].format(
            diagnosis=_in_words(found),
            strings=", ".join(map(json.dumps, found["legible_strings"])) or "there are none",
            keep=", ".join(found["keep"]) or "nothing of the kind",
            colour=told["colour"][row["category"]],
        )
        return Question(request, told["system"], (glance(row["lq"]),))

    def _decide(self, entry: Entry) -> Outcome:
        if entry.state != "answered":
            return unanswered(entry)
        prompt = " ".join((entry.content or "").split())
        if not prompt:
            return Dropped("an empty instruction")
        return Kept({"prompt": prompt, "template": _template("adaptive")})


def fixed_prompt(category: str) -> str:
    """The instruction of a category."""
    told = words("instructions")
    return " ".join((told["fixed"][category], told["fidelity"], told["colour"][category]))


def _template(mode: str) -> str:
    """The name of a template, with its version and what it was, so that a prompt says where it is from."""
    version = words("instructions")["version"]
    return f"{mode}-{version}-{hashlib.sha256(text_of('instructions').encode()).hexdigest()[:8]}"


def _in_words(diagnosis: Mapping[str, Any]) -> str:
    damage = "; ".join(
        f"{one['severity']} {one['kind']}, {one['extent']}, {one['where']}"
        for one in diagnosis["degradations"]
    )
    return f"{diagnosis['content']} Damage: {damage or 'none was named'}"
