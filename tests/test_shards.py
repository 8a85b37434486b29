"""Shards: done entirely or not at all, whatever happens in between."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ggt_hub.shards import Shard, run_shards

SHARDS = [Shard(f"{n}.txt", (n,)) for n in range(4)]


def write_number(number: int, path: Path) -> dict:
    path.write_text(str(number))
    with (path.parent / ".log").open("a") as log:
        log.write(f"{number} ")
    return {"number": number}


def made(folder: Path) -> str:
    log = folder / ".log"
    text = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    return text.strip()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_shard_is_made_once(tmp_path, workers):
    for expected in ({"0", "1", "2", "3"}, set()):
        reports = run_shards(write_number, SHARDS, tmp_path, settings={"a": 1}, workers=workers)
        assert [report["number"] for report in reports] == [0, 1, 2, 3]
        assert set(made(tmp_path).split()) == expected
    assert [(tmp_path / f"{n}.txt").read_text() for n in range(4)] == ["0", "1", "2", "3"]


def test_what_is_missing_damaged_or_of_other_settings_is_made_again(tmp_path):
    def run(settings, shards=SHARDS):
        run_shards(write_number, shards, tmp_path, settings=settings)
        return made(tmp_path)

    run(1)
    (tmp_path / "1.txt").unlink()
    (tmp_path / "2.txt").write_text("X")
    assert run(1) == "1 2"
    assert run(2) == "0 1 2 3"
    assert run(2, [*SHARDS[:3], Shard("3.txt", (3,), "newer")]) == "3"


def test_a_failure_keeps_what_was_done_and_no_half_file_has_its_name(tmp_path):
    def fail_at_two(number: int, path: Path) -> dict:
        path.write_text("half")
        if number == 2:
            raise OSError("disk full")
        return {}

    with pytest.raises(OSError, match="disk full"):
        run_shards(fail_at_two, SHARDS, tmp_path, settings=1)
    assert sorted(path.name for path in tmp_path.glob("[0-9].txt")) == ["0.txt", "1.txt"]


def test_a_kill_between_file_and_report_is_survived(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from ggt_hub import shards\n"
        "shards.commit_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from tests.test_shards import *\n"
        "shards.run_shards(write_number, SHARDS, Path(sys.argv[1]), settings=1)\n"
    )
    root = Path(__file__).resolve().parents[1]
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=root, env={**os.environ})
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "0.txt").exists()
    made(tmp_path)
    run_shards(write_number, SHARDS, tmp_path, settings=1)
    assert made(tmp_path) == "0 1 2 3"
