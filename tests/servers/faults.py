"""What can go wrong between a client and the local Hub, asked for by a test."""

import re
import threading
from dataclasses import dataclass


@dataclass
class Fault:
    """One thing to do wrong to `times` requests whose path matches `match`, but for the first `spared` of them.

    `method` is theirs, "" for any. `hang_up` cuts the connection instead of an answer; `status` answers with that
    code; `drop_after` sends so many bytes of the body and cuts the connection; `flip_byte` turns over one bit of
    the body's middle byte, size unchanged; `whole` sends the whole file whatever range is asked for; `delay` waits
    so many seconds before answering.
    """

    match: str = ""
    times: int = 1
    spared: int = 0
    hang_up: bool = False
    status: int | None = None
    drop_after: int | None = None
    flip_byte: bool = False
    whole: bool = False
    delay: float = 0.0
    method: str = "GET"


class Faults:
    """The faults still to happen, a cut of the line, and a delay that every answer suffers."""

    def __init__(self) -> None:
        self.delay_each = 0.0
        self._waiting: list[Fault] = []
        self._left: int | None = None
        self._when = "before"
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        self._waiting.append(fault)

    def cut_after(self, requests: int, when: str) -> None:
        self._left, self._when = requests, when

    def mend(self) -> None:
        self._left = None

    def strike(self) -> str | None:
        """Say where the line is cut at this request; None if it gets through.

        `before` it is read, `during` its body, or `after` it took effect, so that only the answer is lost. The line
        then stays dead: all later requests are cut `before`.
        """
        with self._lock:
            if self._left is None:
                return None
            if self._left > 0:
                self._left -= 1
                return None
            when, self._when = self._when, "before"
            return when

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, used up by one; None where nothing is to go wrong."""
        with self._lock:
            for fault in self._waiting:
                if not fault.times or fault.method not in ("", method) or not re.search(fault.match, path):
                    continue
                if fault.spared:
                    fault.spared -= 1
                    continue
                fault.times -= 1
                return fault
        return None
