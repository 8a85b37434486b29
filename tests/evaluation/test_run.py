import csv
import hashlib
import io
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from huggingface_hub import parse_eval_result_entries
from PIL import Image

from ggt_hub import RestorerPipeline
from ggt_hub.errors import DatasetError, EvaluationError, JudgeError, MetricError, WriteError
from ggt_hub.evaluation import compare, load_suite, run_suite
from ggt_hub.evaluation.entries import benchmark_yaml
from ggt_hub.evaluation.scoring import Scoring
from ggt_hub.evaluation.suite import Item, Suite
from ggt_hub.evaluation.table import runs_table
from ggt_hub.images import read_image, write_image
from ggt_hub.metrics import METRICS, fid, psnr
from ggt_hub.vlm import PROTOCOLS, Budget, Judge, Ledger, ServerChat
from tests.metrics.golden import noisy
from tests.metrics.test_perceptual import weights  # noqa: F401  a fixture
from tests.photographs import photograph
from tests.servers.openai_chat import ChatServer


@pytest.fixture(scope="module")
def compact():
    pipe = RestorerPipeline.from_pretrained("compact")
    pipe.set_progress_bar_config(disable=True)
    return pipe


class Pictures(Suite):
    """A suite of given items."""

    def items(self):
        return iter(self._settings["items"])


def suite_of(items, metrics=("psnr", "niqe"), repository=None):
    return Pictures("three", "Three pictures", metrics, "memory", None, repository, None, {"items": items})


@pytest.fixture
def three():
    clean = photograph(2 * 96)
    return [
        Item("a/mild.png", noisy(clean, 10), clean, "a"),
        Item("a/strong.png", noisy(clean, 30), clean, "a"),
        Item("b/alone.png", noisy(clean, 20), None, "b"),
    ]


def test_a_set_is_scored_before_and_after_where_all_have_references(compact, three, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ggt_hub.metrics.of_sets.load_inception", lambda folder: lambda x: x[:, :, ::40, ::40].flatten(1)
    )
    suite = suite_of(three[:2], ("psnr", "fid"))
    results = run_suite(suite, compact, tmp_path / "out")
    restored = [np.asarray(Image.open(tmp_path / "out/restored" / f"{item.id}.png")) for item in three[:2]]
    gt = [item.gt for item in three[:2]]
    assert results["complete"]
    assert results["sets"] == {
        "fid": {"before": fid([item.lq for item in three[:2]], gt), "after": fid(restored, gt)}
    }
    assert results["directions"]["fid"] == "lower"
    table = list(csv.DictReader(io.StringIO(runs_table([tmp_path / "out"], "csv"))))
    assert float(table[0]["fid"]) == results["sets"]["fid"]["after"]
    assert "Inception v3 of 2015" in (tmp_path / "out/report.html").read_text()
    lacking = run_suite(suite_of(three, ("psnr", "fid")), compact, tmp_path / "lacking")
    assert not lacking["complete"]
    assert lacking["left_out"] == {"fid": "b/alone.png has no reference"}
    monkeypatch.undo()
    without = run_suite(suite, compact, tmp_path / "out", scoring=Scoring(weights=tmp_path))
    assert without["left_out"]["fid"].startswith("the weights pt_inception")


def test_a_run_leaves_pictures_scores_and_a_report(compact, three, tmp_path):
    results = run_suite(suite_of(three), compact, tmp_path)
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "scores.parquet").to_pylist()}
    for item in three[:2]:
        restored = np.asarray(Image.open(tmp_path / "restored" / f"{item.id}.png"))
        assert rows[item.id]["psnr"] == pytest.approx(psnr(restored, item.gt)[0])
        assert rows[item.id]["psnr_before"] == pytest.approx(psnr(item.lq, item.gt)[0])
        assert rows[item.id]["psnr"] > rows[item.id]["psnr_before"]
    assert rows["b/alone.png"]["psnr"] is None  # it has no reference
    assert rows["b/alone.png"]["niqe"] > 0
    assert results["complete"]
    assert results["overall"]["psnr"]["count"] == 2
    assert results["overall"]["psnr"]["mean"] == pytest.approx(
        (rows["a/mild.png"]["psnr"] + rows["a/strong.png"]["psnr"]) / 2
    )
    assert results["tasks"]["b"]["pictures"] == 1
    assert results["protocols"]["psnr"].startswith("dB; RGB")
    assert len(results["model"]["fingerprint"]) == 16
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    page = (tmp_path / "report.html").read_text()
    assert "compact on Three pictures" in page
    assert page.count("<article") == 2  # the worst and the best of the two that have a reference


