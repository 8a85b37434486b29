"""Depth and regions without a network."""

import numpy as np
import pytest

from ggt_hub.scenes.procedural import depth, from_inverse, regions, superpixels


def test_what_stands_higher_is_farther() -> None:
    """On flat grey only the place counts: 1 at the top, 0 at the bottom, 1/2 halfway."""
    found = depth(np.full((200, 300, 3), 0.5, np.float32))
    assert found[0, 150] == pytest.approx(1, abs=0.02)  # the filter bends the ramp at its ends
    assert found[100, 150] == pytest.approx(0.5, abs=0.01)
    assert found[-1, 150] == pytest.approx(0, abs=0.02)


def test_what_is_bright_in_every_channel_is_farther() -> None:
    """Haze-like white against a red as bright as it in one channel, side by side at the same height."""
    picture = np.zeros((128, 256, 3), np.float32)
    picture[:, :128] = 0.9
    picture[:, 128:, 0] = 0.9
    found = depth(picture)
    assert (found[16:112, 40] > found[16:112, 216] + 0.2).all()


def test_what_is_bright_over_large_areas_is_farther() -> None:
    """A blue against black, whose darkest channels are alike: 0.15 of a third, which the guide spreads a little."""
    picture = np.zeros((128, 256, 3), np.float32)
    picture[:, :128, 2] = 1
    found = depth(picture)
    assert (found[16:112, 20] - found[16:112, 236]).mean() == pytest.approx(0.05 / 0.65, abs=0.02)


def test_depth_follows_the_edges_of_the_picture() -> None:
    picture = np.full((128, 256, 3), 0.1, np.float32)
    picture[:, 128:] = 0.9
    steps = np.abs(np.diff(depth(picture)[64]))
    assert steps.argmax() == 127
    assert steps[127] > 10 * np.median(steps)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 2), (300, 401)])
def test_any_size_gives_values_between_0_and_1(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random((*shape, 3), dtype=np.float32)
    found = depth(picture)
    assert (found.shape, found.dtype) == (shape, np.float32)
    assert 0 <= found.min() <= found.max() <= 1
    found = regions(picture)
    assert (found.shape, found.dtype) == (shape, np.int32)
    assert np.array_equal(np.unique(found), np.arange(found.max() + 1))


def test_inverse_depth_is_stretched_and_turned_round() -> None:
    found = from_inverse(np.array([[2.0, 4.0], [6.0, 10.0]], np.float32), 2, 2)
    assert np.allclose(found, [[1, 0.75], [0.5, 0]])
    assert (from_inverse(np.full((3, 3), 7, np.float32), 4, 5) == 1).all()


ROWS, COLUMNS = np.mgrid[:256, :256]
SIDE = COLUMNS > 60 + ROWS / 2
SLANTED = np.where(SIDE[..., None], np.float32(0.9), np.float32(0.1)) * np.ones(3, np.float32)
"""Dark on the left of a slanting edge, bright on its right."""


def test_superpixels_keep_to_the_edges_of_the_picture() -> None:
    found = superpixels(SLANTED, 40)
    mixed = sum(min(SIDE[found == n].sum(), (~SIDE)[found == n].sum()) for n in range(found.max() + 1))
    assert mixed < 256  # less than one pixel of each row is on the wrong side


def test_superpixels_have_about_the_side_that_was_asked_for() -> None:
    flat = np.full((240, 360, 3), 0.5, np.float32)
    assert superpixels(flat, 40).max() + 1 == 6 * 9
    assert superpixels(flat, 60).max() + 1 == 4 * 6


def test_what_is_alike_is_one_region() -> None:
    """Two sides of an edge: two regions, but for those that lie astride it at a quarter of the size."""
    found = regions(SLANTED)
    sizes = np.sort(np.bincount(found.ravel()))[::-1]
    assert sizes[:2].sum() > 0.97 * found.size
    left, right = found[128, 20], found[128, 235]
    assert left != right
    assert (found[~SIDE] == left).mean() > 0.95
    assert (found[SIDE] == right).mean() > 0.95


def test_colours_that_differ_stay_apart() -> None:
    """CIELAB distances of 4.9 and 9.8 between greys, on both sides of the limit of 6."""
    for step, count in ((0.05, 1), (0.1, 2)):
        halves = np.full((160, 160, 3), 0.5, np.float32)
        halves[:, 80:] += np.float32(step)
        assert regions(halves).max() + 1 == count
