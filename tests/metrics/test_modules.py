import importlib.util
import time
from functools import partial
from pathlib import Path

import evaluate
import gradio as gr
import numpy as np
import pytest
import torch
import yaml

from ggt_hub.errors import MetricError, MetricUnavailableError
from ggt_hub.images import write_image
from ggt_hub.metrics import compute, fid, kid, lpips, niqe, psnr, ssim
from ggt_hub.metrics.page import metric_page, rating_page, set_page
from tests.metrics.golden import noisy, tensor
from tests.metrics.test_perceptual import CROPS, expected_lpips, weights  # noqa: F401  a fixture
from tests.photographs import photograph

SPACES = Path(__file__).parents[2] / "spaces/metrics"
NAMES = ["psnr_ssim", "lpips_dists", "niqe", "fid_kid", "realir_fs", "pyiqa_metric"]
CLEAN = [photograph(192), photograph(256)[:, :200]]
POOR = [noisy(CLEAN[0], 20), noisy(CLEAN[1], 10)]


def load(name, *configuration):
    return evaluate.load(str(SPACES / name), *configuration)


def test_pictures_of_mixed_sizes_score_as_by_the_plain_functions():
    scores = load("psnr_ssim").compute(predictions=POOR, references=CLEAN, per_picture=True)
    assert scores["psnr"] == pytest.approx(psnr(POOR, CLEAN).mean())
    assert scores["ssim_per_picture"] == pytest.approx(ssim(POOR, CLEAN).tolist())
    assert set(scores) == {
        name + end for name in ("psnr", "psnr-y", "ssim", "ssim-y") for end in ("", "_per_picture")
    }


def test_a_configuration_chooses_other_protocols():
    scores = load("psnr_ssim", "psnr-ycbcr, ms_ssim").compute(predictions=POOR, references=CLEAN)
    assert list(scores) == ["psnr-ycbcr", "ms_ssim"]


def test_adding_one_by_one_or_in_batches_is_the_same_and_compute_forgets():
    metric = load("psnr_ssim", "psnr")
    for poor, clean in zip(POOR, CLEAN, strict=True):
        metric.add(prediction=poor, reference=clean)
    assert metric.compute()["psnr"] == pytest.approx(psnr(POOR, CLEAN).mean())
    metric.add_batch(predictions=POOR, references=CLEAN)
    assert metric.compute()["psnr"] == pytest.approx(psnr(POOR, CLEAN).mean())
    batch = [torch.cat([tensor(picture)] * 2) for picture in (POOR[0], CLEAN[0])]
    assert metric.compute(predictions=batch[0], references=batch[1])["psnr"] == pytest.approx(
        psnr(POOR[0], CLEAN[0])[0], abs=1e-5
    )


def test_modules_are_combined_also_with_one_that_takes_no_reference():
    combined = evaluate.combine([load("psnr_ssim", "psnr"), str(SPACES / "niqe")])
    scores = combined.compute(predictions=POOR, references=CLEAN)
    assert scores == pytest.approx({"psnr": psnr(POOR, CLEAN).mean(), "niqe": niqe(POOR).mean()})
    combined.add_batch(predictions=POOR, references=CLEAN)
    assert combined.compute() == pytest.approx(scores)


def test_modules_are_combined_also_picture_by_picture():
    combined = evaluate.combine([load("psnr_ssim", "psnr"), str(SPACES / "niqe")])
    for poor, clean in zip(POOR, CLEAN, strict=True):
        combined.add(prediction=poor, reference=clean)
    assert combined.compute() == pytest.approx({"psnr": psnr(POOR, CLEAN).mean(), "niqe": niqe(POOR).mean()})
    metric = load("psnr_ssim", "psnr")
    metric.add(references=CLEAN[0], predictions=POOR[0])
    assert metric.compute()["psnr"] == pytest.approx(psnr(POOR[0], CLEAN[0])[0])


