"""Moire, flare and reflection do what their parameters say."""

import numpy as np
import pytest
from numpy.random import default_rng

from ggt_hub.degradations import Sample
from ggt_hub.degradations import flare as flare_module
from ggt_hub.degradations import moire as moire_module
from ggt_hub.degradations import reflection as reflection_module
from ggt_hub.degradations.base import to_float
from ggt_hub.degradations.flare import Flare, ghost_place
from ggt_hub.degradations.light import to_display, to_light
from ggt_hub.degradations.moire import Moire, beats
from ggt_hub.degradations.reflection import Reflection, defocused, ghosted, mixed, prepared
from tests.photographs import photograph

PHOTO = to_float(photograph())
BLACK = np.zeros((256, 256, 3), np.float32)

GRID = {"order": 1, "detune": 0.01, "angle": 0.0, "tilt": [0.0, 0.0], "bulge": 0.0, "phase": [0.3, 0.1]}


def strongest(seen: np.ndarray) -> tuple[float, float]:
    """Cycles in the picture, across and down, of the strongest beat of red slower than eight pixels."""
    spectrum = np.abs(np.fft.fft2(seen[..., 0] - seen[..., 0].mean()))
    cycles = np.fft.fftfreq(seen.shape[0]) * seen.shape[0]
    across, down = np.meshgrid(cycles, cycles)
    spectrum[(np.hypot(across, down) > seen.shape[0] / 8) | (across < 0)] = 0
    peak = np.unravel_index(spectrum.argmax(), spectrum.shape)
    return float(across[peak]), float(down[peak])


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("detune", [0.01, -0.02])
def test_beats_have_the_period_that_the_detuning_says(order: int, detune: float) -> None:
    """1/2 or 1 cycles a pixel and 0.01, sampled by each colour every second pixel: bands of 100 pixels."""
    across, down = strongest(beats((1024, 1024), [GRID | {"order": order, "detune": detune}]))
    assert max(abs(across), abs(down)) == pytest.approx(1024 * abs(detune), abs=1)


def test_beats_have_the_contrast_that_stripe_and_pixel_leave() -> None:
    """By hand, of the first harmonic: 2 sin(pi/3) / (pi/3) of a stripe, sin(0.606 pi) / (0.606 pi) of what a pixel
    gathers at 1.01 cycles, and the 0.65 that the filters keep apart.
    """
    profile = beats((1024, 1024), [GRID | {"order": 2}])[..., 0].mean(axis=0)
    amplitude = 2 * np.abs(np.fft.rfft(profile))[8:13]
    assert np.sqrt((amplitude**2).sum()) / 1024 == pytest.approx(1.654 * 0.497 * 0.65, rel=0.05)


def test_the_screen_is_as_often_finer_as_coarser() -> None:
    rng = default_rng(0)
    finer = [Moire().draw(rng, 0.5)["grids"][0]["detune"] > 0 for _ in range(400)]
    assert sum(finer) == pytest.approx(200, abs=40)


