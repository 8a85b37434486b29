"""Haze, rain and snow do what their parameters say."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from ggt_hub.degradations import Sample
from ggt_hub.degradations import rain as rain_module
from ggt_hub.degradations import snow as snow_module
from ggt_hub.degradations.base import Parameters, to_float
from ggt_hub.degradations.haze import Haze, airlight, layered, transmission
from ggt_hub.degradations.rain import Rain, on_black
from ggt_hub.degradations.snow import Snow
from ggt_hub.degradations.strokes import draw_soft_lines
from tests.photographs import photograph

PHOTO = to_float(photograph())
BLACK = np.zeros((256, 256, 3), np.float32)
FAR = np.ones((256, 256), np.float32)

STREAKS = {"streaks": 6000, "length": [60.0, 60.0], "angle": 80.0, "splashes": 0.0, "seed": 1}


def test_transmission_at_a_depth_is_that_of_the_law() -> None:
    """exp(-beta depth^gamma), by hand: exp(-1.2 * 0.25) and exp(-1.2) at depths 0.5 and 1."""
    halves = np.repeat(np.array([[0.0, 0.5, 1.0]], np.float32), 60, axis=1).repeat(20, axis=0)
    through = transmission(halves, 1.2, 2.0)
    assert through[10, [30, 90, 150]] == pytest.approx([1, 0.740818, 0.301194], abs=1e-5)
    assert transmission(FAR, 8.0, 1.0).min() == np.float32(0.05)


def test_transmission_is_smoothed_by_one_pixel() -> None:
    """At an edge between depths 0 and 1 by the cumulative Gaussian at half a pixel: 0.69 and 0.31 of the step."""
    step = np.where(np.arange(40) < 20, np.float32(0), np.float32(1)) * np.ones((8, 1), np.float32)
    through = transmission(step, 1.0, 1.0)[4]
    drop = (1 - through[[19, 20]]) / (1 - np.exp(-1))
    assert drop == pytest.approx([0.31, 0.69], abs=0.01)


def test_haze_mixes_the_picture_and_the_airlight_by_the_transmission() -> None:
    parameters = {"kind": "depth", "beta": 1.5, "gamma": 1.5, "jitter": [0.01, 0.0, -0.01], "tint": 0.5}
    sample = Sample(PHOTO, PHOTO)
    hazy = Haze().apply(sample, parameters).lq
    share = transmission(sample.scene.depth(), 1.5, 1.5)[..., None]
    # Airlight by hand: 0.78 + (1.5 - 0.3) / 2.7 * 0.17, the jitter, and half of the tint's 0.005.
    air = 0.855556 + np.array([0.0075, 0.0, -0.0075])
    assert np.abs(hazy - (PHOTO * share + air * (1 - share))).max() < 1e-5


def test_airlight_is_brighter_in_denser_haze_and_never_below_its_floor() -> None:
    assert airlight(0.3, [0, 0, 0], 0) == pytest.approx([0.78] * 3)
    assert airlight(3.0, [0, 0, 0], 1) == pytest.approx([0.945, 0.95, 0.955])
    assert airlight(0.3, [-0.2, 0.5, 0], 0) == pytest.approx([0.7, 1, 0.78])


def test_fog_is_screened_with_its_strength() -> None:
    """On black the fog itself is what is seen: twice the strength, twice the brightness."""
    half, whole = (
        Haze().apply(Sample(BLACK, BLACK), {"kind": "fog", "strength": s, "seed": 3}).lq for s in (0.4, 0.8)
    )
    assert np.abs(whole - 2 * half).max() < 1e-6
    assert 0.1 < whole.mean() < 0.6
    white = np.ones_like(BLACK)
    assert (Haze().apply(Sample(white, white), {"kind": "fog", "strength": 0.8, "seed": 3}).lq == 1).all()


def test_layers_of_fog_are_screened_with_each_other() -> None:
    grey = [np.full((2, 2, 3), value, np.float32) for value in (0.2, 0.5, 0.1)]
    assert np.allclose(layered(grey), 1 - 0.8 * 0.5 * 0.9)


def direction(canvas: np.ndarray) -> float:
    """Along what one line runs, in degrees from the row axis towards the lower rows: its longer axis of inertia."""
    rows, columns = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    weights = canvas.astype(np.float64).ravel() / canvas.sum()
    moments = np.cov(np.stack([columns.ravel(), rows.ravel()]), aweights=weights)
    axis = np.linalg.eigh(moments)[1][:, 1]
    return float(np.rad2deg(np.arctan2(axis[1], axis[0])) % 180)


def flatness(canvas: np.ndarray) -> float:
    """How much more changes downwards than to the right."""
    down, across = np.gradient(canvas.astype(np.float64))
    return float((down**2).sum() / (across**2).sum())


@pytest.mark.parametrize("angle", [75.0, 90.0, 105.0, 120.0])
def test_streaks_fall_in_the_stated_direction(angle: float) -> None:
    """Each alone, 400 pixels of 1024 long, within two degrees of it and what its width adds."""
    alone = STREAKS | {"streaks": 16, "length": [400.0, 400.0], "angle": angle}
    found = [direction(rain_module.falling(FAR, alone | {"seed": seed})) for seed in range(12)]
    assert max(abs(one - angle) for one in found) < 2.5
    assert np.mean(found) == pytest.approx(angle, abs=1)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What is drawn: starts, ends, values and thickness of each layer, the nearest last; then the splashes."""
    drawn: list[tuple] = []

    def listen(
        shape: tuple, starts: np.ndarray, ends: np.ndarray, values: np.ndarray, thickness: int = 1
    ) -> np.ndarray:
        drawn.append((starts, ends, values, thickness))
        return draw_soft_lines(shape, starts, ends, values, thickness)

    monkeypatch.setattr(rain_module, "draw_soft_lines", listen)
    return drawn


