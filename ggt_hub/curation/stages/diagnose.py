"""A vision-language model says what is wrong with a photograph, and what must stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import BaseModel, Field

from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Outcome, Role, Row
from ggt_hub.curation.stages.asking import unanswered
from ggt_hub.curation.words import words
from ggt_hub.curation.zooms import glance
from ggt_hub.tasks import Task
from ggt_hub.vlm import Asker, Question
from ggt_hub.vlm.asking import at_once
from ggt_hub.vlm.structured import ask_structured

Category = Literal["general", "rain", "haze", "snow", "low_light", "old_photo"]


class Degradation(BaseModel):
    """One kind of damage."""

    kind: str
    severity: Literal["mild", "moderate", "severe"]
    extent: Literal["global", "local"]
    where: str


class Diagnosis(BaseModel):
    """What a photograph shows, what is wrong with it, and what must stay; see `words/diagnosis.yaml`."""

    content: str
    degradations: list[Degradation]
    category: Literal[Category, "clean", "reject"]
    has_text: bool
    has_faces: bool
    face_count: Annotated[int, Field(ge=0)]
    legible_strings: list[str]
    keep: list[str]
    difficulty: Literal["easy", "medium", "hard"]


@dataclass(frozen=True)
class Diagnose(Deciding):
    """Says what is wrong with each photograph; what is clean or no photograph leaves.

    Attributes:
        category: of all of them, where the source is of one: it then counts, whatever the model says.
    """

    category: Task | None = None

    name: ClassVar[str] = "diagnose"
    tokens: ClassVar[int] = 1024
    needs: ClassVar[tuple[str, ...]] = ("lq",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {"category": pa.string(), "diagnosis": pa.string()}
    asks: ClassVar[Role | None] = "vision"
    replies: ClassVar[type[BaseModel] | None] = Diagnosis
    words: ClassVar[tuple[str, ...]] = ("diagnosis",)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep what is to be restored, with its category and the diagnosis as JSON."""
        asker = context.asks
        return at_once(lambda row: self._decide(row, asker), rows, asker.workers, self.name, "picture")

    def _decide(self, row: Row, asker: Asker) -> Outcome:
        told = words("diagnosis")
        question = Question(told["request"], told["system"], (glance(row["lq"]),))
        found, entry = ask_structured(asker, question, Diagnosis)
        if found is None:
            return unanswered(entry)
        if found.category == "reject":
            return Dropped("diagnosis: not to be used", found.content)
        if self.category is None and found.category == "clean":
            return Dropped("diagnosis: clean", found.content)
        return Kept({"category": self.category or found.category, "diagnosis": found.model_dump_json()})