def test_more_patterns_have_less_contrast_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of them: as much in all, as independent deviations add up."""
    contrasts, make = [], moire_module.pattern_of
    monkeypatch.setattr(
        moire_module, "pattern_of", lambda seen, share: contrasts.append(share) or make(seen, share)
    )
    for count in (1, 3):
        drawn = {"kind": "pattern", "grids": [GRID] * count, "weight": 0.7, "strength": 1.0}
        Moire().apply(Sample(PHOTO, PHOTO), drawn)
    assert contrasts == pytest.approx([0.45, 0.45 / 3**0.5])
    assert moire_module.pattern_of(np.array([1.0, 1.4], np.float32), 0.5) == pytest.approx([0.8, 1.0])


def test_a_white_screen_stays_as_bright_on_the_whole() -> None:
    assert beats((512, 512), [GRID]).mean() == pytest.approx(1, abs=0.02)


def test_several_grids_show_the_beats_of_each() -> None:
    """10 and 31 cycles in 1024 pixels."""
    seen = beats((1024, 1024), [GRID | {"order": 2}, GRID | {"order": 2, "detune": 0.03}])[..., 0]
    across = np.abs(np.fft.rfft(seen.mean(axis=0) - seen.mean()))
    down = np.abs(np.fft.rfft(seen.mean(axis=1) - seen.mean()))
    both = np.maximum(across, down)
    assert min(both[9:12].max(), both[29:33].max()) > 20 * np.median(both)


def test_the_period_of_beats_grows_with_the_side() -> None:
    small, large = (strongest(beats((side, side), [GRID | {"order": 2}])) for side in (512, 1024))
    assert np.abs(small).max() == pytest.approx(np.abs(large).max(), abs=1)


def test_turning_one_grid_turns_the_beats() -> None:
    """Between grids at an angle the beats run almost at a right angle to either: across becomes down."""
    straight = strongest(beats((1024, 1024), [GRID | {"order": 2, "angle": 0.0}]))
    turned = strongest(beats((1024, 1024), [GRID | {"order": 2, "angle": 2.0}]))
    # By hand: the rate 1.01 turned by 2 degrees is (1.0094, 0.0352), or (9.6, 36) cycles beside the sensor's 1024.
    assert sorted(np.abs(straight)) == pytest.approx([0, 10.24], abs=1)
    assert sorted(np.abs(turned)) == pytest.approx([9.6, 36], abs=1)


def test_tilt_and_bulge_change_the_beats_from_place_to_place() -> None:
    def periods(grid: dict) -> tuple[float, float]:
        seen = beats((1024, 1024), [grid])
        left, right = seen[384:640, :256], seen[384:640, -256:]
        return strongest(left)[0], strongest(right)[0]

    even = periods(GRID | {"order": 2, "detune": 0.02})
    tilted = periods(GRID | {"order": 2, "detune": 0.02, "tilt": [0.02, 0.0]})
    assert even[0] == even[1]
    assert abs(tilted[0] - tilted[1]) > 3
    bulged = beats((1024, 1024), [GRID | {"order": 2, "bulge": 0.02}])
    plain = beats((1024, 1024), [GRID | {"order": 2}])
    middle = np.s_[480:544, 480:544]
    assert np.abs(bulged - plain)[middle].mean() < 0.2 * np.abs(bulged - plain)[:64, :64].mean()


def test_the_phase_moves_the_beats() -> None:
    """A whole pixel of the screen changes nothing, half of one turns bright into dark."""
    one, half, whole = (beats((256, 256), [GRID | {"phase": [phase, 0.1]}]) for phase in (0.2, 0.7, 1.2))
    assert np.abs(one - whole).max() < 1e-3
    assert np.corrcoef((one - 1).ravel(), (half - 1).ravel())[0, 1] < 0.2


def test_the_strength_of_moire_is_the_share_of_what_is_laid_over() -> None:
    drawn = {"kind": "pattern", "grids": [GRID], "weight": 0.7}
    half, whole = (Moire().apply(Sample(PHOTO, PHOTO), drawn | {"strength": s}).lq for s in (0.5, 1.0))
    inside = (half > 0) & (half < 1) & (whole > 0) & (whole < 1)
    assert np.abs((whole - PHOTO) - 2 * (half - PHOTO))[inside].max() < 1e-5
    assert whole.mean() == pytest.approx(PHOTO.mean(), abs=0.01)


def test_the_weight_is_the_share_of_multiplying() -> None:
    grey, pattern = np.full((4, 4, 3), 0.5, np.float32), np.full((4, 4, 3), 0.6, np.float32)
    assert np.allclose(moire_module.mixed_blend(grey, pattern, 1.0), 0.3)
    # Grain merging at opacity 0.8: 0.2 * 0.5 + 0.8 * (0.5 + 0.6 - 0.5).
    assert np.allclose(moire_module.mixed_blend(grey, pattern, 0.0), 0.58)
    assert np.allclose(moire_module.mixed_blend(grey, pattern, 0.75), 0.75 * 0.3 + 0.25 * 0.58)


def test_patterns_are_fused_by_multiplying_without_darkening() -> None:
    rng = default_rng(0)
    one, two = (0.5 + 0.2 * rng.random((32, 32, 3), dtype=np.float32) for _ in range(2))
    assert np.allclose(moire_module.fused([one, two]), one * two / two.mean())
    assert moire_module.fused([one]) == pytest.approx(one)


def test_a_screen_is_tinted_and_brightest_where_it_says() -> None:
    white = np.full((256, 256, 3), 0.6, np.float32)
    drawn = {"kind": "recapture", "grids": [GRID], "strength": 1.0, "tint": 1.0, "bright": [0.25, 0.75]}
    seen = to_light(Moire().apply(Sample(white, white), drawn).lq)
    plain = to_light(Moire().apply(Sample(white, white), drawn | {"tint": 0.0}).lq)
    # Light with the tint: blue times 1.10, red times 0.88; the room's light of 0.012 is not tinted.
    ratio = (seen.mean(axis=(0, 1)) - 0.012) / (plain.mean(axis=(0, 1)) - 0.012)
    assert ratio == pytest.approx([0.88, 1.0, 1.10], abs=0.005)
    rows = plain.mean(axis=2).reshape(4, 64, 4, 64).mean(axis=(1, 3))
    assert np.unravel_index(rows.argmax(), rows.shape) in {(2, 0), (2, 1), (3, 0), (3, 1)}


LIGHT = {
    "strength": 1.0,
    "source": [0.25, 0.25],
    "warmth": 0.0,
    "spread": 0.1,
    "blades": 6,
    "angle": 0.0,
    "ghosts": 6,
    "seed": 4,
}


@pytest.mark.parametrize("kind", ["glare", "streaks", "ghosts", "veil"])
def test_flare_is_light_added_in_proportion_to_its_strength(kind: str) -> None:
    dim = 0.3 * PHOTO
    added = flare_module.LIGHTS[kind](dim, LIGHT)
    done = Flare().apply(Sample(dim, dim), LIGHT | {"kind": kind, "strength": 0.4}).lq
    assert np.abs(done - to_display(to_light(dim) + np.float32(0.4) * added)).max() < 1e-6
    assert added.min() >= 0


@pytest.mark.parametrize("kind", ["glare", "streaks"])
def test_the_light_is_brightest_at_its_source(kind: str) -> None:
    added = flare_module.LIGHTS[kind](BLACK, LIGHT | {"source": [0.7, 0.2]}).sum(axis=2)
    row, column = np.unravel_index(added.argmax(), added.shape)
    assert (row, column) == (pytest.approx(0.2 * 256, abs=1), pytest.approx(0.7 * 256, abs=1))


def test_glow_spreads_as_it_says() -> None:
    """The radius at which half of the middle's light is left doubles with the spread."""

    def radius(spread: float) -> int:
        wide = np.zeros((64, 1024, 3), np.float32)
        line = flare_module.glare(wide, LIGHT | {"spread": spread, "source": [0.0, 0.5]})[32, :, 1]
        return int((line > line[0] / 2).sum())

    assert radius(0.2) == pytest.approx(2 * radius(0.1), abs=2)


