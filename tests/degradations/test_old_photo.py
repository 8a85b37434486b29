"""Old photographs: each kind of wear does what its parameter says."""

import numpy as np
import pytest
from numpy.random import default_rng

from ggt_hub.degradations import Sample
from ggt_hub.degradations.base import to_float
from ggt_hub.degradations.fields import clouds
from ggt_hub.degradations.old_photo import OldPhoto
from tests.photographs import photograph

PHOTO = to_float(photograph())
GREY = np.full((256, 256, 3), 0.5, np.float32)
DARK = np.full((256, 256, 3), 0.1, np.float32)


def worn(image: np.ndarray, **parameters: float) -> np.ndarray:
    return OldPhoto().apply(Sample(image, image), {"seed": 3} | parameters).lq


def test_fading_lifts_black_sinks_white_and_takes_colour() -> None:
    """At 0.5: black 0.175, white 0.175 + 1 - 0.225; a red keeps 0.65 of its distance from grey."""
    patches = np.array([[[0, 0, 0], [1, 1, 1], [0.9, 0.3, 0.3]]], np.float32)
    found = worn(patches, fading=0.5)[0]
    assert found[0] == pytest.approx([0.175] * 3, abs=1e-6)
    assert found[1] == pytest.approx([0.95] * 3, abs=1e-6)
    assert found[2][0] - found[2][1] == pytest.approx(0.65 * 0.6 * 0.775, abs=1e-6)


def test_yellowing_multiplies_by_the_colour_of_old_paper() -> None:
    """0.7 to 1.3 of it, by the clouds of its seed."""
    share = 0.5 * (0.7 + 0.6 * clouds(default_rng(3), GREY.shape))[..., None]
    expected = GREY * (1 + share * (np.array([0.98, 0.86, 0.62]) - 1))
    assert np.abs(worn(GREY, yellowing=0.5) - expected).max() < 1e-6
    assert worn(np.ones_like(GREY), yellowing=1.0).min() == pytest.approx(
        0.62, abs=1e-6
    )  # no yellower than paper


def test_each_scratch_is_an_upright_bright_line() -> None:
    few, many = (worn(DARK, scratches=count) - DARK for count in (3, 12))
    assert many.sum() > 2 * few.sum() > 0
    down, across = (np.abs(np.diff(many[..., 0], axis=axis)).sum() for axis in (0, 1))
    assert across > 3 * down
    assert many.min() >= 0


def test_more_scratches_keep_those_that_were_there() -> None:
    few, many = ((worn(DARK, scratches=count) > 0.11).sum() for count in (0, 20))
    assert few == 0 < many


def test_specks_are_many_small_and_both_light_and_dark() -> None:
    """Of 200 on grey, hairs included: some hundred places that differ, two thirds of them white."""
    import cv2

    change = worn(GREY, dust=200)[..., 0] - 0.5
    light, dark = (
        cv2.connectedComponents((sign * change > 0.05).astype(np.uint8))[0] - 1 for sign in (1, -1)
    )
    assert 90 < light + dark <= 200
    assert light / (light + dark) == pytest.approx(2 / 3, abs=0.15)
    assert (np.abs(change) > 0.05).mean() < 0.05


def test_two_folds_cross_the_picture_and_grow_with_their_depth() -> None:
    half, whole = (worn(GREY, folds=depth) - GREY for depth in (0.5, 1.0))
    changed = np.abs(whole[..., 0]) > 0.05
    assert changed.any(axis=0).mean() > 0.9  # one from side to side
    assert changed.any(axis=1).mean() > 0.9  # one from top to bottom
    assert changed.mean() < 0.3
    assert np.abs(whole).mean() == pytest.approx(2 * np.abs(half).mean(), rel=0.1)


@pytest.mark.parametrize("cell", [16.0, 32.0])
def test_printed_dots_have_the_stated_cell_and_angle(cell: float) -> None:
    """16 pixels of 1024 are 4 at 256; blue's screen stands at 45 degrees: a peak at 256/4 cycles along it."""
    printed = worn(GREY, halftone=1.0, cell=cell)[..., 2]
    spectrum = np.abs(np.fft.fft2(printed - printed.mean()))
    down, across = np.unravel_index(spectrum[:128, :128].argmax(), (128, 128))
    rate = 1024 / cell / np.sqrt(2)
    assert (down, across) == (pytest.approx(rate, abs=1), pytest.approx(rate, abs=1))


def test_dots_are_as_dark_on_the_whole_as_what_they_print() -> None:
    for level in (0.3, 0.5, 0.7):
        flat = np.full((256, 256, 3), level, np.float32)
        # The screen's threshold is a sum of two cosines, not an even ramp: up to 0.1 darker or lighter.
        assert worn(flat, halftone=1.0, cell=40.0).mean() == pytest.approx(level, abs=0.1)
    half = worn(PHOTO, halftone=0.5, cell=40.0) - PHOTO
    whole = worn(PHOTO, halftone=1.0, cell=40.0) - PHOTO
    assert np.abs(whole - 2 * half).max() < 1e-5


def test_an_album_has_all_wear_but_the_printers_screen() -> None:
    drawn = OldPhoto(kinds=("album",)).draw(default_rng(0), 0.5)
    assert set(drawn) == {"kind", "fading", "yellowing", "scratches", "dust", "folds", "seed"}
    one = OldPhoto(kinds=("halftone",)).draw(default_rng(0), 0.5)
    assert set(one) == {"kind", "halftone", "cell", "seed"}


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        ("fading", (0.1, 0.9)),
        ("yellowing", (0.1, 0.9)),
        ("scratches", (4, 60)),
        ("dust", (30, 500)),
        ("folds", (0.3, 1)),
        ("halftone", (0.2, 0.9)),
    ],
)
def test_the_severity_places_each_wear_in_its_range(kind, ends) -> None:
    family = OldPhoto(kinds=(kind,))
    for severity, expected in ((0, ends[0]), (0.5, sum(ends) / 2), (1, ends[1])):
        assert family.draw(default_rng(0), severity)[kind] == pytest.approx(expected)
    assert family.severity(family.draw(default_rng(0), 1.0)) == {"old_photo": pytest.approx(1)}


def test_the_cell_is_drawn_uniformly() -> None:
    rng, family = default_rng(0), OldPhoto(kinds=("halftone",))
    cells = np.array([family.draw(rng, 0.5)["cell"] for _ in range(1000)])
    assert 8 <= cells.min() <= cells.max() <= 16
    assert cells.mean() == pytest.approx(12, abs=0.3)  # four deviations
