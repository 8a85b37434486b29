"""Clouds, soft blur and the display's curve."""

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from ggt_hub.degradations.fields import clouds, softened
from ggt_hub.degradations.light import to_display, to_light
from tests.photographs import photograph

PHOTO = photograph().astype(np.float32) / 255


def test_clouds_are_grids_of_half_the_cells_and_half_the_weight_each() -> None:
    """By hand: 4 x 4 values and half of 7 x 7, enlarged by cubic interpolation and stretched to 0..1."""
    rng = default_rng(5)
    grids = [rng.random((side, side), dtype=np.float32) for side in (4, 7)]
    coarse, fine = (cv2.resize(grid, (128, 128), interpolation=cv2.INTER_CUBIC) for grid in grids)
    total = coarse + fine / 2
    expected = (total - total.min()) / (total.max() - total.min())
    assert np.abs(clouds(default_rng(5), (128, 128), 2) - expected).max() < 1e-6


def test_large_clouds_are_those_of_192_pixels_enlarged() -> None:
    small = clouds(default_rng(0), (192, 96))
    large = clouds(default_rng(0), (384, 192))
    assert np.abs(large - cv2.resize(small, (192, 384), interpolation=cv2.INTER_LINEAR)).max() < 1e-6


def test_soft_blur_is_gaussian_whatever_its_width() -> None:
    for sigma, tolerance in ((2.0, 1e-6), (12.0, 0.01)):  # wide ones are worked out at a fraction of the size
        expected = cv2.GaussianBlur(PHOTO, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        assert np.abs(softened(PHOTO, sigma) - expected)[24:-24, 24:-24].max() < tolerance
    assert softened(PHOTO, 0.1) is PHOTO


def test_light_and_display_are_each_others_inverse() -> None:
    assert to_light(np.full((1, 1, 3), 0.5, np.float32))[0, 0] == pytest.approx([0.5**2.2] * 3, rel=1e-6)
    assert np.abs(to_display(to_light(PHOTO)) - PHOTO).max() < 1e-6
    assert to_display(np.array([-1.0, 2.0], np.float32)) == pytest.approx([0, 1])
