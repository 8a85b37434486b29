import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.errors import EvaluationError
from tests.metrics.golden import noisy
from tests.photographs import photograph


@pytest.fixture
def pairs(tmp_path):
    for side, picture in (("lq", noisy(photograph(192), 25)), ("gt", photograph(192))):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "pairs" / side / "one.png")
    return tmp_path / "pairs"


def invoke(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_a_folder_is_restored_scored_and_compared(pairs, tmp_path):
    for model, folder in (("identity", tmp_path / "a"), ("opencv:nlm", tmp_path / "b")):
        outcome = invoke("run", pairs, "--model", model, "--output", folder)
        assert outcome.exit_code == 0, outcome.output
        assert f"report: {folder / 'report.html'}" in outcome.output
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in "ab")
    assert first["overall"]["psnr"]["mean"] == first["overall"]["psnr_before"]["mean"]
    gain = second["overall"]["psnr"]["mean"] - first["overall"]["psnr"]["mean"]
    assert gain > 2  # decibels
    outcome = invoke("compare", tmp_path / "a", tmp_path / "b")
    assert outcome.exit_code == 0
    assert f"{gain:+.4f} *" in outcome.output


def test_a_failed_picture_is_exit_code_one(pairs, tmp_path):
    (pairs / "lq" / "two.png").write_bytes(b"damaged")
    Image.fromarray(photograph(192)).save(pairs / "gt" / "two.png")
    outcome = invoke("run", pairs, "--model", "identity", "--output", tmp_path / "out")
    assert outcome.exit_code == 1
    assert "incomplete: 1 failed" in outcome.output


def test_two_processes_share_the_work_and_leave_what_one_leaves(tmp_path):
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.fromarray(noisy(photograph(128), 5, seed=index)).save(tmp_path / "photos" / f"{index}.png")
    arguments = ["bench", "run", tmp_path / "photos", "--model", "opencv:nlm", "--output"]
    outcome = invoke(*arguments[1:], tmp_path / "one")
    assert outcome.exit_code == 0, outcome.output
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, "-m", "ggt_hub", *map(str, arguments), str(tmp_path / "two")]
    several = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    )
    assert several.returncode == 0, several.stderr
    assert several.stdout.count("report:") == 1
    assert "2/2" in several.stderr  # of three pictures, the first process restored two
    tables = [pq.read_table(tmp_path / name / "scores.parquet") for name in ("one", "two")]
    assert tables[0].equals(tables[1])
    pixels = [
        [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.png"))] for name in ("one", "two")
    ]
    assert pixels[0] == pixels[1]


def test_an_unknown_suite_names_those_there_are(tmp_path):
    outcome = invoke("run", "nonsense", "--output", tmp_path / "out")
    assert isinstance(outcome.exception, EvaluationError)
    assert "compact-val, foundir, ggt-test, realir-bench" in str(outcome.exception)
