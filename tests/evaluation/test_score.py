import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation import score_folders
from ggt_hub.evaluation.scoring import Scoring
from ggt_hub.metrics import psnr
from tests.metrics.golden import noisy
from tests.photographs import photograph


@pytest.fixture
def folders(tmp_path):
    clean = photograph(192)
    for name, sigma in (("one", 10), ("deep/two", 20)):
        for side, picture, suffix in (
            ("results", noisy(clean, sigma), ".png"),
            ("references", clean, ".bmp"),
        ):
            path = tmp_path / side / (name + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    return tmp_path / "results", tmp_path / "references"


def test_pictures_are_matched_by_path_and_scored(folders):
    scores = score_folders(*folders, ["psnr", "niqe"])
    rows = {row["id"]: row for row in scores["per_picture"]}
    assert rows["one"]["psnr"] == pytest.approx(psnr(noisy(photograph(192), 10), photograph(192))[0])
    assert scores["complete"]
    mean = scores["overall"]["psnr"]
    assert mean["mean"] == pytest.approx(np.mean([row["psnr"] for row in rows.values()]))
    assert mean["low"] < mean["mean"] < mean["high"]


def test_what_has_no_partner_or_cannot_be_read_is_listed_and_never_left_out(folders):
    results, references = folders
    (results / "extra.png").write_bytes((results / "one.png").read_bytes())
    (results / "one.png").write_bytes(b"damaged")
    (results / "deep/two.png").unlink()
    scores = score_folders(results, references, ["psnr"])
    assert not scores["complete"]
    assert (scores["pictures"], scores["overall"]["scored"]) == (3, 0)
    assert scores["failed"]["extra"] == "it has no reference"
    assert scores["failed"]["deep/two"] == "there is no picture for this reference"
    assert "one.png" in scores["failed"]["one"]


def test_a_score_that_cannot_be_defined_is_a_failure(tmp_path):
    Image.fromarray(np.full((200, 200, 3), 128, np.uint8)).save(tmp_path / "flat.png")
    scores = score_folders(tmp_path, None, ["niqe"])
    assert scores["failed"] == {"flat": "niqe undefined for this picture"}


def test_the_command_prints_and_writes_the_scores(folders, tmp_path):
    results, references = folders
    target = tmp_path / "scores.json"
    arguments = ["score", str(results), str(references), "--metrics", "psnr,ssim", "--json", str(target)]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    written = json.loads(target.read_text())
    assert f"{written['overall']['psnr']['mean']:.4f}" in outcome.output
    assert "2 of 2 pictures" in outcome.output
    (results / "one.png").unlink()
    assert CliRunner().invoke(app, arguments).exit_code == 1


def test_two_single_pictures_are_a_pair_whatever_their_names(folders):
    results, references = folders
    scores = score_folders(results / "one.png", references / "deep/two.bmp", ["psnr"])
    assert scores["overall"]["psnr"]["count"] == 1


def test_missing_references_are_refused(folders):
    results, _ = folders
    with pytest.raises(EvaluationError, match="psnr compares with a reference"):
        score_folders(results, None, ["psnr"])


def test_names_that_differ_in_their_suffix_alone_are_two_pictures(folders):
    results, references = folders
    Image.fromarray(photograph(32)).save(results / "one.webp")
    scores = score_folders(results, references, ["psnr"])
    assert scores["failed"] == {
        "one.png": "it has no reference",
        "one.webp": "it has no reference",
        "one": "there is no picture for this reference",
    }
    assert scores["overall"]["psnr"]["count"] == 1


def test_a_metric_that_was_named_and_cannot_be_had_is_exit_code_one(folders, tmp_path):
    results, references = folders
    target = tmp_path / "scores.json"
    arguments = [
        "score",
        str(results),
        str(references),
        "--metrics",
        "psnr,lpips",
        "--weights",
        str(tmp_path / "no"),
    ]
    outcome = CliRunner().invoke(app, [*arguments, "--json", str(target)])
    assert outcome.exit_code == 1
    assert "missing: lpips: the weights" in outcome.output
    written = json.loads(target.read_text())
    assert (written["complete"], list(written["left_out"])) == (False, ["lpips"])
    assert written["overall"]["psnr"]["count"] == 2
    assert score_folders(results, references, ["lpips"], scoring=Scoring(weights=tmp_path))["overall"] == {
        "pictures": 2, "scored": 0,
    }  # fmt: skip


def test_a_border_that_leaves_nothing_is_said(folders):
    scores = score_folders(*folders, ["psnr"], scoring=Scoring(crop_border=96))
    assert scores["failed"]["one"] == "psnr failed: 96 pixels off each side leave nothing of 192x192"


def test_a_metric_that_fails_for_a_picture_leaves_the_other_metrics_theirs(folders):
    results, references = folders
    for side in folders:
        Image.fromarray(np.zeros((1, 40, 3), np.uint8)).save(side / "thin.png")
    scores = score_folders(results, references, ["psnr", "ssim", "registration-error"])
    assert scores["overall"]["psnr"]["count"] == 3
    assert scores["overall"]["ssim"] | {"count": 2, "of": 3} == scores["overall"]["ssim"]
    assert scores["failed"].keys() == {"thin"}
    assert scores["failed"]["thin"].startswith("ssim failed: a picture of 40x1 is too small")


def test_results_are_found_by_a_template(folders):
    results, references = folders
    (results / "one.png").rename(results / "one_x1_out.png")
    (results / "deep/two.png").rename(results / "deep/two_x1_out.png")
    scores = score_folders(results, references, ["psnr"], template="{}_x1_out")
    assert scores["complete"]
    assert scores["overall"]["psnr"]["count"] == 2
    with pytest.raises(EvaluationError, match=r"must hold {} once"):
        score_folders(results, references, ["psnr"], template="_x1")


def test_no_metric_is_an_error(folders):
    outcome = CliRunner().invoke(app, ["score", *map(str, folders), "--metrics", " , "])
    assert isinstance(outcome.exception, EvaluationError)
    assert "--metrics names none" in str(outcome.exception)