def test_the_ring_of_glare_is_red_outside() -> None:
    """At 2.6, 2.5 and 2.4 times the spread of a tenth of the diagonal."""
    line = flare_module.glare(np.zeros((64, 1024, 3), np.float32), LIGHT | {"source": [0.0, 0.5]})[32]
    unit = 0.1 * np.hypot(64, 1024)
    beyond = int(2.1 * unit)
    smooth = 0.45 / (1 + (np.arange(1024) / unit / 0.6) ** 2)
    peaks = [beyond + int((line[:, channel] - smooth)[beyond:].argmax()) for channel in range(3)]
    assert np.array(peaks) / unit == pytest.approx([2.6, 2.5, 2.4], abs=0.02)


@pytest.mark.parametrize(("blades", "rays"), [(5, 10), (6, 6), (7, 14), (8, 8)])
def test_the_rays_are_those_of_the_blades(blades: int, rays: int) -> None:
    """Around a circle about the source; where two edges are parallel they share theirs."""
    added = flare_module.streaks(
        np.zeros((512, 512, 3), np.float32), LIGHT | {"source": [0.5, 0.5], "blades": blades, "angle": 10.0}
    )
    turn = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    ring = added[(256 + 110 * np.sin(turn)).astype(int), (256 + 110 * np.cos(turn)).astype(int), 1]
    above = ring > np.median(ring) * 2
    assert np.count_nonzero(above & ~np.roll(above, 1)) == rays


def test_rays_turn_with_their_angle() -> None:
    empty = np.zeros((512, 512, 3), np.float32)
    middle = LIGHT | {"source": [0.5, 0.5], "blades": 5}
    for angle in (0.0, 20.0):
        added = flare_module.streaks(empty, middle | {"angle": angle})[..., 1]
        on, off = (
            added[int(256 + 110 * np.sin(np.deg2rad(a))), int(256 + 110 * np.cos(np.deg2rad(a)))]
            for a in (angle, angle + 18)
        )
        assert on > 3 * off


