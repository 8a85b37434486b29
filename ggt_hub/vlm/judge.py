"""Rating how strongly a degradation shows in pictures, by RealIR-Bench's protocol."""

import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ggt_hub.errors import QuestionRefusedError
from ggt_hub.images import read_image
from ggt_hub.vlm.chat import Chat, Turn
from ggt_hub.vlm.ledger import Ledger
from ggt_hub.vlm.protocols import Protocol, Rubric, published_rubric, resized_for_rating


@dataclass(frozen=True)
class Rating:
    """What a judge said of one picture.

    Attributes:
        score: 1 (extreme) to 5 (none of the degradation); None if no reply could be read.
        replies: all replies, in order; the last one is the one that was read.
        refused: why the server would not take this picture; None where it did.
    """

    score: int | None
    replies: tuple[str, ...]
    refused: str | None = None


class Judge:
    """Rates pictures; every reply is in the ledger before it is read.

    Args:
        chat: the model that is asked.
        protocol: how replies are read, from `PROTOCOLS`.
        ledger: where replies are kept.
        workers: questions asked at the same time.
    """

    def __init__(self, chat: Chat, protocol: Protocol, ledger: Ledger, *, workers: int = 8) -> None:
        self.chat, self.protocol, self.ledger, self.workers = chat, protocol, ledger, workers
        self.rubric: Rubric = published_rubric()

    @property
    def identity(self) -> dict[str, str | None]:
        """What a number from this judge must be published with."""
        return {
            "judge": self.chat.model,
            "revision": self.chat.revision,
            "protocol": self.protocol.name,
            "aggregate": self.protocol.aggregate,
            "rubric_sha256": self.rubric.sha256_of_user_utf8,
            "rubric_source": self.rubric.source,
        }

    def rate(self, pictures: Sequence[Any], degradations: Sequence[str]) -> list[Rating]:
        """Rate each picture for the degradation named beside it.

        Args:
            pictures: anything that `read_image` takes.
            degradations: one name for each, put into the rubric as it is.

        Raises:
            JudgeError: if the model fails for good or the budget is spent; what was answered stays stored.
        """
        with ThreadPoolExecutor(self.workers) as pool:
            ratings = pool.map(self._rate, pictures, degradations)
            return list(tqdm(ratings, total=len(pictures), desc="rating", unit="picture", leave=False))

    def _rate(self, picture: Any, degradation: str) -> Rating:
        image = _png(picture)
        question = self.rubric.question(degradation)
        replies: list[str] = []
        later: list[Turn] = []
        for attempt, pause in enumerate((0.0, *self.protocol.pauses)):
            try:
                reply = self._ask(image, question, later, attempt, pause)
            except QuestionRefusedError as error:
                return Rating(None, tuple(replies), str(error))
            replies.append(reply)
            score = self.protocol.parse(reply)
            if score is not None:
                return Rating(score, tuple(replies))
            if self.protocol.repair:
                later = [*later, ("assistant", reply), ("user", self.protocol.repair)]
        return Rating(None, tuple(replies))

    def _ask(self, image: bytes, question: str, later: list[Turn], attempt: int, pause: float) -> str:
        key = self.ledger.key(
            model=self.chat.model,
            revision=self.chat.revision,
            system=self.rubric.system,
            question=question,
            image=image,
            later=later,
            attempt=attempt,
        )
        reply = self.ledger.get(key)
        if reply is None:
            time.sleep(pause)
            reply = self.chat.ask(image, self.rubric.system, question, later)
            self.ledger.put(key, reply)
        return reply


def rgb_image(source: Any) -> Image.Image:
    """A picture in 8 bits and RGB, as judges and LPIPS see it; transparency is left out.

    Raises:
        ImageError: if it cannot be read.
    """
    return Image.fromarray(np.rint(read_image(source).rgb() * 255).astype(np.uint8))


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    resized_for_rating(rgb_image(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
