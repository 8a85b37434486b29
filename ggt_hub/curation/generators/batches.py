"""Asking in batches: submitted now, at about half the price, and fetched later, by any process."""

import threading
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple, Protocol

from ggt_hub.curation.generators.providers import Price
from ggt_hub.curation.generators.replies import Collected
from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError
from ggt_hub.vlm import Asker, Ledger, Question, Reply, Service
from ggt_hub.vlm.asking import entry_of
from ggt_hub.vlm.batch_book import Batch
from ggt_hub.vlm.ledger import Entry, Receipt
from ggt_hub.vlm.owners import FORGOTTEN, is_here, lives, owner

_MOST_LINES, _MOST_BYTES = 1000, 100_000_000
_LISTED_AFTER = 600  # seconds, in which a server may have a batch that it does not list yet


class Batching(Service, Protocol):
    """A generator that may be asked in batches."""

    price: Price

    def submit(self, batch: str, lines: Mapping[str, Question]) -> str:
        """Send a batch under our own name for it.

        Args:
            batch: our name.
            lines: what is asked, by names of their own.

        Returns:
            The server's name.

        Raises:
            JudgeError: if it was surely not taken.
            PossiblyBilledError: if that is not known.
        """

    def find(self, batch: str) -> str | None:
        """The server's name of a batch; None if it has none of that name.

        Raises:
            JudgeError: if it does not say.
        """

    def collect(self, name: str) -> Collected | None:
        """What came of the lines; None while it is worked on.

        Raises:
            JudgeError: if the server does not say; also while lines are taken.
        """


class Fetched(NamedTuple):
    """What came of batches, in lines.

    Attributes:
        answered, refused: those that were.
        free: not done, and so free again.
        waiting: not done yet.
        lost: done, as the server says, and not among what it sent; they may have been billed.
    """

    answered: int = 0
    refused: int = 0
    free: int = 0
    waiting: int = 0
    lost: int = 0


class BatchAsker(Asker):
    """Asks in batches: questions wait until there are many, or `flush` is called.

    Args:
        generator: its name in the configuration.
        *args: as of `Asker`.
        **kwargs: as of `Asker`.
    """

    _waits = False  # two who gather questions for batches would wait for each other

    def __init__(self, generator: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.generator = generator
        self._waiting: dict[str, Question] = {}
        self._sending = threading.Lock()

    def ask(self, question: Question, number: Sequence[int] = (0, 0), pause: float = 0.0) -> Entry:
        """What is known of a question; what is not known yet is in a batch from now on."""
        key = self.key(question, number)
        with self._sending:
            # A claim of ours would wait for itself until the batch is sent.
            entry = None if key in self._waiting else self.claim(key)
            if entry is not None:
                return entry
            self._waiting[key] = question
            size = sum(len(picture) for one in self._waiting.values() for picture in one.pictures)
            if len(self._waiting) >= _MOST_LINES or size >= _MOST_BYTES:
                self._submit()
        return Entry("in a batch", reason="it is in a batch: fetch it")

    def flush(self) -> None:
        """Send what waits."""
        with self._sending:
            if self._waiting:
                self._submit()

    def _submit(self) -> None:
        service: Any = self.service
        lines, self._waiting = self._waiting, {}
        batch = Batch(
            uuid.uuid4().hex, self.generator, service.endpoint, asdict(service.price), None, owner()
        )
        budget, share = service.budget, service.price.batch
        try:
            self.ledger.begin_batch(
                batch, budget.hold(), service.model, [*lines], (budget.max_calls, budget.max_cost),
                share * budget.expected,
            )  # fmt: skip
        except BaseException:
            for key in lines:
                self.ledger.release(key)
            raise
        try:
            name = service.submit(batch.id, lines)
        except PossiblyBilledError:
            self.ledger.name_batch(batch.id, None)  # whether it came will be asked
            raise
        except JudgeError:
            _end(self.ledger, batch, Collected((), are_all=False))
            raise
        self.ledger.name_batch(batch.id, name)


def fetch(ledger: Ledger, batch: Batch, service: Batching) -> Fetched:
    """Settle what has come back of a batch; nothing waits for it.

    Raises:
        JudgeError: if the server does not say; the batch is then as before.
    """
    waiting = Fetched(waiting=len([*ledger.open_lines(batch.id)]))
    name = batch.name
    if name is None:
        if batch.owner is not None and _is_sending(batch):
            return waiting
        name = service.find(batch.id)
        if name is None and batch.age < _LISTED_AFTER:
            return waiting
        if name is None:  # it was never sent
            return _end(ledger, batch, Collected((), are_all=False))
        ledger.name_batch(batch.id, name)
    collected = service.collect(name)
    return waiting if collected is None else _end(ledger, batch, collected)


def _is_sending(batch: Batch) -> bool:
    """Whether the process that wrote it down may be at it still."""
    return lives(batch.owner) and (is_here(batch.owner) or batch.age < FORGOTTEN)


def _end(ledger: Ledger, batch: Batch, collected: Collected) -> Fetched:
    """Settle each line, one by one: a kill in between leaves the others to be collected again."""
    keys, left = ledger.keys_of(batch.id), dict(ledger.open_lines(batch.id))
    counts: Counter[str] = Counter()
    answered: set[str] = set()
    failed: dict[str, JudgeError] = {}  # settled last, for servers that try again leave both in a file
    strange = 0
    for key, outcome in collected.lines:
        if outcome is None or key not in keys:
            strange += 1
        elif not isinstance(outcome, Reply):
            failed[key] = outcome
        else:
            answered.add(key)
            if key in left:
                counts[_settled(ledger, batch, key, left.pop(key), outcome)] += 1
    if strange and not (answered or failed):
        raise JudgeError(f"what came of the batch {batch.name or batch.id} cannot be read: fetch again")
    # A line that is strange, or that the server has counted, is somebody's, and whose is not known.
    is_lost = collected.are_all or strange > 0 or len(answered) < collected.done
    for key, request in left.items():
        outcome = failed.get(key, None if is_lost else JudgeError("it was not done"))
        counts[_settled(ledger, batch, key, request, outcome)] += 1
    ledger.end_batch(batch.id)
    return Fetched(**counts)


def _settled(
    ledger: Ledger, batch: Batch, key: str, request: int, outcome: Reply | JudgeError | None
) -> Literal["answered", "refused", "free", "lost"]:
    """What became of a line, which the ledger knows now; None for an outcome that is lost."""
    if outcome is None:
        lost = Entry("possibly billed", reason="its batch came back without it", source=batch.endpoint)
        ledger.end_request(request, Receipt("possibly billed"), key=key, entry=lost)
        return "lost"
    if isinstance(outcome, Reply):
        receipt = Receipt("billed", outcome.cost, outcome.usage, outcome.request_id)
        ledger.end_request(request, receipt, key=key, entry=entry_of(outcome, batch.endpoint))
        return "answered" if outcome.refusal is None else "refused"
    rejected = Receipt("rejected", 0.0)
    if isinstance(outcome, QuestionRefusedError):
        entry = Entry("refused", outcome.content, str(outcome), batch.endpoint)
        ledger.end_request(request, rejected, key=key, entry=entry)
        return "refused"
    ledger.end_request(request, rejected, key=key, free=True)
    return "free"
