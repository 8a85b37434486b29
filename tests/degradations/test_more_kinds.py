"""The kinds of blur, noise, compression and low light that came after 0.1 do what their parameters say."""

import io

import cv2
import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image, features

from ggt_hub.degradations import Degradation, Sample
from ggt_hub.degradations.base import Parameters, to_float, to_uint8
from ggt_hub.degradations.blur import Blur, kernel, path
from ggt_hub.degradations.compression import Compression
from ggt_hub.degradations.fields import convolved
from ggt_hub.degradations.light import to_light
from ggt_hub.degradations.low_light import LowLight
from ggt_hub.degradations.noise import Noise
from ggt_hub.errors import DegradationError
from tests.photographs import photograph

PHOTO = to_float(photograph())
GREY = np.full((256, 256, 3), 0.5, np.float32)
BARS = np.linspace(0.3, 0.7, 4)
RAMP = np.ascontiguousarray(
    np.broadcast_to(np.repeat(BARS, 128).astype(np.float32)[None, :, None], (128, 512, 3))
)


def damage(family: Degradation, image: np.ndarray, parameters: Parameters) -> np.ndarray:
    return family.apply(Sample(image, image), parameters).lq


SHAKE = {"kind": "path", "length": 24.0, "angle": 30.0, "wander": 120.0, "seed": 6}


def test_a_path_has_its_length_in_even_steps_around_its_mean() -> None:
    places = path(SHAKE, 97)
    steps = np.hypot(*np.diff(places, axis=0).T)
    assert steps == pytest.approx([24 / 96] * 96)
    assert places.mean(axis=0) == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("angle", [0.0, 30.0, 100.0])
def test_a_path_that_does_not_wander_is_a_line_of_its_angle(angle: float) -> None:
    first, last = path(SHAKE | {"wander": 0.0, "angle": angle}, 97)[[0, -1]]
    assert np.rad2deg(np.arctan2(*(last - first)[::-1])) == pytest.approx(angle)


def test_a_path_turns_as_much_as_it_says() -> None:
    """The deviation of the last direction over many seeds; 400 of them give it to 14 % (four deviations)."""
    turned = []
    for seed in range(400):
        places = path(SHAKE | {"angle": 0.0, "wander": 50.0, "seed": seed}, 97)
        turned.append(np.rad2deg(np.arctan2(*(places[-1] - places[-2])[::-1])))
    assert np.std(turned) == pytest.approx(50, rel=0.14)


def test_the_kernel_of_a_path_is_where_it_goes() -> None:
    """Sum 1, mean 0, and the deviations of the path, to which the pixels add up to 1/4 each."""
    weights, places = kernel(SHAKE).astype(np.float64), path(SHAKE, 96)
    rows, columns = np.indices(weights.shape) - weights.shape[0] // 2
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert ((weights * columns).sum(), (weights * rows).sum()) == pytest.approx((0, 0), abs=1e-6)
    for offsets, along in ((columns, places[:, 0]), (rows, places[:, 1])):
        assert 0 <= (weights * offsets**2).sum() - along.var() < 0.25