def test_warm_light_is_orange() -> None:
    assert flare_module._colour(0.0) == pytest.approx([1, 1, 1])
    assert flare_module._colour(1.0) == pytest.approx([1, 0.75, 0.4])
    assert flare_module._colour(-0.5) == pytest.approx([0.9, 0.875, 1])


def test_ghosts_lie_on_the_line_through_the_middle() -> None:
    """By hand: factor -1 is the point opposite; and all light lies in a band about that line."""
    assert ghost_place([0.25, 0.25], -1.0) == (0.75, 0.75)
    assert ghost_place([0.25, 0.4], 0.5) == (0.375, 0.45)
    added = flare_module.ghosts(np.zeros((512, 512, 3), np.float32), LIGHT).sum(axis=2)
    rows, columns = np.mgrid[:512, :512]
    beside = np.abs(rows - columns) / np.sqrt(2)
    assert added[beside > 0.09 * 512 * np.sqrt(2) * 1.8].max() < 0.01  # the largest radius, at a corner
    assert added[(rows > 260) & (beside < 20)].max() > 0.1


def test_ghosts_have_coloured_rims() -> None:
    """Blue's disks are 1.035 / 0.965 times as wide as red's, and so cover that squared."""
    added = flare_module.ghosts(np.zeros((512, 512, 3), np.float32), LIGHT | {"ghosts": 1, "seed": 7})
    far = np.hypot(*(np.indices((512, 512)) - 128)) > 0.1 * 724 * 1.2
    red, blue = ((added[..., channel] > 1e-4)[far].sum() for channel in (0, 2))
    assert red > 500
    assert blue / red == pytest.approx((1.035 / 0.965) ** 2, abs=0.03)


def test_the_number_of_ghosts_is_kept() -> None:
    few, many = (
        flare_module.ghosts(np.zeros((512, 512, 3), np.float32), LIGHT | {"ghosts": n}) for n in (2, 6)
    )
    assert (many >= few - 1e-6).all()
    assert many.sum() > few.sum()


def test_a_veil_takes_the_contrast_of_shadows_first() -> None:
    half = np.zeros((128, 128, 3), np.float32)
    half[:, 64:] = 0.5
    veiled = Flare().apply(Sample(half, half), LIGHT | {"kind": "veil"}).lq
    assert veiled.min() > 0.3
    assert (veiled - half)[:, :64].mean() > 2 * (veiled - half)[:, 64:].mean()


PANE = {"kind": "focused", "strength": 0.6, "bright": [0.0, 0.0], "falloff": 0.0, "seed": 0}


def test_a_pane_adds_light_and_takes_some_away() -> None:
    """By hand in linear light: 0.7 of the first and 0.6 of the second."""
    first, second = np.full((8, 8, 3), 0.5, np.float32), np.full((8, 8, 3), 0.8, np.float32)
    expected = (0.7 * 0.5**2.2 + 0.6 * 0.8**2.2) ** (1 / 2.2)
    assert np.abs(mixed(first, second, PANE) - expected).max() < 1e-5


def test_the_reflection_fades_from_its_brightest_place() -> None:
    white = np.ones((200, 200, 3), np.float32)
    light = to_light(mixed(np.zeros_like(white), white, PANE | {"falloff": 0.8}))[..., 0]
    # At the corner all of 0.6; in the middle, half a diagonal away, 0.4 of it is gone; at the far corner 0.8.
    assert light[0, 0] == pytest.approx(0.6, abs=1e-4)
    assert light[100, 100] == pytest.approx(0.6 * 0.6, abs=1e-3)
    assert light[199, 199] == pytest.approx(0.6 * 0.2, abs=3e-3)


def test_a_ghost_is_shifted_by_its_share_of_the_sides() -> None:
    """A point at (100, 80), doubled 10 to the right and 5 down, seen in a crop that is enlarged again by 1.05."""
    point = np.zeros((100, 200, 3), np.float32)
    point[40, 80] = 1
    both = ghosted(point, (10, 5), 0.75)[..., 0]
    scale, light = np.array([100 / 95, 200 / 190]), []
    for place in ((35, 70), (40, 80)):
        row, column = np.rint((np.array(place) + 0.5) * scale - 0.5).astype(int)
        light.append(both[row - 2 : row + 3, column - 2 : column + 3].sum())
    assert sum(light) == pytest.approx(both.sum(), rel=0.15)  # what is left is the filter's ringing
    assert light[0] / light[1] == pytest.approx(3, rel=0.1)
    drawn = PANE | {"kind": "ghosting", "shift": [0.05, 0.05], "attenuation": 0.75}
    assert np.array_equal(prepared(point, drawn), ghosted(point, (10, 5), 0.75))


