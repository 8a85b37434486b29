"""What a judge says of candidates, and what follows from it: D, F and DF.

D is how much of the damage is gone, F how faithful the candidate is, both 0 to 100, and DF the square root of their
product. What the judge says is held to a rule, so that one who praises what he has just found fault with does not
decide: whoever rewrites an object, a text or a face, or covers something, has an F of 30 at most; another scene has
an F of 0; the photograph as it was has D = 0 and F = 100.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model, model_validator

Property = Literal["objects", "geometry", "text", "face", "invented", "covering", "rule"]

CAPPING: tuple[Property, ...] = ("objects", "text", "face", "covering")
"""Violations after which a candidate is no ground truth."""

_CAP = 30.0

_Symptom = Annotated[int, Field(ge=0, le=3)]
_Score = Annotated[float, Field(ge=0, le=100)]
_Place = Annotated[float, Field(ge=0, le=1000)]


class Violation(BaseModel):
    """Something that is not as it was; `bbox` is left, top, right, bottom in thousandths of the sides."""

    property: Property
    where: str
    bbox: Annotated[list[_Place], Field(min_length=4, max_length=4)]
    what: str


class Verdict(BaseModel):
    """What is said of one candidate; see `words/judging.yaml`."""

    candidate: Annotated[int, Field(ge=1)]
    changed_at_all: bool
    symptom_before: _Symptom
    symptom_after: _Symptom
    D: _Score
    F: _Score
    scene_replaced: bool
    violations: list[Violation]


class Judgement(BaseModel):
    """What is said of all candidates of a photograph."""

    candidates: list[Verdict]
    best_index: int

    @model_validator(mode="after")
    def _names_each(self) -> "Judgement":
        numbers = sorted(one.candidate for one in self.candidates)
        if numbers != [*range(1, len(numbers) + 1)]:
            raise ValueError(f"each candidate is to be judged once, not {numbers}")
        if self.best_index not in numbers:
            raise ValueError(f"best_index is none of {numbers}")
        return self

    @property
    def by_number(self) -> list[Verdict]:
        """The verdicts in the order in which candidates were shown."""
        return sorted(self.candidates, key=lambda one: one.candidate)


@cache
def judgement_of(count: int) -> type[Judgement]:
    """The judgement of so many candidates: a reply that leaves one out is none."""
    listed = Annotated[list[Verdict], Field(min_length=count, max_length=count)]
    return create_model("Judgement", __base__=Judgement, candidates=(listed, ...))


@dataclass(frozen=True)
class Scores:
    """What a verdict comes to.

    Attributes:
        d, f: 0..100.
        refused: why the candidate is no ground truth; "" where it is one.
    """

    d: float
    f: float
    refused: str = ""

    @property
    def df(self) -> float:
        """Both together, 0..100."""
        return math.sqrt(self.d * self.f)

    def told(self) -> dict[str, Any]:
        """For tables and reports."""
        return {"D": self.d, "F": self.f, "DF": round(self.df, 2)}


def scored(verdict: Verdict, removed: float, faithful: float, *, is_same: bool = False) -> Scores:
    """D and F by the rule, and whether they suffice.

    Args:
        verdict: what the judge says.
        removed: least D, 0..100.
        faithful: least F, 0..100.
        is_same: whether the candidate is the photograph, pixel by pixel, whatever the judge says.
    """
    if is_same or not verdict.changed_at_all:
        return Scores(0.0, 100.0, "unchanged")
    if verdict.scene_replaced:
        return Scores(verdict.D, 0.0, "another scene")
    capping = next((one.property for one in verdict.violations if one.property in CAPPING), None)
    if capping:
        return Scores(verdict.D, min(verdict.F, _CAP), capping)
    is_left, is_unfaithful = removed > verdict.D, faithful > verdict.F
    refused = "damage is left" if is_left else "unfaithful" if is_unfaithful else ""
    return Scores(verdict.D, verdict.F, refused)