def test_what_is_restored_is_not_restored_again_unless_something_changed(compact, three, tmp_path):
    run_suite(suite_of(three), compact, tmp_path)
    files = {item.id: tmp_path / "restored" / f"{item.id}.png" for item in three}
    written = {name: path.stat().st_mtime_ns for name, path in files.items()}
    files["a/mild.png"].unlink()
    changed = [*three[:2], Item("b/alone.png", noisy(three[0].gt, 25), None, "b")]
    run_suite(suite_of(changed), compact, tmp_path)
    now = {name: path.stat().st_mtime_ns for name, path in files.items()}
    assert now["a/strong.png"] == written["a/strong.png"]
    assert now["a/mild.png"] != written["a/mild.png"]
    assert now["b/alone.png"] != written["b/alone.png"]
    run_suite(suite_of(changed), compact, tmp_path, arguments={"strength": 0.5})
    assert files["a/strong.png"].stat().st_mtime_ns != written["a/strong.png"]


def test_a_result_that_was_changed_is_not_replaced(compact, three, tmp_path):
    run_suite(suite_of(three[:1]), compact, tmp_path)
    target = tmp_path / "restored/a/mild.png.png"
    whole = target.read_bytes()
    target.write_bytes(whole[:-40])
    found = run_suite(suite_of(three[:1]), compact, tmp_path)
    assert "is not what a run made, so it is not replaced" in found["failed"][three[0].id]
    assert target.read_bytes() == whole[:-40]
    target.unlink()
    assert run_suite(suite_of(three[:1]), compact, tmp_path)["complete"]
    assert target.read_bytes() == whole


def test_a_task_that_the_restorer_does_not_know_leaves_it_blind(compact, three, tmp_path):
    hinted = [replace(three[0], hint="snow"), replace(three[1], hint="noise")]
    results = run_suite(suite_of(hinted), compact, tmp_path)
    assert results["complete"]
    records = [json.loads((tmp_path / f".ggt-hub/{item.id}.json").read_text()) for item in hinted]
    assert [record["made_from"]["hint"] for record in records] == [None, "noise"]