def test_the_blur_of_a_reflection_grows_with_the_side() -> None:
    """8 pixels of 1024 are 2 at 256."""
    assert np.array_equal(prepared(PHOTO, PANE | {"kind": "defocused", "sigma": 8.0}), defocused(PHOTO, 2.0))
    point = np.zeros((65, 65, 3), np.float32)
    point[32, 32] = 1
    spread = defocused(point, 4.0)[..., 0]
    offsets = np.arange(65) - 32
    # A Gaussian of 4 that is cut at 8 pixels, by hand.
    assert np.sqrt((spread.sum(axis=0) * offsets**2).sum() / spread.sum()) == pytest.approx(3.616, abs=0.001)


def test_without_a_second_picture_a_part_of_the_first_is_mirrored() -> None:
    """A ramp that rises to the right becomes one that falls."""
    ramp = np.ascontiguousarray(
        np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], (64, 64, 3))
    )
    added = to_light(Reflection().apply(Sample(ramp, ramp), PANE).lq) - 0.7 * to_light(ramp)
    assert (np.diff(added[32, :, 0]) < 1e-4).all()
    assert added[32, 0, 0] > added[32, -1, 0] + 0.02
    spans = [float(np.ptp(reflection_module._mirrored(ramp, seed)[0, :, 0])) for seed in range(40)]
    assert 0.33 < min(spans) < 0.42 < 0.58 < max(spans) < 0.66  # between a third and two thirds of it


@pytest.mark.parametrize(
    ("family", "value", "ends"),
    [
        (Moire(), lambda p: abs(p["grids"][0]["detune"]), (0.004, 0.03)),
        (Moire(), lambda p: p["grids"][0]["angle"], (-4, 4)),
        (Moire(), lambda p: p["grids"][0]["tilt"][1], (-0.03, 0.03)),
        (Moire(), lambda p: p["grids"][0]["bulge"], (-0.03, 0.03)),
        (Moire(kinds=("pattern",)), lambda p: p["weight"], (0.65, 0.75)),
        (Flare(), lambda p: p["spread"], (0.1, 0.28)),
        (Flare(), lambda p: p["source"][0], (0.1, 0.9)),
        (Flare(), lambda p: p["angle"], (0, 180)),
        (Reflection(kinds=("defocused",)), lambda p: p["sigma"], (5, 10)),
        (Reflection(kinds=("ghosting",)), lambda p: p["shift"][0], (0.05, 0.1)),
        (Reflection(kinds=("ghosting",)), lambda p: p["attenuation"], (0.5, 1)),
        (Reflection(), lambda p: p["falloff"], (0.3, 1)),
    ],
)
def test_what_the_severity_leaves_alone_is_drawn_uniformly(family, value, ends) -> None:
    rng = default_rng(0)
    values = np.array([value(family.draw(rng, 0.5)) for _ in range(1000)])
    assert ends[0] <= values.min() <= values.max() <= ends[1]
    assert values.mean() == pytest.approx(np.mean(ends), abs=0.037 * (ends[1] - ends[0]))  # four deviations
    assert values.std() == pytest.approx((ends[1] - ends[0]) / np.sqrt(12), rel=0.085)


@pytest.mark.parametrize(
    ("family", "ends"), [(Moire(), (0.2, 1)), (Flare(), (0.2, 1)), (Reflection(), (0.1, 0.7))]
)
def test_the_severity_is_the_strength(family, ends) -> None:
    for severity, expected in ((0, ends[0]), (0.5, sum(ends) / 2), (1, ends[1])):
        assert family.draw(default_rng(0), severity)["strength"] == pytest.approx(expected)


def test_counts_are_drawn_evenly() -> None:
    rng = default_rng(0)
    patterns = [len(Moire(kinds=("pattern",)).draw(rng, 0.5)["grids"]) for _ in range(900)]
    drawn = [Flare().draw(rng, 0.5) for _ in range(1500)]
    for values, choices in (
        (patterns, range(1, 4)),
        ([p["blades"] for p in drawn], range(5, 10)),
        ([p["ghosts"] for p in drawn], range(5, 10)),
    ):
        share = 1 / len(choices)
        for choice in choices:
            limit = 4 * np.sqrt(len(values) * share * (1 - share))
            assert values.count(choice) == pytest.approx(len(values) * share, abs=limit)
