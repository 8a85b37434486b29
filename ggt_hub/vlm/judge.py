"""Rating how strongly a degradation shows in pictures, by RealIR-Bench's protocol."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError
from ggt_hub.images import read_image
from ggt_hub.vlm.asking import Asker, Question, Service, Turn, at_once
from ggt_hub.vlm.ledger import Ledger
from ggt_hub.vlm.protocols import Protocol, Rubric, published_rubric, resized_for_rating

_PROBES = 3


@dataclass(frozen=True)
class Rating:
    """What a judge said of one picture.

    Attributes:
        score: 1 (extreme) to 5 (none of the degradation); None if no reply could be read.
        replies: all replies, in order; the last one is the one that was read.
        refused: why there is no reply to this picture; None where there is one.
        is_unknown: whether it was asked, perhaps billed, and no reply came.
    """

    score: int | None
    replies: tuple[str, ...]
    refused: str | None = None
    is_unknown: bool = False


class Judge:
    """Rates pictures; every reply is in the ledger before it is read, and no question is asked twice.

    Args:
        chat: the model that is asked.
        protocol: how replies are read, from `PROTOCOLS`.
        ledger: where replies are kept.
        workers: questions asked at the same time.
        ask_again: ask also what was refused or possibly billed before.
    """

    def __init__(
        self, chat: Service, protocol: Protocol, ledger: Ledger, *, workers: int = 8, ask_again: bool = False
    ) -> None:
        self.chat, self.protocol, self.ledger, self.workers = chat, protocol, ledger, workers
        self.asker = Asker(chat, ledger, workers=workers, ask_again=ask_again)
        self.rubric: Rubric = published_rubric()

    @property
    def identity(self) -> dict[str, Any]:
        """What a number from this judge must be published with."""
        return {
            "judge": self.chat.model,
            "revision": self.chat.revision,
            "parameters": self.chat.parameters,
            "protocol": self.protocol.name,
            "aggregate": self.protocol.aggregate,
            "rubric_sha256": self.rubric.sha256_of_user_utf8,
            "rubric_source": self.rubric.source,
            "endpoints": sorted(self.asker.sources),
        }

    def probe(self, pictures: Sequence[Any], degradations: Sequence[str]) -> None:
        """Ask about the first few pictures, one by one, until one is rated: before hours of work, not after.

        Raises:
            JudgeError: if the model fails for good, or refuses all of these.
        """
        refusals = []
        for picture, degradation in zip(pictures[:_PROBES], degradations, strict=False):
            (rating,) = self.rate([picture], [degradation])
            if rating.replies or rating.refused is None:
                return
            refusals.append(rating.refused)
        if len(refusals) == _PROBES:
            raise JudgeError(f"{self.chat.model} refuses the first {_PROBES} pictures: {refusals[0]}")

    def rate(self, pictures: Sequence[Any], degradations: Sequence[str], repeat: int = 0) -> list[Rating]:
        """Rate each picture for the degradation named beside it.

        Args:
            pictures: anything that `read_image` takes, or functions that give it when the turn comes.
            degradations: one name for each, put into the rubric as it is.
            repeat: number of the rating: another one is another question, even about the same picture.

        Raises:
            JudgeError: if the model fails for good or the budget is spent; what was answered stays stored.
        """
        asked = zip(pictures, degradations, strict=True)
        return at_once(lambda one: self._rate(*one, repeat), asked, self.workers, "rating", "picture")

    def _rate(self, picture: Any, degradation: str, repeat: int) -> Rating:
        image = png_for_rating(picture() if callable(picture) else picture)
        question = self.rubric.question(degradation)
        replies: list[str] = []
        later: list[Turn] = []
        for attempt, pause in enumerate((0.0, *self.protocol.pauses)):
            try:
                reply = self._ask(image, question, later, (repeat, attempt), pause)
            except QuestionRefusedError as error:
                return Rating(None, tuple(replies), str(error), isinstance(error, PossiblyBilledError))
            replies.append(reply)
            score = self.protocol.parse(reply)
            if score is not None:
                return Rating(score, tuple(replies))
            if self.protocol.repair:
                later = [*later, ("assistant", reply), ("user", self.protocol.repair)]
        return Rating(None, tuple(replies))

    def _ask(
        self, image: bytes, question: str, later: list[Turn], number: tuple[int, int], pause: float
    ) -> str:
        asked = Question(question, self.rubric.system, (image,), tuple(later))
        entry = self.asker.ask(asked, number, pause)
        if entry.state == "answered":
            return entry.content or ""
        hint = "" if self.asker.ask_again else "; --ask-again asks it again"
        if entry.state == "possibly billed":
            raise PossiblyBilledError(f"possibly billed: {entry.reason}{hint}", entry.content)
        raise QuestionRefusedError(f"{entry.reason}{hint}", entry.content)


def rgb_image(source: Any) -> Image.Image:
    """A picture in 8 bits and RGB, as judges and LPIPS see it; transparency is left out.

    Raises:
        ImageError: if it cannot be read.
    """
    return Image.fromarray(np.rint(read_image(source).rgb() * 255).astype(np.uint8))


def png_for_rating(picture: Any) -> bytes:
    """A picture as a model is shown it: PNG, about 512x512 pixels in area.

    Raises:
        ImageError: if it cannot be read.
    """
    buffer = io.BytesIO()
    resized_for_rating(rgb_image(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
