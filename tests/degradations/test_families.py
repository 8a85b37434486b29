"""Each family does what its parameters say."""

import io

import cv2
import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from ggt_hub.degradations import FAMILIES
from ggt_hub.degradations.base import to_float, to_uint8
from ggt_hub.degradations.blur import Blur, kernel
from ggt_hub.degradations.compression import Compression
from ggt_hub.degradations.low_light import LowLight
from ggt_hub.degradations.noise import Noise
from ggt_hub.degradations.resize import Resize
from tests.photographs import photograph

PHOTO = to_float(photograph())
GREY = np.full((256, 256, 3), 0.5, np.float32)


def error(image: np.ndarray, reference: np.ndarray = PHOTO) -> float:
    return float(np.square(image - reference).mean())


@pytest.mark.parametrize("name", FAMILIES)
def test_damage_grows_with_severity(name: str) -> None:
    family = FAMILIES[name]()
    damage = [
        np.mean([error(family.apply(PHOTO, family.sample(default_rng(seed), severity))) for seed in range(6)])
        for severity in (0.0, 0.5, 1.0)
    ]
    assert 0 < damage[0] < damage[1] < damage[2]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (37, 2, 3)])
def test_shape_dtype_and_range_are_kept_at_any_size(name: str, shape: tuple[int, int, int]) -> None:
    family = FAMILIES[name]()
    image = default_rng(1).random(shape, dtype=np.float32)
    before = image.copy()
    for seed in range(8):
        damaged = family.apply(image, family.sample(default_rng(seed), 1.0))
        assert damaged.shape == shape
        assert damaged.dtype == np.float32
        assert damaged.min() >= 0
        assert damaged.max() <= 1
    assert np.array_equal(image, before)


@pytest.mark.parametrize("sigma", [5.0, 15.0])
@pytest.mark.parametrize("kind", ["gaussian", "grain"])
def test_noise_has_the_stated_deviation(kind: str, sigma: float) -> None:
    parameters = {"kind": kind, "sigma": sigma, "size": 0.8, "chroma": 0.4, "seed": 3}
    noise = 255 * (Noise().apply(GREY, parameters) - GREY)
    # 196,608 samples; grain of this size leaves about a tenth of them independent: three deviations are 1.5 %.
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean()) < 0.1 * sigma


def test_photon_noise_follows_the_square_root_of_brightness() -> None:
    for brightness in (0.1, 0.4, 0.7):
        flat = np.full((256, 256, 3), brightness, np.float32)
        noise = 255 * (Noise().apply(flat, {"kind": "poisson", "sigma": 10.0, "seed": 0}) - flat)
        assert noise.std() == pytest.approx(10 * np.sqrt(brightness), rel=0.02)


def test_grain_is_coarser_and_less_colourful_than_gaussian_noise() -> None:
    fine = Noise().apply(GREY, {"kind": "gaussian", "sigma": 10.0, "seed": 0})
    coarse = Noise().apply(GREY, {"kind": "grain", "sigma": 10.0, "size": 1.0, "chroma": 0.3, "seed": 0})

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    assert abs(correlation(fine[:, 1:, 0], fine[:, :-1, 0])) < 0.02
    assert correlation(coarse[:, 1:, 0], coarse[:, :-1, 0]) > 0.5
    # Shared part 1, own part 0.3: the expected correlation of two channels is 1 / 1.09.
    assert correlation(coarse[..., 0], coarse[..., 1]) == pytest.approx(1 / 1.09, abs=0.02)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0])
def test_gaussian_kernel_has_the_stated_deviations_along_its_axes(angle: float) -> None:
    weights = kernel({"kind": "gaussian", "sigma": [3.0, 1.5], "angle": angle}).astype(np.float64)
    radius = weights.shape[0] // 2
    x, y = np.meshgrid(np.arange(-radius, radius + 1), np.arange(-radius, radius + 1))
    direction = np.deg2rad(angle)
    along, across = (
        x * np.cos(direction) + y * np.sin(direction),
        y * np.cos(direction) - x * np.sin(direction),
    )
    assert weights.sum() == pytest.approx(1.0, abs=1e-6)
    # The kernel is cut at three deviations, which costs 1.5 % of the deviation.
    assert np.sqrt((weights * along**2).sum()) == pytest.approx(3.0, rel=0.02)
    assert np.sqrt((weights * across**2).sum()) == pytest.approx(1.5, rel=0.02)


