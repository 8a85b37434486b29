"""Asking in batches: submitted now, at about half the price, and fetched later, by any process."""

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

from ggt_hub.curation.generators.providers import Price
from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError
from ggt_hub.vlm import Asker, Ledger, Question, Reply, Service
from ggt_hub.vlm.asking import entry_of
from ggt_hub.vlm.batch_book import Batch
from ggt_hub.vlm.ledger import Entry, Receipt, lives, owner

_MOST_LINES, _MOST_BYTES = 1000, 100_000_000

Outcome = Reply | JudgeError
"""What came of a line: a reply, a refusal (`QuestionRefusedError`), or why it was not done, and is free again."""


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

    def collect(self, name: str) -> Mapping[str, Outcome] | None:
        """What came of the lines; None while it is worked on. A line that is not there was not done.

        Raises:
            JudgeError: if the server does not say.
        """


class Fetched(NamedTuple):
    """What came of batches: lines that were answered, refused, not done and so free again, and still waiting."""

    answered: int
    refused: int
    free: int
    waiting: int


class BatchAsker(Asker):
    """Asks in batches: questions wait until there are many, or `flush` is called.

    Args:
        generator: its name in the configuration.
        *args: as of `Asker`.
        **kwargs: as of `Asker`.
    """

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
                batch, budget.purse, service.model, [*lines], (budget.max_calls, budget.max_cost),
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
            _end(self.ledger, batch, {})
            raise
        self.ledger.name_batch(batch.id, name)


def fetch(ledger: Ledger, batch: Batch, service: Batching) -> Fetched:
    """Settle what has come back of a batch; nothing waits for it.

    Raises:
        JudgeError: if the server does not say; the batch is then as before.
    """
    waiting = len([*ledger.open_lines(batch.id)])
    name = batch.name
    if name is None:
        if batch.owner is not None and lives(batch.owner):
            return Fetched(0, 0, 0, waiting)
        name = service.find(batch.id)
        if name is None:  # it was never sent
            return _end(ledger, batch, {})
        ledger.name_batch(batch.id, name)
    outcomes = service.collect(name)
    return Fetched(0, 0, 0, waiting) if outcomes is None else _end(ledger, batch, outcomes)


def _end(ledger: Ledger, batch: Batch, outcomes: Mapping[str, Outcome]) -> Fetched:
    """Settle each line, one by one: a kill in between leaves the others to be collected again."""
    answered = refused = free = 0
    for key, request in ledger.open_lines(batch.id):
        outcome = outcomes.get(key)
        if isinstance(outcome, Reply):
            receipt = Receipt("billed", outcome.cost, outcome.usage, outcome.request_id)
            ledger.end_request(request, receipt, key=key, entry=entry_of(outcome, batch.endpoint))
            answered, refused = answered + (outcome.refusal is None), refused + (outcome.refusal is not None)
        elif isinstance(outcome, QuestionRefusedError):
            entry = Entry("refused", outcome.content, str(outcome), batch.endpoint)
            ledger.end_request(request, Receipt("rejected", 0.0), key=key, entry=entry)
            refused += 1
        else:
            ledger.end_request(request, Receipt("rejected", 0.0), key=key, free=True)
            free += 1
    ledger.end_batch(batch.id)
    return Fetched(answered, refused, free, 0)
