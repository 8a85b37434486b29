"""The contract of stages: all that a run knows of them.

A stage is a frozen dataclass of its settings. What it decides of a row depends on its settings, the row, the seed,
what earlier stages have learned, on the ledger where it asks a model, on labels where people decide, and on nothing
else. So a run may be killed at any moment and goes on with the same bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import pyarrow as pa
from datasets import Features
from pydantic import BaseModel

from ggt_hub.data.pairs import PAIR_FEATURES
from ggt_hub.vlm import Asker

Row = dict[str, Any]
"""`id`, and the columns that a stage needs; pictures are the bytes of their files."""

Role = Literal["vision", "language"]
"""Who is asked: a model that sees pictures, or one that writes."""


@dataclass(frozen=True)
class Kept:
    """A row goes on, with the columns that the stage gives."""

    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dropped:
    """A row ends here.

    Attributes:
        reason: a few words, by which the funnel counts; one that begins with the stage's name finds fault with a
            candidate.
        detail: what is to be known of this one.
        values: columns that the stage gives, of a part that is packed as a negative.
    """

    reason: str
    detail: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Later:
    """Nothing is known yet, as where a question may have been billed and has no reply; the next run tries again.

    Attributes:
        reason, detail: as of `Dropped`.
    """

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Split:
    """A row goes on as several, such as the crops of a photograph, each with its own columns.

    Attributes:
        parts: by what is added to the id, `ID/PART`; some of them may end here, or wait.
    """

    parts: Mapping[str, Mapping[str, Any] | Dropped | Later]


Outcome = Kept | Dropped | Later | Split


class Seed(NamedTuple):
    """What a row begins with: its id, what names the content's version, and the content, to be pickled."""

    id: str
    version: str
    content: Any


@dataclass(frozen=True)
class Context:
    """What a stage has besides its settings and its rows.

    Attributes:
        seed: of the run; what is drawn for a row is drawn from this and its id.
        pictures: folder or id of the text-to-image pipeline.
        learned: the folders of what earlier stages have learned, by their names.
        asker: whom a stage asks that asks somebody.
        generators: who edits pictures, by the names that the configuration gives them.
        labels: how many people said what of a candidate, by its id.
    """

    seed: int
    pictures: str = ""
    learned: Mapping[str, Path] = field(default_factory=dict)
    asker: Asker | None = None
    generators: Mapping[str, Asker] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def asks(self) -> Asker:
        """Whom a stage asks."""
        if self.asker is None:
            raise TypeError("a stage that asks nobody has no asker")
        return self.asker


@dataclass(frozen=True)
class Stage(ABC):
    """What all stages have.

    Attributes:
        name: what configurations call it.
        version: to be raised when the same settings give other results.
        needs: columns of earlier stages that it reads.
        uses: stages whose learned folders it reads.
        asks: who is asked, and paid; None for nobody.
        tokens: of the longest reply.
        temperature: of replies that are sampled; 0 for the likeliest.
        replies: what replies are to be, in JSON; None for words.
        draws: whether it uses the text-to-image pipeline.
        edits: whether it asks the generators.
        reviews: whether it reads what people have said.
        words: texts that it depends on, by which models are asked.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    asks: ClassVar[Role | None] = None
    tokens: ClassVar[int] = 128
    temperature: ClassVar[float] = 0
    replies: ClassVar[type[BaseModel] | None] = None
    draws: ClassVar[bool] = False
    edits: ClassVar[bool] = False
    reviews: ClassVar[bool] = False
    words: ClassVar[tuple[str, ...]] = ()

    def check(self) -> None:  # noqa: B027 - most need nothing
        """Say what is missing on this machine, before anything is done or paid.

        Raises:
            CurationError: naming it, and what to install.
        """


class Deciding(Stage):
    """A stage that decides of each row.

    Attributes:
        gives: columns, with their types.
    """

    gives: ClassVar[Mapping[str, pa.DataType]] = {}

    @property
    def is_asking(self) -> bool:
        """Whether it waits for others most of the time."""
        return self.asks is not None or self.edits

    @abstractmethod
    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """One outcome for each row, in order."""

    def questions(self, rows: int) -> int:
        """How many questions so many rows take, at most; for estimates."""
        return rows if self.asks else 0


class Beginning(Deciding):
    """A stage with which rows begin; `decide` gets their content as `seed`."""

    @abstractmethod
    def seeds(self, source: str) -> list[Seed]:
        """What there is, in an order that is always the same.

        Raises:
            DatasetError: if there is nothing.
        """


class Learning(Stage):
    """A stage that learns something of all rows together."""

    @abstractmethod
    def learn(self, rows: Iterable[Row], context: Context, working: Path, folder: Path) -> dict[str, Any]:
        """Write what was learned.

        Args:
            rows: with the columns that it needs, read as they are taken; may be gone through several times.
            context: see there.
            working: a folder that stays when the work is interrupted, to go on from.
            folder: to write into; it is shown when the work is done.

        Returns:
            What is to be known of it, for reports.
        """


class Packing(Stage):
    """The last stage: writes what users load.

    Attributes:
        rows: in one file.
        takes: columns that it packs where an earlier stage gives them.
        refusing: stages whose verdicts, reasons that begin with their names, make rows that are packed apart, as
            negatives.
        features: columns of the records.
    """

    rows: int

    takes: ClassVar[tuple[str, ...]] = ()
    refusing: ClassVar[tuple[str, ...]] = ()
    features: ClassVar[Features] = PAIR_FEATURES

    @abstractmethod
    def row(self, row: Row, run: Mapping[str, Any]) -> dict[str, Any]:
        """The record of a row, in the pair schema; `run` says how it was made.

        A row that was refused also has `refused_by`, `reason` and `detail`.
        """

    @abstractmethod
    def card(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """What the card says, as arguments of `write_card`."""
