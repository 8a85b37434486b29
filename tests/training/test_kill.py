"""Killed at random moments, a run loses at most what came after its last checkpoint, and ends with equal bytes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.photographs import photograph

# A kill is the end at the n-th change of the file system, not at a time: so it does not depend on the machine, and
# falls into the writing and swapping of checkpoints. Each try is a fork of a process that has imported everything.
PROGRAM = """
import os, random, shutil, signal, sys
from dataclasses import replace
from pathlib import Path
from ggt_hub.training import load_recipe, run, train

root, tries = Path(sys.argv[1]), int(sys.argv[2])
recipe = replace(
    load_recipe("compact").with_data({str(root / "clean"): 1.0}), save_minutes=0.0, ema_decay=0.5,
    model={"channels": [8, 8, 8], "blocks": [1, 1, 1], "condition_width": 8},
)
recipe = replace(recipe, stages=(replace(recipe.stages[0], crop=32, batch=1, steps=5),))

def child(output, kill_at):
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    changes = 0
    def counted(function):
        def call(*args, **kwargs):
            nonlocal changes
            changes += 1
            if changes == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call
    for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    resume = run._Run.resume
    def noted(this):
        resume(this)
        (root / "resumed").write_text(str(this.step))
    run._Run.resume = noted
    train(recipe, output, cpu=True)
    (root / "changes").write_text(str(changes))
    os._exit(0)

assert child(root / "whole", None) == 0
changes, moments, kills = int((root / "changes").read_text()), random.Random(5), 0
while kills < tries:
    progress = root / "killed/progress.txt"
    saved = int(progress.read_text().splitlines()[-1].split()[0]) if progress.exists() else 0
    ended = child(root / "killed", moments.randint(1, changes // 2))
    if ended == signal.SIGKILL:
        kills += 1
        assert int((root / "resumed").read_text()) >= saved, (kills, saved)
    else:  # it was done before: once more from nothing
        assert ended == 0
        shutil.rmtree(root / "killed")
assert child(root / "killed", None) == 0
"""


@pytest.mark.parametrize("tries", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_and_resumed_a_run_ends_with_the_same_weights(tmp_path: Path, tries: int) -> None:
    (tmp_path / "clean").mkdir()
    Image.fromarray(photograph(96)).save(tmp_path / "clean/a.png")
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path), str(tries)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    weights = [
        np.fromfile(tmp_path / run / "model/diffusion_pytorch_model.safetensors", np.uint8)
        for run in ("whole", "killed")
    ]
    assert np.array_equal(*weights)
