"""Which of two results people prefer: who is shown what, and a line of JSON for each vote.

    {"picture": "street", "left": "nlm", "right": "compact", "vote": "right", ...}

A vote is of two files, named by their hashes, so that it is of no other results by the same name.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image

from ggt_hub.commit import append_json
from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.suite import content_hash
from ggt_hub.evaluation.turns import Turns
from ggt_hub.images.shown import shown_rgb
from ggt_hub.settings import read_json_lines

VOTES = "votes.jsonl"

Preferred = Literal["left", "right", "tie"]


@dataclass(frozen=True)
class Vote:
    """What somebody prefers.

    Attributes:
        picture: the id of the input.
        left, right: whose results stood there.
        left_sha256, right_sha256: of their files.
        vote: the better one, or neither.
        voter: who says so.
    """

    picture: str
    left: str
    right: str
    left_sha256: str
    right_sha256: str
    vote: Preferred
    voter: str = ""

    @property
    def share(self) -> float:
        """What of the vote is for the left: 1, a half, or 0."""
        return {"left": 1.0, "tie": 0.5, "right": 0.0}[self.vote]


@dataclass(frozen=True)
class Results:
    """Of one picture.

    Attributes:
        input: gives the picture as it was, anything that `read_image` takes.
        results: give files, whole, by whose they are.
    """

    input: Callable[[], Any]
    results: Mapping[str, Callable[[], bytes]]


class Duel(NamedTuple):
    """Two results of a picture, as they are shown."""

    picture: str
    left: str
    right: str


def read_votes(path: Path) -> list[Vote]:
    """The votes of a file; of what one person says of a picture and two results the last word counts.

    Raises:
        EvaluationError: if it cannot be read, or a line is no vote; the message names the line.
    """
    told = read_json_lines(path, Vote, EvaluationError)
    return [*{(one.picture, frozenset((one.left, one.right)), one.voter): one for one in told}.values()]


class Voting(Turns[Duel, Preferred]):
    """All pairs of results of all pictures, for everybody in an order of his own, left and right by chance.

    Args:
        pictures: by their ids.
        path: of the file of votes.

    Raises:
        EvaluationError: if there are not two results of any picture, or a vote is none.
    """

    def __init__(self, pictures: Mapping[str, Results], path: Path) -> None:
        self._pictures, self._path = pictures, path
        self._pairs = [
            (name, *pair) for name, of in pictures.items() for pair in combinations(sorted(of.results), 2)
        ]
        if not self._pairs:
            raise EvaluationError("there are no two results of one picture to vote on")
        said: dict[Duel, dict[str, Preferred]] = defaultdict(dict)
        for vote in read_votes(path) if path.is_file() else ():
            if self._hashes(duel := Duel(vote.picture, vote.left, vote.right)) == (
                vote.left_sha256,
                vote.right_sha256,
            ):
                said[duel][vote.voter] = vote.vote
        super().__init__("votes", said)

    def drawn_for(self, person: str) -> Sequence[Duel]:
        """Each pair of each picture."""
        drawn = sorted(self._pairs, key=lambda pair: self.draw(person, *pair))
        return [
            Duel(name, *((a, b) if self.draw("side", person, name, a, b) < 0.5 else (b, a)))
            for name, a, b in drawn
        ]

    def is_wanted(self, person: str, turn: Duel) -> bool:
        """Everybody may vote on everything."""
        return True

    def keep(self, person: str, turn: Duel, answer: Preferred) -> None:
        """Append a line to the file."""
        left, right = self._hashes(turn)
        append_json(self._path, asdict(Vote(*turn, left, right, answer, person)))

    def pictures(self, turn: Duel) -> tuple[bytes, bytes, bytes]:
        """The left result, the input, and the right one: PNG of the pixels, which tells nothing of its origin."""
        of = self._pictures[turn.picture]
        left, right = of.results[turn.left], of.results[turn.right]
        return _png(left()), _png(of.input()), _png(right())

    def _hashes(self, turn: Duel) -> tuple[str, str]:
        """Of the two files; empty where there is none."""
        of = self._pictures.get(turn.picture)
        found = [of.results.get(name) if of else None for name in (turn.left, turn.right)]
        left, right = ("" if result is None else content_hash(result()) for result in found)
        return left, right


def counted(votes: Iterable[Vote], hash_of: Callable[[str, str], str | None]) -> tuple[list[Vote], int]:
    """Those votes that are of some results, and how many are of others.

    Args:
        votes: all there are.
        hash_of: gives the SHA-256 of a file, by whose result it is and the picture; None where there is none.
    """
    told = [*votes]
    found = [
        vote
        for vote in told
        if hash_of(vote.left, vote.picture) == vote.left_sha256
        and hash_of(vote.right, vote.picture) == vote.right_sha256
    ]
    return found, len(told) - len(found)


def _png(source: Any) -> bytes:
    Image.fromarray(shown_rgb(source)).save(buffer := io.BytesIO(), "PNG", compress_level=1)
    return buffer.getvalue()
