"""What a restorer found in a picture: numbers for programs, words for people."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that a restorer found in a picture.

    Attributes:
        name: by which programs know it; it never changes, nor does its unit.
        value: how much there is.
        unit: of the value; empty for a plain ratio.
        words: what people are told of it; empty where it is not worth mentioning.
    """

    name: str
    value: float
    unit: str
    words: str


def describe_findings(findings: Sequence[Finding]) -> str:
    """Say what was found in one picture, only as far as it is worth mentioning."""
    return "found: " + (", ".join(found.words for found in findings if found.words) or "little damage")
