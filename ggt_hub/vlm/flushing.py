"""Writes of many threads are brought to the disk together: a flush takes milliseconds, whatever it brings."""

import os
import threading
from collections.abc import Callable
from pathlib import Path


class Flusher:
    """Brings what was written to a file to the disk. While one thread does, those that come share the next flush.

    Args:
        path: of the file, which is there when something was written.
        written: how many writes are complete; asked before each flush.
    """

    def __init__(self, path: Path, written: Callable[[], int]) -> None:
        self._path, self._written = path, written
        self._one = threading.Lock()
        self._file: int | None = None
        self._flushed = 0

    def flush(self, write: int) -> None:
        """Return when that write, by its number, and all before are on the disk.

        Raises:
            OSError: if they cannot be brought there.
        """
        with self._one:
            if self._flushed >= write:
                return
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR)
            written = self._written()  # before the flush: what comes meanwhile it may miss
            os.fsync(self._file)
            self._flushed = written

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
