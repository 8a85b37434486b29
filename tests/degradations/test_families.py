"""Each family does what its parameters say."""

import io

import cv2
import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from ggt_hub.degradations import Degradation, Sample
from ggt_hub.degradations.base import Parameters, to_float, to_uint8
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


def damage(family: Degradation, image: np.ndarray, parameters: Parameters) -> np.ndarray:
    return family.apply(Sample(image, image), parameters).lq


@pytest.mark.parametrize("sigma", [5.0, 15.0])
@pytest.mark.parametrize("kind", ["gaussian", "grain"])
def test_noise_has_the_stated_deviation(kind: str, sigma: float) -> None:
    parameters = {"kind": kind, "sigma": sigma, "size": 0.8, "chroma": 0.4, "seed": 3}
    noise = 255 * (damage(Noise(), GREY, parameters) - GREY)
    # 196,608 samples; grain of this size leaves about a tenth of them independent: three deviations are 1.5 %.
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean()) < 0.1 * sigma


def test_photon_noise_follows_the_square_root_of_brightness() -> None:
    for brightness in (0.1, 0.4, 0.7):
        flat = np.full((256, 256, 3), brightness, np.float32)
        noise = 255 * (damage(Noise(), flat, {"kind": "poisson", "sigma": 10.0, "seed": 0}) - flat)
        assert noise.std() == pytest.approx(10 * np.sqrt(brightness), rel=0.02)


def test_grain_is_coarser_and_less_colourful_than_gaussian_noise() -> None:
    fine = damage(Noise(), GREY, {"kind": "gaussian", "sigma": 10.0, "seed": 0})
    coarse = damage(Noise(), GREY, {"kind": "grain", "sigma": 10.0, "size": 1.0, "chroma": 0.3, "seed": 0})

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
    blurred = damage(Blur(), picture, {"kind": "defocus", "radius": 9.0, "angle": 0.0})
    assert blurred.min() >= 0  # a value below 0 would become NaN in the photon noise that may follow
    assert blurred.max() <= 1


def test_blur_leaves_a_flat_picture_alone() -> None:
    for kind, extent in (
        ("gaussian", {"sigma": [2, 1]}),
        ("defocus", {"radius": 3}),
        ("motion", {"length": 9}),
    ):
        blurred = damage(Blur(), GREY, {"kind": kind, "angle": 20.0, **extent})
        assert np.abs(blurred - GREY).max() < 1e-6  # the weights sum to 1 within float32


@pytest.mark.parametrize("quality", [10, 60])
def test_jpeg_gives_what_pillow_gives(quality: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photograph()).save(buffer, "JPEG", quality=quality)
    damaged = damage(Compression(), PHOTO, {"kind": "jpeg", "quality": quality, "full_colour": False})
    assert np.array_equal(to_uint8(damaged), np.asarray(Image.open(buffer)))


def test_webp_is_lossy_at_its_quality() -> None:
    mild, severe = (damage(Compression(), PHOTO, {"kind": "webp", "quality": q}) for q in (95, 5))
    assert 0 < error(mild) < error(severe) / 4


def test_low_light_without_noise_follows_its_formula() -> None:
    parameters = {"exposure": 0.15, "contrast": 1.3, "read_noise": 0.0, "shot_noise": 0.0, "seed": 0}
    expected = (0.15 * PHOTO.astype(np.float64) ** (2.2 * 1.3)) ** (1 / 2.2)
    assert np.abs(damage(LowLight(), PHOTO, parameters) - expected).max() < 1e-6  # float32 against float64


def test_resize_goes_through_the_stated_size() -> None:
    parameters = {"scale": 0.5, "down": "area", "up": "cubic"}
    small = cv2.resize(PHOTO, (128, 128), interpolation=cv2.INTER_AREA)
    expected = np.clip(cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC), 0, 1)
    assert np.array_equal(damage(Resize(), PHOTO, parameters), expected)


