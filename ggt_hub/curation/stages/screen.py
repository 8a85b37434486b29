"""Photographs are sorted before anything is drawn: do they show the damage, and was nothing laid over them?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from annotated_types import Ge, Le
from pydantic import BaseModel

from ggt_hub.curation.clip import Clip, Likeness
from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Outcome, Role, Row
from ggt_hub.curation.stages.asking import unanswered
from ggt_hub.curation.words import words
from ggt_hub.curation.zooms import whole
from ggt_hub.images.shown import png, png_rgb
from ggt_hub.vlm import Asker, Question
from ggt_hub.vlm.asking import at_once
from ggt_hub.vlm.structured import ask_structured

Damage = Literal["flare", "haze", "rain", "low_light", "blur", "reflection"]
"""What RealRestorer has prompts for; see `words/resemblance.yaml`."""

Severity = Literal["none", "mild", "moderate", "severe"]
_SEVERITIES: tuple[Severity, ...] = ("none", "mild", "moderate", "severe")


@dataclass(frozen=True)
class Resemble(Deciding):
    """Keeps what CLIP finds more like the words for its damage than like those for a good photograph.

    RealRestorer's filter (arXiv 2603.25502, on real pairs), whose threshold and network are not published.

    Attributes:
        category: the damage that the source is of, as one searches for it; without, the likeliest of the six.
        model: a CLIP, Hub id or folder.
        least: share of the words for the damage, 0..1, among them and those for a good photograph; without
            `category` among all seven.
    """

    category: Damage | None = None
    model: str = "openai/clip-vit-large-patch14"
    least: Annotated[float, Ge(0), Le(1)] = 0.5

    name: ClassVar[str] = "resemble"
    needs: ClassVar[tuple[str, ...]] = ("lq",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {"category": pa.string(), "resemblance": pa.string()}
    words: ClassVar[tuple[str, ...]] = ("resemblance",)

    def check(self) -> None:
        """Fetch the network, before anything is paid."""
        _clip(self.model)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep those, with their category and what CLIP says of each text as JSON."""
        told = words("resemblance")
        prompts = {name: told["prompts"][name] for name in told["prompts"] if self.category in (None, name)}
        clip = _clip(self.model)
        found = clip.likeness([png_rgb(row["lq"]) for row in rows], [*prompts.values(), told["plain"]])
        return [self._decide([*prompts, "plain"], one, clip.identity) for one in found]

    def _decide(self, names: Sequence[str], found: Likeness, by: str) -> Outcome:
        *shares, _ = found.shares
        best = int(max(range(len(shares)), key=shares.__getitem__))
        told = {
            name: dict(zip(names, (round(value, 4) for value in values), strict=True))
            for name, values in found._asdict().items()
        }
        resemblance = json.dumps({"by": by, **told})
        if shares[best] < self.least:
            return Dropped("resemble: does not show the damage", resemblance)
        return Kept({"category": names[best], "resemblance": resemblance})


class Screening(BaseModel):
    """What is seen before a photograph is restored; see `words/screening.yaml`."""

    watermark: bool
    severity: Severity
    what: str


@dataclass(frozen=True)
class Screen(Deciding):
    """A vision-language model drops photographs with a watermark, and those that are barely damaged.

    Attributes:
        least: severity of the damage from which a photograph is worth restoring.
        side: of the picture shown, in pixels; marks in corners are small.
    """

    least: Severity = "moderate"
    side: Annotated[int, Ge(64)] = 1024

    name: ClassVar[str] = "screen"
    tokens: ClassVar[int] = 256
    needs: ClassVar[tuple[str, ...]] = ("lq", "category")
    gives: ClassVar[Mapping[str, pa.DataType]] = {"screening": pa.string()}
    asks: ClassVar[Role | None] = "vision"
    replies: ClassVar[type[BaseModel] | None] = Screening
    words: ClassVar[tuple[str, ...]] = ("screening", "judging")

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep the others, with what was seen as JSON."""
        asker = context.asks
        return at_once(lambda row: self._decide(row, asker), rows, asker.workers, self.name, "picture")

    def _decide(self, row: Row, asker: Asker) -> Outcome:
        told, damage = words("screening"), words("judging")["categories"][row["category"]]
        shown = png(whole(png_rgb(row["lq"]), self.side))
        question = Question(told["request"].format(category=damage), told["system"], (shown,))
        found, entry = ask_structured(asker, question, Screening)
        if found is None:
            return unanswered(entry)
        if found.watermark:
            return Dropped("screen: watermark", found.what)
        if _SEVERITIES.index(found.severity) < _SEVERITIES.index(self.least):
            return Dropped("screen: barely damaged", f"{found.severity}: {found.what}")
        return Kept({"screening": found.model_dump_json()})


@lru_cache(1)
def _clip(source: str) -> Clip:
    return Clip.find(source)
