import json
from pathlib import Path

import numpy as np
import pytest

from ggt_hub.metrics import fs, mean_fs, rs

GOLDEN = Path(__file__).parents[2] / "../shared/golden/realrestorer/bench/final_score.json"


def test_rs_is_the_rise_of_the_rating_and_never_negative():
    np.testing.assert_array_equal(rs([1, 3, 5, 2], [5, 3, 1, 3]), [4, 0, 0, 1])


def test_the_two_ways_to_average_differ():
    # by hand: 0.2 * 4 * 0.5 = 0.4 and 0 -> mean 0.2; means 0.25 and 2 -> 0.2 * 2 * 0.75 = 0.3
    lpips, rise = [0.5, 0.0], [4.0, 0.0]
    np.testing.assert_allclose(fs(lpips, rise), [0.4, 0.0])
    assert mean_fs(lpips, rise, "mean of products") == pytest.approx(0.2)
    assert mean_fs(lpips, rise, "product of means") == pytest.approx(0.3)


def test_the_published_evaluators_numbers_come_out():
    if not GOLDEN.exists():
        pytest.skip(f"golden data not at {GOLDEN}: it is not part of the repository")
    golden = json.loads(GOLDEN.read_text())
    cases = golden["per_image"]
    lpips = [case["lpips"] for case in cases]
    rise = rs([case["reference_score"] for case in cases], [case["prediction_score"] for case in cases])
    np.testing.assert_allclose(rise, [case["rs"] for case in cases])
    np.testing.assert_allclose(fs(lpips, rise), [case["fs"] for case in cases], atol=1e-6)
    assert mean_fs(lpips, rise, "mean of products") == pytest.approx(float(golden["summary"]["FS"]), abs=1e-6)
    paper = golden["paper_style_aggregate"]
    assert mean_fs(lpips, rise, "product of means") == pytest.approx(paper["fs_from_means"], abs=1e-6)
