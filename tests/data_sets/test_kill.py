"""Killed at twenty random moments and resumed, everything that is made of data has the same bytes."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data_sets.layouts import picture, write_zip

COUNT = 40

# Each try is a fork of a process that has imported everything, so that it is the work that is hit. The parent does
# nothing else before: a lock that one of its threads held would never be given back in the child.
PROGRAM = """
import os, random, shutil, signal, sys, threading, time
from pathlib import Path
import datasets
from ggt_hub import load_dataset
from ggt_hub.data.work.export import export
from ggt_hub.data.work.indexing import make_index
from ggt_hub.data.reading.parts import dataset_parts
from ggt_hub.data.work.preview import preview
from ggt_hub.data.work.verify import verify

action, root = sys.argv[1], Path(sys.argv[2])
assert threading.active_count() == 1

def rows():
    return load_dataset("pairs", data_dir=str(root / "copy"), cache_dir=str(root / "cache"))

def index(out):
    datasets.config.HF_DATASETS_CACHE = str(out.parent / "cache")
    make_index(str(root / "copy"), out)

actions = {
    "export": lambda out: export(rows(), out, shard_bytes=6_000),
    "verify": lambda out: verify(dataset_parts(rows()["train"], 6_000), out),
    "preview": lambda out: preview(rows()["train"], out),
    "index": index,
}

def child(name):
    process = os.fork()
    if process == 0:
        actions[action](root / name / "out")
        os._exit(0)
    return process

assert os.waitpid(child("first"), 0)[1] == 0  # fills the cache of `datasets`
started = time.monotonic()
assert os.waitpid(child("whole"), 0)[1] == 0
duration = time.monotonic() - started
moments, kills = random.Random(0), 0
while kills < 20:
    process = child("killed")
    time.sleep(moments.uniform(0, duration))
    os.kill(process, signal.SIGKILL)
    if os.waitpid(process, 0)[1] == signal.SIGKILL:
        kills += 1
    else:  # it was done before: once more from nothing
        shutil.rmtree(root / "killed")
assert os.waitpid(child("killed"), 0)[1] == 0
"""


def content(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file, hidden ones included."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


@pytest.mark.parametrize("action", ["export", "verify", "preview", "index"])
def test_killed_at_random_moments_and_resumed_the_files_are_the_same(action, tmp_path):
    members = {
        f"{side}/{n:03d}.png": picture(n + k) for side, k in (("LQ", 0), ("GT", 1000)) for n in range(COUNT)
    }
    write_zip(tmp_path / "copy/haze.zip", members)
    subprocess.run([sys.executable, "-c", PROGRAM, action, str(tmp_path)], check=True, capture_output=True)
    whole = content(tmp_path / "whole/out")
    assert len(whole) > 2
    assert content(tmp_path / "killed/out") == whole
