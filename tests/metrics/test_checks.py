import cv2
import numpy as np
import pytest
from skimage import data
from skimage.metrics import structural_similarity

from ggt_hub.metrics import chromaticity_drift, registration_error, ssim_at_192
from tests.metrics.golden import noisy, tensor

ASTRONAUT, COFFEE = data.astronaut(), data.coffee()


def test_small_ssim_is_scikit_images_at_that_size():
    other = noisy(COFFEE, 40)
    grey = [picture.astype(np.float64) @ [0.299, 0.587, 0.114] for picture in (COFFEE, other)]
    small = [cv2.resize(plane, (192, 128), interpolation=cv2.INTER_AREA) for plane in grey]
    expected = structural_similarity(*small, data_range=255)
    assert ssim_at_192(COFFEE, other)[0] == pytest.approx(expected, abs=1e-5)  # luma is formed in float32
    assert float(ssim_at_192(tensor(COFFEE), tensor(other))[0]) == pytest.approx(expected, abs=1e-5)


def test_small_ssim_tells_the_same_scene_from_another():
    cat = cv2.resize(data.chelsea(), (600, 400))
    assert ssim_at_192(COFFEE, COFFEE)[0] == pytest.approx(1)
    assert ssim_at_192(cv2.GaussianBlur(COFFEE, (9, 9), 2), COFFEE)[0] > 0.9
    assert ssim_at_192(cat, COFFEE)[0] < 0.3


def test_chromaticity_ignores_brightness_and_sees_a_cast():
    assert chromaticity_drift(ASTRONAUT / 2 / 255, ASTRONAUT / 255)[0] < 0.001
    warm = ASTRONAUT / 255 * [1.0, 0.9, 0.5]
    assert 0.05 < chromaticity_drift(warm, ASTRONAUT / 255)[0] < 0.2
    white, red = np.full((4, 4, 3), 200, np.uint8), np.full((4, 4, 3), 200, np.uint8) * np.uint8([1, 0, 0])
    assert chromaticity_drift(white, red)[0] == pytest.approx(np.sqrt(4 / 9 + 1 / 9 + 1 / 9))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 0), (2, -5)])
def test_registration_error_is_the_length_of_the_shift(down, right):
    moved = np.roll(ASTRONAUT, (down, right), axis=(0, 1))
    assert registration_error(moved, ASTRONAUT)[0] == pytest.approx(np.hypot(down, right), abs=0.15)
    assert registration_error(noisy(moved, 20), ASTRONAUT)[0] == pytest.approx(np.hypot(down, right), abs=0.3)