@pytest.mark.parametrize("kind", ["cubic", "lanczos"])
def test_antialiased_shrinking_is_that_of_pillow(kind: str) -> None:
    soft = 0.25 + 0.5 * PHOTO  # no overshoot, which Pillow cuts off in pictures of 8 bits
    parameters = {"scale": 0.3, "down": f"antialiased_{kind}", "up": "linear"}
    resample = {"cubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}[kind]
    small = np.asarray(Image.fromarray(to_uint8(soft)).resize((77, 77), resample)) / np.float32(255)
    expected = cv2.resize(small, (256, 256), interpolation=cv2.INTER_LINEAR)
    difference = np.abs(damage(Resize(), soft, parameters) - expected)
    assert (
        difference.max() < 2.5 / 255
    )  # 8-bit pictures are rounded before the first pass and after each of two


def point_spread(parameters: Parameters) -> np.ndarray:
    """What becomes of one white pixel: height x width."""
    picture = np.zeros((41, 41, 3), np.float32)
    picture[20, 20] = 1
    return damage(Blur(), picture, parameters)[..., 0].astype(np.float64)


@pytest.mark.parametrize("angle", [0.0, 30.0, 75.0, 90.0, 140.0])
def test_a_moved_point_is_a_line_of_the_stated_angle_and_length(angle: float) -> None:
    spread = point_spread({"kind": "motion", "length": 21.0, "angle": angle})
    rows, columns = np.mgrid[-20:21, -20:21]
    moments = np.array([[(spread * a * b).sum() for a in (columns, rows)] for b in (columns, rows)])
    deviations, axes = np.linalg.eigh(moments)
    # Rows count downwards: the angle turns from the row axis towards the lower rows.
    found = np.rad2deg(np.arctan2(axes[1, 1], axes[0, 1])) % 180
    assert abs((found - angle + 90) % 180 - 90) < 1  # degrees; the pixel grid bends short lines by less
    # A uniform line of length L has the deviation L / sqrt(12); its soft ends and the pixel add at most 2 %.
    assert np.sqrt(deviations[1]) == pytest.approx(21 / np.sqrt(12), rel=0.02)
    assert np.sqrt(deviations[0]) < 0.6


RAMP = np.repeat(np.repeat(np.linspace(0.2, 0.8, 4, dtype=np.float32), 128)[None, :, None], 128, axis=0)
RAMP = np.ascontiguousarray(np.repeat(RAMP, 3, axis=2))
"""Four grey bars of 128 x 128 pixels."""


@pytest.mark.parametrize(("read", "shot"), [(0.01, 0.0), (0.0, 0.02), (0.008, 0.015)])
def test_sensor_noise_has_the_stated_variance_in_linear_light(read: float, shot: float) -> None:
    """read^2 + shot^2 * light, on each bar of a grey ramp."""
    parameters = {"exposure": 0.5, "contrast": 1.0, "read_noise": read, "shot_noise": shot, "seed": 1}
    linear = damage(LowLight(), RAMP, parameters).astype(np.float64) ** 2.2
    for bar, level in enumerate(np.linspace(0.2, 0.8, 4)):
        light, pixels = 0.5 * level**2.2, linear[:, 128 * bar : 128 * (bar + 1)]
        # 49,152 samples: four standard deviations of a variance are 2.6 %. The darkest bar is cut off at black.
        assert pixels.mean() == pytest.approx(light, rel=0.03 if bar == 0 else 0.002)
        if bar:
            assert pixels.var() == pytest.approx(read**2 + shot**2 * light, rel=0.026)


def test_read_and_shot_noise_are_independent() -> None:
    base = {"exposure": 0.5, "contrast": 1.0, "seed": 1}
    clean = 0.5 * np.float64(0.8) ** 2.2
    fields = []
    for read, shot in ((0.01, 0.0), (0.0, 0.02)):
        parameters = base | {"read_noise": read, "shot_noise": shot}
        fields.append(damage(LowLight(), RAMP, parameters)[:, 384:].astype(np.float64) ** 2.2 - clean)
    assert abs(np.corrcoef(fields[0].ravel(), fields[1].ravel())[0, 1]) < 4 / np.sqrt(49152)


def test_a_dark_ground_truth_is_the_dark_picture_without_its_noise() -> None:
    noisy = {"exposure": 0.2, "contrast": 1.2, "read_noise": 0.01, "shot_noise": 0.01, "seed": 0}
    done = LowLight(lifted=False).apply(Sample(PHOTO, PHOTO), noisy)
    still = LowLight().apply(Sample(PHOTO, PHOTO), noisy | {"read_noise": 0.0, "shot_noise": 0.0})
    assert np.array_equal(done.gt, still.lq)
    assert np.array_equal(done.lq, damage(LowLight(), PHOTO, noisy))
    assert still.gt is PHOTO


@pytest.mark.parametrize(("full_colour", "subsampling"), [(True, "4:4:4"), (False, "4:2:0")])
def test_jpeg_keeps_or_halves_its_colour(full_colour: bool, subsampling: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photograph()).save(buffer, "JPEG", quality=40, subsampling=subsampling)
    damaged = damage(Compression(), PHOTO, {"kind": "jpeg", "quality": 40, "full_colour": full_colour})
    assert np.array_equal(to_uint8(damaged), np.asarray(Image.open(buffer)))


def test_webp_gives_what_pillow_gives() -> None:
    buffer = io.BytesIO()
    Image.fromarray(photograph()).save(buffer, "WEBP", quality=30, method=2)
    damaged = damage(Compression(), PHOTO, {"kind": "webp", "quality": 30})
    assert np.array_equal(to_uint8(damaged), np.asarray(Image.open(buffer).convert("RGB")))


def test_above_quality_100_nothing_is_encoded() -> None:
    assert damage(Compression(), PHOTO, {"kind": "jpeg", "quality": 100, "full_colour": False}) is not PHOTO
    assert damage(Compression(), PHOTO, {"kind": "jpeg", "quality": 101, "full_colour": False}) is PHOTO


OPENCV = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
PILLOW = {"antialiased_cubic": Image.Resampling.BICUBIC, "antialiased_lanczos": Image.Resampling.LANCZOS}


@pytest.mark.parametrize("down", ["area", "linear", "cubic", *PILLOW])
@pytest.mark.parametrize("up", ["linear", "cubic", "lanczos"])
def test_resize_uses_the_filters_that_it_names(down: str, up: str) -> None:
    if down in PILLOW:
        channels = [Image.fromarray(PHOTO[..., n]).resize((77, 77), PILLOW[down]) for n in range(3)]
        small = np.stack([np.asarray(channel) for channel in channels], axis=2)
    else:
        small = cv2.resize(PHOTO, (77, 77), interpolation=OPENCV[down])
    expected = np.clip(cv2.resize(small, (256, 256), interpolation=OPENCV[up]), 0, 1)
    assert np.array_equal(damage(Resize(), PHOTO, {"scale": 0.3, "down": down, "up": up}), expected)


@pytest.mark.parametrize(("scale", "factor"), [(0.5, 2), (0.4, 2), (0.33, 3), (0.25, 4), (0.9, 1)])
def test_what_stays_small_is_a_whole_number_of_times_smaller(scale: float, factor: int) -> None:
    done = Resize(enlarge=False).apply(Sample(PHOTO, PHOTO), {"scale": scale, "down": "area", "up": "cubic"})
    side = 256 // factor
    assert done.lq.shape == (side, side, 3)
    assert np.array_equal(done.gt, PHOTO[: side * factor, : side * factor])
    twice = Resize(enlarge=False).apply(done, {"scale": 0.5, "down": "area", "up": "cubic"})
    assert twice.gt.shape[0] == twice.lq.shape[0] * 2 * factor


MAIN = [
    (Blur(kinds=("gaussian",)), lambda p: p["sigma"][0], (0.4, 4.0)),
    (Blur(kinds=("defocus",)), lambda p: p["radius"], (0.7, 6.0)),
    (Blur(kinds=("motion",)), lambda p: p["length"], (2.0, 20.0)),
    (Noise(), lambda p: p["sigma"], (3.0, 60.0)),
    (Compression(), lambda p: p["quality"], (70, 8)),
    (LowLight(), lambda p: p["exposure"], (0.5, 0.05)),
    (Resize(), lambda p: p["scale"], (0.9, 0.25)),
]


@pytest.mark.parametrize(("family", "main", "ends"), MAIN)
def test_the_severity_places_the_main_parameter_in_its_range(family, main, ends) -> None:
    for severity, expected in ((0.0, ends[0]), (0.5, sum(ends) / 2), (1.0, ends[1])):
        assert main(family.draw(default_rng(0), severity)) == pytest.approx(expected)


DRAWN = [
    (Blur(kinds=("motion",)), lambda p: p["angle"], (0, 180)),
    (Blur(kinds=("gaussian",)), lambda p: p["angle"], (0, 180)),
    (Blur(kinds=("gaussian",)), lambda p: p["sigma"][1] / p["sigma"][0], (0.4, 1)),
    (Noise(kinds=("grain",)), lambda p: p["size"], (0.4, 1.2)),
    (Noise(kinds=("grain",)), lambda p: p["chroma"], (0.1, 0.7)),
    (LowLight(), lambda p: p["read_noise"], (0, 0.02)),
    (LowLight(), lambda p: p["shot_noise"], (0, 0.03)),
    (LowLight.alone(), lambda p: p["shot_noise"], (0, 0.015)),  # at severity 0.5
    (LowLight.alone(), lambda p: p["read_noise"], (0, 0.01)),
]


@pytest.mark.parametrize(("family", "value", "ends"), DRAWN)
def test_other_parameters_are_drawn_uniformly_from_theirs(family, value, ends) -> None:
    rng = default_rng(0)
    values = np.array([value(family.draw(rng, 0.5)) for _ in range(2000)])
    assert ends[0] <= values.min() <= values.max() <= ends[1]
    # Four standard deviations of the mean, and of the deviation, of 2000 uniform draws.
    assert values.mean() == pytest.approx(np.mean(ends), abs=0.026 * (ends[1] - ends[0]))
    assert values.std() == pytest.approx((ends[1] - ends[0]) / np.sqrt(12), rel=0.06)


CHANCES = [
    (Compression(), lambda p: p["full_colour"], 0.2),
    (Compression(kinds=("jpeg", "webp")), lambda p: p["kind"] == "webp", 1 / 2),
    (LowLight(), lambda p: p["contrast"] != 1.0, 1 / 2),
    (LowLight(), lambda p: p["contrast"] > 1.3, 1 / 4),
    (Blur(), lambda p: p["kind"] == "motion", 1 / 3),
    (Noise(), lambda p: p["kind"] == "poisson", 1 / 3),
    (Resize(), lambda p: p["up"] == "lanczos", 1 / 3),
    (Resize(), lambda p: p["down"] == "antialiased_lanczos", 1 / 5),
]


@pytest.mark.parametrize(("family", "happens", "chance"), CHANCES)
def test_choices_are_made_with_their_chances(family, happens, chance) -> None:
    rng = default_rng(0)
    count = sum(happens(family.draw(rng, 0.5)) for _ in range(2000))
    assert count == pytest.approx(2000 * chance, abs=4 * np.sqrt(2000 * chance * (1 - chance)))


def test_noise_lifts_no_white_above_white_in_full_light() -> None:
    white = np.ones((16, 16, 3), np.float32)
    drawn = {"exposure": 1.0, "contrast": 1.0, "read_noise": 0.02, "shot_noise": 0.03, "seed": 0}
    assert LowLight().apply(Sample(white, white), drawn).lq.max() == 1
