import json
import os
import subprocess
import sys
import zipfile

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.errors import EvaluationError, JudgeError
from ggt_hub.metrics import psnr
from tests.metrics.golden import noisy
from tests.photographs import photograph
from tests.servers.openai_chat import ChatServer


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
    assert f"{gain:+.4f} [no interval]  n=1  p=1" in outcome.output
    assert "*" not in outcome.output


def test_a_failed_picture_is_exit_code_one(pairs, tmp_path):
    (pairs / "lq" / "two.png").write_bytes(b"damaged")
    Image.fromarray(photograph(192)).save(pairs / "gt" / "two.png")
    outcome = invoke("run", pairs, "--model", "identity", "--output", tmp_path / "out")
    assert outcome.exit_code == 1
    assert "incomplete: 1 failed, 0 metrics missing" in outcome.output


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
    assert "celeba-test, coco-detection, compact-val, div2k-val" in str(outcome.exception)


def test_settings_of_the_restorer_are_part_of_what_a_row_is(pairs, tmp_path):
    for value in ("1.0", "0.5"):
        outcome = invoke(
            "run", pairs, "--set", f"strength={value}", "--metrics", "psnr", "--output", tmp_path / value
        )
        assert outcome.exit_code == 0, outcome.output
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("1.0", "0.5"))
    assert (first["arguments"], second["arguments"]) == ({"strength": 1.0}, {"strength": 0.5})
    assert first["overall"]["psnr"]["mean"] != second["overall"]["psnr"]["mean"]
    outcome = invoke("table", tmp_path / "1.0", tmp_path / "0.5", "--format", "md")
    assert "| compact (strength=1.0) |" in outcome.output
    assert "| compact (strength=0.5) |" in outcome.output
    outcome = invoke("run", pairs, "--set", "strngth=1", "--output", tmp_path / "no")
    assert "has no argument 'strngth'" in str(outcome.exception)
    assert not (tmp_path / "no").exists()


def test_pairs_are_told_where_names_cannot_decide(pairs, tmp_path):
    (pairs / "lq").rename(pairs / "in")
    (pairs / "gt").rename(pairs / "expert")
    options = ["--lq", "in", "--gt", "expert", "--metrics", "psnr", "--model", "identity"]
    outcome = invoke("run", pairs, *options, "--output", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    (row,) = pq.read_table(tmp_path / "out/scores.parquet").to_pylist()
    assert row["psnr"] == pytest.approx(psnr(noisy(photograph(192), 25), photograph(192))[0])
    outcome = invoke("run", "ggt-test", "--lq", "in", "--output", tmp_path / "no")
    assert "the pairs of ggt-test are known" in str(outcome.exception)


def test_pairs_inside_an_archive_are_restored_and_scored(pairs, tmp_path):
    (tmp_path / "packed").mkdir()
    with zipfile.ZipFile(tmp_path / "packed/data.zip", "w") as archive:
        for side in ("lq", "gt"):
            archive.write(pairs / side / "one.png", f"{side}/one.png")
    for folder in (tmp_path / "packed", pairs):
        options = ["--metrics", "psnr", "--model", "identity", "--output", tmp_path / f"out-{folder.name}"]
        outcome = invoke("run", folder, *options)
        assert outcome.exit_code == 0, outcome.output
    rows = [
        pq.read_table(tmp_path / f"out-{name}/scores.parquet").to_pylist()[0] for name in ("packed", "pairs")
    ]
    for column in ("psnr", "psnr_before", "lq_sha256", "gt_sha256"):
        assert rows[0][column] == rows[1][column]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--max-calls", "3"], "limit what a server bills: name it by --judge-url"),
        (["--judge-url", "http://x/v1", "--max-cost", "3"], "needs the price of a million tokens"),
        (["--judge-url", "http://x/v1", "--max-cost", "3", "--price", "2"], "write two numbers, IN,OUT"),
        (["--judge-url", "http://x/v1", "--max-cost", "3", "--price", "0,0"], "limits nothing"),
        (["--judge", "m", "--protocol", "own"], "unknown protocol 'own'"),
    ],
)
def test_wrong_options_are_refused_before_any_work(pairs, tmp_path, options, reason):
    outcome = invoke("run", pairs, "--output", tmp_path / "out", *options)
    assert isinstance(outcome.exception, JudgeError)
    assert reason in str(outcome.exception)
    assert not (tmp_path / "out").exists()


