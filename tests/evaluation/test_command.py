import json

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


def test_an_unknown_suite_names_those_there_are(tmp_path):
    outcome = invoke("run", "nonsense", "--output", tmp_path / "out")
    assert isinstance(outcome.exception, EvaluationError)
    assert "compact-val, foundir, ggt-test, realir-bench" in str(outcome.exception)
