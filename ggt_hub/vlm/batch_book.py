"""Questions that wait in batches of a server, at a lower price: what the ledger knows of them.

A batch is written down before it is sent, with all its requests, so that a kill leaves no line unknown: whether the
server has it is asked by the name that we gave it.
"""

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from ggt_hub.errors import JudgeError

BATCHES = """
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, purse TEXT NOT NULL, generator TEXT NOT NULL, model TEXT NOT NULL, endpoint TEXT,
    told TEXT NOT NULL, name TEXT, state TEXT NOT NULL, owner TEXT, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS lines (batch TEXT NOT NULL, key TEXT NOT NULL, request INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS lines_of_batch ON lines (batch);
"""


class Batch(NamedTuple):
    """One that has not come back.

    Attributes:
        id: our name for it, which the server is told.
        generator: who was asked, as the configuration calls it.
        endpoint: where.
        told: what is needed to read the replies.
        name: the server's; None where it is not known whether it has it.
        owner: the process that is sending it.
        age: seconds since it was written down.
    """

    id: str
    generator: str
    endpoint: str | None
    told: Mapping[str, Any]
    name: str | None
    owner: str | None
    age: int = 0


class BatchBook(ABC):
    """The part of the ledger that knows batches."""

    @abstractmethod
    def _transaction(self, *, durably: bool = True) -> AbstractContextManager[sqlite3.Connection]:
        """All or nothing."""

    def begin_batch(
        self, batch: Batch, purse: str, model: str, keys: Sequence[str], limits: tuple[int | None, float | None],
        expected: float,
    ) -> None:  # fmt: skip
        """Write down a batch that is about to be sent, with a request for each question that was claimed.

        Args:
            batch: without a name yet.
            purse: what the budget belongs to.
            model: who is asked.
            keys: of the questions.
            limits: calls and money that may be spent.
            expected: price of one reply.

        Raises:
            JudgeError: if the budget does not allow it.
        """
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT calls, cost + unknown * max(dearest, ?) FROM purses WHERE name = ?", (expected, purse)
            ).fetchone()
            calls, cost = row or (0, 0.0)
            wanted = len(keys)
            if limits[0] is not None and calls + wanted > limits[0]:
                raise JudgeError(
                    f"a batch of {wanted} is more than the budget of {limits[0]} calls allows: raise it"
                )
            if limits[1] is not None and cost + wanted * expected > limits[1]:
                raise JudgeError(
                    f"a batch of {wanted} may cost {wanted * expected:g}, and of the budget of {limits[1]:g} "
                    f"{cost:g} is spent: raise it"
                )
            connection.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, NULL, 'sending', ?, datetime('now'))",
                (
                    batch.id,
                    purse,
                    batch.generator,
                    model,
                    batch.endpoint,
                    json.dumps(batch.told),
                    batch.owner,
                ),
            )
            for key in keys:
                cursor = connection.execute(
                    "INSERT INTO requests (purse, state, at, key, model) "
                    "VALUES (?, 'in a batch', datetime('now'), ?, ?)",
                    (purse, key, model),
                )
                connection.execute("INSERT INTO lines VALUES (?, ?, ?)", (batch.id, key, cursor.lastrowid))
                connection.execute("UPDATE questions SET state = 'in a batch' WHERE key = ?", (key,))
            connection.execute(
                "INSERT INTO purses VALUES (?1, ?2, 0, ?2, ?3) ON CONFLICT (name) DO UPDATE SET "
                "calls = calls + ?2, unknown = unknown + ?2, dearest = max(dearest, ?3)",
                (purse, wanted, expected),
            )

    def name_batch(self, batch: str, name: str | None) -> None:
        """Note the server's name of a batch; with None, that nobody knows whether it came."""
        with self._transaction() as connection:
            connection.execute("UPDATE batches SET name = ?, owner = NULL WHERE id = ?", (name, batch))

    def end_batch(self, batch: str) -> None:
        """Note that all of it is settled."""
        with self._transaction() as connection:
            connection.execute("UPDATE batches SET state = 'done', owner = NULL WHERE id = ?", (batch,))

    def open_batches(self, purse: str) -> list[Batch]:
        """Those of a purse that have not come back."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id, generator, endpoint, told, name, owner, strftime('%s', 'now') - strftime('%s', at) "
                "FROM batches WHERE purse = ? AND state != 'done' ORDER BY rowid",
                (purse,),
            ).fetchall()
        return [
            Batch(name, generator, endpoint, json.loads(told), there, owner, age)
            for name, generator, endpoint, told, there, owner, age in rows
        ]

    def purses_that_wait(self) -> list[str]:
        """Those of which batches have not come back."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT DISTINCT purse FROM batches WHERE state != 'done' ORDER BY purse"
            ).fetchall()
        return [purse for (purse,) in rows]

    def keys_of(self, batch: str) -> frozenset[str]:
        """The keys of all its lines, settled or not."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT key FROM lines WHERE batch = ?", (batch,)).fetchall()
        return frozenset(key for (key,) in rows)

    def open_lines(self, batch: str) -> Iterator[tuple[str, int]]:
        """The key and the request of each line that is not settled."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT lines.key, request FROM lines JOIN requests ON requests.id = request "
                "WHERE batch = ? AND state = 'in a batch'",
                (batch,),
            ).fetchall()
        yield from rows