def test_streaks_are_the_longer_and_broader_the_nearer_they_are(lines: list[tuple]) -> None:
    """Nearness is the square of an even draw: a third in the mean, so lengths of 8 + 82 / 3 pixels of 1024."""
    rain_module.falling(np.ones((1024, 1024), np.float32), STREAKS | {"length": [8.0, 90.0]})
    layers = lines[:3]
    ways = np.concatenate([ends - starts for starts, ends, _, _ in layers])
    lengths = np.hypot(*ways.T)
    assert len(lengths) == 6000
    assert lengths.mean() == pytest.approx(8 + 82 / 3, rel=0.04)  # four deviations of 6000
    assert [thickness for *_, thickness in layers] == [1, 1, 2]
    edges = [np.hypot(*(ends - starts).T) for starts, ends, _, _ in layers]
    assert edges[0].max() <= 8 + 82 * 0.6 + 1e-3 <= edges[1].min() + 1e-2
    assert edges[2].min() >= 8 + 82 * 0.9 - 1e-3
    angles = np.rad2deg(np.arctan2(ways[:, 1], ways[:, 0]))
    assert angles.std() == pytest.approx(4 / np.sqrt(12), rel=0.04)
    assert np.abs(angles - 80).max() <= 2.001


def test_the_nearest_streaks_are_out_of_focus(monkeypatch: pytest.MonkeyPatch) -> None:
    sigmas: list[float] = []
    soften = rain_module.softened
    monkeypatch.setattr(
        rain_module, "softened", lambda image, sigma: sigmas.append(sigma) or soften(image, sigma)
    )
    rain_module.falling(np.ones((512, 512), np.float32), STREAKS)
    assert sigmas == pytest.approx([0, 0.25, 0.55])


def test_the_number_of_streaks_grows_with_the_area_and_their_length_with_the_side() -> None:
    """What the streaks cover: at twice the side four times as many, each twice as long and one pixel wide."""
    small, large = (
        float((rain_module.falling(np.ones((side, side), np.float32), STREAKS) > 0).sum())
        for side in (256, 512)
    )
    # Lines of 15 and of 30 pixels, of which the near ones are two pixels wide at 512; they overlap a little.
    assert 6.5 < large / small < 10.5


def test_streaks_have_the_stated_length() -> None:
    """One alone, 60 pixels of 1024, is 15 pixels at 256; its smooth ends add up to two."""
    alone = STREAKS | {"streaks": 16, "angle": 90.0}
    for seed in range(5):
        rows = np.flatnonzero(rain_module.falling(FAR, alone | {"seed": seed}).max(axis=1) > 0.05)
        if rows[0] > 2 and rows[-1] < 253:
            assert 14 <= rows[-1] - rows[0] + 1 <= 18


