import json
from importlib.util import find_spec

import numpy as np
import pytest

from ggt_hub.errors import MetricError, MetricUnavailableError
from ggt_hub.metrics import METRICS, compute, get_metric
from tests.metrics.golden import NUMBERS, pairs, pyiqa_score

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