def test_convolution_by_fourier_transform_is_that_by_sums() -> None:
    weights = default_rng(0).random((21, 15), dtype=np.float32)
    weights /= weights.sum()
    expected = cv2.filter2D(PHOTO, -1, weights[::-1, ::-1].copy(), borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(convolved(PHOTO, weights) - expected).max() < 2e-6  # float32, 315 terms
    one = np.zeros((9, 9), np.float32)
    one[4, 4] = 1
    assert np.abs(convolved(PHOTO, one) - PHOTO).max() < 1e-6


FRAMES = {"kind": "frames", "length": 12.0, "angle": 0.0, "wander": 0.0, "turn": 0.0, "frames": 9, "seed": 0}


def test_a_moved_still_is_the_mean_light_of_its_copies() -> None:
    """A white point that moves 12 pixels in nine places: a ninth of the light at each of them."""
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    light = to_light(damage(Blur(), point, FRAMES))[..., 0]
    assert light.sum() == pytest.approx(1, rel=1e-3)
    columns = np.arange(41) - 20
    row = light.sum(axis=0)
    assert (row * columns).sum() == pytest.approx(0, abs=0.01)
    # Even places from -6 to 6: the deviation is 12 / 8 * sqrt((81 - 1) / 12); the pixels add a little.
    assert np.sqrt((row * columns**2).sum()) == pytest.approx(1.5 * np.sqrt(80 / 12), rel=0.02)
    assert light[20].sum() == pytest.approx(1, rel=1e-3)


def test_a_turned_still_is_sharp_in_the_middle_and_blurred_at_the_edge() -> None:
    """Half a degree to each side at a radius of 100 pixels is an arc of 1.75."""
    line = np.zeros((257, 257, 3), np.float32)
    line[128] = 1
    seen = to_light(damage(Blur(), line, FRAMES | {"length": 0.0, "turn": 1.0}))[..., 0]
    assert seen[128, 128] == pytest.approx(1, abs=1e-3)
    assert np.flatnonzero(seen[:, 228] > 0.02).size == pytest.approx(1.75 + 1, abs=1)
    assert np.flatnonzero(seen[:, 28] > 0.02).size == pytest.approx(1.75 + 1, abs=1)
    middle = (seen[:, 228] * np.arange(257)).sum() / seen[:, 228].sum()
    assert middle == pytest.approx(128, abs=0.02)  # it turns evenly to both sides


READ, SHOT = 0.004, 0.02


@pytest.mark.parametrize(("read", "shot"), [(READ, 0.0), (0.0, SHOT), (READ, SHOT)])
def test_a_sensor_has_read_and_shot_noise_of_the_stated_variance(read: float, shot: float) -> None:
    """At the sites of each filter, on each bar of a grey ramp: gain^2 * (read^2 + shot^2 * light / gain)."""
    parameters = {"kind": "sensor", "read_noise": read, "shot_noise": shot, "gains": [2.0, 1.5], "seed": 1}
    noise = to_light(damage(Noise(), RAMP, parameters)).astype(np.float64) - to_light(RAMP)
    for bar, level in enumerate(BARS):
        pixels, light = noise[:, 128 * bar : 128 * (bar + 1)], level**2.2
        for channel, gain, site in (
            (0, 2.0, np.s_[::2, ::2]),
            (1, 1.0, np.s_[::2, 1::2]),
            (2, 1.5, np.s_[1::2, 1::2]),
        ):
            found = pixels[(*site, channel)]
            # 4096 samples: four standard deviations of a variance are 8.8 %.
            assert found.var() == pytest.approx(gain**2 * (read**2 + shot**2 * light / gain), rel=0.09)
            assert abs(found.mean()) < 4 * found.std() / 64


def test_demosaicing_smooths_the_noise_between_the_sites() -> None:
    """Red between two of its sites is their mean: half of the variance; between four: a quarter."""
    parameters = {"kind": "sensor", "read_noise": 0.01, "shot_noise": 0.0, "gains": [1.0, 1.0], "seed": 1}
    noise = to_light(damage(Noise(), GREY, parameters)) - to_light(GREY)
    inner = noise[2:-2, 2:-2]
    at, between_two, between_four = (
        inner[rows::2, columns::2, 0].var() for rows, columns in ((0, 0), (0, 1), (1, 1))
    )
    assert between_two == pytest.approx(at / 2, rel=0.06)
    assert between_four == pytest.approx(at / 4, rel=0.06)
    green = inner[0::2, 0::2, 1].var()  # green has four neighbours there
    assert green == pytest.approx(inner[0::2, 1::2, 1].var() / 4, rel=0.06)


@pytest.mark.parametrize("amount", [0.02, 0.1])
def test_salt_and_pepper_replace_their_share_half_each(amount: float) -> None:
    done = damage(Noise(), GREY, {"kind": "salt_pepper", "amount": amount, "seed": 0})
    for value in (0.0, 1.0):
        share = (done == value).mean()
        assert share == pytest.approx(amount / 2, abs=4 * np.sqrt(amount / 2 / GREY.size))
    assert set(np.unique(done)) == {0.0, 0.5, 1.0}


def test_granular_noise_is_that_of_all_channels_and_a_third_of_each() -> None:
    noise = 255 * (damage(Noise(), GREY, {"kind": "granular", "sigma": 10.0, "seed": 0}) - GREY)
    assert noise.std() == pytest.approx(10 * np.sqrt(1 + 0.35**2), rel=0.01)
    shared = np.corrcoef(noise[..., 0].ravel(), noise[..., 2].ravel())[0, 1]
    assert shared == pytest.approx(1 / (1 + 0.35**2), abs=0.01)


def test_each_segment_has_noise_of_its_own_deviation() -> None:
    """Even from 0 to sqrt(3) times sigma over many segments, so that the mean square is sigma's."""
    board = np.indices((13, 13)).sum(axis=0) % 2 * 0.2 + 0.4
    big = np.ascontiguousarray(np.repeat(board.repeat(40, 0).repeat(40, 1)[..., None], 3, axis=2), np.float32)
    sample = Sample(big, big)
    noise = 255 * (Noise().apply(sample, {"kind": "segments", "sigma": 10.0, "seed": 0}).lq - big)
    regions = sample.scene.masks()
    deviations = np.array([noise[regions == n].std() for n in range(regions.max() + 1)])
    assert len(deviations) > 100
    assert 0 <= deviations.min() < 2
    assert 15.5 < deviations.max() < 10 * np.sqrt(3) * 1.05
    assert np.sqrt(np.mean(deviations**2)) == pytest.approx(10, rel=0.15)


def test_averaging_takes_the_noise_from_busy_places_alone() -> None:
    """Noise on the right half: it varies more than the mean there, and is averaged over 5 x 5."""
    half = GREY.copy()
    half[:, 128:] += default_rng(0).normal(0, 0.05, (256, 128, 3)).astype(np.float32)
    done = damage(Noise(), half, {"kind": "gaussian", "sigma": 0.0, "seed": 0, "box": 5, "threshold": 0.5})
    assert done[:, 140:].std() == pytest.approx(0.05 / 5, rel=0.1)
    assert np.abs(done[:, :120] - GREY[:, :120]).max() < 0.5 / 255 + 1e-6


def test_averaging_is_drawn_with_its_chance() -> None:
    rng, family = default_rng(0), Noise(averaging=0.4)
    drawn = [family.draw(rng, 0.5) for _ in range(2000)]
    boxes = [one["box"] for one in drawn if "box" in one]
    assert len(boxes) == pytest.approx(800, abs=4 * np.sqrt(2000 * 0.24))
    assert {boxes.count(box) > 200 for box in (3, 5, 7)} == {True}
    thresholds = [one["threshold"] for one in drawn if "box" in one]
    assert 0.4 <= min(thresholds) < 0.42 < 0.78 < max(thresholds) <= 0.8


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_gives_what_pillow_gives() -> None:
    buffer = io.BytesIO()
    Image.fromarray(photograph()).save(buffer, "AVIF", quality=30, speed=10, max_threads=1)
    done = damage(Compression(), PHOTO, {"kind": "avif", "quality": 30})
    assert np.array_equal(to_uint8(done), np.asarray(Image.open(buffer).convert("RGB")))


def test_without_avif_the_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(DegradationError, match="built without AVIF: take one that has it"):
        damage(Compression(), PHOTO, {"kind": "avif", "quality": 30})


def test_a_picture_that_a_format_cannot_hold_is_refused() -> None:
    """WebP's sides end at 16,383 pixels."""
    wide = np.zeros((1, 16400, 3), np.float32)
    with pytest.raises(
        DegradationError, match=r"16400 x 1 pixels cannot be encoded as webp: .*: take other `kinds`"
    ):
        damage(Compression(), wide, {"kind": "webp", "quality": 30})


def test_rounds_of_compression_follow_each_other_at_their_sizes() -> None:
    """By hand with Pillow: 256 pixels as JPEG, 128 as WebP, and back."""
    rounds = [
        {"kind": "jpeg", "quality": 40, "full_colour": False, "scale": 1.0},
        {"kind": "webp", "quality": 30, "scale": 0.5},
    ]
    first, second = io.BytesIO(), io.BytesIO()
    Image.fromarray(photograph()).save(first, "JPEG", quality=40, subsampling="4:2:0")
    half = Image.open(first).resize((128, 128), Image.Resampling.BICUBIC)
    half.save(second, "WEBP", quality=30, method=2)
    expected = Image.open(second).convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)
    done = damage(Compression(), PHOTO, {"kind": "repeated", "rounds": rounds})
    assert np.array_equal(to_uint8(done), np.asarray(expected))