def test_nothing_and_what_is_no_number_are_refused():
    metric = load("psnr_ssim", "psnr")
    for given in ({"predictions": [], "references": []}, {}):
        with pytest.raises(MetricError, match="was given no picture"):
            metric.compute(**given)
    holes = np.full((32, 32, 3), np.nan)
    with pytest.raises(MetricError, match="holds NaN"):
        metric.compute(predictions=[holes], references=[holes])
    flat = np.full((200, 200, 3), 128, np.uint8)
    niqe_module = load("niqe")
    with pytest.raises(MetricError, match="niqe is not defined for picture 1"):
        niqe_module.add_batch(predictions=[POOR[0], flat])
    niqe_module.add_batch(predictions=[POOR[0]])  # nothing of the refused batch was kept
    assert niqe_module.compute()["niqe"] == pytest.approx(niqe(POOR[0])[0])


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ([2, 9], [4, 5], "a rating of 9"),
        ([2, 3], [0, 5], "a rating of 0"),
        ([2, None], [4, 5], "a rating of nan"),
        ([2, float("nan")], [4, 5], "a rating of nan"),
        ([2], [4, 5], "1 ratings before but 2 after"),
        ([], [], "there is no rating"),
        (["good", 3], [4, 5], "ratings must be numbers"),
    ],
)
def test_bad_ratings_are_refused(before, after, reason, weights):  # noqa: F811
    restored, gt = [pair[0] for pair in CROPS], [pair[1] for pair in CROPS]
    asked = {"predictions": restored, "references": gt, "weights": weights}
    with pytest.raises(MetricError, match=reason):
        load("realir_fs").compute(**asked, ratings_before=before, ratings_after=after)


def test_lpips_takes_its_weights_from_a_folder_and_is_an_error_without(weights, tmp_path):  # noqa: F811
    restored, gt = CROPS[0]
    expected = expected_lpips("alex", weights, restored, gt)
    metric = load("lpips_dists")
    scores = metric.compute(predictions=[restored], references=[gt], weights=weights)
    assert scores["lpips"] == pytest.approx(expected, abs=1e-5)
    assert 0 < scores["dists"] < 1
    with pytest.raises(MetricUnavailableError, match=r"the weights .* cannot be had"):
        metric.compute(predictions=[restored], references=[gt], weights=tmp_path)


def test_rs_and_fs_follow_the_protocol_that_is_named(weights):  # noqa: F811
    restored, gt = [pair[0] for pair in CROPS], [pair[1] for pair in CROPS]
    asked = {"predictions": restored, "references": gt, "ratings_before": [1, 4], "ratings_after": [5, 3]}
    code = load("realir_fs").compute(**asked, weights=weights, per_picture=True)
    lpips = code["lpips_per_picture"]
    assert code["rs_per_picture"] == [4, 0]
    assert code["fs"] == pytest.approx(0.2 * 4 * (1 - lpips[0]) / 2)
    paper = load("realir_fs", "realir-paper").compute(**asked, weights=weights)
    assert paper["fs"] == pytest.approx(0.2 * 2 * (1 - np.mean(lpips)))
    with pytest.raises(MetricError, match="1 ratings for 2 pictures"):
        load("realir_fs").compute(**asked | {"ratings_before": [1], "ratings_after": [5]}, weights=weights)


def test_the_module_adds_at_most_two_milliseconds_a_pair():
    # Cheap pictures, so that the difference is the module's own; the least of several runs on a busy machine.
    pairs = [photograph(64)] * 50
    metric = load("psnr_ssim", "psnr")

    def seconds(function):
        started = time.process_time()
        function()
        return time.process_time() - started

    with_module = min(seconds(lambda: metric.compute(predictions=pairs, references=pairs)) for _ in range(5))
    plain = min(seconds(lambda: psnr(pairs, pairs)) for _ in range(5))
    assert (with_module - plain) / len(pairs) < 0.002


def test_a_module_loads_from_a_space_on_the_hub(hub):
    hub.add("space", "someone/psnr_ssim", SPACES / "psnr_ssim")
    scores = evaluate.load("someone/psnr_ssim", "psnr").compute(predictions=POOR, references=CLEAN)
    assert scores["psnr"] == pytest.approx(psnr(POOR, CLEAN).mean())


