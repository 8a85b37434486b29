"""Which candidates of a run a person sees, in which order, and what he has said of them.

Each reviewer goes through the candidates in an order of his own, which is drawn from the run and his name. Whoever
comes back goes on where he was.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ggt_hub.curation.decided import Decided, read_run
from ggt_hub.curation.labels import LABELS, Label, add_label, read_labels
from ggt_hub.curation.run import RUN
from ggt_hub.curation.stages import STAGES
from ggt_hub.curation.stages.pictures import png
from ggt_hub.curation.stages.reviewed import Reviewed
from ggt_hub.curation.tables import read_kept
from ggt_hub.errors import CurationError
from ggt_hub.images.shown import shown_rgb


class Turn(NamedTuple):
    """A candidate, and whether somebody is shown it for the first time (1) or once more (2)."""

    id: str
    look: int


@dataclass(frozen=True)
class Shares:
    """How many candidates are looked at more often than they must be, to see how far people agree.

    Attributes:
        double: share that one more reviewer sees.
        again: share that the same reviewer sees a second time, after all others.
    """

    double: float = 0.05
    again: float = 0.0


class Review:
    """The candidates of a run that are to be labelled; safe to use from several threads.

    Those are the candidates that reach the stage `reviewed`, by as many people as it says; in a run without it all
    that could be laid over their photographs, by one person each.

    Args:
        folder: of the run.
        shares: see there.

    Raises:
        CurationError: if it is the folder of no run, there is nothing to look at, or a label is none.
    """

    def __init__(self, folder: Path, shares: Shares | None = None) -> None:
        run, self._path = read_run(folder), folder / LABELS
        shares = shares or Shares()
        self._tables = _tables_of_candidates(run)
        if not self._tables:
            raise CurationError(f"{folder} has no candidates to look at: its funnel.json says why")
        settings = run.settings(Reviewed.name)
        self._reviewers = 1 if settings is None else int(settings["reviewers"])
        self._draw = hashlib.sha256((folder / RUN).read_bytes()).hexdigest()
        self._double = {name for name in self._tables if self._drawn("double", name) < shares.double}
        self._again = shares.again
        self._orders: dict[str, list[Turn]] = {}
        self._said: dict[Turn, dict[str, Label]] = defaultdict(dict)
        for label in read_labels(self._path) if self._path.is_file() else ():
            self._said[Turn(label.id, label.look)][label.reviewer] = label
        self._lock = threading.Lock()

    def order(self, reviewer: str) -> Sequence[Turn]:
        """All turns of a person, those that are left to others among them: always the same."""
        if reviewer not in self._orders:
            drawn = sorted(self._tables, key=lambda name: self._drawn(reviewer, name))
            again = [name for name in drawn if self._drawn("again", reviewer, name) < self._again]
            self._orders[reviewer] = [*(Turn(name, 1) for name in drawn), *(Turn(name, 2) for name in again)]
        return self._orders[reviewer]

    def said(self, reviewer: str, place: int) -> Label | None:
        """What a person has said at a place of his order."""
        return self._said[self.order(reviewer)[place]].get(reviewer)

    def say(self, reviewer: str, place: int, label: str, fault: str = "") -> None:
        """Keep a label; it is on the disk when this returns. What was said before is replaced.

        Raises:
            WriteError: if it cannot be written.
        """
        turn = self.order(reviewer)[place]
        new = Label(turn.id, label, reviewer, fault, turn.look)  # type: ignore[arg-type]
        with self._lock:
            if self._said[turn].get(reviewer) != new:
                add_label(self._path, new)
                self._said[turn][reviewer] = new

    def first(self, reviewer: str) -> int | None:
        """The first place where a label of his is wanted; None where none is."""
        turns = enumerate(self.order(reviewer))
        return next((n for n, turn in turns if self._is_wanted(reviewer, turn)), None)

    def beside(self, reviewer: str, place: int, step: int) -> int | None:
        """The next place (or, by a step of -1, the one before) that is his: labelled by him, or wanted of him."""
        order = self.order(reviewer)
        places = range(place + step, len(order) if step > 0 else -1, step)
        is_his = (
            n for n in places if reviewer in self._said[order[n]] or self._is_wanted(reviewer, order[n])
        )
        return next(is_his, None)

    def progress(self, reviewer: str) -> tuple[int, int]:
        """How many labels somebody has given, and how many more are wanted of him as it stands."""
        order = self.order(reviewer)
        given = sum(reviewer in self._said[turn] for turn in order)
        return given, sum(self._is_wanted(reviewer, turn) for turn in order)

    def pictures(self, name: str) -> tuple[bytes, bytes]:
        """A photograph and its candidate, laid over each other: PNG of the pixels, which does not tell its origin.

        Raises:
            CurationError: if it has left the run since.
        """
        rows = read_kept(self._tables[name], ("lq", "gt"), only={name})
        if not rows:
            raise CurationError(f"{name} has left the run: start the review again")
        lq, gt = (png(Image.fromarray(shown_rgb(rows[0][side]))) for side in ("lq", "gt"))
        return lq, gt

    def _is_wanted(self, reviewer: str, turn: Turn) -> bool:
        """Whether somebody is to say something: at a second look he must have said something at the first."""
        said = self._said[turn]
        if reviewer in said:
            return False
        if turn.look > 1:
            return reviewer in self._said[Turn(turn.id, 1)]
        return len(said) < self._reviewers + (turn.id in self._double)

    def _drawn(self, *what: str) -> float:
        """A number of 0..1 that is drawn from the run and some words."""
        told = "\n".join((self._draw, *what)).encode()
        return int.from_bytes(hashlib.sha256(told).digest()[:8]) / 2**64


def _tables_of_candidates(run: Decided) -> dict[str, list[Path]]:
    """The tables in which the pictures of each candidate stand."""
    if run.settings(Reviewed.name) is not None:
        if Reviewed.name not in run.stages:
            raise CurationError(
                f"nothing has come to the stage {Reviewed.name} yet: run it first, it waits for labels there"
            )
        slices = [tables[:-1] for tables in run.slices(Reviewed.name)]
    else:
        giving = next((name for name in run.stages if "gt" in getattr(STAGES[name], "gives", ())), None)
        if giving is None:
            raise CurationError(f"{run.folder} has no pairs yet that one could look at: run it first")
        slices = [*run.slices(giving)]
    return {row["id"]: tables for tables in slices for row in read_kept(tables, ())}
