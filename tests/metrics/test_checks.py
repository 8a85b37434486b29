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


def test_chromaticity_of_black_is_none_unless_both_are_black():
    white, grey, black = (np.full((4, 4, 3), level, np.uint8) for level in (255, 100, 0))
    assert chromaticity_drift([white, white, black], [white, grey, black]).tolist() == [0, 0, 0]
    assert np.isnan(chromaticity_drift([white, black], [black, white])).all()


def moved(picture, down, right, blur=0.0):
    """The picture moved by parts of a pixel (exactly, by its spectrum) and blurred, without what came round."""
    spectrum = np.fft.fft2(picture.astype(np.float64), axes=(0, 1))
    rows, columns = (np.fft.fftfreq(side) for side in picture.shape[:2])
    turn = np.exp(-2j * np.pi * (rows[:, None] * down + columns[None] * right))
    there = np.fft.ifft2(spectrum * turn[..., None], axes=(0, 1)).real
    there = cv2.GaussianBlur(there, (0, 0), blur) if blur else there
    return np.clip(np.rint(there), 0, 255).astype(np.uint8)[16:-16, 16:-16]


@pytest.mark.parametrize("blur", [0, 1, 3])
@pytest.mark.parametrize(
    ("down", "right"), [(0, 0), (0.5, 0.5), (1.3, -2.7), (5.25, -6), (8, 0), (-7.6, 2.2)]
)
def test_registration_error_is_the_length_of_the_shift(down, right, blur):
    for picture in (ASTRONAUT, ASTRONAUT[100:240, 200:340]):
        found = registration_error(moved(picture, down, right, blur), moved(picture, 0, 0))[0]
        assert found == pytest.approx(np.hypot(down, right), abs=0.05)  # a tenth of a pixel is promised


def test_registration_error_of_noisy_and_dark_pictures():
    clean, there = moved(ASTRONAUT, 0, 0), moved(ASTRONAUT, 2, -5)
    assert registration_error(noisy(there, 20), clean)[0] == pytest.approx(np.hypot(2, 5), abs=0.1)
    assert registration_error(noisy(there // 10, 8), clean)[0] == pytest.approx(np.hypot(2, 5), abs=0.15)


def test_registration_error_is_undefined_where_nothing_can_be_registered():
    flat, other = np.full((96, 96, 3), 9, np.uint8), np.full((96, 96, 3), 200, np.uint8)
    thin = np.zeros((1, 40, 3), np.uint8)
    assert registration_error([flat, thin], [flat, thin]).tolist() == [0, 0]
    scene = cv2.resize(data.chelsea(), (600, 400))
    pairs = [(flat, other), (flat, ASTRONAUT[:96, :96]), (thin, thin + 9), (scene, COFFEE)]
    assert np.isnan(registration_error([a for a, _ in pairs], [b for _, b in pairs])).all()
