"""Which candidates of a run people are shown, and what they have said of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ggt_hub.curation.decided import Decided, read_run
from ggt_hub.curation.labels import LABELS, Fault, Label, Said, add_label, read_labels
from ggt_hub.curation.run import RUN
from ggt_hub.curation.stages import STAGES
from ggt_hub.curation.stages.reviewed import Reviewed
from ggt_hub.curation.tables import read_kept
from ggt_hub.errors import CurationError
from ggt_hub.evaluation.turns import Turns
from ggt_hub.images.shown import png, shown_rgb


class Look(NamedTuple):
    """A candidate, and whether somebody is shown it for the first time (1) or once more (2)."""

    id: str
    number: int


Verdict = tuple[Said, Fault]
"""What is said, and of what is refused why."""


@dataclass(frozen=True)
class Shares:
    """How many candidates are looked at more often than they must be, to see how far people agree.

    Attributes:
        double: share that at least two reviewers see.
        again: share that the same reviewer sees a second time, after all others.
    """

    double: float = 0.05
    again: float = 0.0


class Review(Turns[Look, Verdict]):
    """The candidates of a run that are to be labelled.

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
        said: dict[Look, dict[str, Verdict]] = defaultdict(dict)
        for label in read_labels(self._path) if self._path.is_file() else ():
            said[Look(label.id, label.look)][label.reviewer] = (label.label, label.fault)
        super().__init__((folder / RUN).read_text(encoding="utf-8"), said)
        self._tables = _tables_of_candidates(run)
        if not self._tables:
            raise CurationError(f"{folder} has no candidates to look at: its funnel.json says why")
        settings, self._shares = run.settings(Reviewed.name), shares or Shares()
        self._reviewers = 1 if settings is None else int(settings["reviewers"])
        self._double = {name for name in self._tables if self.draw("double", name) < self._shares.double}

    def drawn_for(self, person: str) -> Sequence[Look]:
        """All candidates, and those that are shown once more."""
        drawn = sorted(self._tables, key=lambda name: self.draw(person, name))
        again = [name for name in drawn if self.draw("again", person, name) < self._shares.again]
        return [*(Look(name, 1) for name in drawn), *(Look(name, 2) for name in again)]

    def is_wanted(self, person: str, turn: Look) -> bool:
        """At a second look he must have said something at the first; else fewer have than should."""
        if turn.number > 1:
            return person in self._answers[Look(turn.id, 1)]
        people = max(self._reviewers, 2) if turn.id in self._double else self._reviewers
        return len(self._answers[turn]) < people

    def keep(self, person: str, turn: Look, answer: Verdict) -> None:
        """Append a line to the labels of the run; of what has left it meanwhile nothing is said any more."""
        self._check_is_there(turn)
        add_label(self._path, Label(turn.id, answer[0], person, answer[1], turn.number))

    def pictures(self, turn: Look) -> tuple[bytes, bytes]:
        """A photograph and its candidate, laid over each other: PNG of the pixels, which does not tell its origin.

        Raises:
            CurationError: if it has left the run since.
        """
        self._check_is_there(turn)
        (row,) = read_kept(self._tables[turn.id], ("lq", "gt"), only={turn.id})
        lq, gt = (png(shown_rgb(row[side])) for side in ("lq", "gt"))
        return lq, gt

    def _check_is_there(self, turn: Look) -> None:
        if not read_kept(self._tables[turn.id], (), only={turn.id}):
            raise CurationError("this candidate has left the run: start `ggt-hub curate review` again")


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
