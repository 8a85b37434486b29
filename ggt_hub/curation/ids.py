"""Ids of rows: what is made of a row is called `ID/PART`; and what is left of an id that is to be forgotten."""

import hashlib
from collections.abc import Collection


def roots(name: str) -> list[str]:
    """An id, and the ids of what it may have been made of, the shortest first."""
    parts = name.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def is_of(name: str, made_of: Collection[str]) -> bool:
    """Whether an id is one of these, or of something that was made of one."""
    return any(root in made_of for root in roots(name))


def hash_of(name: str) -> str:
    """By which a run remembers an id that has left it: names of files may tell of people."""
    return hashlib.sha256(name.encode()).hexdigest()


def hidden(name: str) -> str:
    """What an id that has left a run is called there."""
    return f"taken down {hash_of(name)[:16]}"
