import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ggt_hub.errors import JudgeError
from ggt_hub.vlm.flushing import Flusher
from ggt_hub.vlm.ledger import Entry, Ledger


def test_what_comes_while_a_flush_is_under_way_shares_the_next(tmp_path, monkeypatch):
    path, written, flushes = tmp_path / "file", [0], []
    path.write_bytes(b"")
    begun, may_end = threading.Event(), threading.Event()

    def slow(_file: int) -> None:
        flushes.append(written[0])
        begun.set()
        may_end.wait(10)

    monkeypatch.setattr(os, "fsync", slow)
    flusher = Flusher(path, lambda: written[0])
    with ThreadPoolExecutor(4) as pool:
        written[0] = 1
        first = pool.submit(flusher.flush, 1)
        assert begun.wait(10)
        written[0] = 4
        others = [pool.submit(flusher.flush, write) for write in (2, 3, 4)]
        may_end.set()
        for one in (first, *others):
            one.result(10)
    assert flushes == [1, 4]  # the first cannot know what came after it began
    flusher.flush(3)
    assert flushes == [1, 4]


def test_a_reply_is_on_the_disk_when_it_is_settled_and_a_claim_costs_no_flush(tmp_path, monkeypatch):
    ledger, flushed = Ledger(tmp_path / "ledger.sqlite"), []
    log = Path(f"{ledger.path}-wal")
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.pread(file, log.stat().st_size, 0)))
    assert ledger.claim("question") is None
    assert flushed == []
    ledger.settle("question", Entry("answered", "the reply in words"))
    assert len(flushed) == 1
    assert b"the reply in words" in flushed[0]
    assert ledger.claim("question").content == "the reply in words"
    assert len(flushed) == 1  # it is there already


def test_what_another_thread_has_not_brought_to_the_disk_is_not_used_before(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.claim("question")
    with ledger._transaction(durably=False) as connection:
        connection.execute("UPDATE questions SET state = 'answered', content = 'yes'")
    flushes = []
    monkeypatch.setattr(os, "fsync", flushes.append)
    assert ledger.claim("question").content == "yes"
    assert len(flushes) == 1


KILLED_IN_THE_FLUSH = """
import os, signal, sys
from ggt_hub.vlm.ledger import Entry, Ledger
ledger = Ledger(sys.argv[1])
ledger.claim("question")
os.fsync = lambda _file: os.kill(os.getpid(), signal.SIGKILL)
ledger.settle("question", Entry("answered", "yes"))
"""


def test_a_kill_amid_a_flush_loses_no_reply(tmp_path):
    path = tmp_path / "ledger.sqlite"
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_THE_FLUSH, path], env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert Ledger(path).claim("question").content == "yes"


def test_a_disk_that_fails_is_one_clear_error(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ledger.claim("question")
    with pytest.raises(JudgeError, match=r"ledger\.sqlite cannot be used .*No space left"):
        ledger.settle("question", Entry("answered", "yes"))
