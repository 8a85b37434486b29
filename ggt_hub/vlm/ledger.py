"""What was asked and paid for, one file a user: asked once, kept before it is used, counted as servers bill it.

A question is claimed before it is asked, also against other processes. What its owner left behind without an
answer, because it was killed, may have been billed: it is not asked again by itself.
"""

import hashlib
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psutil

from ggt_hub.errors import JudgeError

State = Literal["asked", "answered", "refused", "possibly billed"]

_POLL = 0.1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS questions (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, content TEXT, reason TEXT, source TEXT, owner TEXT, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, purse TEXT NOT NULL, state TEXT NOT NULL, cost REAL, at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS requests_of_purse ON requests (purse);
"""


@dataclass(frozen=True)
class Entry:
    """What is known of a question.

    Attributes:
        state: "answered", "refused" or "possibly billed".
        content: the reply as it came; of a refusal, too, where there was one.
        reason: why it was refused.
        source: where it was asked.
    """

    state: State
    content: str | None = None
    reason: str | None = None
    source: str | None = None


def ledger_path() -> Path:
    """The user's ledger: `GGT_HUB_LEDGER`, or a file in the cache folder of the Hub's library (`HF_HOME`)."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("GGT_HUB_LEDGER") or Path(HF_HOME) / "ggt-hub" / "ledger.sqlite")


class Ledger:
    """A SQLite file. Safe to use from several threads and processes of one machine.

    Args:
        path: the file, made where it is missing; ":memory:" for one that is not kept.

    Raises:
        JudgeError: here and in every method, if the file cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._lock = threading.RLock()
        try:
            if self.path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=60, check_same_thread=False, isolation_level=None
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
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

    def claim(self, key: str, *, again: bool = False) -> Entry | None:
        """Make a question ours, or tell what is known of it; waits while another thread or process asks it.

        Args:
            key: of the question.
            again: also what was refused or possibly billed.

        Returns:
            None if it is to be asked now; `settle` or `release` must follow.
        """
        while True:
            with self._transaction() as connection:
                found = connection.execute(
                    "SELECT state, content, reason, source, owner FROM questions WHERE key = ?", (key,)
                ).fetchone()
                if found and found[0] == "asked" and not _lives(found[4]):
                    found = (
                        "possibly billed",
                        None,
                        "it was in flight when an earlier run ended",
                        *found[3:],
                    )
                if not found or (again and found[0] in ("refused", "possibly billed")):
                    connection.execute(
                        "INSERT OR REPLACE INTO questions (key, state, owner, at) "
                        "VALUES (?, 'asked', ?, datetime('now'))",
                        (key, _owner()),
                    )
                    return None
            if found[0] != "asked":
                return Entry(*found[:4])
            time.sleep(_POLL)

    def settle(self, key: str, entry: Entry) -> None:
        """Keep what came of a question: it is on the disk when this returns."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?, ?, NULL, datetime('now'))",
                (key, entry.state, entry.content, entry.reason, entry.source),
            )

    def release(self, key: str) -> None:
        """Give a claim back: the question was not asked, or surely not billed."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM questions WHERE key = ? AND state = 'asked'", (key,))

    def begin_request(self, purse: str, max_calls: int | None, max_cost: float | None) -> int:
        """Count a request that is about to be sent; parallel ones and those of earlier runs count, too.

        What is in flight, or of unknown fate, counts at the price of the dearest reply so far.

        Args:
            purse: what the budget belongs to.
            max_calls: requests that may be made; None for any number.
            max_cost: what they may cost; None for any amount.

        Raises:
            JudgeError: if the budget does not allow it.
        """
        with self._transaction() as connection:
            calls, cost, dearest = _spent(connection, purse)
            if max_calls is not None and calls >= max_calls:
                raise JudgeError(f"the budget of {max_calls} calls is spent: raise it and run again")
            if max_cost is not None and (cost + dearest > max_cost or cost >= max_cost):
                raise JudgeError(
                    f"the budget of {max_cost:g} is spent ({cost:g}, and a request may cost {dearest:g}): raise it "
                    "and run again"
                )
            cursor = connection.execute(
                "INSERT INTO requests (purse, state, at) VALUES (?, 'in flight', datetime('now'))", (purse,)
            )
            return int(cursor.lastrowid or 0)

    def end_request(self, request: int, state: str, cost: float | None) -> None:
        """Note what became of a request, and what it cost; None where that cannot be known."""
        with self._transaction() as connection:
            connection.execute("UPDATE requests SET state = ?, cost = ? WHERE id = ?", (state, cost, request))

    def spent(self, purse: str) -> tuple[int, float]:
        """Requests made from a purse, and what they cost."""
        with self._transaction() as connection:
            return _spent(connection, purse)[:2]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> JudgeError:
        return JudgeError(
            f"the ledger {self.path} cannot be used ({error}): name another by --ledger or GGT_HUB_LEDGER"
        )


def _spent(connection: sqlite3.Connection, purse: str) -> tuple[int, float, float]:
    calls, known, unknown, dearest = connection.execute(
        "SELECT count(*), coalesce(sum(cost), 0), count(*) - count(cost), coalesce(max(cost), 0) "
        "FROM requests WHERE purse = ?",
        (purse,),
    ).fetchone()
    return calls, known + unknown * dearest, dearest


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:16]


def _owner() -> str:
    process = psutil.Process()
    return json.dumps([_host(), process.pid, process.create_time()])


def _lives(owner: str | None) -> bool:
    """Whether the process that claimed a question still runs; of another machine's nothing is known, so yes."""
    host, pid, started = json.loads(owner) if owner else (_host(), -1, 0.0)
    if host != _host():
        return True
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except (psutil.Error, ValueError):
        return False
