"""The tables of the ledger, and how those of earlier versions become them."""

import sqlite3

TABLES = """
CREATE TABLE IF NOT EXISTS questions (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, content TEXT, reason TEXT, source TEXT, owner TEXT, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, purse TEXT NOT NULL, state TEXT NOT NULL, cost REAL, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS pictures (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS models (name TEXT PRIMARY KEY, next_at REAL, closed_until REAL, reason TEXT);
CREATE TABLE IF NOT EXISTS purses (
    name TEXT PRIMARY KEY, calls INTEGER NOT NULL, cost REAL NOT NULL, unknown INTEGER NOT NULL,
    dearest REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS terms (provider TEXT PRIMARY KEY, url TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS requests_of_purse ON requests (purse);
"""
_ADDED_SINCE = {  # to ledgers of earlier versions
    "questions": ("pictures TEXT",),
    "requests": ("key TEXT", "model TEXT", "usage TEXT", "request_id TEXT", "seconds REAL"),
    "models": ("taken_at REAL",),
}


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Give a ledger of an earlier version what has come since."""
    for table, columns in _ADDED_SINCE.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for column in columns:
            if column.split()[0] not in there:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    connection.execute("CREATE INDEX IF NOT EXISTS requests_of_question ON requests (key)")
    if connection.execute("SELECT 1 FROM purses").fetchone() is None:
        connection.execute(
            "INSERT INTO purses SELECT purse, count(*), coalesce(sum(cost), 0), count(*) - count(cost), "
            "coalesce(max(cost), 0) FROM requests GROUP BY purse"
        )