def test_near_things_hide_the_streaks_behind_them() -> None:
    depth = np.where(np.arange(256) < 128, np.float32(0), np.float32(1)) * np.ones((256, 1), np.float32)
    canvas = rain_module.falling(depth, STREAKS | {"streaks": 12000})
    assert canvas[:, :120].sum() < 0.5 * canvas[:, 136:].sum()


def test_splashes_are_the_stated_share_of_the_streaks() -> None:
    """Where all of them burst no line runs downwards; where none does there is no crown."""
    lines = rain_module.falling(FAR, STREAKS | {"angle": 90.0})
    crowns = rain_module.falling(FAR, STREAKS | {"angle": 90.0, "splashes": 1.0})
    assert flatness(lines) < 0.2 < 0.4 < flatness(crowns)
    some = rain_module.falling(FAR, STREAKS | {"splashes": 0.5}).sum()
    assert lines.sum() > some


def test_the_veil_hides_the_distance() -> None:
    """No streak: exp(-veil depth) of the picture, the rest a grey of 0.85."""
    sample = Sample(PHOTO, PHOTO)
    done = Rain().apply(sample, STREAKS | {"kind": "streaks", "streaks": 0, "veil": 0.7, "texture": 0.0})
    through = np.exp(-0.7 * sample.scene.depth())[..., None]
    assert np.abs(done.lq - (PHOTO * through + 0.85 * (1 - through))).max() < 1e-6


def test_a_pattern_of_rain_is_light_on_black() -> None:
    bright = np.full((4, 4, 3), 0.7, np.float32)
    assert np.allclose(on_black(bright), 0.3)
    assert on_black(1 - bright) is not bright
    assert np.allclose(on_black(np.full((4, 4, 3), 126 / 255, np.float32)), 126 / 255)


DROP = {"kind": "drops", "drops": 1, "radius": [120.0, 120.0], "seed": 5}


def centre_of_drop(seed: int) -> tuple[int, int]:
    across, down = default_rng(seed).random((1, 5), dtype=np.float32)[0, :2]
    return round(float(down) * 256), round(float(across) * 256)


def test_a_drop_changes_what_lies_in_its_radius_alone() -> None:
    """120 pixels of 1024 are 30 at 256; a drop is up to 1.35 times as tall as wide, and leans."""
    changed = np.abs(Rain().apply(Sample(PHOTO, PHOTO), DROP).lq - PHOTO).max(axis=2) > 1e-6
    row, column = centre_of_drop(5)
    rows, columns = np.nonzero(changed)
    distance = np.hypot(rows - row, columns - column)
    assert 24 < distance.max() < 30 * 1.8
    assert Rain().apply(Sample(PHOTO, PHOTO), DROP | {"drops": 0}).lq.tobytes() == PHOTO.tobytes()


def test_a_drop_shows_the_picture_upside_down() -> None:
    """Above bright, below dark: in the drop the other way round."""
    picture = np.repeat(np.linspace(1, 0, 256, dtype=np.float32)[:, None, None], 256, axis=1)
    picture = np.ascontiguousarray(np.repeat(picture, 3, axis=2))
    seen = Rain().apply(Sample(picture, picture), DROP).lq
    row, column = centre_of_drop(5)
    assert seen[row + 15, column, 0] > seen[row - 15, column, 0] + 0.03


FLAKES = {"flakes": 4000, "size": 1.0, "angle": 90.0, "travel": 0.0, "veil": 0.0, "seed": 2}


def test_flakes_grow_in_number_with_the_area_and_in_size_with_their_factor() -> None:
    def cover(side: int, **other: float) -> float:
        return float(snow_module.falling(np.ones((side, side), np.float32), FLAKES | other).mean())

    # The same density and radii in proportion: as much is covered, but for what many flakes share.
    assert cover(512) / cover(256) == pytest.approx(4, rel=0.25)
    assert cover(512, size=1.4) / cover(512, size=1.0) == pytest.approx(1.4**2, rel=0.2)
    assert cover(512, flakes=2000) / cover(512) == pytest.approx(0.5, rel=0.12)


@pytest.mark.parametrize("angle", [60.0, 90.0, 130.0])
def test_flakes_are_drawn_out_along_their_way(angle: float) -> None:
    """One flake of the farthest layer, alone: 4,000 of 1024 x 1024 are one of 16 x 16."""
    alone = FLAKES | {"flakes": 16, "size": 6.0, "angle": angle, "travel": 4.0, "seed": 8}
    assert abs(direction(snow_module.falling(FAR, alone)) - angle) < 2


