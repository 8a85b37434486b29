"""Shadows after clipped noise: what is measured, what is shifted, and what is left alone."""

import numpy as np
import pytest
from skimage import data

from ggt_hub import RestorerPipeline, read_image
from ggt_hub.pipelines import clipped_noise
from ggt_hub.pipelines.clipped_noise import darken_shadows, white_noise


def ramp(height: int = 256, width: int = 256, low: float = 0.0, high: float = 230.0) -> np.ndarray:
    """From dark to bright, in levels of 255, as floats (H, W, 3)."""
    return np.repeat(np.tile(np.linspace(low, high, width), (height, 1))[..., None], 3, axis=2)


def noisy(gt: np.ndarray, deviation: np.ndarray | float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, gt.shape) * deviation
    return np.clip(np.rint(gt + noise), 0, 255).astype(np.uint8)


def restored(levels: np.ndarray) -> np.ndarray:
    return (levels / 255).astype(np.float32)


@pytest.mark.parametrize(("sigma", "strength"), [(10, 1.0), (25, 1.0), (25, 0.5)])
def test_white_noise_is_measured(sigma: float, strength: float) -> None:
    gt = ramp()
    lq = noisy(gt, sigma)
    result = restored(lq + strength * (gt - lq))
    found = white_noise(read_image(lq), result, strength)
    # 64 blocks with a thousand values each have the variance to 5 %; the quantile takes 1 % more than the middle
    assert found is not None and 255 * found == pytest.approx(sigma, rel=0.03)


def test_other_noise_is_not_white_noise() -> None:
    gt = ramp()
    shot = noisy(gt, np.sqrt(gt / 255) * 25)
    assert white_noise(read_image(shot), restored(gt), 1.0) is None, "it grows with the light"
    draws = np.random.default_rng(0).normal(0, 25, (*gt.shape[:2], 3))
    coarse = sum(np.roll(draws, (y, x), (0, 1)) for y in (0, 1) for x in (0, 1)) / 2
    grain = np.clip(np.rint(gt + coarse), 0, 255).astype(np.uint8)
    assert white_noise(read_image(grain), restored(gt), 1.0) is None, "neighbours are alike"
    assert white_noise(read_image(noisy(gt, 1)), restored(gt), 1.0) is None, "too little"
    assert white_noise(read_image(noisy(ramp(high=60), 25)), restored(ramp(high=60)), 1.0) is None, "too dark"
    tiny = read_image(noisy(ramp(1, 1), 25))
    assert white_noise(tiny, restored(ramp(1, 1)), 1.0) is None


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_what_noise_brightened_gets_dark_again(strength: float) -> None:
    gt = np.full((200, 200, 3), 10.0)
    lq = noisy(gt, 25).astype(np.float64)
    brightened = restored(lq + strength * (gt + 6 - lq))
    darken_shadows(brightened, read_image(lq.astype(np.uint8)), 25 / 255, strength)
    # The means of 961 clipped values are known to 0.5 levels, by the slope of 0.66 to 0.8; all of them to 0.1.
    full = lq + (255 * brightened - lq) / strength
    assert full.mean() == pytest.approx(10, abs=0.3)
    assert full.std() < (1.5 if strength == 1 else 60)


def test_what_is_too_dark_gets_half_of_what_it_lacks() -> None:
    gt = np.full((200, 200, 3), 16.0)
    result = restored(gt - 8)
    darken_shadows(result, read_image(noisy(gt, 25)), 25 / 255, 1.0)
    assert 255 * result.mean() == pytest.approx(12, abs=0.3)


def test_bright_places_stay_as_they_are() -> None:
    gt = ramp()
    result = restored(gt + 6)
    before = result.copy()
    darken_shadows(result, read_image(noisy(gt, 25)), 25 / 255, 1.0)
    bright = before >= clipped_noise.DARK
    np.testing.assert_array_equal(result[bright], before[bright])
    dark = before < 0.15
    # Noise of the means (0.8 levels) on 6 levels too bright, of which clipping shows half in the darkest places.
    assert 255 * (result - before)[dark].mean() == pytest.approx(-6, abs=0.6)


def test_bands_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    gt = np.transpose(ramp(96, 300, high=60), (1, 0, 2)).copy()
    lq = read_image(noisy(gt, 25))
    whole, banded = restored(gt + 4), restored(gt + 4)
    darken_shadows(whole, lq, 25 / 255, 1.0)
    monkeypatch.setattr(clipped_noise, "BAND", 64)
    darken_shadows(banded, lq, 25 / 255, 1.0)
    # OpenCV adds up its boxes from the top of what it is given, in float32.
    np.testing.assert_allclose(banded, whole, atol=2e-6)


def test_the_compact_restorer_leaves_shadows_dark() -> None:
    """Mean error where the astronaut's picture is dark: 0.38 levels, without the shift 0.90."""
    gt = data.astronaut()
    lq = noisy(gt, 25)
    pipe = RestorerPipeline.from_pretrained("compact")
    found = np.asarray(pipe(lq).images[0]).astype(np.float64)
    assert abs((found - gt)[found < 40].mean()) < 0.5
