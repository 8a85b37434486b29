import numpy as np
import pytest
from skimage.metrics import structural_similarity

from ggt_hub.errors import MetricError
from ggt_hub.metrics import ms_ssim, ssim
from tests.metrics.golden import pairs, tensor

PAIRS = pairs()
PAPER = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_is_scikit_images(name):
    restored, gt = PAIRS[name]
    expected = structural_similarity(gt, restored, channel_axis=2, **PAPER)
    assert ssim(restored, gt)[0] == pytest.approx(expected, abs=1e-5)
    assert ssim(restored, gt, precise=True)[0] == pytest.approx(expected, abs=1e-9)
    assert float(ssim(tensor(restored), tensor(gt))[0]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("metric", [ssim, ms_ssim])
@pytest.mark.parametrize("channels", ["rgb", "y", "ycbcr"])
def test_tensors_score_as_arrays_and_batches_as_singles(metric, channels):
    gt = PAIRS["odd sides"][1]
    restored = [PAIRS["odd sides"][0], np.roll(gt, 2, axis=1)]
    arrays = metric(restored, [gt, gt], channels=channels)
    batch = np.stack([tensor(picture)[0].numpy() for picture in restored])
    reference = tensor(gt).repeat(2, 1, 1, 1)
    tensors = metric(reference.new_tensor(batch), reference, channels=channels)
    # float32 filters that add in another order; on luma the two must also round alike
    np.testing.assert_allclose(tensors.numpy(), arrays, atol=5e-6)


def test_equal_pictures_score_one_and_an_inverted_one_below_zero_on_rgb_only():
    picture = PAIRS["noise 5"][1]
    for metric in (ssim, ms_ssim):
        assert metric(picture, picture)[0] == pytest.approx(1, abs=1e-6)
    assert ssim(255 - picture, picture)[0] < 0
    assert ssim(255 - picture, picture, channels="y")[0] >= 0


@pytest.mark.parametrize("seed", range(60))
def test_rounding_lifts_no_score_above_one(seed):
    """A step of one level in the corner costs less than float32 rounds by: several of these means exceed 1."""
    gt = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    restored = gt.copy()
    restored[0, 0] ^= 1
    assert ssim(restored, gt)[0] <= 1
    assert float(ssim(tensor(restored), tensor(gt))[0]) <= 1


def test_precise_ms_ssim_differs_by_rounding_only():
    restored, gt = PAIRS["chelsea darker"]
    assert ms_ssim(restored, gt)[0] == pytest.approx(ms_ssim(restored, gt, precise=True)[0], abs=1e-5)


Y, X = np.mgrid[:256, :256]
SMOOTH = {
    "bright": 250 + 2 * np.sin(X / 40),
    "gradient": X / 1.01,
    "dark and bright halves": np.where(X < 128, 5, 250) + 1.5 * np.sin(Y / 30),
    "vignette": 255 - np.hypot(X - 128, Y - 128) / 2,
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("channels", ["rgb", "y"])
def test_bright_and_smooth_pictures_are_scored_to_five_digits(name, channels):
    gt, restored = (
        np.repeat(np.clip(np.rint(plane), 0, 255)[..., None], 3, 2).astype(np.uint8)
        for plane in (SMOOTH[name], SMOOTH[name] + 0.6 * np.sin(X / 9))
    )
    expected = structural_similarity(gt.astype(float), restored.astype(float), channel_axis=2, **PAPER)
    assert ssim(restored, gt, channels=channels)[0] == pytest.approx(expected, abs=1e-5)
    assert float(ssim(tensor(restored), tensor(gt), channels=channels)[0]) == pytest.approx(
        expected, abs=1e-5
    )
    for picture in (restored, gt, tensor(gt)):
        assert float(ssim(picture, picture, channels=channels)[0]) <= 1


@pytest.mark.parametrize(("metric", "smallest"), [(ssim, 11), (ms_ssim, 161)])
def test_the_smallest_side_is_the_window_at_the_coarsest_scale(metric, smallest):
    fits = np.zeros((smallest, smallest + 3, 3), np.uint8)
    assert metric(fits, fits)[0] == pytest.approx(1)
    with pytest.raises(MetricError, match=f"needs {smallest} pixels"):
        metric(fits[1:], fits[1:])
