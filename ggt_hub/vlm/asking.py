"""Asking a model: through the ledger, within the budget, at the pace that it allows, and again where that is free.

A service makes one try and says how it failed. What follows from that is decided here, once for all of them: a
rejection that passes is tried again, with growing, jittered pauses or those that the server asks for; one that asks
for a long pause closes the model; what was sent and got no reply is not sent again, for it may have been billed.
"""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from ggt_hub.errors import (
    JudgeError,
    ModelClosedError,
    PossiblyBilledError,
    QuestionRefusedError,
    RejectedError,
)
from ggt_hub.vlm.budget import Budget
from ggt_hub.vlm.ledger import Entry, Ledger, Outcome, Receipt, State

Turn = tuple[str, str]
"""A later turn of the conversation: role ("assistant" or "user") and text."""

LONGEST_WAIT = 120.0
"""Seconds that a run waits for a server; what asks for more is closed meanwhile."""

_here = threading.local()
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _StoppedError(JudgeError):
    """Other work has ended the run."""


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    Attributes:
        text: follows the pictures.
        system: the system prompt; "" for none.
        pictures: files, PNG.
        later: further turns, oldest first.
        number: of the repeat, set by the asker; what is drawn at random here is drawn from it.
    """

    text: str
    system: str = ""
    pictures: tuple[bytes, ...] = ()
    later: tuple[Turn, ...] = ()
    number: tuple[int, ...] = (0, 0)


@dataclass(frozen=True)
class Reply:
    """What came back, and was billed.

    Attributes:
        text: what it says.
        pictures: files, as they came.
        refusal: why it is no answer, though it looks like one; None where it is.
        cost: in the currency of the prices.
        usage: what the server says it counted.
        request_id: the server's name for it.
    """

    text: str = ""
    pictures: tuple[bytes, ...] = ()
    refusal: str | None = None
    cost: float = 0.0
    usage: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None


class Service(Protocol):
    """Something that answers questions: here, or behind a server."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def revision(self) -> str | None:
        """Its exact revision; None where that is not known."""

    @property
    def endpoint(self) -> str | None:
        """Where it runs; None for here."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What else decides its reply."""

    @property
    def budget(self) -> Budget | None:
        """What may be spent; None where nothing is billed."""

    @property
    def max_retries(self) -> int:
        """Further tries after a failure that may pass."""

    @property
    def per_minute(self) -> float | None:
        """Requests that may be sent in a minute; None for any number."""

    def check(self) -> None:
        """Ask, for nothing, whether it can be asked: before anything is paid.

        Raises:
            JudgeError: if it says no: its key is rejected, it knows no such model.
        """

    def send(self, question: Question) -> Reply:
        """Make one try.

        Raises:
            RejectedError: if it was not taken, and so not billed.
            QuestionRefusedError: if this question will not be taken; others may.
            PossiblyBilledError: if it was sent and no reply came.
        """


def send(service: Service, question: Question, key: str | None = None) -> Reply:
    """The reply of a service, after as many tries as it takes; each is counted.

    Args:
        service: who is asked.
        question: what.
        key: of the question in the ledger, where it was claimed; the reply is kept there before this returns.

    Raises:
        QuestionRefusedError: as `Service.send`; it is not billed.
        PossiblyBilledError: as `Service.send`.
        JudgeError: if the service fails for good, is closed, or the budget is spent.
    """
    budget = service.budget
    if budget is None:
        return service.send(question)
    for attempt in range(service.max_retries + 1):
        _wait(0.0 if service.per_minute is None else budget.ledger.reserve(service.model, service.per_minute))
        # Where money is limited the first request goes alone, for until its reply comes no price is known.
        priced = budget.max_cost is None or budget.expected > 0 or budget.cost > 0
        with nullcontext() if priced else budget.alone:
            try:
                return _try(service, budget, question, key)
            except RejectedError as error:
                pause = _pause(service, budget, error, attempt)
        _wait(pause)
    raise AssertionError("the last attempt has raised")


def _wait(seconds: float) -> None:
    """Wait, in a thread of `at_once` no longer than its work goes on: nothing is sent after that.

    Raises:
        _StoppedError: if it ends meanwhile, or has ended.
    """
    stopped: threading.Event | None = getattr(_here, "stopped", None)
    if stopped is None:
        time.sleep(seconds)
    elif stopped.wait(seconds):
        raise _StoppedError("the run was stopped: run again to go on")


def _try(service: Service, budget: Budget, question: Question, key: str | None) -> Reply:
    """One try, counted before it is made; what came of it is kept before it is used."""
    request, began = budget.begin(service.model, key), time.monotonic()
    try:
        reply = service.send(question)
    except BaseException as error:
        state, entry = _failed(service, error)
        cost = 0.0 if state == "rejected" else None
        budget.end(request, Receipt(state, cost, seconds=time.monotonic() - began), key, entry)
        raise
    seconds = time.monotonic() - began
    receipt = Receipt("billed", reply.cost, reply.usage, reply.request_id, seconds)
    _keep(budget, request, receipt, key, entry_of(reply, service.endpoint))
    return reply


def _keep(budget: Budget, request: int, receipt: Receipt, key: str | None, entry: Entry) -> None:
    """Write down a reply that was paid; where that fails twice, at least that it was.

    Raises:
        JudgeError: if it cannot be written down.
    """
    try:
        budget.end(request, receipt, key, entry)
    except JudgeError as error:
        # A ledger that somebody holds may be free by now, and a full disk have room for less.
        lost = Entry("possibly billed", reason=f"its reply could not be kept: {error}", source=entry.source)
        with suppress(JudgeError):
            budget.end(request, receipt, key, entry)
            return
        with suppress(JudgeError):
            budget.end(request, receipt, key, lost)
        raise


