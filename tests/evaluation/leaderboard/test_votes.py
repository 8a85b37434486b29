"""Votes on the rows of a leaderboard: planted, and counted exactly."""

import json
from dataclasses import asdict
from itertools import combinations

import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub import RestorerPipeline
from ggt_hub.cli import app
from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation import load_suite, run_suite
from ggt_hub.evaluation.leaderboard import build_leaderboard, open_voting
from ggt_hub.evaluation.results import read
from ggt_hub.evaluation.scoring import Scoring
from ggt_hub.evaluation.votes import Vote
from tests.metrics.golden import noisy
from tests.photographs import photograph

MODELS = ("identity", "opencv:nlm", "gain")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Four pairs in noise, and three runs over them."""
    folder = tmp_path_factory.mktemp("board")
    clean = photograph(64)
    for number in range(4):
        for side, pixels in (("lq", noisy(clean, 40, seed=number)), ("gt", clean)):
            (folder / "data" / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / "data" / side / f"{number}.png")
    suite = load_suite(str(folder / "data"))
    for model in MODELS:
        restorer = RestorerPipeline.from_pretrained(model)
        run_suite(suite, restorer, folder / model.replace(":", "-"), scoring=Scoring(("psnr", "ssim")))
    return folder


def runs(place):
    return [place / model.replace(":", "-") for model in MODELS]


def planted(place, prefers):
    """A vote of each pair of each picture, for the one for which `prefers` gives more."""
    rows = {
        model: {row["id"]: row for row in read(run)[1]}
        for model, run in zip(MODELS, runs(place), strict=True)
    }
    for picture in rows["gain"]:
        for left, right in combinations(MODELS, 2):
            mine, theirs = rows[left][picture], rows[right][picture]
            values = prefers(left, mine), prefers(right, theirs)
            vote = "tie" if values[0] == values[1] else "left" if values[0] > values[1] else "right"
            yield Vote(picture, left, right, mine["output_sha256"], theirs["output_sha256"], vote, "anna")


def write(place, votes, name="votes.jsonl"):
    path = place / name
    path.write_text("\n".join(json.dumps(asdict(vote)) for vote in votes))
    return path


def build(place, votes, output):
    return build_leaderboard(runs(place), output, place / "data", votes=votes)["voted"]


def test_a_metric_that_decides_the_votes_agrees_with_them_wholly(place, tmp_path):
    means = {
        model: read(run)[0]["overall"]["psnr"]["mean"] for model, run in zip(MODELS, runs(place), strict=True)
    }
    voted = build(place, write(place, planted(place, lambda model, row: row["psnr"])), tmp_path / "board")
    assert [*voted["strengths"]] == sorted(means, key=lambda model: -means[model])
    assert voted["metrics"]["psnr"] == {"kendall": 1.0, "spearman": 1.0, "share": 1.0}
    assert voted["votes"] == 12
    page = (tmp_path / "board/index.html").read_text()
    assert "<h2>What people prefer</h2>" in page and "<h2>Metrics against votes</h2>" in page


def test_votes_against_a_metric_and_ties_are_counted_by_hand(place, tmp_path):
    """People rank identity, gain, nlm; the last picture is a tie for all."""
    order = {"identity": 3, "gain": 2, "opencv:nlm": 1}
    last = max(row["id"] for row in read(place / "gain")[1])
    voted = build(
        place,
        write(place, planted(place, lambda model, row: 0 if row["id"] == last else order[model])),
        tmp_path / "board",
    )
    assert [*voted["strengths"]] == [*order]
    rows = {
        model: {row["id"]: row for row in read(run)[1]}
        for model, run in zip(MODELS, runs(place), strict=True)
    }
    right = [
        (rows[one][picture]["psnr"] > rows[other][picture]["psnr"]) == (order[one] > order[other])
        for picture in rows["gain"]
        if picture != last
        for one, other in combinations(MODELS, 2)
    ]
    assert voted["metrics"]["psnr"]["share"] == pytest.approx(sum(right) / 9)
    means = {
        model: read(run)[0]["overall"]["psnr"]["mean"] for model, run in zip(MODELS, runs(place), strict=True)
    }
    pairs = [
        (means[one] > means[other]) == (order[one] > order[other]) for one, other in combinations(MODELS, 2)
    ]
    assert voted["metrics"]["psnr"]["kendall"] == pytest.approx((2 * sum(pairs) - 3) / 3)


def test_votes_on_other_results_by_the_same_name_do_not_count(place, tmp_path):
    votes = [*planted(place, lambda model, row: row["psnr"])]
    stale = Vote(votes[0].picture, "gain", "identity", "0" * 64, votes[0].left_sha256, "left", "ben")
    voted = build(place, write(place, [*votes, stale], "stale.jsonl"), tmp_path / "board")
    assert (voted["votes"], voted["left_out"]) == (12, 1)
    with pytest.raises(EvaluationError, match="none of its 1 votes is of results of these runs"):
        build(place, write(place, [stale], "none.jsonl"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_is_voted_on_is_what_the_runs_made(place, tmp_path):
    voting = open_voting(runs(place), tmp_path / "votes.jsonl", place / "data")
    assert len(voting.order("anna")) == 12
    for number in range(12):
        voting.say("anna", number, "tie")
    voted = build(place, tmp_path / "votes.jsonl", tmp_path / "board")
    assert (voted["votes"], voted["left_out"]) == (12, 0)
    assert all(strength["points"] == pytest.approx(0, abs=1e-6) for strength in voted["strengths"].values())
    assert voted["metrics"]["ssim"] == {"kendall": None, "spearman": None, "share": None}


def test_the_command_takes_votes(place, tmp_path):
    votes = write(place, planted(place, lambda model, row: row["ssim"]), "by-command.jsonl")
    words = [
        "leaderboard",
        "build",
        *runs(place),
        "--data",
        place / "data",
        "-o",
        tmp_path / "b",
        "--votes",
        votes,
    ]
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "b/leaderboard.json").read_text())["voted"]["metrics"]["ssim"]["share"] == 1
