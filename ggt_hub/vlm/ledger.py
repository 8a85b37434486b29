"""Replies that were paid for, kept before they are used, so that a killed run never pays twice."""

import hashlib
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any


class Ledger:
    """A SQLite file of replies by the hash of all that was asked. Safe to use from several threads and runs."""

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        with self._connection:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL, at TEXT NOT NULL)"
            )

    @staticmethod
    def key(**question: Any) -> str:
        """The hash of a question; bytes in it (pictures) count by their own hash."""
        plain = {
            name: hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value
            for name, value in question.items()
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> str | None:
        """The reply stored for a question, or None."""
        with self._lock:
            row = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put(self, key: str, reply: str) -> None:
        """Store a reply for good: it is on the disk when this returns."""
        with self._lock, self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, datetime('now'))", (key, reply)
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
