"""Noise, blur and compression as published presets draw them, by value."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from ggt_hub.degradations import Sample
from ggt_hub.degradations.base import Array
from ggt_hub.degradations.blur import Blur, kernel
from ggt_hub.degradations.compression import Compression
from ggt_hub.degradations.fields import convolved
from ggt_hub.degradations.noise import Noise

SIDE = 160
DEVIATIONS = 4 / np.sqrt(2 * SIDE * SIDE)
"""Four standard errors of a standard deviation of so many independent values, as a share of it."""


def grey(level: int) -> Array:
    return np.full((SIDE, SIDE, 3), level / 255, np.float32)


def noisy(image: Array, **parameters: object) -> Array:
    return Noise().apply(Sample(image, image), {"seed": 0, **parameters}).lq


def test_grey_noise_is_the_same_in_all_channels() -> None:
    one = noisy(grey(128), kind="gaussian", sigma=10.0, grey=True)
    assert np.array_equal(one[..., 0], one[..., 1])
    assert np.array_equal(one[..., 0], one[..., 2])
    assert 255 * one[..., 0].std() == pytest.approx(10, rel=DEVIATIONS)
    assert not np.array_equal(*np.moveaxis(noisy(grey(128), kind="gaussian", sigma=10.0)[..., :2], 2, 0))


def test_grey_is_a_chance_of_the_kinds_that_have_it() -> None:
    rng = default_rng(0)
    family = Noise(grey=0.4, kinds=("gaussian", "levels"))
    share = np.mean(["grey" in family.draw(rng, 0.5) for _ in range(2000)])
    assert share == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / 2000))
    assert "grey" not in Noise(grey=1.0, kinds=("granular",)).draw(rng, 0.5)
    assert Noise().draw(default_rng(0), 0.5) == replace(Noise(), grey=0.0).draw(default_rng(0), 0.5)


def test_photons_are_counted() -> None:
    """At two photons at white: whole halves, of the value's mean, with the variance value / 2."""
    seen = noisy(grey(51), kind="photons", photons=2.0)  # 0.4 photons
    assert set(np.unique(seen)) == {0.0, 0.5, 1.0}  # what is more is cut off
    counts = 3 * SIDE * SIDE
    for photons, chance in ((0, np.exp(-0.4)), (1, 0.4 * np.exp(-0.4))):
        share = (seen == photons / 2).mean()
        assert share == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / counts))


@pytest.mark.parametrize(("different", "photons"), [(2, 2), (3, 4), (5, 8), (200, 256)])
def test_levels_count_as_many_photons_as_there_are_levels(different: int, photons: int) -> None:
    """By hand: the error of n photons at white has the variance value / n; times the factor."""
    image = grey(128)
    others = np.delete(np.arange(256), 128)[: different - 1]
    image[:2].reshape(-1)[: len(others)] = others / 255
    added = noisy(image, kind="levels", error=0.2)[2:] - image[2:]
    assert added.std() == pytest.approx(0.2 * np.sqrt(128 / 255 / photons), rel=0.02)
    assert added.mean() == pytest.approx(0, abs=4 * added.std() / np.sqrt(added.size) + 1e-3 / photons)


def test_levels_of_grey_noise_are_those_of_the_luminance() -> None:
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    image[...] = np.array([200, 100, 50], np.float32) / 255
    one = noisy(image, kind="levels", error=0.02, grey=True) - image
    assert np.abs(one[..., 0] - one[..., 2]).max() < 1e-6
    luma = (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255  # one level: one photon at white
    assert one[..., 0].std() == pytest.approx(0.02 * np.sqrt(luma), rel=0.03)


def test_the_variance_may_be_what_is_evenly_drawn() -> None:
    """RealRestorer's Gaussian: a variance of 0.005 to 0.1."""
    family = Noise(sigma=(255 * 0.005**0.5, 255 * 0.1**0.5), even_variance=True, kinds=("gaussian",))
    for severity, variance in ((0.0, 0.005), (0.5, 0.0525), (1.0, 0.1)):
        assert (family.draw(default_rng(0), severity)["sigma"] / 255) ** 2 == pytest.approx(variance)


def test_no_noise_leaves_the_picture_as_it_is_for_the_averaging_alone() -> None:
    image = default_rng(0).random((32, 32, 3), dtype=np.float32)
    assert np.array_equal(noisy(image, kind="gaussian", sigma=0.0), image)
    assert not np.array_equal(noisy(image, kind="gaussian", sigma=0.0, box=3, threshold=0.5), image)


def test_the_new_kinds_name_their_severity() -> None:
    """The deviation at mid grey, as of the others; 1 is 50 levels."""
    assert Noise().severity({"kind": "photons", "photons": 200.0}) == pytest.approx(
        {"noise": 255 * 0.05 / 50}
    )
    assert Noise().severity({"kind": "levels", "error": 2.0}) == pytest.approx(
        {"noise": 510 * (0.5 / 256) ** 0.5 / 50}
    )


def test_each_whole_quality_of_an_even_range_has_the_same_chance() -> None:
    family = Compression(quality=(80.0, 20.0), even=True)
    drawn = Counter(family.draw(default_rng(0), s)["quality"] for s in (np.arange(6100) + 0.5) / 6100)
    assert drawn == dict.fromkeys(range(20, 81), 100)
    assert [family.draw(default_rng(0), s)["quality"] for s in (0.0, 1.0)] == [80, 20]
    rounded = Counter(
        Compression(quality=(80.0, 20.0)).draw(default_rng(0), s)["quality"] for s in np.linspace(0, 1, 6001)
    )
    assert rounded[20] < 60 < 90 < rounded[50]


@pytest.mark.parametrize("shape", [(40, 31), (1, 1), (3, 50)])
def test_round_gaussians_of_a_size_are_convolutions_with_their_kernel(shape: tuple[int, int]) -> None:
    """Rows and columns one by one instead of by a Fourier transform: float32 rounds to 4e-7 here."""
    image = default_rng(0).random((*shape, 3), dtype=np.float32)
    parameters = {"kind": "gaussian", "sigma": [3.0, 3.0], "angle": 0.0, "size": 9}
    found = Blur().apply(Sample(image, image), parameters).lq
    assert np.abs(found - convolved(image, kernel(parameters))).max() < 2e-6