@pytest.mark.parametrize("name", NAMES)
def test_each_space_has_a_page_and_a_card(name, tmp_path):
    head = (SPACES / name / "README.md").read_text().split("---")[1]
    card = yaml.safe_load(head)
    assert card["sdk"] == "gradio"
    assert len(card["short_description"]) <= 60
    specification = importlib.util.spec_from_file_location(f"page_of_{name}", SPACES / name / "app.py")
    page = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(page)
    if name == "psnr_ssim":
        deep = [picture.astype(np.uint16) * 257 + 3 for picture in (POOR[0][:64, :64], CLEAN[0][:64, :64])]
        paths = [str(tmp_path / f"{side}.png") for side in ("lq", "gt")]
        for pixels, path in zip(deep, paths, strict=True):
            write_image(pixels, path)
        assert page.page.fn(*paths, ["psnr"]) == {"psnr": round(float(psnr(*deep)[0]), 6)}
        with pytest.raises(gr.Error, match="psnr compares with a reference"):
            page.page.fn(paths[0], None, ["psnr"])
        (tmp_path / "broken.png").write_bytes(b"no picture")
        with pytest.raises(gr.Error, match=r"broken\.png"):
            page.page.fn(str(tmp_path / "broken.png"), paths[1], ["psnr"])


@pytest.fixture
def plain_network(monkeypatch):
    """In place of Inception v3: the mean of each channel."""
    monkeypatch.setattr("ggt_hub.metrics.of_sets.load_inception", lambda folder: lambda x: x.mean((2, 3)))


def test_sets_are_compared_however_they_are_added(plain_network):
    expected = {"fid": fid(POOR, CLEAN), "kid": kid(POOR, CLEAN)}
    assert load("fid_kid").compute(predictions=POOR, references=CLEAN) == pytest.approx(expected)
    metric = load("fid_kid")
    for poor in POOR:
        metric.add(prediction=poor)
    metric.add_batch(references=CLEAN)
    assert metric.compute() == pytest.approx(expected)
    with pytest.raises(MetricError, match="was given no picture"):  # they were forgotten
        metric.compute()
    assert list(load("fid_kid", "kid").compute(predictions=POOR, references=CLEAN)) == ["kid"]
    with pytest.raises(MetricError, match="'psnr' is no metric of sets"):
        load("fid_kid", "psnr")


def test_the_page_of_sets_computes_from_two_lists_of_files(plain_network, tmp_path):
    paths = {"poor": [], "clean": []}
    for (side, files), pictures in zip(paths.items(), (POOR, CLEAN), strict=True):
        for number, pixels in enumerate(pictures):
            files.append(str(tmp_path / f"{side}{number}.png"))
            write_image(pixels, files[-1])
    page = set_page("FID").fn
    found = page(*paths.values())
    assert found == pytest.approx({"fid": fid(POOR, CLEAN), "kid": kid(POOR, CLEAN)}, abs=1e-6)
    with pytest.raises(gr.Error, match="sets of 2 pictures or more"):
        page(paths["poor"], None)


def test_the_page_of_fs_computes_it_from_pictures_and_ratings(weights, monkeypatch, tmp_path):  # noqa: F811
    restored, gt = CROPS[0]
    page = rating_page("FS").fn
    expected = lpips(restored, gt, weights=weights)[0]
    monkeypatch.setattr("ggt_hub.metrics.page.compute", partial(compute, weights=weights))
    paths = [str(tmp_path / "after.png"), str(tmp_path / "before.png")]
    for pixels, path in zip((restored, gt), paths, strict=True):
        write_image(pixels, path)
    assert page(*paths, 2, 5) == pytest.approx(
        {"lpips": expected, "rs": 3, "fs": 0.6 * (1 - expected)}, abs=1e-6
    )
    monkeypatch.setattr("ggt_hub.metrics.page.compute", partial(compute, weights="nowhere"))
    with pytest.raises(gr.Error, match=r"the weights .* cannot be had"):
        page(*paths, 5, 2)


def test_the_page_reads_sixteen_bits_and_refuses_in_words(tmp_path):
    deep = write_image((CLEAN[0].astype(np.uint16) * 257), tmp_path / "deep.png")
    flat = write_image(CLEAN[0], tmp_path / "flat.png")
    score = metric_page("PSNR", ["psnr"]).fn
    assert score(str(deep), str(flat), ["psnr"]) == {"psnr": 80.0}, "equal pictures, one in 16 bits"
    (tmp_path / "notes.png").write_bytes(b"no picture")
    for picture, chosen, words in (
        (str(tmp_path / "notes.png"), ["psnr"], "notes.png"),
        (None, ["psnr"], "there is no picture"),
        (str(flat), [], "no metric is chosen"),
    ):
        with pytest.raises(gr.Error, match=words) as raised:
            score(picture, str(flat), chosen)
        assert str(tmp_path) not in str(raised.value)
