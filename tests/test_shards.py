"""Shards: done entirely or not at all, whatever happens in between."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import psutil
import pytest

from ggt_hub.errors import GGTHubError
from ggt_hub.shards import Shard, made_shard, processes, run_shards

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


def test_one_shard_is_made_once_and_takes_the_place_of_nothing(tmp_path):
    first, second = SHARDS[:2]
    for expected in ("0", ""):
        assert made_shard(write_number, first, tmp_path, settings={"a": 1})["number"] == 0
        assert made(tmp_path) == expected
    assert run_shards(write_number, [first], tmp_path, settings={"a": 1})[0]["number"] == 0
    assert made(tmp_path) == ""
    (tmp_path / "1.txt").write_text("mine")
    with pytest.raises(GGTHubError, match="was not made by an earlier run"):
        made_shard(write_number, second, tmp_path, settings={"a": 1})
    assert (tmp_path / "1.txt").read_text() == "mine"


def write_threads(number: int, path: Path) -> dict:
    path.touch()
    return {"threads": cv2.getNumThreads(), "of_torch": os.environ["OMP_NUM_THREADS"]}


def test_each_process_keeps_to_one_core(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    reports = run_shards(write_threads, SHARDS, tmp_path, settings=1, workers=2)
    assert {(report["threads"], report["of_torch"]) for report in reports} == {(1, "1")}


HEAVY = """
import torch
from ggt_hub.shards import processes
if __name__ == "__main__":
    with processes(1) as pool:
        print(torch.get_num_threads(), pool.submit(torch.get_num_threads).result())
"""


def test_also_where_the_program_has_imported_torch_before(tmp_path):
    """Two workers of two threads each, which wait for each other in loops, took more than three times as long."""
    (tmp_path / "heavy.py").write_text(HEAVY)
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path.cwd())}
    said = subprocess.check_output([sys.executable, tmp_path / "heavy.py"], text=True, env=environment)
    assert said.split() == ["2", "1"]


def write_process(number: int, path: Path) -> dict:
    path.write_text(str(number))
    return {"process": os.getpid()}


def test_processes_are_kept_from_one_list_of_shards_to_the_next(tmp_path):
    with processes(1) as pool:
        reports = [
            *run_shards(write_process, SHARDS, tmp_path / "a", settings=1, workers=2, pool=pool),
            *run_shards(write_process, SHARDS, tmp_path / "b", settings=1, workers=2, pool=pool),
        ]
    found = {report["process"] for report in reports}
    assert len(reports) == 2 * len(SHARDS)
    assert len(found) == 1
    assert os.getpid() not in found


IDLE = """
import os, time
from ggt_hub.shards import processes
with processes(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


def test_processes_end_when_the_one_that_started_them_is_killed():
    run = subprocess.Popen([sys.executable, "-c", IDLE], stdout=subprocess.PIPE, text=True, env=os.environ)
    assert run.stdout is not None
    worker = psutil.Process(int(run.stdout.readline()))
    run.kill()
    run.wait()
    run.stdout.close()
    worker.wait(20)  # raises if it is still there


def be_killed_at_two(number: int, path: Path) -> dict:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return write_number(number, path)


def test_a_process_that_is_killed_is_named_as_what_it_is_and_its_shard_made_by_the_next_run(tmp_path):
    with pytest.raises(GGTHubError, match="one of 2 processes was killed, most often because memory ran out"):
        run_shards(be_killed_at_two, SHARDS, tmp_path, settings=1, workers=2)
    assert "2" not in made(tmp_path)
    run_shards(write_number, SHARDS, tmp_path, settings=1)
    assert "2" in made(tmp_path)


def test_what_is_missing_or_of_other_settings_is_made_again(tmp_path):
    def run(settings, shards=SHARDS):
        run_shards(write_number, shards, tmp_path, settings=settings)
        return made(tmp_path)

    run(1)
    (tmp_path / "1.txt").unlink()
    assert run(1) == "1"
    assert run(2) == "0 1 2 3"
    assert run(2, [*SHARDS[:3], Shard("3.txt", (3,), "newer")]) == "3"


@pytest.mark.parametrize("state", ["somebody else's", "changed since"])
def test_a_file_that_no_report_names_as_it_is_stays_and_nothing_is_done(tmp_path, state):
    if state == "changed since":
        run_shards(write_number, SHARDS, tmp_path, settings=1)
        made(tmp_path)
    (tmp_path / "2.txt").write_text("mine")
    with pytest.raises(GGTHubError, match=r"2\.txt was not made by an earlier run, or was changed since"):
        run_shards(write_number, SHARDS, tmp_path, settings=2)
    assert (made(tmp_path), (tmp_path / "2.txt").read_text()) == ("", "mine")


def test_a_failure_keeps_what_was_done_and_no_half_file_has_its_name(tmp_path):
    def fail_at_two(number: int, path: Path) -> dict:
        path.write_text("half")
        if number == 2:
            raise OSError("disk full")
        return {}

    with pytest.raises(OSError, match="disk full"):
        run_shards(fail_at_two, SHARDS, tmp_path, settings=1)
    assert sorted(path.name for path in tmp_path.glob("[0-9].txt")) == ["0.txt", "1.txt"]


KILLS = {
    "before the report": "shards.commit_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
    "between report and file": "shards.Path.replace = lambda path, target: (\n"
    "    os.kill(os.getpid(), signal.SIGKILL) if target.name == '0.txt' else os.replace(path, target))",
}


@pytest.mark.parametrize("moment", KILLS)
def test_a_kill_leaves_nothing_that_a_later_run_takes_for_somebody_elses(tmp_path, moment):
    run_shards(write_number, [Shard("0.txt", (7,))], tmp_path, settings=1)
    program = (
        "import os, signal, sys; from pathlib import Path; from ggt_hub import shards\n"
        f"{KILLS[moment]}\n"
        "from tests.test_shards import *\n"
        "shards.run_shards(write_number, SHARDS, Path(sys.argv[1]), settings=2)\n"
    )
    root = Path(__file__).resolve().parents[1]
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=root, env={**os.environ})
    assert ended.returncode == -signal.SIGKILL
    made(tmp_path)
    run_shards(write_number, SHARDS, tmp_path, settings=2)
    assert made(tmp_path) == "0 1 2 3"
    assert (tmp_path / "0.txt").read_text() == "0"