def test_pictures_of_sixteen_bits_are_scored_as_they_are(tmp_path):
    deep = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    for side, picture in (("lq", deep), ("gt", deep // 2)):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "pairs" / side / "x.png")
    suite = replace(load_suite(str(tmp_path / "pairs")), metrics=("psnr",))
    run_suite(suite, RestorerPipeline.from_pretrained("identity"), tmp_path / "out")
    (row,) = pq.read_table(tmp_path / "out/scores.parquet").to_pylist()
    assert row["psnr_before"] == pytest.approx(psnr(deep, deep // 2)[0], abs=1e-6)


def test_a_picture_that_came_back_equal_leaves_the_mean_a_number(three, tmp_path):
    items = [Item("same.png", three[0].gt, three[0].gt), three[0]]
    results = run_suite(suite_of(items, ("psnr",)), RestorerPipeline.from_pretrained("identity"), tmp_path)
    assert results["overall"]["psnr"]["mean"] == pytest.approx((80 + psnr(three[0].lq, three[0].gt)[0]) / 2)
    json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    # It had nothing to gain, and so is none of the worst cases; the other one is.
    page = (tmp_path / "report.html").read_text()
    assert ">a/mild.png<" in page
    assert ">same.png<" not in page


def test_runs_over_other_pictures_are_not_compared(three, tmp_path):
    identity = RestorerPipeline.from_pretrained("identity")
    for name, items in (("a", three), ("b", [replace(three[0], source=three[1].lq), *three[1:]])):
        run_suite(suite_of(items), identity, tmp_path / name)
    with pytest.raises(EvaluationError, match=r"1 pictures differ between the runs, such as a/mild\.png"):
        compare(tmp_path / "a", tmp_path / "b")


def test_an_id_never_leads_out_of_the_output_folder():
    for name in ("../x.png", "/x.png", "a/../../x.png"):
        with pytest.raises(EvaluationError, match="leads out of the output folder"):
            Item(name, None)


def test_a_picture_that_fails_is_listed_and_makes_the_score_incomplete(compact, three, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    items = [*three, Item("a/broken.png", broken, three[0].gt, "a")]
    results = run_suite(suite_of(items), compact, tmp_path / "out")
    assert not results["complete"]
    assert list(results["failed"]) == ["a/broken.png"]
    assert "broken.png" in results["failed"]["a/broken.png"]
    assert (results["pictures"], results["overall"]["scored"]) == (4, 3)
    assert "Incomplete" in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "out" / ".eval_results").exists()


class OnTheHub(Pictures):
    """A suite whose pictures are those of a data set on the Hub."""

    is_from_hub, split, rated = True, "test", ()

    def exact_revision(self):
        return self.revision


def test_entries_for_a_card_are_written_for_a_whole_data_set_on_the_hub_at_a_known_revision(
    compact, three, tmp_path
):
    suite = replace(suite_of(three, repository="someone/pairs"), revision="a" * 40)
    suite = OnTheHub(**{field.name: getattr(suite, field.name) for field in fields(suite)})
    results = run_suite(suite, compact, tmp_path)
    written = yaml.safe_load((tmp_path / ".eval_results/three.yaml").read_text())
    entries = {entry.task_id: entry for entry in parse_eval_result_entries(written)}
    assert set(entries) == {"psnr", "niqe"}
    assert (entries["psnr"].dataset_id, entries["psnr"].dataset_revision) == ("someone/pairs", "a" * 40)
    assert entries["psnr"].value == pytest.approx(results["overall"]["psnr"]["mean"], abs=1e-6)
    assert entries["psnr"].date == results["date"][:10]
    assert entries["psnr"].source_url.startswith("https://")
    declared = yaml.safe_load(benchmark_yaml(suite))
    assert [task["id"] for task in declared["tasks"]] == ["psnr", "niqe"]
    assert {task["split"] for task in declared["tasks"]} == {"test"}
    run_suite(suite, compact, tmp_path, limit=2)  # what is true no more goes
    assert not (tmp_path / ".eval_results/three.yaml").exists()
    for name, other in (
        ("moving", replace(suite, revision="main")),
        ("folder", suite_of(three, repository="s/p")),
    ):
        run_suite(other, compact, tmp_path / name)
        assert not (tmp_path / name / ".eval_results").exists()


def test_one_metric_never_takes_a_picture_from_another(compact, three, tmp_path):
    flat = np.full((192, 192, 3), 128, np.uint8)
    small = three[0].gt[:90]
    items = [three[0], Item("flat.png", flat, flat), Item("small.png", small, small)]
    results = run_suite(suite_of(items), RestorerPipeline.from_pretrained("identity"), tmp_path)
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "scores.parquet").to_pylist()}
    assert results["overall"]["psnr"] | {"count": 3, "of": 3} == results["overall"]["psnr"]
    assert results["overall"]["psnr"]["mean"] == pytest.approx(
        np.mean([row["psnr"] for row in rows.values()])
    )
    assert results["overall"]["niqe"] | {"count": 1, "of": 3} == results["overall"]["niqe"]
    assert rows["flat.png"]["niqe_status"] == "undefined for this picture"
    assert rows["small.png"]["niqe_status"].startswith("failed: ")
    assert rows["flat.png"]["psnr_status"] == "scored"
    assert set(results["failed"]) == {"flat.png", "small.png"}
    assert (results["complete"], results["overall"]["scored"]) == (False, 1)
    assert "n=1 of 3" in (tmp_path / "report.html").read_text()


def test_any_exception_of_a_restorer_or_a_metric_fails_that_picture_alone(three, tmp_path, monkeypatch):
    identity = RestorerPipeline.from_pretrained("identity")

    def moody(image, **arguments):
        if image.size == (192, 190):
            raise KeyError("x")
        return identity(image, **arguments)

    odd = three[0].gt[:190]
    items = [three[0], Item("odd.png", odd, odd)]
    results = run_suite(suite_of(items, ("psnr",)), moody, tmp_path / "a")
    assert results["failed"] == {"odd.png": "KeyError: 'x'"}
    assert results["overall"]["psnr"]["count"] == 1

    def breaks(picture, gt):
        raise ZeroDivisionError

    monkeypatch.setitem(METRICS, "breaks", replace(METRICS["psnr"], name="breaks", function=breaks))
    results = run_suite(suite_of(items, ("psnr", "breaks")), identity, tmp_path / "b")
    assert results["failed"]["odd.png"] == "breaks failed: ZeroDivisionError"
    assert results["overall"]["psnr"]["count"] == 2


def test_two_pictures_of_one_id_are_refused(compact, three, tmp_path):
    with pytest.raises(
        EvaluationError, match=r"1 ids of three stand for several pictures, such as 'a/mild\.png'"
    ):
        run_suite(suite_of([three[0], three[0]]), compact, tmp_path)


def test_a_run_records_what_it_took_and_where(compact, three, tmp_path):
    results = run_suite(suite_of(three, ("psnr",)), compact, tmp_path)
    again = run_suite(suite_of(three, ("psnr",)), compact, tmp_path)
    cost = results["cost"]
    assert again["cost"]["seconds_per_picture"] == cost["seconds_per_picture"]  # nothing was restored anew
    assert set(cost["seconds_per_picture"]) == {item.id for item in three}
    assert cost["seconds"] == pytest.approx(np.mean(list(cost["seconds_per_picture"].values())))
    networks = [part for part in compact.components.values() if isinstance(part, torch.nn.Module)]
    assert cost["parameters"] == sum(p.numel() for network in networks for p in network.parameters())
    assert cost["peak_memory"] > 4 * cost["parameters"]
    assert results["device"] == "cpu" or torch.cuda.is_available()
    assert {"python", "torch"} <= set(results["versions"])
    assert results["date"].endswith("+00:00")
    (row, *_) = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert row["gt_sha256"] == hashlib.sha256(three[0].gt.tobytes()).hexdigest()
    restored = (tmp_path / "restored" / row["id"]).with_suffix(".png.png").read_bytes()
    assert row["output_sha256"] == hashlib.sha256(restored).hexdigest()


def test_multiply_adds_are_those_of_the_layers_and_none_without_networks(compact, three, tmp_path):
    cost = run_suite(suite_of(three[:2], ("psnr",)), compact, tmp_path / "a")["cost"]
    again = run_suite(suite_of(three[:2], ("psnr",)), compact, tmp_path / "a")["cost"]
    expected = 0

    def add(layer, given, result):
        nonlocal expected
        if isinstance(layer, torch.nn.Conv2d):
            expected += result.numel() * layer.weight[0].numel()
        elif isinstance(layer, torch.nn.Linear):
            expected += result.numel() * layer.in_features
        elif isinstance(layer, torch.nn.ConvTranspose2d):
            expected += given[0].numel() * layer.weight[0].numel()

    networks = [part for part in compact.components.values() if isinstance(part, torch.nn.Module)]
    hooks = [layer.register_forward_hook(add) for network in networks for layer in network.modules()]
    compact(three[0].lq)
    for hook in hooks:
        hook.remove()
    assert cost["multiply_adds"] == again["multiply_adds"] == expected
    assert cost["multiply_adds_of"] == [192, 192]
    baseline = run_suite(
        suite_of(three[:1], ("psnr",)), RestorerPipeline.from_pretrained("identity"), tmp_path
    )
    assert baseline["cost"]["multiply_adds"] is None


def test_runs_against_other_references_are_not_compared(three, tmp_path):
    identity = RestorerPipeline.from_pretrained("identity")
    for name, gt in (("a", three[0].gt), ("b", three[1].lq)):
        run_suite(suite_of([Item("x.png", three[0].lq, gt)], ("psnr",)), identity, tmp_path / name)
    with pytest.raises(EvaluationError, match=r"1 references differ between the runs, such as x\.png"):
        compare(tmp_path / "a", tmp_path / "b")


def test_a_comparison_says_what_a_run_lacks_and_which_is_better(compact, three, tmp_path):
    clean = three[0].gt
    items = [Item(f"{n}.png", noisy(clean[n : n + 150], 20, n), clean[n : n + 150]) for n in range(7)]
    run_suite(suite_of(items, ("psnr",)), RestorerPipeline.from_pretrained("identity"), tmp_path / "a")
    run_suite(suite_of(items, ("psnr",)), compact, tmp_path / "b", limit=6)
    found = compare(tmp_path / "a", tmp_path / "b")
    psnr_row = next(entry for entry in found.differences if entry.metric == "psnr")
    assert [entry.task for entry in found.differences] == ["all pictures"]  # one task alone is no row more
    assert (psnr_row.better, psnr_row.pictures) == ("B", 6)
    assert psnr_row.p == pytest.approx(2 / 64)  # all of six better: 2 of 64 swaps
    assert "B is part of a suite: only the first 6 pictures were run" in found.notes
    assert "compared over the 6 pictures that both have; A has 7, B 6" in found.notes


def test_sides_cropped_alike_are_scored_and_the_protocol_says_so(three, tmp_path):
    clean = three[0].gt
    larger = np.pad(clean, ((0, 20), (0, 7), (0, 0)))
    items = [Item("x.png", noisy(clean, 10), larger)]
    identity = RestorerPipeline.from_pretrained("identity")
    results = run_suite(suite_of(items, ("psnr",)), identity, tmp_path / "as they are")
    assert "both must be of one size" in results["failed"]["x.png"]
    results = run_suite(
        suite_of(items, ("psnr",)),
        identity,
        tmp_path / "fit",
        scoring=Scoring(crop_border=3, crop_to_fit=True),
    )
    expected = psnr(items[0].lq[3:-3, 3:-3], clean[3:-3, 3:-3])[0]
    assert results["overall"]["psnr"]["mean"] == pytest.approx(expected)
    assert results["protocols"]["psnr"].endswith(
        "; 3 pixels of each side cut off before; cropped at the right and bottom to the size of both"
    )
    too_large = [Item("x.png", clean, np.pad(clean, ((0, 33), (0, 0), (0, 0))))]
    results = run_suite(
        suite_of(too_large, ("psnr",)), identity, tmp_path / "no", scoring=Scoring(crop_to_fit=True)
    )
    assert not results["complete"]


def test_the_judges_own_noise_is_measured_by_planted_pictures_and_repeats(compact, three, tmp_path, weights):  # noqa: F811
    # six first ratings; then the six again; the planted two are the second ratings of the first two inputs
    first, second = (2, 3, 3, 4, 5, 4), (3, 3, 1, 4, 5, 4)
    with ChatServer(*(f"退化分数：{score}" for score in first + second)) as server:
        judge = Judge(
            ServerChat("j", server.url), PROTOCOLS["strict"], Ledger(tmp_path / "l.sqlite"), workers=1
        )
        scoring = Scoring(weights=weights, judge=judge, repeats=2, planted=2)
        # the probe asks the first question, which is not asked again
        results = run_suite(suite_of(three, ("niqe",)), compact, tmp_path / "out", scoring=scoring)
    noise = results["judge_noise"]
    assert len(server.requests) == 12
    assert noise["unchanged"] == {"count": 2, "RS": 0.5}  # 2 to 3, 3 to 3
    variance = np.mean([np.var(pair, ddof=1) for pair in zip(first, second, strict=True)])
    assert noise["repeated"]["deviation"] == pytest.approx(np.sqrt(variance))
    assert noise["repeated"] | {"ratings": 2, "count": 6, "equal": 4 / 6} == noise["repeated"]
    assert results["overall"]["RS"]["mean"] == pytest.approx((2 + 2 + 1) / 3)  # of the first ratings


def test_fs_of_the_paper_is_compared_as_a_product_of_means(compact, three, tmp_path, weights):  # noqa: F811
    for name, scores in (("a", (1, 3, 4, 5, 2, 4)), ("b", (1, 3, 4, 3, 5, 5))):
        with ChatServer(*(f"退化分数：{score}" for score in scores)) as server:
            (tmp_path / name).mkdir()
            judged_run(compact, three, tmp_path / name, weights, server, "realir-paper")
    means = [
        json.loads((tmp_path / name / "results.json").read_text())["overall"]["FS"]["mean"] for name in "ab"
    ]
    found = {(one.metric, one.task): one for one in compare(tmp_path / "a", tmp_path / "b").differences}
    assert found["FS", "all pictures"].difference.mean == pytest.approx(means[1] - means[0])


def test_runs_make_a_table_with_arrows_the_best_in_bold_and_what_they_cost(compact, three, tmp_path):
    run_suite(suite_of(three), compact, tmp_path / "full")
    half = run_suite(suite_of(three), compact, tmp_path / "half", arguments={"strength": 0.5})
    folders = [tmp_path / "full", tmp_path / "half"]
    head, _, *lines = runs_table(folders, "md").splitlines()
    assert (
        head
        == "| model | psnr ↑ | niqe ↓ | s / picture | memory (GiB) | parameters (M) | multiply-adds (G) |"
    )
    assert lines[0].startswith("| compact | **") or lines[0].startswith("| compact |")
    assert lines[1].startswith("| compact (strength=0.5) | ")
    bold = [line.split(" | ")[1].startswith("**") for line in lines]
    means = [
        json.loads((folder / "results.json").read_text())["overall"]["psnr"]["mean"] for folder in folders
    ]
    assert bold == [means[0] > means[1], means[1] > means[0]]
    table = list(csv.DictReader(io.StringIO(runs_table(folders, "csv"))))
    assert float(table[1]["psnr"]) == half["overall"]["psnr"]["mean"]
    assert float(table[1]["psnr_low"]) == half["overall"]["psnr"]["low"]
    latex = runs_table(folders, "latex")
    assert r"psnr $\uparrow$ & niqe $\downarrow$" in latex
    assert latex.count(r"\textbf{") == 2
    with pytest.raises(EvaluationError, match="unknown format 'html'"):
        runs_table(folders, "html")
    run_suite(suite_of(three), compact, tmp_path / "part", limit=2)
    with pytest.raises(EvaluationError, match="over different numbers of pictures"):
        runs_table([*folders, tmp_path / "part"], "md")


def test_two_runs_are_compared_picture_by_picture(compact, three, tmp_path):
    run_suite(suite_of(three), compact, tmp_path / "full")
    run_suite(suite_of(three), compact, tmp_path / "half", arguments={"strength": 0.5})
    rows = [
        {row["id"]: row["psnr"] for row in pq.read_table(tmp_path / name / "scores.parquet").to_pylist()}
        for name in ("half", "full")
    ]
    expected = np.mean([rows[1][name] - rows[0][name] for name in ("a/mild.png", "a/strong.png")])
    entries = {
        (entry.metric, entry.task): entry
        for entry in compare(tmp_path / "half", tmp_path / "full").differences
    }
    overall = entries["psnr", "all pictures"]
    assert overall.difference.mean == pytest.approx(expected)
    assert overall.pictures == 2
    assert overall.difference.low <= expected <= overall.difference.high
    assert entries["niqe", "b"].pictures == 1
    run_suite(suite_of(three, ("psnr", "piqe")), compact, tmp_path / "other")
    found = compare(tmp_path / "full", tmp_path / "other")
    assert {entry.metric for entry in found.differences} == {"psnr"}
    assert "only A has niqe" in found.notes
    assert "only B has piqe" in found.notes
    run_suite(suite_of(three), compact, tmp_path / "cut", scoring=Scoring(crop_border=4))
    with pytest.raises(EvaluationError, match="differ in crop_border: 0 and 4"):
        compare(tmp_path / "full", tmp_path / "cut")
    with pytest.raises(EvaluationError, match="no results in"):
        compare(tmp_path / "full", tmp_path / "nowhere")


def judged_run(compact, items, folder, weights, server, protocol, **chat):  # noqa: F811
    judge = Judge(
        ServerChat("judge-1", server.url, **chat), PROTOCOLS[protocol], Ledger(folder / "judge.sqlite")
    )
    judge.workers = 1  # replies come in the order of the pictures
    return run_suite(
        suite_of(items, ("niqe",)), compact, folder, scoring=Scoring(weights=weights, judge=judge)
    )


@pytest.mark.parametrize("protocol", ["realir-code", "realir-paper"])
def test_rs_and_fs_are_averaged_as_the_protocol_says(protocol, compact, three, tmp_path, weights):  # noqa: F811
    # before: 1, 3, 4; after: 5, 2, 4 -> RS 4, 0 (never negative), 0
    replies = [f"退化分数：{score}" for score in (1, 3, 4, 5, 2, 4)]
    with ChatServer(*replies) as server:
        results = judged_run(compact, three, tmp_path, weights, server, protocol)
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert [row["RS"] for row in rows] == [4, 0, 0]
    lpips = [row["lpips_to_input"] for row in rows]
    assert rows[0]["FS"] == pytest.approx(0.8 * (1 - lpips[0]))
    of_code, of_paper = 0.8 * (1 - lpips[0]) / 3, 0.2 * (4 / 3) * (1 - np.mean(lpips))
    overall = results["overall"]["FS"]
    assert overall["mean"] == pytest.approx(of_code if protocol == "realir-code" else of_paper)
    assert overall["low"] <= overall["mean"] <= overall["high"]
    assert results["tasks"]["a"]["FS"]["mean"] != results["tasks"]["b"]["FS"]["mean"] == 0
    assert "of " + ("products" if protocol == "realir-code" else "means") in results["protocols"]["FS"]
    assert results["judge"]["judge"] == "judge-1"
    assert "“a”" in server.requests[0]["messages"][1]["content"][1]["text"]


def test_an_unreadable_rating_makes_the_score_incomplete(compact, three, tmp_path, weights):  # noqa: F811
    with ChatServer("退化分数：4", "退化分数：4", "no", "no", "退化分数：5") as server:
        results = judged_run(compact, three, tmp_path, weights, server, "strict")
    assert results["failed"] == {
        "b/alone.png": "RS, lpips_to_input, FS failed: the judge gave no readable rating"
    }
    assert results["overall"]["RS"]["count"] == 2
    assert results["overall"]["niqe"]["count"] == 3  # the judge is no reason to leave it out


def test_a_run_that_the_judges_budget_stops_goes_on_without_paying_twice(compact, three, tmp_path, weights):  # noqa: F811
    with ChatServer("退化分数：4") as server:
        with pytest.raises(JudgeError, match="budget of 4 calls"):
            judged_run(compact, three, tmp_path, weights, server, "strict", budget=Budget(max_calls=4))
        results = judged_run(compact, three, tmp_path, weights, server, "strict")
    assert results["complete"]
    assert len(server.requests) == 6


def test_a_picture_that_the_server_refuses_is_an_item_that_failed(compact, three, tmp_path, weights):  # noqa: F811
    with ChatServer("退化分数：2", 400, "退化分数：4") as server:
        results = judged_run(compact, three, tmp_path, weights, server, "realir-code")
    assert list(results["failed"]) == ["a/strong.png"]
    assert "BadRequestError" in results["failed"]["a/strong.png"]
    assert results["overall"]["niqe"]["count"] == 3
    assert results["overall"]["RS"] | {"count": 2, "of": 3} == results["overall"]["RS"]


def test_what_cannot_be_had_is_said_once_and_the_rest_is_scored(compact, three, tmp_path, caplog):
    with ChatServer("退化分数：4") as server:
        judge = Judge(
            ServerChat("judge-1", server.url), PROTOCOLS["strict"], Ledger(tmp_path / "ledger.sqlite")
        )
        results = run_suite(
            suite_of(three, ("psnr", "dists")),
            compact,
            tmp_path,
            scoring=Scoring(weights=tmp_path / "none", judge=judge),
        )
    assert list(results["left_out"]) == ["dists", "FS"]
    assert not results["complete"]
    assert results["overall"]["psnr"]["count"] == 2
    assert set(results["overall"]) >= {"psnr", "RS"}
    assert "FS" not in results["overall"]
    left_out = [record.getMessage() for record in caplog.records if "is left out" in record.getMessage()]
    assert len(left_out) == 2  # not once for each picture
    page = (tmp_path / "report.html").read_text()
    assert "Incomplete" in page
    assert "the weights DISTS" in page or "the weights vgg16" in page
    assert str(tmp_path) not in (tmp_path / "results.json").read_text()


def test_unknown_metrics_and_empty_suites_are_refused_before_any_work(compact, three, tmp_path):
    with pytest.raises(MetricError, match="unknown metric 'pnsr'"):
        run_suite(suite_of(three, ("pnsr",)), compact, tmp_path)
    with pytest.raises(EvaluationError, match="holds no picture"):
        run_suite(suite_of([]), compact, tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_picture_has_a_generator_of_its_own(three, tmp_path):
    class Random:
        """Draws each pixel from the generator that it is given."""

        def __call__(self, image, *, task=None, generator=None, output_type="pil"):
            width, height = image.size
            pixels = torch.rand((height, width, 3), generator=generator)
            return type("Output", (), {"images": [pixels.numpy()]})

    def pictures(items, name):
        run_suite(suite_of(items, ("psnr",)), Random(), tmp_path / name, seed=7)
        folder = tmp_path / name / "restored"
        return {path.name: path.read_bytes() for path in folder.rglob("*.png")}

    assert pictures(three, "forward") == pictures(three[::-1], "backward")
    assert len(set(pictures(three, "again").values())) == 3


def test_sixteen_bits_are_restored_and_scored_as_they_are(tmp_path):
    y, x = np.mgrid[:64, :64]
    dark = np.stack([1000 + 900 * np.sin(x / 15) * np.cos(y / 11) * k for k in (1, 0.8, 0.6)], axis=2)
    for side in ("lq", "gt"):
        (tmp_path / "deep" / side).mkdir(parents=True)
        write_image(dark.astype(np.uint16), tmp_path / "deep" / side / "1.png")
    pipe = RestorerPipeline.from_pretrained("identity")
    results = run_suite(
        load_suite(str(tmp_path / "deep")), pipe, tmp_path / "out", scoring=Scoring(("psnr",))
    )
    assert results["overall"]["psnr"]["mean"] == 80.0
    (restored,) = (tmp_path / "out/restored").rglob("*.png")
    assert (read_image(restored).pixels == dark.astype(np.uint16)).all()


def test_files_of_the_user_in_the_output_folder_stay(three, compact, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(WriteError, match=r"report\.html is not a result of ggt-hub"):
        run_suite(suite_of(three[:1]), compact, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "report.html").unlink()
    run_suite(suite_of(three[:1]), compact, tmp_path)
    run_suite(suite_of(three[:1]), compact, tmp_path)  # its own results it replaces
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(WriteError, match=r"results\.json is not a result of ggt-hub, or was changed since"):
        run_suite(suite_of(three[:1]), compact, tmp_path)


def test_named_suites_load_or_say_what_they_need(tmp_path):
    assert load_suite("realir-bench").source == "realir-bench"
    with pytest.raises(EvaluationError, match="foundir needs the folder of its pictures"):
        load_suite("foundir")
    with pytest.raises(EvaluationError, match="there are ade20k-segmentation, celeba-test"):
        load_suite("nonsense")


def test_the_first_few_pictures_of_fixed_damage_show_every_task(tmp_path):
    for name in ("x.png", "y.png", ".hidden.png"):
        Image.fromarray(photograph(32)).save(tmp_path / name)
    items = list(load_suite("compact-val", tmp_path).items())
    assert len(items) == 24
    assert len({item.task for item in items[:12]}) == 12


def folder_of_pairs(root: Path) -> Path:
    for side, picture in (("lq", noisy(photograph(64), 20)), ("gt", photograph(64))):
        (root / side).mkdir(parents=True)
        for name in ("1.png", "2.png"):
            Image.fromarray(picture).save(root / side / name)
    return root


def test_a_folder_of_pairs_and_one_of_single_pictures_are_suites(tmp_path):
    pairs = list(load_suite(str(folder_of_pairs(tmp_path / "pairs"))).items())
    assert len(pairs) == 2
    assert all(item.gt is not None for item in pairs)
    (tmp_path / "singles" / "rain").mkdir(parents=True)
    Image.fromarray(photograph(64)).save(tmp_path / "singles" / "rain" / "x.jpg")
    (tmp_path / "singles" / "notes.txt").write_text("where these are from")
    (item,) = load_suite(str(tmp_path / "singles")).items()
    (tmp_path / "pairs/gt/2.png").unlink()
    with pytest.raises(DatasetError, match="no single partner"):
        list(load_suite(str(tmp_path / "pairs")).items())
    assert (item.id, item.task, item.gt) == ("rain/x.jpg", "rain", None)


def test_real_photographs_are_a_suite_without_references_by_folder(tmp_path):
    for name in ("flare/b.png", "flare/a.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(photograph(32)).save(tmp_path / name)
    suite = load_suite("real-photographs", tmp_path)
    assert suite.metrics == ("niqe", "piqe", "brisque")
    assert [(item.id, item.task, item.gt) for item in suite.items()] == [
        ("c.png", "all", None),
        ("flare/a.png", "flare", None),
        ("flare/b.png", "flare", None),
    ]


def test_the_fixed_damage_is_the_written_rule(tmp_path):
    Image.fromarray(photograph(64)).save(tmp_path / "x.png")
    items = {item.task: item for item in load_suite("compact-val", tmp_path).items()}
    assert len(items) == 12
    expected = photograph(64) + np.random.default_rng(0).normal(0, 25, (64, 64, 3))
    np.testing.assert_array_equal(items["noise 25"].lq, np.clip(np.rint(expected), 0, 255))
    np.testing.assert_array_equal(items["clean"].lq, photograph(64))
    assert (items["low light"].hint, items["noise 25"].hint) == ("low_light", None)
    assert items["low light"].lq.mean() < photograph(64).mean() / 2


def test_the_fixed_damage_gives_the_bytes_that_published_tables_were_made_with(tmp_path):
    Image.fromarray(photograph(64)).save(tmp_path / "x.png")
    recorded = json.loads((Path(__file__).parent / "fixed_damage.json").read_text())
    items = load_suite("compact-val", tmp_path).items()
    assert {item.task: hashlib.sha256(item.lq.tobytes()).hexdigest() for item in items} == recorded
