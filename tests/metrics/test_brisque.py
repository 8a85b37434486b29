import json

import numpy as np
import pytest
import torch
from skimage import data

from ggt_hub.errors import MetricError
from ggt_hub.metrics import brisque
from ggt_hub.metrics.brisque import _ratio_of, _shape_of, mean_brisque
from tests.metrics.golden import NUMBERS, pairs, tensor

# What the package brisque 0.2.0 (libsvm-official 3.37, OpenCV 5) gave for the restored pictures of `pairs()`.
THEIRS = json.loads((NUMBERS.parent / "brisque.json").read_text())["scores"]
# Rounding decides signs in flat regions: eight levels of grey, and a corner of one colour.
FLAT = {"dark": 0.1, "flat corner": 0.03}


@pytest.mark.parametrize("name", THEIRS)
def test_scores_are_those_of_the_package(name):
    assert brisque(pairs()[name][0])[0] == pytest.approx(THEIRS[name], abs=FLAT.get(name, 1e-5))


def test_tensors_and_batches_score_as_arrays_and_grey_as_equal_channels():
    picture = data.chelsea()[:201, :303]
    (expected,) = brisque(picture)
    batch = torch.cat([tensor(picture), tensor(picture[::-1].copy())])
    np.testing.assert_allclose(brisque(batch)[0], expected, rtol=1e-6)  # float32 pixels 0..1
    grey = data.camera()
    assert brisque(grey)[0] == pytest.approx(brisque(np.repeat(grey[..., None], 3, axis=2))[0], abs=1e-6)


def test_the_gradient_is_that_of_the_score():
    pictures = torch.from_numpy(data.chelsea()[100:124, 150:174] / 255).permute(2, 0, 1)[None]
    # Differences of float64 scores over 2e-6 are right to about 1e-5.
    assert torch.autograd.gradcheck(
        mean_brisque, (pictures.requires_grad_(),), atol=1e-3, rtol=1e-4, fast_mode=True
    )


def test_the_shape_of_a_fit_is_found_between_the_ends_of_its_range():
    shapes = torch.logspace(np.log10(0.05), np.log10(50), 1001, dtype=torch.float64)
    # From 20 on the ratio hardly grows: rounding of 1e-16 in it moves the shape by 1e-11 of itself.
    torch.testing.assert_close(_shape_of(_ratio_of(shapes)), shapes, rtol=1e-10, atol=0)
    ends = _shape_of(torch.tensor([0.0, 1.0, torch.nan], dtype=torch.float64))
    torch.testing.assert_close(
        ends, torch.tensor([0.05, 50.0, torch.nan], dtype=torch.float64), rtol=1e-10, atol=0, equal_nan=True
    )


def test_gradients_of_flat_regions_are_finite():
    pictures = torch.full((1, 3, 64, 64), 0.4, dtype=torch.float64)
    pictures[..., 30:] = torch.from_numpy(data.chelsea()[100:164, 100:134] / 255).permute(2, 0, 1)
    (gradient,) = torch.autograd.grad(mean_brisque(pictures.requires_grad_()), pictures)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_a_black_picture_has_no_score_and_a_small_one_is_refused():
    assert np.isnan(brisque(np.zeros((64, 64, 3), np.uint8)))[0]
    with pytest.raises(MetricError, match="15x64 is too small: BRISQUE needs 16"):
        brisque(np.zeros((64, 15, 3), np.uint8))