def test_rounds_are_drawn_from_the_fewest_to_the_most() -> None:
    rng, family = default_rng(0), Compression(kinds=("repeated",))
    drawn = [family.draw(rng, 1.0)["rounds"] for _ in range(900)]
    for count in (2, 3, 4):
        assert sum(len(rounds) == count for rounds in drawn) == pytest.approx(300, abs=4 * np.sqrt(200))
    scales = np.array([one["scale"] for rounds in drawn for one in rounds])
    assert 0.5 <= scales.min() < 0.51 < 0.99 < scales.max() <= 1
    assert scales.mean() == pytest.approx(0.75, abs=0.012)
    assert {one["kind"] for rounds in drawn for one in rounds} == {"jpeg", "webp"}


def test_a_colour_cast_multiplies_the_light_of_each_channel() -> None:
    parameters = {"exposure": 0.4, "contrast": 1.0, "read_noise": 0.0, "shot_noise": 0.0, "seed": 0}
    dark = damage(LowLight(), PHOTO, parameters | {"cast": [0.2, 0.0, -0.2]})
    expected = (0.4 * np.exp([0.2, 0.0, -0.2]) * PHOTO.astype(np.float64) ** 2.2) ** (1 / 2.2)
    assert np.abs(dark - expected).max() < 1e-6  # float32 against float64


