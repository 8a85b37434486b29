"""Candidates that were moved, zoomed, turned and bent are laid over their photographs; others are refused."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from ggt_hub.curation.alignment import Limits, align
from tests.curation.planted import SIDE, damaged, sample, shifted, turned, waved

UNIT = SIDE / 1024


@pytest.fixture(scope="module")
def good() -> np.ndarray:
    return sample("chelsea")


@pytest.fixture(scope="module", params=["noise", "low_light", "haze"])
def lq(request: pytest.FixtureRequest, good: np.ndarray) -> np.ndarray:
    return damaged(good, request.param)


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    """Of the middle, in dB, where `found` was cut on all sides alike."""
    cut = (SIDE - found.shape[0]) // 2
    inside = (slice(16, found.shape[0] - 16), slice(16, found.shape[1] - 16))
    truth = truth[cut : SIDE - cut, cut : SIDE - cut]
    error = np.square(found[inside].astype(float) - truth[inside]).mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


def test_what_lies_right_is_left_as_it_is(good: np.ndarray, lq: np.ndarray) -> None:
    found = align(good, lq)
    assert np.array_equal(found.gt, good) and np.array_equal(found.lq, lq)
    assert found.statistics["median"] < 1 and found.statistics["is_known"] == 1


@pytest.mark.parametrize(
    ("name", "task", "severity", "side"),
    [
        ("chelsea", "snow", 0.9, 512),
        ("chelsea", "snow", 0.5, 512),  # a shift of half a pixel that makes it no liker
        ("coffee", "haze", 0.9, 512),
        ("flower", "noise", 0.9, 512),
        ("flower", "rain", 0.9, 256),
    ],
)
def test_few_uncertain_matches_in_heavy_damage_move_nothing(
    name: str, task: str, severity: float, side: int
) -> None:
    """Their homographies move corners by 3 to 40 pixels of 1024, and dense ways have half a pixel of noise."""
    truth = cv2.resize(sample(name), (side, side), interpolation=cv2.INTER_AREA)
    found = align(truth, damaged(truth, task, severity))
    assert np.array_equal(found.gt, truth)


def test_a_way_that_a_blur_feigns_is_not_gone() -> None:
    """Followed place by place it is 1.2 pixels long, and going it makes nothing liker."""
    truth = sample("china")
    found = align(truth, damaged(truth, "blur", 0.75))
    assert found.statistics["median"] > 2.4
    assert np.array_equal(found.gt, truth)


@pytest.mark.parametrize(
    "moved", [lambda p: shifted(p, 0.5, 0), lambda p: turned(p, 0, 1.005), lambda p: turned(p, 0.3, 1)]
)
def test_half_a_pixel_is_seen_and_mended(moved: Callable[[np.ndarray], np.ndarray], good: np.ndarray) -> None:
    """By 3 dB at least; what is left is that of cubic resampling, twice."""
    found = align(moved(good), damaged(good, "noise"))
    assert found.statistics["mean"] > 0.8
    assert psnr(found.gt, good) > psnr(moved(good), good) + 3


@pytest.mark.parametrize(
    ("moved", "corner"),
    [
        (lambda p: shifted(p, 4, -2), np.hypot(4, 2) / UNIT),
        (lambda p: turned(p, 0, 1.02), 0.02 * np.hypot(256, 256) / UNIT),
        (lambda p: turned(p, 1, 1), np.deg2rad(1) * np.hypot(256, 256) / UNIT),
    ],
)
def test_what_was_moved_comes_back_and_both_are_cut_alike(
    moved: Callable[[np.ndarray], np.ndarray], corner: float, good: np.ndarray, lq: np.ndarray
) -> None:
    """To a tenth of a pixel: cubic resampling, twice, leaves about 40 dB of this picture."""
    found = align(moved(good), lq)
    assert found.statistics["corner"] == pytest.approx(corner, abs=1.5)
    assert psnr(moved(good), good) < 32
    assert psnr(found.gt, good) > 38
    cut = (SIDE - found.gt.shape[0]) // 2
    assert np.array_equal(found.lq, lq[cut : SIDE - cut, cut : SIDE - cut])
    assert found.statistics["cut"] == pytest.approx(cut / UNIT)


def test_what_was_bent_a_little_is_unbent(good: np.ndarray) -> None:
    bent = waved(good, 1.5)
    found = align(bent, damaged(good, "noise"))
    assert 1 < found.statistics["median"] < 6
    assert psnr(found.gt, good) > psnr(bent, good) + 6


@pytest.mark.parametrize(
    ("moved", "reason"),
    [
        (lambda p: shifted(p, 15, 0), "moved too far"),
        (lambda p: turned(p, 0, 1.1), "moved too far"),
        (lambda p: waved(p, 8), "moved too far"),
        (lambda p: cv2.resize(p, (512, 384)), "another shape: 512x384 of 512x512"),
    ],
)
def test_what_was_moved_or_bent_too_far_is_refused(
    moved: Callable[[np.ndarray], np.ndarray], reason: str, good: np.ndarray
) -> None:
    found = align(moved(good), damaged(good, "noise"))
    assert found.refused == reason
    assert found.gt is None


def test_another_size_of_the_same_shape_is_brought_back(good: np.ndarray, lq: np.ndarray) -> None:
    found = align(cv2.resize(good, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC), lq)
    assert found.statistics["resized"] == 1
    assert psnr(found.gt, good) > 38


def test_where_nothing_can_be_matched_nothing_is_said(good: np.ndarray) -> None:
    found = align(sample("coffee"), good)
    assert found.refused == "" and found.statistics["is_known"] == 0


def test_limits_grow_with_the_picture(good: np.ndarray) -> None:
    found = align(shifted(good, 4, 0), damaged(good, "noise"), Limits(corner=7.0))
    assert found.refused == "moved too far"  # 4 pixels of 512 are 8 of 1024
    found = align(shifted(good, 4, 0), damaged(good, "noise"), Limits(corner=9.0))
    assert found.refused == ""
