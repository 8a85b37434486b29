"""What people are asked, one thing after the other: in which order, and where each of them stands."""

import hashlib
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

Turn = TypeVar("Turn", bound=Hashable)
Answer = TypeVar("Answer")


class Turns(ABC, Generic[Turn, Answer]):
    """Questions for several people at once; safe to use from several threads.

    Everybody has an order of his own, which is drawn from what is asked and his name, and is always the same. A
    place in it is what a page remembers.

    Args:
        about: names what is asked; other questions are drawn otherwise.
        answers: what was said before, by turn and person.
    """

    def __init__(self, about: str, answers: Mapping[Turn, Mapping[str, Answer]]) -> None:
        self._about = about
        self._answers: defaultdict[Turn, dict[str, Answer]] = defaultdict(dict)
        for turn, said in answers.items():
            self._answers[turn] |= said
        self._orders: dict[str, Sequence[Turn]] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def drawn_for(self, person: str) -> Sequence[Turn]:
        """The order of a person."""

    @abstractmethod
    def is_wanted(self, person: str, turn: Turn) -> bool:
        """Whether somebody who has not answered is to answer."""

    @abstractmethod
    def keep(self, person: str, turn: Turn, answer: Answer) -> None:
        """Write an answer; it is on the disk when this returns.

        Raises:
            WriteError: if it cannot be written.
        """

    def order(self, person: str) -> Sequence[Turn]:
        """All turns of a person, also those that are left to others."""
        if person not in self._orders:
            self._orders[person] = self.drawn_for(person)
        return self._orders[person]

    def has(self, person: str, place: int) -> bool:
        """Whether there is a turn at a place."""
        return 0 <= place < len(self.order(person))

    def said(self, person: str, place: int) -> Answer | None:
        """What a person has said at a place of his order."""
        return self._answers[self.order(person)[place]].get(person)

    def say(self, person: str, place: int, answer: Answer) -> None:
        """Keep an answer, in place of what the person has said before. Raises as `keep`."""
        turn = self.order(person)[place]
        with self._lock:
            if self._answers[turn].get(person) != answer:
                self.keep(person, turn, answer)
                self._answers[turn][person] = answer

    def first(self, person: str) -> int | None:
        """The first place where an answer is wanted; None where none is."""
        return next((n for n, turn in enumerate(self.order(person)) if self._waits(person, turn)), None)

    def beside(self, person: str, place: int, step: int) -> int | None:
        """The next place (or, by a step of -1, the one before) that the person has answered, or is to answer."""
        order = self.order(person)
        places = range(place + step, len(order) if step > 0 else -1, step)
        is_his = (n for n in places if person in self._answers[order[n]] or self._waits(person, order[n]))
        return next(is_his, None)

    def progress(self, person: str) -> tuple[int, int]:
        """How many answers somebody has given, and how many more are wanted of him as it stands."""
        order = self.order(person)
        given = sum(person in self._answers[turn] for turn in order)
        return given, sum(self._waits(person, turn) for turn in order)

    def draw(self, *what: str) -> float:
        """A number of 0..1 that is drawn from what is asked and some words."""
        told = "\n".join((self._about, *what)).encode()
        return int.from_bytes(hashlib.sha256(told).digest()[:8]) / 2**64

    def _waits(self, person: str, turn: Turn) -> bool:
        return person not in self._answers[turn] and self.is_wanted(person, turn)
