"""Who has claimed a question: a process, as others can tell it, also after the clock was set."""

import hashlib
import json
import os
import socket
from functools import cache

import psutil

FORGOTTEN = 7200.0
"""Seconds, longer than any question or sending takes: who is of another machine is taken for gone then."""


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:16]


def owner() -> str:
    """This process."""
    return _owner_of(os.getpid())


@cache
def _owner_of(pid: int) -> str:
    return json.dumps([_host(), pid, *_started(pid)])


def is_here(owner: str | None) -> bool:
    """Whether an owner is of this machine; a container is a machine."""
    return owner is None or json.loads(owner)[0] == _host()


def lives(owner: str | None) -> bool:
    """Whether the process that claimed a question still runs; of another machine's nothing is known, so yes."""
    if owner is None:
        return False
    if not is_here(owner):
        return True
    _, pid, *started = json.loads(owner)
    try:
        return any(abs(now - then) < 1 for now, then in zip(_started(pid), started, strict=False))
    except (psutil.Error, ValueError):
        return False


def _started(pid: int) -> tuple[float, float]:
    """When a process began: by the clock, and since the machine did, which stays when the clock is set."""
    by_the_clock = psutil.Process(pid).create_time()
    return by_the_clock, by_the_clock - psutil.boot_time()
