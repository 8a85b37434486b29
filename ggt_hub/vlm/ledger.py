"""What was asked and paid for, one file a user: asked once, kept before it is used, counted as servers bill it.

A question is claimed before it is asked, also against other processes, and marked as asked in the same step that
counts its request. What its owner left behind without an answer, because it was killed, is free again where nothing
was sent; what was sent may have been billed, and is not asked again by itself. A reply, its pictures and what it
cost are one transaction.
"""

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ggt_hub.errors import JudgeError, ModelClosedError
from ggt_hub.vlm.batch_book import BATCHES, BatchBook
from ggt_hub.vlm.flushing import Flusher
from ggt_hub.vlm.ledger_tables import TABLES, bring_up_to_date
from ggt_hub.vlm.owners import FORGOTTEN, is_here, lives, owner

State = Literal["claimed", "asked", "in a batch", "answered", "refused", "possibly billed"]
Outcome = Literal["in flight", "in a batch", "billed", "rejected", "possibly billed"]

_POLL = 0.1


@dataclass(frozen=True)
class Entry:
    """What is known of a question.

    Attributes:
        state: "answered", "refused", "possibly billed", or "in a batch".
        content: the reply as it came; of a refusal, too, where there was one.
        reason: why it was refused.
        source: where it was asked.
        pictures: files that came with the reply, as they came.
    """

    state: State
    content: str | None = None
    reason: str | None = None
    source: str | None = None
    pictures: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Receipt:
    """What became of a request.

    Attributes:
        state: "billed", "rejected" or "possibly billed".
        cost: in the currency of the prices; None where it cannot be known.
        usage: what the server says it counted.
        request_id: the server's name for it.
        seconds: until the reply was there.
    """

    state: Outcome
    cost: float | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    seconds: float | None = None


class Bill(NamedTuple):
    """What a purse was spent on, for one model and outcome; `unknown` of the requests have no known cost."""

    model: str
    state: Outcome
    requests: int
    cost: float
    unknown: int
    seconds: float


