"""How RealIR-Bench asks a judge, and reads its answer. The rubric is the published one, word for word."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from PIL import Image

MODEL = "Qwen/Qwen3-VL-8B-Instruct"  # the published judge; its revision is not known
MAX_NEW_TOKENS = 32
RATED_AREA = 512 * 512
"""Pixels of a picture that is rated, about."""
_MARKED = re.compile(r"退化分数\s*[：:]\s*([1-5])")
_LAST = re.compile(r"([1-5])\s*\Z")


@dataclass(frozen=True)
class Protocol:
    """One way to rate pictures and to average the scores.

    Attributes:
        name: what users type.
        aggregate: how per-picture values become FS (`ggt_hub.metrics.fs`).
        parse: reads a reply; None where it holds no score.
        pauses: seconds to wait before each further try after an unreadable reply.
        repair: what the judge is told in a further try, after its own reply; None asks the same again.
    """

    name: str
    aggregate: Literal["mean of products", "product of means"]
    parse: Callable[[str], int | None]
    pauses: tuple[float, ...]
    repair: str | None = None


@dataclass(frozen=True)
class Rubric:
    """The published rating prompt."""

    source: str
    use: str
    system: str
    user: str
    sha256_of_user_utf8: str

    def question(self, degradation: str) -> str:
        """The text that follows the picture."""
        return self.user.replace("{task}", degradation)


@cache
def published_rubric() -> Rubric:
    """RealIR-Bench's rubric, from `rubric.json`."""
    return Rubric(**json.loads((files("ggt_hub.vlm") / "rubric.json").read_text(encoding="utf-8")))


def parse_leniently(reply: str) -> int | None:
    """Read a score as the published code does: after the marker, or else a digit 1..5 at the very end.

    Example:
        >>> [parse_leniently(reply) for reply in ("退化分数：4。", "Score is 3", "15", "4.", "6")]
        [4, 3, 5, None, None]
    """
    found = _MARKED.search(reply) or _LAST.search(reply)
    return int(found[1]) if found else None


def parse_strictly(reply: str) -> int | None:
    """Read a score only from an answer in the form that was asked for, and nothing around it."""
    found = _MARKED.fullmatch(reply.strip())
    return int(found[1]) if found else None


def resized_for_rating(picture: Image.Image) -> Image.Image:
    """An RGB picture at about 512x512 pixels in area, both sides cut to whole pixels, Lanczos."""
    scale = math.sqrt(RATED_AREA / (picture.width * picture.height))
    size = max(1, int(picture.width * scale)), max(1, int(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("realir-code", "mean of products", parse_leniently, pauses=(2.0, 4.0)),
        Protocol("realir-paper", "product of means", parse_leniently, pauses=(2.0, 4.0)),
        Protocol(
            "strict",
            "mean of products",
            parse_strictly,
            pauses=(0.0,),
            repair="Return ONLY “退化分数：<1-5>”, with one integer from 1 to 5 and nothing else.",
        ),
    )
}
