"""Steps that change the size of `lq`: sizes and places of what is in it, and chains that do not end well."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import default_rng

from ggt_hub.degradations import Sample, degrade, degrade_pair, replay
from ggt_hub.degradations.base import Array, to_float
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.degradations.resampling import resampled
from ggt_hub.degradations.resize import Resize
from ggt_hub.degradations.sizes import Fit, Rescale
from ggt_hub.errors import DegradationError
from ggt_hub.images import read_image
from tests.photographs import photograph

PHOTO = to_float(photograph(64))


def size_after(
    family: Rescale, scale: float, lq: Array = PHOTO, gt: Array = PHOTO, **more: float
) -> tuple[int, int]:
    done = family.apply(Sample(lq, gt), {"scale": scale, "filter": "linear", **more})
    assert done.gt is gt
    return done.lq.shape[1], done.lq.shape[0]


def ramp(height: int, width: int) -> Array:
    """Each value says where it is: red its column, green its row, as shares of the sides."""
    picture = np.zeros((height, width, 3), np.float32)
    picture[..., 0] = ((np.arange(width) + 0.5) / width)[None, :]
    picture[..., 1] = ((np.arange(height) + 0.5) / height)[:, None]
    return picture


def test_rescaled_sides_are_rounded_down_and_relative_to_lq_or_gt() -> None:
    assert size_after(Rescale(), 0.37) == (23, 23)  # 23.68
    assert size_after(Rescale(), 1.5) == (96, 96)
    assert size_after(Rescale(divides=True), 3.0) == (21, 21)
    assert size_after(Rescale(), 0.001) == (1, 1)
    assert size_after(Rescale(of_gt=4), 0.9, lq=PHOTO[:50, :40]) == (14, 14)
    assert size_after(Rescale(), 0.5, lq=PHOTO[:50, :40]) == (20, 25)
    sample = Sample(PHOTO, PHOTO)
    assert Rescale().apply(sample, {"scale": 1.0, "filter": "cubic"}) is sample


def test_small_pictures_have_a_range_of_their_own() -> None:
    family = Rescale(scale=(0.9, 0.5), small=(1.0, 0.8))
    drawn = family.draw(default_rng(0), 0.5)
    assert (drawn["scale"], drawn["small"]) == pytest.approx((0.7, 0.9))
    large = np.zeros((512, 600, 3), np.float32)
    assert size_after(family, 0.5, large, large, small=0.75) == (300, 256)
    assert size_after(family, 0.5, large[:511], large[:511], small=0.75) == (450, 383)


def test_shares_of_growing_shrinking_and_neither() -> None:
    """Real-ESRGAN's first pass: with evenly drawn severities the shares are the published ones, each range even."""
    family = Rescale(scale=(1.5, 0.15), shares=(0.2, 0.7, 0.1))
    scales = np.array([family.draw(default_rng(0), s)["scale"] for s in (np.arange(1000) + 0.5) / 1000])
    assert (np.diff(scales) <= 0).all()  # the severity goes from the mildest to the worst
    assert [(scales > 1).mean(), (scales < 1).mean(), (scales == 1).mean()] == pytest.approx([0.2, 0.7, 0.1])
    assert (scales[0], scales[-1]) == pytest.approx((1.5, 0.15), abs=2e-3)
    assert scales[scales > 1].mean() == pytest.approx(1.25, abs=1e-3)
    assert scales[scales < 1].mean() == pytest.approx(0.575, abs=1e-3)
    halves = Rescale(scale=(2.0, 4.0), divides=True)
    assert halves.draw(default_rng(0), 0.25)["scale"] == 2.5
    assert halves.severity({"scale": 3.0}) == Resize().severity({"scale": 1 / 3}) == {"resize": 1.0}
    assert family.severity({"scale": 1.5}) == {"resize": 0.0}


@pytest.mark.parametrize(
    "kind", ["area", "pooled", "linear", "cubic", "antialiased_linear", "antialiased_cubic"]
)
def test_what_is_rescaled_stays_in_its_place_unless_it_shifts(kind: str) -> None:
    """A ramp says where each pixel came from; sides of 64 * 0.37 = 23.68 pixels end at 23."""
    at = ramp(64, 64)
    inner = np.s_[4:-4, 4:-4]  # filters that reach beyond the border flatten the ramp there
    stays = Rescale().apply(Sample(at, at), {"scale": 0.37, "filter": kind}).lq
    # `pooled` counts pixels at its windows' borders twice: half an old pixel.
    limit = 0.6 / 64 if kind == "pooled" else 1e-3
    assert np.abs(stays - ramp(23, 23))[inner].max() < limit
    shifted = Rescale(shifts=True).apply(Sample(at, at), {"scale": 0.37, "filter": kind}).lq
    if kind == "pooled":  # torch has no scale for it
        assert np.array_equal(shifted, stays)
    else:
        far = shifted[-5, -5, :2]
        assert far == pytest.approx([(18 + 0.5) / 0.37 / 64] * 2, abs=2e-3)