def ledger_path() -> Path:
    """The user's ledger: `GGT_HUB_LEDGER`, or a file in the cache folder of the Hub's library (`HF_HOME`)."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("GGT_HUB_LEDGER") or Path(HF_HOME) / "ggt-hub" / "ledger.sqlite")


class Ledger(BatchBook):
    """A SQLite file. Safe to use from several threads and processes of one machine.

    Args:
        path: the file, made where it is missing; ":memory:" for one that is not kept.

    Raises:
        JudgeError: here and in every method, if the file cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._lock = threading.RLock()
        self._commits = 0
        self._flusher: Flusher | None = None
        try:
            if self.path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=60, check_same_thread=False, isolation_level=None
            )
            mode = self._connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            self._connection.executescript(TABLES + BATCHES)
            with self._transaction() as connection:
                bring_up_to_date(connection)
            if mode == "wal":  # else every transaction is brought to the disk by itself
                self._flusher = Flusher(Path(f"{self.path}-wal"), lambda: self._commits)
                self._connection.execute("PRAGMA synchronous = NORMAL")
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    @staticmethod
    def key(**question: Any) -> str:
        """The hash of a question; bytes in it (pictures) count by their own hash."""
        plain = {
            name: hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value
            for name, value in question.items()
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def claim(self, key: str, *, again: bool = False, waits: bool = True) -> Entry | None:
        """Make a question ours, or tell what is known of it.

        Args:
            key: of the question.
            again: also what was refused or possibly billed.
            waits: while another thread or process asks it; otherwise it counts as in a batch of theirs.

        Returns:
            None if it is to be asked now; `settle`, `end_request` or `release` must follow.
        """
        while True:
            # A claim that is lost with the power was of a question that was not sent.
            with self._transaction(durably=False) as connection:
                is_ours, entry = self._claim(connection, key, again)
            if is_ours:
                return None
            if entry is not None:
                self._flush(self._commits)  # it may be another thread's, and on its way to the disk
                return entry
            if not waits:
                return Entry("in a batch", reason="another run is asking it: run again")
            time.sleep(_POLL)

    def _claim(self, connection: sqlite3.Connection, key: str, again: bool) -> tuple[bool, Entry | None]:
        """Whether a question is ours now, and what is known of it; neither while another one asks it."""
        found = connection.execute(
            "SELECT state, owner, strftime('%s', 'now') - strftime('%s', at), content, reason, source, pictures "
            "FROM questions WHERE key = ?",
            (key,),
        ).fetchone()
        state, asked_by, age, *known = found or (None, None, 0)
        if state in ("claimed", "asked") and not self._is_asked(asked_by, age):
            state, known = _left_behind(connection, key, state)
        if state is None or (again and state in ("refused", "possibly billed")):
            connection.execute(
                "INSERT OR REPLACE INTO questions (key, state, owner, at) "
                "VALUES (?, 'claimed', ?, datetime('now'))",
                (key, owner()),
            )
            return True, None
        if state in ("claimed", "asked"):
            return False, None
        content, reason, source, pictures = known
        return False, Entry(state, content, reason, source, self._pictures(connection, pictures))

    def _is_asked(self, asked_by: str | None, age: float) -> bool:
        """Whether somebody is at a question still.

        Raises:
            JudgeError: if that is not known: it is of another machine, which may be a container that is gone.
        """
        if is_here(asked_by):
            return lives(asked_by)
        if 0 <= age < FORGOTTEN:
            raise JudgeError(
                f"a question in {self.path} was asked by another machine or container {age / 60:.0f} minutes ago, "
                f"which may run still: end it, and run again in {(FORGOTTEN - age) / 60:.0f} minutes"
            )
        return False

    def settle(self, key: str, entry: Entry) -> None:
        """Keep what came of a question: it is on the disk when this returns."""
        with self._transaction() as connection:
            _settle(connection, key, entry)

    def release(self, key: str) -> None:
        """Give a claim back: the question was not asked, or surely not billed; one that is asked stays."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM questions WHERE key = ? AND state = 'claimed'", (key,))

    def begin_request(
        self,
        purse: str,
        max_calls: int | None,
        max_cost: float | None,
        *,
        key: str | None = None,
        model: str = "",
        expected: float = 0.0,
    ) -> int:
        """Count a request that is about to be sent; parallel ones and those of earlier runs count, too.

        What is in flight, or of unknown fate, counts at the price of the dearest reply so far, or what is expected.

        Args:
            purse: what the budget belongs to.
            max_calls: requests that may be made; None for any number.
            max_cost: what they may cost; None for any amount.
            key: of the question that it asks, which was claimed.
            model: who is asked.
            expected: what it costs, where that is known before.

        Raises:
            JudgeError: if the budget does not allow it.
            ModelClosedError: if the model is closed, see `close_model`.
        """
        with self._transaction() as connection:
            _check_open(connection, model)
            calls, cost, dearest = _spent(connection, purse, expected)
            if max_calls is not None and calls >= max_calls:
                raise JudgeError(f"the budget of {max_calls} calls is spent: raise it and run again")
            if max_cost is not None and (cost + dearest > max_cost or cost >= max_cost):
                raise JudgeError(
                    f"the budget of {max_cost:g} is spent ({cost:g}, and a request may cost {dearest:g}): raise it "
                    "and run again"
                )
            cursor = connection.execute(
                "INSERT INTO requests (purse, state, at, key, model) "
                "VALUES (?, 'in flight', datetime('now'), ?, ?)",
                (purse, key, model),
            )
            connection.execute(
                "INSERT INTO purses VALUES (?1, 1, 0, 1, ?2) ON CONFLICT (name) DO UPDATE SET "
                "calls = calls + 1, unknown = unknown + 1, dearest = max(dearest, ?2)",
                (purse, expected),
            )
            connection.execute(
                "UPDATE questions SET state = 'asked' WHERE key = ? AND state = 'claimed'", (key,)
            )
            return int(cursor.lastrowid or 0)

    def end_request(
        self,
        request: int,
        receipt: Receipt,
        *,
        key: str | None = None,
        entry: Entry | None = None,
        free: bool = False,
    ) -> bool:
        """Note what became of a request and, in the same step, of the question that it asked.

        What another process has noted stays: two may fetch the same batch.

        Args:
            request: from `begin_request`.
            receipt: what it came to.
            key: of the question.
            entry: what is known of the question now; without it it is ours, and not asked, as before.
            free: it is nobody's; it may be asked again.

        Returns:
            Whether it was not noted yet.
        """
        with self._transaction() as connection:
            noted = connection.execute(
                "UPDATE requests SET state = ?1, cost = ?2, usage = ?3, request_id = ?4, seconds = ?5 "
                "WHERE id = ?6 AND (state IN ('in flight', 'in a batch') "
                "OR (state = 'possibly billed' AND ?2 IS NOT NULL))",
                (
                    receipt.state,
                    receipt.cost,
                    json.dumps(dict(receipt.usage)) if receipt.usage else None,
                    receipt.request_id,
                    receipt.seconds,
                    request,
                ),
            )
            if not noted.rowcount:
                return False
            if receipt.cost is not None:
                connection.execute(
                    "UPDATE purses SET unknown = unknown - 1, cost = cost + ?1, dearest = max(dearest, ?1) "
                    "WHERE name = (SELECT purse FROM requests WHERE id = ?2)",
                    (receipt.cost, request),
                )
            if key is not None and entry is not None:
                _settle(connection, key, entry)
            elif free:
                connection.execute("DELETE FROM questions WHERE key = ? AND state = 'in a batch'", (key,))
            elif key is not None:
                connection.execute(
                    "UPDATE questions SET state = 'claimed' WHERE key = ? AND state = 'asked'", (key,)
                )
            return True

    def reserve(self, model: str, per_minute: float) -> float:
        """Seconds to wait before the next request to a model, whose turn is taken; also across processes.

        A token bucket, kept as the time of its next token: those of six seconds may go at once, others are
        spaced.
        """
        with self._transaction(durably=False) as connection:
            told = connection.execute(
                "SELECT next_at, taken_at FROM models WHERE name = ?", (model,)
            ).fetchone()
            now = time.time()
            is_of_this_time = told is not None and told[0] is not None and (told[1] or 0.0) <= now
            next_at = max(told[0], now) if is_of_this_time else now  # the clock may have been set back
            connection.execute(
                "INSERT INTO models (name, next_at, taken_at) VALUES (?1, ?2, ?3) "
                "ON CONFLICT (name) DO UPDATE SET next_at = ?2, taken_at = ?3",
                (model, next_at + 60 / per_minute, now),
            )
            return max(0.0, next_at - now - 6.0)

    def close_model(self, model: str, seconds: float, reason: str) -> None:
        """Ask a model nothing for a time, whoever asks: its quota is used up. With 0 seconds it is open again."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO models (name, closed_until, reason) VALUES (?, ?, ?) ON CONFLICT (name) "
                "DO UPDATE SET closed_until = excluded.closed_until, reason = excluded.reason",
                (model, time.time() + seconds, reason),
            )

    def bill(self, purse: str) -> list[Bill]:
        """What a purse was spent on, for each model and outcome."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT coalesce(model, ''), state, count(*), coalesce(sum(cost), 0), count(*) - count(cost), "
                "coalesce(sum(seconds), 0) FROM requests WHERE purse = ? GROUP BY 1, 2 ORDER BY 1, 2",
                (purse,),
            ).fetchall()
        return [Bill(*row) for row in rows]

    def receipts(self, keys: Iterable[str]) -> list[list[Receipt]]:
        """What became of the requests that asked some questions, from whatever purse, the last one last."""
        told = "SELECT state, cost, usage, request_id, seconds FROM requests WHERE key = ? ORDER BY id"
        with self._transaction() as connection:
            rows = [connection.execute(told, (key,)).fetchall() for key in keys]
        return [
            [
                Receipt(state, cost, json.loads(usage or "{}"), name, seconds)
                for state, cost, usage, name, seconds in of
            ]
            for of in rows
        ]

    def spent(self, purse: str) -> tuple[int, float]:
        """Requests made from a purse, and what they cost."""
        with self._transaction() as connection:
            return _spent(connection, purse)[:2]

    def accept_terms(self, provider: str, url: str) -> None:
        """Remember that the user has accepted the terms of a provider, which stand there."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO terms VALUES (?, ?, datetime('now'))", (provider, url))

    def has_accepted(self, provider: str, url: str) -> bool:
        """Whether the user has; terms at another address are other terms."""
        with self._transaction() as connection:
            row = connection.execute("SELECT url FROM terms WHERE provider = ?", (provider,)).fetchone()
        return row is not None and row[0] == url

    def close(self) -> None:
        """Close the file."""
        if self._flusher is not None:
            self._flusher.close()
        self._connection.close()

    def _pictures(self, connection: sqlite3.Connection, names: str | None) -> tuple[bytes, ...]:
        found = []
        for sha256 in json.loads(names or "[]"):
            row = connection.execute("SELECT data FROM pictures WHERE sha256 = ?", (sha256,)).fetchone()
            if row is None or hashlib.sha256(row[0]).hexdigest() != sha256:
                raise self._unusable(ValueError(f"the picture {sha256[:12]} is damaged or gone"))
            found.append(row[0])
        return tuple(found)

    @contextmanager
    def _transaction(self, *, durably: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing; kills never undo it, and a loss of power only where it is not done durably."""
        try:
            with self._lock:
                before = self._connection.total_changes
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    if self._connection.in_transaction:  # a full disk has ended it
                        self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
                self._commits += self._connection.total_changes > before
                commit = self._commits
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        if durably:
            self._flush(commit)

    def _flush(self, commit: int) -> None:
        """Return when that commit, and all before, are on the disk."""
        try:
            if self._flusher is not None:
                self._flusher.flush(commit)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> JudgeError:
        return JudgeError(
            f"the ledger {self.path} cannot be used ({error}): name another by --ledger or GGT_HUB_LEDGER"
        )


def _settle(connection: sqlite3.Connection, key: str, entry: Entry) -> None:
    names = [hashlib.sha256(data).hexdigest() for data in entry.pictures]
    connection.executemany(
        "INSERT OR IGNORE INTO pictures VALUES (?, ?)", zip(names, entry.pictures, strict=True)
    )
    connection.execute(
        "INSERT OR REPLACE INTO questions (key, state, content, reason, source, pictures, at) "
        "VALUES (?, ?, ?, ?, ?, ?, datetime('now'))",
        (key, entry.state, entry.content, entry.reason, entry.source, json.dumps(names) if names else None),
    )


def _left_behind(
    connection: sqlite3.Connection, key: str, state: State
) -> tuple[State | None, list[str | None]]:
    """What is known of a question whose owner was killed: nothing where it was not sent yet."""
    if state == "claimed":
        return None, []
    entry = Entry("possibly billed", reason="it was in flight when an earlier run ended")
    _settle(connection, key, entry)
    connection.execute(
        "UPDATE requests SET state = 'possibly billed' WHERE key = ? AND state = 'in flight'", (key,)
    )
    return entry.state, [None, entry.reason, None, None]


def _check_open(connection: sqlite3.Connection, model: str) -> None:
    """Refuse a model that is closed.

    Raises:
        ModelClosedError: if so.
    """
    row = connection.execute("SELECT closed_until, reason FROM models WHERE name = ?", (model,)).fetchone()
    if row and row[0] is not None and row[0] > time.time():
        until = datetime.fromtimestamp(row[0]).astimezone().isoformat(" ", "minutes")
        raise ModelClosedError(f"{model} takes no more questions until {until} ({row[1]}): run again then")


def _spent(connection: sqlite3.Connection, purse: str, expected: float = 0.0) -> tuple[int, float, float]:
    row = connection.execute(
        "SELECT calls, cost, unknown, dearest FROM purses WHERE name = ?", (purse,)
    ).fetchone()
    calls, known, unknown, dearest = row or (0, 0.0, 0, 0.0)
    dearest = max(dearest, expected)
    return calls, known + unknown * dearest, dearest
