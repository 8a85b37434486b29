"""What is told of structures: exact where a formula says so, else by what was planted."""

import cv2
import numpy as np
import pytest

from ggt_hub.curation.structures import (
    cast,
    graded,
    noise_of,
    recoloured,
    repainted,
    replaced,
    small,
    strengths,
)
from tests.curation.planted import damaged, sample


def bright(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)


@pytest.fixture(scope="module")
def china() -> np.ndarray:
    return bright(sample("china"))


def noisy(plane: np.ndarray, sigma: float) -> np.ndarray:
    return plane + np.random.default_rng(0).normal(0, sigma, plane.shape).astype(np.float32)


def repainted_of(photograph: np.ndarray, candidate: np.ndarray) -> float:
    return repainted(photograph, candidate, noise_of(photograph))


def replaced_of(photograph: np.ndarray, candidate: np.ndarray) -> float:
    return replaced(photograph, candidate, noise_of(photograph))


@pytest.mark.parametrize("sigma", [2.0, 20.0])
def test_noise_is_found_to_a_twentieth(sigma: float) -> None:
    flat = np.full((256, 256), 128, np.float32)
    assert noise_of(noisy(flat, sigma)) == pytest.approx(sigma, rel=0.05)


def test_what_has_no_structure_may_go_and_exposure_may_change(china: np.ndarray) -> None:
    assert repainted_of(china, china) == pytest.approx(0, abs=0.1)
    assert repainted_of(noisy(china, 25), china) < 0.3
    assert repainted_of(china * 0.3, china) < 0.3
    assert repainted_of(bright(damaged(sample("china"), "haze")), china) < 0.4


@pytest.mark.parametrize("sigma", [0.0, 15.0])
def test_a_place_that_was_painted_over_shows(china: np.ndarray, sigma: float) -> None:
    """A fifth of the side, filled with its mean; the photograph in noise too."""
    changed = china.copy()
    changed[200:300, 150:250] = china[200:300, 150:250].mean()
    assert repainted_of(noisy(china, sigma), changed) > 3
    other = bright(sample("flower"))
    changed[200:300, 150:250] = other[200:300, 150:250]
    assert repainted_of(noisy(china, sigma), changed) > 3


@pytest.mark.parametrize(("name", "task", "most"), [("chelsea", "old_photo", 0.3), ("coffee", "snow", 2.0)])
def test_what_hides_in_many_places_is_no_painter_and_one_among_it_is(
    name: str, task: str, most: float
) -> None:
    """Scratches and flakes; the limits are the gate's, or below."""
    truth = bright(sample(name))
    photograph = bright(damaged(sample(name), task, 0.6))
    assert repainted_of(photograph, truth) < most
    changed = truth.copy()
    changed[200:300, 150:250] = truth[200:300, 150:250].mean()
    assert repainted_of(photograph, changed) > 2.5


def test_what_flakes_hide_in_part_is_not_replaced() -> None:
    """A picture that shows little, under twenty flakes, one of them large: `repainted` takes that for a painter."""
    rng = np.random.default_rng(2)
    truth = cv2.GaussianBlur(rng.normal(0, 60, (384, 384)).astype(np.float32), (0, 0), 6) + 128
    photograph = truth.copy()
    for number, (x, y) in enumerate(rng.integers(20, 364, (20, 2))):
        cv2.circle(photograph, (int(x), int(y)), 6 if number else 13, (230.0,), -1)
    assert repainted_of(photograph, truth) > 2.5
    assert replaced_of(photograph, truth) < 0.8


def test_what_is_painted_over_among_flakes_is_replaced() -> None:
    truth = bright(sample("coffee"))
    photograph = bright(damaged(sample("coffee"), "snow", 0.9))
    changed = truth.copy()
    changed[200:300, 150:250] = truth[200:300, 150:250].mean()
    assert replaced_of(truth, truth) < 0.05
    assert replaced_of(photograph, truth) < 1.0
    assert replaced_of(photograph, changed) > 5
    assert replaced_of(0.5 * photograph + 60, truth) < 1.0  # whatever the exposure


