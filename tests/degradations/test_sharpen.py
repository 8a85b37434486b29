"""Unsharp masking of the target, by value."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ggt_hub.degradations import Sample
from ggt_hub.degradations.base import to_float
from ggt_hub.degradations.sharpen import Sharpen
from tests.photographs import photograph

PUBLISHED = {"weight": 0.5}


def edge(height: float) -> np.ndarray:
    """A step in the middle of 256 columns, around middle grey."""
    rows = np.where(np.arange(256) < 128, 0.5 - height / 2, 0.5 + height / 2)
    return np.broadcast_to(rows[None, :, None], (64, 256, 3)).astype(np.float32).copy()


def sharpened(picture: np.ndarray, family: Sharpen | None = None, weight: float = 0.5) -> np.ndarray:
    return (family or Sharpen()).apply(Sample(picture, picture), {"weight": weight}).gt


def test_an_edge_overshoots_by_half_of_what_the_gaussian_takes_away() -> None:
    """Without a threshold all within 25 pixels counts as strong, so that the mask is whole next to the edge."""
    done = sharpened(edge(0.4), Sharpen(threshold=0.0))
    taps = cv2.getGaussianKernel(51, 8.0)[:, 0]
    taken = (
        0.4 * taps[26:].sum()
    )  # the part of the window beyond the edge, seen from the first column after it
    assert done[32, 128, 0] - 0.7 == pytest.approx(0.5 * taken, abs=1e-4)
    assert 0.3 - done[32, 127, 0] == pytest.approx(0.5 * taken, abs=1e-4)


def test_far_from_edges_and_below_the_threshold_nothing_changes() -> None:
    step = edge(0.4)
    assert sharpened(step)[:, :60] == pytest.approx(step[:, :60], abs=1e-6)
    faint = edge(0.07)  # takes at most 9 levels of 255
    assert sharpened(faint) == pytest.approx(faint, abs=1e-6)
    assert np.abs(sharpened(edge(0.09)) - edge(0.09)).max() > 0.001


def test_both_pictures_are_sharpened_each_at_its_own_size() -> None:
    gt = to_float(photograph(128))
    lq = np.ascontiguousarray(gt[::2, ::2])
    done = Sharpen().apply(Sample(lq, gt), PUBLISHED)
    assert np.array_equal(done.gt, sharpened(gt)) and np.array_equal(done.lq, sharpened(lq))
    assert np.abs(done.gt - gt).mean() > 1 / 255


def test_the_weight_is_the_share_and_values_stay_in_range() -> None:
    picture = edge(0.4)
    full, half = (sharpened(picture, weight=weight) - picture for weight in (0.5, 0.25))
    assert half == pytest.approx(full / 2, abs=1e-6)
    bright = sharpened(edge(0.9), Sharpen(threshold=0.0), weight=2.0)
    assert bright.min() == 0 and bright.max() == 1


def test_an_even_window_is_made_odd() -> None:
    picture = to_float(photograph(64))
    assert np.array_equal(sharpened(picture, replace(Sharpen(), size=50)), sharpened(picture))