def test_disk_and_line_kernels_have_the_stated_extent() -> None:
    disk = kernel({"kind": "defocus", "radius": 5.0})
    assert 1 / disk.max() == pytest.approx(np.pi * 25, rel=0.01)  # a flat disk: its area in pixels
    line = kernel({"kind": "motion", "length": 15.0, "angle": 0.0})
    assert (line.sum(axis=1) > 1e-6).sum() == 1  # one row
    assert (line > 0).sum() == pytest.approx(15, abs=2)


def test_blurred_black_stays_within_the_range() -> None:
    picture = np.zeros((64, 64, 3), np.float32)
    picture[20:30, 20:30] = 1
    blurred = Blur().apply(picture, {"kind": "defocus", "radius": 9.0, "angle": 0.0})
    assert blurred.min() >= 0  # a value below 0 would become NaN in the photon noise that may follow
    assert blurred.max() <= 1


def test_blur_leaves_a_flat_picture_alone() -> None:
    for kind, extent in (
        ("gaussian", {"sigma": [2, 1]}),
        ("defocus", {"radius": 3}),
        ("motion", {"length": 9}),
    ):
        blurred = Blur().apply(GREY, {"kind": kind, "angle": 20.0, **extent})
        assert np.abs(blurred - GREY).max() < 1e-6  # the weights sum to 1 within float32


@pytest.mark.parametrize("quality", [10, 60])
def test_jpeg_gives_what_pillow_gives(quality: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photograph()).save(buffer, "JPEG", quality=quality)
    damaged = Compression().apply(PHOTO, {"kind": "jpeg", "quality": quality, "full_colour": False})
    assert np.array_equal(to_uint8(damaged), np.asarray(Image.open(buffer)))


def test_webp_is_lossy_at_its_quality() -> None:
    mild, severe = (Compression().apply(PHOTO, {"kind": "webp", "quality": q}) for q in (95, 5))
    assert 0 < error(mild) < error(severe) / 4


def test_low_light_without_noise_follows_its_formula() -> None:
    parameters = {"exposure": 0.15, "contrast": 1.3, "read_noise": 0.0, "shot_noise": 0.0, "seed": 0}
    expected = (0.15 * PHOTO.astype(np.float64) ** (2.2 * 1.3)) ** (1 / 2.2)
    assert np.abs(LowLight().apply(PHOTO, parameters) - expected).max() < 1e-6  # float32 against float64


def test_resize_goes_through_the_stated_size() -> None:
    parameters = {"scale": 0.5, "down": "area", "up": "cubic"}
    small = cv2.resize(PHOTO, (128, 128), interpolation=cv2.INTER_AREA)
    expected = np.clip(cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC), 0, 1)
    assert np.array_equal(Resize().apply(PHOTO, parameters), expected)


@pytest.mark.parametrize("kind", ["cubic", "lanczos"])
def test_antialiased_shrinking_is_that_of_pillow(kind: str) -> None:
    soft = 0.25 + 0.5 * PHOTO  # no overshoot, which Pillow cuts off in pictures of 8 bits
    parameters = {"scale": 0.3, "down": f"antialiased_{kind}", "up": "linear"}
    resample = {"cubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}[kind]
    small = np.asarray(Image.fromarray(to_uint8(soft)).resize((77, 77), resample)) / np.float32(255)
    expected = cv2.resize(small, (256, 256), interpolation=cv2.INTER_LINEAR)
    difference = np.abs(Resize().apply(soft, parameters) - expected)
    assert (
        difference.max() < 2.5 / 255
    )  # 8-bit pictures are rounded before the first pass and after each of two