def _failed(service: Service, error: BaseException) -> tuple[Outcome, Entry | None]:
    """What became of a request, and what is known of its question, which stays ours where it may be asked again."""
    if isinstance(error, RejectedError):
        return "rejected", None
    if isinstance(error, QuestionRefusedError) and not isinstance(error, PossiblyBilledError):
        return "rejected", Entry("refused", error.content, str(error), service.endpoint)
    reason = str(error) if isinstance(error, PossiblyBilledError) else "the run was interrupted"
    return "possibly billed", Entry("possibly billed", reason=reason, source=service.endpoint)


def entry_of(reply: Reply, endpoint: str | None) -> Entry:
    """What the ledger keeps of a reply."""
    state: State = "answered" if reply.refusal is None else "refused"
    return Entry(state, reply.text, reply.refusal, endpoint, reply.pictures)


def _pause(service: Service, budget: Budget, error: RejectedError, attempt: int) -> float:
    """Seconds to wait before the next try.

    Raises:
        ModelClosedError: if it asks for a long pause.
        RejectedError: if there is to be no other try.
    """
    wait = error.wait or 0.0
    if error.passes and wait > LONGEST_WAIT:
        budget.ledger.close_model(service.model, wait, "its quota is used up")
        raise ModelClosedError(f"{error}: it is asked nothing for {wait / 3600:.1f} hours") from None
    if not error.passes or attempt == service.max_retries:
        raise error from None
    # A server that asks for no time at all, or for one that is past, asks for nothing.
    return error.wait or random.uniform(0.5, 1.0) * min(2**attempt, 30)  # noqa: S311


class Asker:
    """Asks questions; every reply is in the ledger before it is used, and no question is asked twice.

    Args:
        service: who is asked.
        ledger: where replies are kept, and requests counted.
        workers: questions asked at the same time.
        ask_again: ask also what was refused or possibly billed before, and what is closed.
    """

    _waits = True  # for a question that somebody else is asking

    def __init__(
        self, service: Service, ledger: Ledger, *, workers: int = 8, ask_again: bool = False
    ) -> None:
        self.service, self.ledger, self.workers, self.ask_again = service, ledger, workers, ask_again
        self.sources: set[str] = set()
        self._asked_again: set[str] = set()
        if service.budget is not None:  # one transaction then holds a reply and what it cost
            service.budget.ledger = ledger
            if ask_again:
                ledger.close_model(service.model, 0, "")

    def key(self, question: Question, number: Sequence[int] = (0, 0)) -> str:
        """The name of a question in the ledger; with another number it is another question."""
        pictures = question.pictures
        # Ledgers of 0.1 know questions about one picture.
        shown = (
            {"image": pictures[0]}
            if len(pictures) == 1
            else {"images": [sha256(data).hexdigest() for data in pictures]}
        )
        return Ledger.key(
            model=self.service.model,
            revision=self.service.revision,
            parameters=self.service.parameters,
            system=question.system,
            question=question.text,
            later=question.later,
            number=number,
            **shown,
        )

    def ask(self, question: Question, number: Sequence[int] = (0, 0), pause: float = 0.0) -> Entry:
        """What a service answers, from the ledger where it was asked before.

        Args:
            question: what is asked.
            number: of the repeat; another one is another question.
            pause: seconds before it is sent, where it is.

        Raises:
            JudgeError: if the service fails for good, or the budget is spent; the question then is as before.
        """
        key = self.key(question, number)
        entry = self.claim(key)
        if entry is None:
            if pause:
                time.sleep(pause)
            entry = self._asked(key, replace(question, number=tuple(number)))
        if entry.source:
            self.sources.add(entry.source)
        return entry

    def claim(self, key: str) -> Entry | None:
        """What is known of a question; None makes it ours. What was refused may be asked again once in a run."""
        again = self.ask_again and key not in self._asked_again
        entry = self.ledger.claim(key, again=again, waits=self._waits)
        if entry is None:
            self._asked_again.add(key)
        return entry

    def flush(self) -> None:
        """Send what waits to be sent together: nothing does here."""

    def _asked(self, key: str, question: Question) -> Entry:
        try:
            entry = entry_of(send(self.service, question, key), self.service.endpoint)
        except QuestionRefusedError as error:
            state: State = "possibly billed" if isinstance(error, PossiblyBilledError) else "refused"
            entry = Entry(state, error.content, str(error), self.service.endpoint)
        except BaseException:
            self.ledger.release(key)  # what may have been billed stays
            raise
        if self.service.budget is None:  # else whoever counted the request has settled it with its receipt
            self.ledger.settle(key, entry)
        return entry


def at_once(
    work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int, title: str, unit: str
) -> list[_Result]:
    """Results of a function that waits for others, in the order of the items; with a progress bar.

    The first error ends it: what was sent is waited for, nothing more is sent.

    Args:
        work: called in several threads.
        items: what for.
        workers: threads.
        title: what the bar says.
        unit: what is counted.

    Raises:
        Exception: what `work` has raised.
    """
    stopped = threading.Event()

    def guarded(item: _Item) -> Any:
        if stopped.is_set():
            return None
        _here.stopped = stopped
        try:
            return work(item)
        except BaseException:
            stopped.set()  # before another thread takes the next item
            raise

    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(guarded, item) for item in items]
        try:
            for done in tqdm(as_completed(waiting), title, len(waiting), unit=unit, leave=False):
                if not isinstance(done.exception(), _StoppedError):  # what has stopped it is to be raised
                    done.result()
        except KeyboardInterrupt:
            tqdm.write("stopping: what was sent is paid, and is waited for", file=sys.stderr)
            raise
        finally:
            stopped.set()  # also where a person interrupts it
    return [one.result() for one in waiting]
