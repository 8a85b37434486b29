import json

import numpy as np
import pytest
from skimage import data

from ggt_hub.errors import MetricError
from ggt_hub.metrics import brisque, piqe
from ggt_hub.metrics.quality import (
    Ends,
    expert_scores,
    measured_scale,
    quality,
    read_scale,
    scale_to_json,
    shipped_scale,
)
from tests.metrics.golden import noisy

SCALE = {"piqe": Ends(worst=60, best=20), "pyiqa:up": Ends(worst=0.2, best=0.6)}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"piqe": 60, "pyiqa:up": 0.2}, 0),
        ({"piqe": 20, "pyiqa:up": 0.6}, 1),
        ({"piqe": 50, "pyiqa:up": 0.5}, (0.25 + 0.75) / 2),
        ({"piqe": 99, "pyiqa:up": 0.9}, 0.5),  # beyond an end counts as the end
        ({"piqe": 30}, 0.75),
    ],
)
def test_quality_is_the_mean_of_the_experts_on_their_scales(scores, expected):
    assert quality(scores, SCALE) == pytest.approx(expected)


def test_a_scale_ends_at_the_5th_and_95th_percentile_the_better_end_at_1(monkeypatch):
    scores = [{"piqe": float(n), "ssim": float(n)} for n in range(101)]
    assert measured_scale(scores) == {"piqe": Ends(95, 5), "ssim": Ends(5, 95)}
    with pytest.raises(MetricError, match="piqe says 7 of nearly all pictures"):
        measured_scale([{"piqe": 7.0}] * 3)


def test_the_free_experts_put_photographs_above_their_damaged_copies():
    clean = data.chelsea()
    scores = [expert_scores(picture, ["piqe", "brisque"]) for picture in (clean, noisy(clean, 25))]
    assert scores[0] == {"piqe": piqe(clean)[0], "brisque": brisque(clean)[0]}
    good, bad = (quality(of_one, shipped_scale()) for of_one in scores)
    assert good > 0.6 > 0.3 > bad


def test_a_picture_that_an_expert_cannot_judge_is_refused():
    with pytest.raises(MetricError, match="niqe has no score for a picture without texture"):
        expert_scores(np.full((200, 200, 3), 90, np.uint8), ["niqe"])


def test_a_scale_is_read_as_it_was_written_and_another_file_refused(tmp_path):
    path = tmp_path / "quality.json"
    path.write_text(json.dumps(scale_to_json(SCALE)))
    assert read_scale(path) == SCALE
    for wrong in ("[]", "no", '{"piqe": {"worst": 1}}', '{"piqe": {"worst": 1, "best": 1}}'):
        path.write_text(wrong)
        with pytest.raises(MetricError, match=r"quality.json is no scale of quality"):
            read_scale(path)