def test_blur_is_weaker_and_sharpening_stronger_whatever_noise_there_was(china: np.ndarray) -> None:
    soft = cv2.GaussianBlur(china, (0, 0), 2)
    hard = china + 6 * (china - soft)
    for photograph in (china, noisy(china, 15), 0.4 * china):
        weaker, sharper = strengths(photograph, china)
        assert weaker < 0.02 and abs(sharper) < 0.02
        assert strengths(photograph, soft)[0] > 0.1
        assert strengths(photograph, hard)[1] > 0.15


@pytest.mark.parametrize("radius", [1.5, 4.0])
def test_removing_a_blur_is_no_sharpening(china: np.ndarray, radius: float) -> None:
    """The wider one makes the band of 6 to 13 pixels stronger by more than a mask that sharpens."""
    weaker, sharper = strengths(cv2.GaussianBlur(china, (0, 0), radius), china)
    assert weaker < 0 and sharper < 0.12


def test_a_denoiser_is_not_blamed_for_what_noise_hid() -> None:
    """Non-local means gain 14 dB here; without what is forgiven the value would be 0.26."""
    good = bright(sample("chelsea"))
    photograph = np.clip(noisy(good, 70), 0, 255).astype(np.uint8)
    restored = cv2.fastNlMeansDenoising(photograph, None, 70, 7, 15)
    assert strengths(photograph.astype(np.float32), restored.astype(np.float32))[0] < 0.1


def test_other_hues_show_in_levels_and_stronger_colours_do_not() -> None:
    way = np.array([30, 0, -30], np.int16)
    sides = np.where(np.arange(192)[None, :, None] < 96, way, -way) + np.zeros((192, 1, 1), np.int16)
    photograph = (120 + sides).astype(np.uint8)
    assert recoloured(photograph, (120 + 2 * sides).astype(np.uint8)) == pytest.approx((0, 0), abs=1e-3)
    most, place = recoloured(photograph, (120 - sides).astype(np.uint8))
    assert most == pytest.approx(1.5 * np.linalg.norm(way), rel=0.01)
    assert place < 1
    grey, _ = recoloured(photograph, np.full_like(photograph, 120))
    assert grey == pytest.approx(0.5 * np.linalg.norm(way), rel=0.01)  # half as strong is the same
    changed = photograph.copy()
    changed[60:100, 30:70] = 120 - way
    most, place = recoloured(photograph, changed)
    assert most < 5  # the factor that fits best is a little less than 1
    assert place > 5


def test_a_grade_is_a_cast_and_stronger_colours_are_none() -> None:
    grey = np.full((192, 192, 3), 120, np.uint8)
    warm = (grey * np.array([1.25, 1.0, 0.75])).astype(np.uint8)
    assert cast(grey, grey) == 0
    assert cast(grey, warm) == pytest.approx(np.hypot(1 / 12, 1 / 12), abs=1e-6)
    rng = np.random.default_rng(0)
    hues = cv2.resize(rng.normal(0, 10, (8, 8, 3)).astype(np.float32), (192, 192))
    hues -= hues.mean((0, 1))
    pale, strong = (np.clip(np.rint(120 + gain * hues), 0, 255).astype(np.uint8) for gain in (1, 2.5))
    assert cast(pale, strong) < 0.005
    assert np.isnan(cast(np.zeros_like(grey), grey))


def test_a_veil_is_no_grade_and_a_grade_under_a_veil_is_one() -> None:
    """Blocks of twelve colours; the grade is of 6 %, and the map that undoes it explains all but roundings."""
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(40, 216, (16, 12, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    veiled = np.rint(0.5 * scene + 100).astype(np.uint8)
    warm = np.clip(np.rint(scene * np.array([1.06, 1.0, 0.94])), 0, 255).astype(np.uint8)
    assert graded(scene, scene)[0] < 1e-6
    assert graded(veiled, scene)[0] < 0.001
    way, explained = graded(scene, warm)
    assert way == pytest.approx(0.028, abs=0.003)  # (0.06, 0, -0.06) / 3
    assert explained > 0.95
    assert graded(veiled, warm)[0] > 0.008


def test_flakes_are_no_grade() -> None:
    """The candidate is the truth, whose chromaticities are others than those of the photograph."""
    truth = sample("coffee")
    way, explained = graded(small(damaged(truth, "snow", 0.6)), small(truth))
    assert way > 0.008 and explained < 0.3
    assert np.isnan(graded(np.zeros((64, 64, 3), np.uint8), truth[:64, :64])[0])
