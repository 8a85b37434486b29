"""What people say of candidates: a line of JSON for each label, in the folder of the run.

    {"id": "street/0/banana-1", "label": "refuse", "reviewer": "anna", "fault": "F"}

The review page appends to the file, `calibrate` and the stage `reviewed` read it; lines of one's own are as good,
and need no more than `id` and `label`.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge

from ggt_hub.commit import append_json, keep_json_lines
from ggt_hub.curation.ids import is_of
from ggt_hub.errors import CurationError
from ggt_hub.evaluation.statistics import cohens_kappa
from ggt_hub.settings import read_json_lines

LABELS = "labels.jsonl"

Said = Literal["keep", "refuse", "unsure"]
Fault = Literal["", "D", "F", "DF"]


@dataclass(frozen=True)
class Label:
    """What somebody says of a candidate.

    Attributes:
        id: of the candidate.
        label: whether it is ground truth.
        reviewer: who says so.
        fault: why it is refused: damage is left (D), it is unfaithful (F), both; "" for another reason.
        look: 2 where the same person was shown it once more.
    """

    id: str
    label: Said
    reviewer: str = ""
    fault: Fault = ""
    look: Annotated[int, Ge(1)] = 1


class Agreement(NamedTuple):
    """How far two people, or one who looked twice, say the same of the candidates that both have labelled.

    Attributes:
        first, second: who.
        shared: how many candidates.
        kappa: Cohen's, over keep, refuse and unsure.
    """

    first: str
    second: str
    shared: int
    kappa: float


def read_labels(path: Path) -> list[Label]:
    """The labels of a file; of what one person says of a candidate at one look the last word counts.

    Raises:
        CurationError: if it cannot be read, or a line is no label; the message names the line.
    """
    if not path.is_file():
        raise CurationError(f"{path} is not there: label candidates by `ggt-hub curate review` first")
    told = read_json_lines(path, Label, CurationError)
    return [*{(one.id, one.reviewer, one.look): one for one in told}.values()]


def add_label(path: Path, label: Label) -> None:
    """Append a label; it is on the disk when this returns.

    Raises:
        WriteError: if it cannot be written.
    """
    append_json(path, {name: value for name, value in asdict(label).items() if value not in ("", 1)})


def forget(path: Path, photographs: Collection[str]) -> None:
    """Take out the labels of all candidates of some photographs, given by their ids.

    Raises:
        CurationError: if a line is no label.
    """
    if path.is_file():
        read_labels(path)
        keep_json_lines(path, lambda told: not is_of(told["id"], photographs))


def first_looks(labels: Iterable[Label]) -> dict[str, Counter[str]]:
    """How many people said what of each candidate; what is said at a second look counts for agreement alone."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in labels:
        if one.look == 1:
            found[one.id][one.label] += 1
    return found


def verdicts(labels: Iterable[Label]) -> dict[str, bool]:
    """Whether more people keep a candidate than refuse it; where as many do, or all are unsure, it is left out."""
    return {
        name: said["keep"] > said["refuse"]
        for name, said in first_looks(labels).items()
        if said["keep"] != said["refuse"]
    }


def agreements(labels: Iterable[Label]) -> list[Agreement]:
    """Of each two people who share candidates, and of each who looked at some twice."""
    said: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for one in labels:
        said[one.reviewer, one.look][one.id] = one.label
    both = [
        (a, b)
        for a, b in combinations(sorted(said), 2)
        if a[1] == b[1] == 1 or (a[0] == b[0] and {a[1], b[1]} == {1, 2})
    ]
    found = [_agreement(a[0], b[0], said[a], said[b]) for a, b in both]
    return [one for one in found if one.shared]


def _agreement(first: str, second: str, mine: Mapping[str, str], theirs: Mapping[str, str]) -> Agreement:
    shared = [name for name in mine if name in theirs]
    kappa = cohens_kappa([mine[name] for name in shared], [theirs[name] for name in shared])
    return Agreement(first, second, len(shared), kappa)