def test_pooled_counts_each_pixel_that_is_touched() -> None:
    row = np.zeros((1, 5, 3), np.float32)
    row[0, :, 0] = [0, 1, 2, 4, 8]
    assert resampled(row, (2, 1), "pooled")[0, :, 0] == pytest.approx([1.0, 14 / 3])
    assert resampled(row, (2, 1), "area")[0, :, 0] == pytest.approx([(0 + 1 + 1) / 2.5, (1 + 4 + 8) / 2.5])
    assert resampled(row, (10, 1), "pooled")[0, ::2, 0] == pytest.approx([0, 1, 2, 4, 8])


@pytest.mark.parametrize("kind", ["pooled", "linear", "cubic", "antialiased_linear", "antialiased_cubic"])
def test_fit_brings_lq_to_a_fraction_of_gt_and_keeps_it_under_it(kind: str) -> None:
    """gt of 62 x 63 is cut to 60 x 60; each pixel of lq lies where its 4 x 4 pixels of gt are."""
    gt = ramp(62, 63)
    for lq in (ramp(40, 30), ramp(62, 63), ramp(11, 13)):
        done = Fit(part=4).apply(Sample(lq, gt), {"filter": kind})
        assert (done.lq.shape, done.gt.shape) == ((15, 15, 3), (60, 60, 3))
        assert np.array_equal(done.gt, gt[:60, :60])
        blocks = done.gt.reshape(15, 4, 15, 4, 3).mean(axis=(1, 3))
        limit = (
            0.6 / 11 if kind == "pooled" else 6e-3
        )  # a part of an old pixel; `cubic` bends a ramp a little
        assert np.abs(done.lq - blocks)[3:-3, 3:-3].max() < limit
    assert Fit().apply(Sample(ramp(40, 30), gt), {"filter": kind}).lq.shape == gt.shape
    assert Fit().apply(Sample(ramp(40, 30), gt), {"filter": kind}).gt is gt


def test_fit_cuts_overshoot_off_or_lets_it_come_out_at_the_other_end() -> None:
    edge = np.zeros((8, 8, 3), np.float32)
    edge[:, 4:] = 1
    sample = Sample(edge, np.zeros((24, 24, 3), np.float32))
    beyond = resampled(edge, (24, 24), "antialiased_cubic")
    assert beyond.max() > 1.03
    cut = Fit().apply(sample, {"filter": "antialiased_cubic"}).lq
    assert np.array_equal(cut, np.clip(beyond, 0, 1))
    wrapped = Fit(wraps=True).apply(sample, {"filter": "antialiased_cubic"}).lq
    levels = np.rint(wrapped * 255).astype(int)
    assert np.array_equal(levels, np.trunc(beyond * np.float32(255)).astype(int) % 256)
    assert levels[beyond > 1.01].max() < 30


def test_a_chain_that_does_not_end_with_fit_is_told_so() -> None:
    chain = parse_preset("my", {"task": "general", "steps": [{"family": "rescale", "scale": [0.7, 0.7]}]})
    with pytest.raises(
        DegradationError, match=r"leaves lq at 44x44 beside a gt of 64x64: let a step `{family: fit}`"
    ):
        degrade(photograph(64), chain)
    halved = {"family": "rescale", "scale": [0.5, 0.5]}
    narrow = parse_preset("my", {"task": "general", "steps": [halved]})
    with pytest.raises(DegradationError, match="leaves lq at 31x32 beside a gt of 63x64"):
        degrade(photograph(64)[:, :63], narrow)
    assert degrade(photograph(64), narrow)[0].shape == (32, 32, 3)
    small = [{"family": "rescale", "scale": [0.7, 0.7]}, {"family": "resize", "enlarge": False}]
    with pytest.raises(DegradationError, match="let a step"):
        degrade(photograph(64), parse_preset("my", {"task": "general", "steps": small}))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 2), (62, 63)])
def test_chains_of_sizes_end_well_whatever_the_picture(shape: tuple[int, int]) -> None:
    steps = [
        {"family": "rescale", "scale": [1.5, 0.15], "shares": [0.2, 0.7, 0.1]},
        {"family": "noise"},
        {"family": "rescale", "scale": [1.2, 0.3], "of_gt": 4, "shifts": True},
        {"family": "fit", "part": 4, "filters": ["linear", "pooled", "antialiased_cubic"]},
    ]
    preset = parse_preset("my", {"task": "general", "steps": steps})
    clean = np.ascontiguousarray(photograph(64)[: shape[0], : shape[1]])
    for seed in range(8):
        lq, gt, record = degrade_pair(read_image(clean), preset, seed=seed)
        part = min(4, *shape)
        assert gt.size == (shape[1] // part * part, shape[0] // part * part)
        assert lq.size == (gt.size[0] // part, gt.size[1] // part)
        assert np.array_equal(replay(read_image(clean), record).pixels, lq.pixels)


@pytest.mark.parametrize("make", [Rescale, lambda: Fit(part=3)])
def test_nothing_that_is_given_is_written_into(make: Callable[[], Rescale | Fit]) -> None:
    lq, gt = (
        default_rng(0).random((20, 31, 3), dtype=np.float32),
        default_rng(1).random((40, 50, 3), dtype=np.float32),
    )
    before = lq.copy(), gt.copy()
    make().apply(Sample(lq, gt), make().draw(default_rng(0), 0.5))
    assert np.array_equal(lq, before[0])
    assert np.array_equal(gt, before[1])
