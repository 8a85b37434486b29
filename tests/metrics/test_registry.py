import json
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ggt_hub.errors import MetricError, MetricUnavailableError
from ggt_hub.metrics import METRICS, as_loss, compute, get_metric
from ggt_hub.metrics.from_pyiqa import load_pyiqa
from tests.metrics.golden import NUMBERS, pairs, pyiqa_score, tensor

PAIRS = pairs()
GOLDEN = json.loads(NUMBERS.read_text())["scores"]
WITH_PYIQA = [metric for metric in METRICS.values() if metric.pyiqa in GOLDEN]


def check_against_pyiqa(metric, pair, theirs):
    restored, gt = PAIRS[pair]
    ours = float(compute([metric.name], restored, gt)[metric.name][0])
    if metric.name.startswith("psnr"):  # pyiqa adds 1e-8 to the squared error on 0..1
        ours = -10 * np.log10(10 ** (-ours / 10) + 1e-8)
    if metric.name == "ssim":  # ours is scikit-image's; pyiqa counts negative structure as 0
        assert ours == pytest.approx(theirs, abs=1e-4) or ours < theirs
    else:
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("metric", WITH_PYIQA, ids=lambda metric: metric.name)
def test_each_metric_gives_what_pyiqa_gave(metric, pair):
    check_against_pyiqa(metric, pair, GOLDEN[metric.pyiqa][pair])


def test_each_metric_gives_what_the_installed_pyiqa_gives():
    pytest.importorskip(
        "pyiqa", reason="pyiqa is not installed (extra `iqa`); its recorded numbers are tested"
    )
    for metric in WITH_PYIQA:
        for pair, (restored, gt) in PAIRS.items():
            check_against_pyiqa(metric, pair, pyiqa_score(metric.pyiqa, restored, gt))


@pytest.mark.parametrize("metric", WITH_PYIQA, ids=lambda metric: metric.name)
def test_direction_and_range_hold_where_a_picture_gets_worse(metric):
    clean = PAIRS["noise 5"][1]
    slightly, badly = (
        compute([metric.name], PAIRS[name][0], clean)[metric.name][0] for name in ("noise 5", "noise 60")
    )
    assert (slightly > badly) == (metric.direction == "higher")
    assert metric.range[0] <= min(slightly, badly)
    assert max(slightly, badly) <= metric.range[1]


def test_compute_keeps_the_order_of_names_and_scores_each_picture():
    restored, gt = PAIRS["noise 5"]
    scores = compute(["ssim", "niqe", "psnr"], [restored, gt], [gt, gt])
    assert list(scores) == ["ssim", "niqe", "psnr"]
    assert all(values.shape == (2,) for values in scores.values())
    assert scores["psnr"][1] == 80


def test_pyiqas_own_metrics_are_had_by_name_where_it_is_installed():
    if find_spec("pyiqa") is None:
        with pytest.raises(MetricUnavailableError, match=r"pip install 'ggt-hub\[iqa\]'"):
            get_metric("pyiqa:musiq")
        return
    restored, gt = PAIRS["noise 5"]
    gmsd = get_metric("pyiqa:gmsd")
    assert (gmsd.direction, gmsd.needs_reference) == ("lower", True)
    assert compute(["pyiqa:gmsd"], restored, gt)["pyiqa:gmsd"] == pytest.approx(
        pyiqa_score("gmsd", restored, gt)
    )
    with pytest.raises(MetricError, match="pyiqa has no metric 'nonsense'"):
        get_metric("pyiqa:nonsense")


def test_unknown_names_and_missing_references_are_refused():
    with pytest.raises(
        MetricError, match=r"unknown metric 'pnsr': known are psnr, psnr-y.*did you mean 'psnr'"
    ):
        get_metric("pnsr")
    with pytest.raises(MetricError, match="ssim compares with a reference"):
        compute(["niqe", "ssim"], PAIRS["noise 5"][0])


def test_a_loss_is_the_mean_score_and_falls_as_pictures_get_better():
    batch = torch.cat([tensor(PAIRS["noise 5"][0]), tensor(PAIRS["noise 60"][0])])
    loss = as_loss("brisque")(batch)
    np.testing.assert_allclose(loss, compute(["brisque"], batch)["brisque"].mean(), rtol=1e-6)


@pytest.mark.parametrize("name", ["piqe", "niqe", "psnr"])
def test_metrics_without_gradient_or_with_reference_are_no_losses(name):
    with pytest.raises(MetricError, match=f"{name} is no loss without reference: take brisque"):
        as_loss(name)


def test_losses_of_pyiqa_are_negated_where_higher_is_better(monkeypatch):
    made = []

    def create_metric(name, device, as_loss):
        made.append((name, device, as_loss))
        return lambda pictures: pictures.mean()

    configs = {"up": {"metric_mode": "NR"}, "down": {"metric_mode": "NR", "lower_better": True}}
    stub = SimpleNamespace(create_metric=create_metric, __version__="0")
    monkeypatch.setitem(sys.modules, "pyiqa", stub)
    monkeypatch.setitem(sys.modules, "pyiqa.default_model_configs", SimpleNamespace(DEFAULT_CONFIGS=configs))
    load_pyiqa.cache_clear()
    pictures = torch.full((1, 3, 8, 8), 0.25, requires_grad=True)
    assert (as_loss("pyiqa:up")(pictures).item(), as_loss("pyiqa:down")(pictures).item()) == (-0.25, 0.25)
    assert made == [("up", "cpu", True), ("down", "cpu", True)]
    load_pyiqa.cache_clear()
