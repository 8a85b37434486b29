import numpy as np
import pytest
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio

from ggt_hub.metrics import psnr
from tests.metrics.golden import pairs, tensor

PAIRS = pairs()


@pytest.mark.parametrize("name", PAIRS)
def test_psnr_is_scikit_images(name):
    restored, gt = PAIRS[name]
    expected = peak_signal_noise_ratio(gt, restored, data_range=255)
    assert psnr(restored, gt)[0] == pytest.approx(expected, abs=1e-9)
    # A tensor holds n/255 in float32, whose last bit is felt.
    assert float(psnr(tensor(restored), tensor(gt))[0]) == pytest.approx(expected, abs=1e-5)


def test_psnr_ycbcr_is_that_of_scikit_images_luma():
    restored, gt = PAIRS["odd sides"]
    expected = peak_signal_noise_ratio(rgb2ycbcr(gt)[..., 0], rgb2ycbcr(restored)[..., 0], data_range=255)
    assert psnr(restored, gt, channels="ycbcr")[0] == pytest.approx(expected, abs=1e-4)  # float32 luma


def test_one_level_everywhere_is_48_decibels_and_equal_pictures_are_80():
    grey = np.full((5, 7, 3), 100, np.uint8)
    assert psnr(grey + np.uint8(1), grey)[0] == pytest.approx(20 * np.log10(255), abs=1e-12)
    assert psnr(grey, grey)[0] == psnr(tensor(grey), tensor(grey))[0] == 80