def test_a_judge_runs_here_unless_a_server_is_named(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-whatever")
    monkeypatch.setenv("GGT_HUB_LEDGER", str(tmp_path / "ledger.sqlite"))
    outcome = invoke("run", pairs, "--judge", str(tmp_path / "no-model"), "--output", tmp_path / "out")
    assert isinstance(outcome.exception, JudgeError)
    assert "cannot be loaded" in str(outcome.exception)
    assert not (tmp_path / "out/restored").exists()  # the first question comes before the work


def test_the_budget_of_a_run_holds_for_its_repetition_too(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("GGT_HUB_LEDGER", str(tmp_path / "ledger.sqlite"))
    with ChatServer("no rating", "no rating", "退化分数：4") as server:
        options = ["--model", "identity", "--judge", "m", "--judge-url", server.url, "--protocol", "strict"]
        for calls in (1, 1, 9):
            outcome = invoke(
                "run",
                pairs,
                *options,
                "--metrics",
                "psnr",
                "--max-calls",
                calls,
                "--output",
                tmp_path / "out",
            )
            if calls == 1:
                assert "the budget of 1 calls is spent" in str(outcome.exception)
                assert len(server.requests) == 1
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert len(server.requests) == 2  # unreadable twice; the result is the same picture, and not asked again
    assert results["overall"]["psnr"]["count"] == 1
    assert results["judge"]["endpoints"] == [server.url]
    assert str(tmp_path) not in (tmp_path / "out/results.json").read_text()


def test_the_eval_yaml_of_a_suite_is_printed():
    declared = yaml.safe_load(invoke("eval-yaml", "ggt-test").output)
    assert [task["id"] for task in declared["tasks"]] == [
        "psnr-ycbcr",
        "ssim-ycbcr",
        "lpips",
        "dists",
        "niqe",
    ]
    assert [task["id"] for task in yaml.safe_load(invoke("eval-yaml", "realir-bench").output)["tasks"]] == [
        "niqe", "RS", "FS", "lpips_to_input",
    ]  # fmt: skip
    assert isinstance(invoke("eval-yaml", "foundir").exception, EvaluationError)


def test_the_test_set_of_ggt_100k_is_read_from_its_archives_on_the_hub(hub, pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "repository" / "GGT-100K" / "test"
    repository.mkdir(parents=True)
    for side in ("LQ", "GT"):
        with zipfile.ZipFile(repository / f"{side}.zip", "w") as archive:
            for number in range(2):
                archive.write(pairs / side.lower() / "one.png", f"{side}/rain/{number:04d}.png")
    hub.add("dataset", "VCLab-PolyU/GGT-100K", tmp_path / "repository")
    options = ["--metrics", "psnr,psnr-ycbcr", "--model", "identity", "--output", tmp_path / "out"]
    outcome = invoke("run", "ggt-test", *options)
    assert outcome.exit_code == 0, outcome.output
    rows = pq.read_table(tmp_path / "out/scores.parquet").to_pylist()
    expected = psnr(noisy(photograph(192), 25), photograph(192))[0]
    assert [row["psnr"] for row in rows] == pytest.approx([expected] * 2)
    (entry,) = yaml.safe_load((tmp_path / "out/.eval_results/ggt-test.yaml").read_text())
    # Of other metrics than the suite's own, the data set's `eval.yaml` has no task.
    assert (entry["dataset"]["id"], entry["dataset"]["task_id"]) == ("VCLab-PolyU/GGT-100K", "psnr-ycbcr")
    assert len(entry["dataset"]["revision"]) == 40