def test_the_veil_of_snow_whitens_the_distance() -> None:
    sample = Sample(PHOTO, PHOTO)
    done = Snow().apply(sample, FLAKES | {"flakes": 0, "veil": 0.5})
    through = np.exp(-0.5 * sample.scene.depth())[..., None]
    assert np.abs(done.lq - (PHOTO * through + 0.96 * (1 - through))).max() < 1e-6


def test_far_flakes_are_hidden_by_near_things() -> None:
    depth = np.where(np.arange(256) < 128, np.float32(0), np.float32(1)) * np.ones((256, 1), np.float32)
    cover, everywhere = (snow_module.falling(there, FLAKES) > 1e-3 for there in (depth, FAR))
    assert np.array_equal(cover[:, 140:], everywhere[:, 140:])
    assert cover[:, :120].sum() < 0.7 * everywhere[:, :120].sum()
    assert not (cover & ~everywhere).any()


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        (Haze(kinds=("depth",)), {"beta": (0.6, 1.8)}),
        (Haze(kinds=("fog",)), {"strength": (0.25, 0.6)}),
        (Rain(kinds=("streaks",)), {"streaks": (8000, 15000), "veil": (0.1, 0.7), "texture": (0.25, 0.6)}),
        (Rain(kinds=("drops",)), {"drops": (20, 140)}),
        (Snow(), {"flakes": (3000, 14000), "veil": (0.05, 0.5), "strength": (0.25, 0.6)}),
    ],
)
def test_the_severity_places_its_parameters_in_their_ranges(family, ends) -> None:
    mild, middle, worst = (family.draw(default_rng(0), severity) for severity in (0.0, 0.5, 1.0))
    for name, (first, last) in ends.items():
        assert (mild[name], worst[name]) == pytest.approx((first, last))
        assert middle[name] == pytest.approx((first + last) / 2)
    assert {key for key in mild if mild[key] != worst[key]} == set(ends)


@pytest.mark.parametrize(
    ("family", "name", "ends"),
    [
        (Haze(kinds=("depth",)), "gamma", (1, 2)),
        (Haze(kinds=("depth",)), "tint", (0, 1)),
        (Rain(kinds=("streaks",)), "angle", (75, 105)),
        (Rain(kinds=("streaks",)), "splashes", (0.02, 0.07)),
        (Snow(), "size", (0.8, 1.4)),
        (Snow(), "angle", (50, 130)),
        (Snow(), "travel", (0, 4)),
    ],
)
def test_what_the_severity_leaves_alone_is_drawn_uniformly(family, name, ends) -> None:
    rng = default_rng(0)
    values = np.array([family.draw(rng, 0.5)[name] for _ in range(1000)])
    assert ends[0] <= values.min() <= values.max() <= ends[1]
    assert values.mean() == pytest.approx(np.mean(ends), abs=0.037 * (ends[1] - ends[0]))  # four deviations
    assert values.std() == pytest.approx((ends[1] - ends[0]) / np.sqrt(12), rel=0.085)


def test_more_severe_rain_keeps_the_streaks_of_the_milder() -> None:
    few = rain_module.falling(FAR, STREAKS | {"streaks": 1000})
    many = rain_module.falling(FAR, STREAKS | {"streaks": 3000})
    assert (many >= few - 1e-6).all()


def test_soft_lines_have_their_brightness_and_the_brightest_is_on_top() -> None:
    starts = np.array([[2.0, 5.0], [5.0, 2.0]], np.float32)
    ends = np.array([[20.0, 5.0], [5.0, 20.0]], np.float32)
    canvas = draw_soft_lines((24, 24), starts, ends, np.array([0.75, 0.5], np.float32))
    full = canvas[5, 12] / 0.75  # the middle of OpenCV's smooth line, a share of the value
    assert 0.9 < full <= 1
    assert canvas[12, 5] == pytest.approx(0.5 * full, abs=1 / 255)
    assert canvas[5, 5] > 0.7
    assert canvas[12, 12] == 0


def test_families_alone_keep_their_kinds() -> None:
    assert replace(Haze.alone(), beta=(0.6, 1.8), strength=(0.25, 0.6)) == Haze()
    parameters: Parameters = Rain.alone().draw(default_rng(0), 0.0)
    assert parameters.get("streaks", parameters.get("drops")) == 0