def test_a_cast_is_drawn_up_to_its_limit_around_0() -> None:
    rng = default_rng(0)
    casts = np.array([LowLight(cast=0.3).draw(rng, 0.5)["cast"] for _ in range(1000)])
    assert np.abs(casts.mean(axis=1)).max() < 1e-12
    # Even between -0.3 and 0.3, less the mean of three: two thirds of the variance are left.
    assert casts.std() == pytest.approx(0.3 / np.sqrt(3) * np.sqrt(2 / 3), rel=0.06)
    assert "cast" not in LowLight().draw(rng, 0.5)
    assert LowLight.alone().draw(rng, 0.0)["cast"] == [0, 0, 0]


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        (Blur(kinds=("path",)), {"length": (2, 20)}),
        (Blur(kinds=("frames",)), {"length": (2, 20), "frames": (3, 15)}),
        (Blur(kinds=("sinc",)), {"cutoff": (np.pi, np.pi / 4)}),
        (Noise(kinds=("salt_pepper",)), {"amount": (0.005, 0.05)}),
        (Noise(kinds=("granular",)), {"sigma": (3, 60)}),
        (Noise(kinds=("segments",)), {"sigma": (3, 60)}),
        (Noise(kinds=("sensor",)), {"read_noise": (0.002, 0.04), "shot_noise": (0.01, 0.1)}),
        (Compression(kinds=("avif",)), {"quality": (70, 8)}),
    ],
)
def test_the_severity_places_its_parameters_in_their_ranges(family, ends) -> None:
    mild, middle, worst = (family.draw(default_rng(0), severity) for severity in (0.0, 0.5, 1.0))
    for name, (first, last) in ends.items():
        assert (mild[name], worst[name]) == pytest.approx((first, last))
        assert middle[name] == pytest.approx((first + last) / 2)


@pytest.mark.parametrize(
    ("family", "value", "ends"),
    [
        (Blur(kinds=("path",)), lambda p: p["wander"], (30, 240)),
        (Blur(kinds=("path",)), lambda p: p["angle"], (0, 180)),
        (Blur(kinds=("frames",)), lambda p: p["turn"], (-0.75, 0.75)),  # at severity 0.5
        (Noise(kinds=("sensor",)), lambda p: p["gains"][1], (1.2, 2.2)),
    ],
)
def test_what_the_severity_leaves_alone_is_drawn_uniformly(family, value, ends) -> None:
    rng = default_rng(0)
    values = np.array([value(family.draw(rng, 0.5)) for _ in range(1000)])
    assert ends[0] <= values.min() <= values.max() <= ends[1]
    assert values.mean() == pytest.approx(np.mean(ends), abs=0.037 * (ends[1] - ends[0]))  # four deviations
    assert values.std() == pytest.approx((ends[1] - ends[0]) / np.sqrt(12), rel=0.085)


def test_severities_speak_of_the_deviation_on_mid_grey() -> None:
    """Measured on grey, in units of 50 levels; salt and pepper are half a range away from it."""
    for drawn in (
        {"kind": "salt_pepper", "amount": 0.05, "seed": 0},
        {"kind": "sensor", "read_noise": 0.01, "shot_noise": 0.02, "gains": [1.0, 1.0], "seed": 0},
    ):
        noise = damage(Noise(), GREY, drawn) - GREY
        sites = noise[::2, 1::2, 1] if drawn["kind"] == "sensor" else noise
        assert Noise().severity(drawn)["noise"] == pytest.approx(255 * sites.std() / 50, rel=0.05)


def test_sizes_choose_the_sides_of_kernels() -> None:
    rng, family = default_rng(0), Blur(kinds=("sinc", "gaussian"), sizes=(7, 9))
    drawn = [family.draw(rng, 0.5) for _ in range(100)]
    assert {one["size"] for one in drawn} == {7, 9}
    assert all(kernel(one).shape == (one["size"], one["size"]) for one in drawn)
    round_ones = [one["sigma"] for one in drawn if one["kind"] == "gaussian"]
    assert round_ones
    assert all(first == second for first, second in round_ones)
