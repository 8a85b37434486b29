"""GGT-100K at its full number of rows, with tiny pictures: index, load, export, kill, resume; memory reported."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data_sets.layouts import write_zip

ROWS = 103_707
MEMORY_MB = 500

PROGRAM = """
import json, os, resource, shutil, signal, sys, time
from pathlib import Path
import datasets
from ggt_hub import load_dataset
from ggt_hub.data.work.export import export
from ggt_hub.data.sources.ggt_100k import GGT100K

root = Path(sys.argv[1])
report, started = {}, time.monotonic()

def note(name):
    global started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report[name] = {"seconds": round(time.monotonic() - started, 1), "peak_mb": round(peak)}
    started = time.monotonic()

def run(out, kill_after=None):
    process = os.fork()
    if process == 0:
        export({"train": rows}, root / out / "ggt-100k", shard_bytes=500_000)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]

GGT100K(data_dir=str(root / "copy"), cache_dir=str(root / "cache")).index()
note("index")
rows = load_dataset("ggt-100k", data_dir=str(root / "copy"), cache_dir=str(root / "cache"), split="train")
report["rows"] = len(rows)
note("load")
assert run("whole") == 0
note("export")
while run("killed", kill_after=2) != signal.SIGKILL:
    shutil.rmtree(root / "killed")
assert run("killed") == 0
note("killed and resumed")
print(json.dumps(report))
"""


def digests(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_all_rows_from_archive_to_export_through_a_kill(tmp_path, capsys):
    for side in ("LQ", "GT"):
        names = (f"{side}/{('haze', 'rain', 'snow')[n % 3]}/{n:06d}.png" for n in range(ROWS))
        write_zip(
            tmp_path / f"copy/GGT-100K/train/{side}.zip", {name: tiny(n) for n, name in enumerate(names)}
        )
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    report = json.loads(ended.stdout.splitlines()[-1])
    with capsys.disabled():
        sys.stdout.write(f"\n{json.dumps(report)}\n")
    assert report["rows"] == ROWS
    assert report["index"]["seconds"] < 60  # two archives, each of which may take 30 s
    assert max(report[step]["peak_mb"] for step in ("index", "load", "export")) < MEMORY_MB
    assert digests(tmp_path / "whole/ggt-100k") == digests(tmp_path / "killed/ggt-100k")


def tiny(number: int) -> bytes:
    """A different 1x1 PNG for each number."""
    pixel = np.array([[[number % 256, number // 256 % 256, number // 65536]]], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixel).save(buffer, "PNG")
    return buffer.getvalue()
