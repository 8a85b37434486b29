"""The detector: patches that cover a picture of any size, and a verdict that is a mean over them."""

import pytest
import torch

from ggt_hub.models import Detector
from ggt_hub.models.detector import DETECTED, judged, patches_of


def test_it_tells_the_nine_tasks_apart() -> None:
    nine = ("blur", "compression", "moire", "low_light", "noise", "flare", "reflection", "haze", "rain")
    assert nine == DETECTED


@pytest.mark.parametrize(
    ("size", "corners"),
    [
        ((8, 8), [(0, 0)]),
        ((16, 8), [(0, 0), (8, 0)]),
        ((40, 20), [(0, 0), (0, 6), (0, 12), (16, 0), (16, 6), (16, 12), (32, 0), (32, 6), (32, 12)]),
    ],
)
def test_patches_are_spread_evenly(size: tuple[int, int], corners: list) -> None:
    lq = torch.arange(size[0] * size[1], dtype=torch.float32).view(1, 1, *size).expand(1, 3, *size)
    patches = patches_of(lq, 8, 3)
    assert patches.shape == (1, len(corners), 3, 8, 8)
    for patch, (top, left) in zip(patches[0], corners, strict=True):
        assert torch.equal(patch, lq[0, :, top : top + 8, left : left + 8])


def test_small_pictures_are_reflected_there_and_back() -> None:
    lq = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert patches_of(lq, 8, 3)[0, 0, 0].tolist() == [[1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0]] * 8


def test_a_verdict_is_of_the_mean_of_the_patches() -> None:
    """So their order does not matter, and a picture that consists of one patch twice is judged like that patch."""
    torch.manual_seed(0)
    detector, patches, small = Detector(width=4).eval(), torch.rand(2, 3, 3, 16, 16), torch.rand(2, 3, 24, 24)
    logits, severities = detector(patches, small)
    assert (logits.shape, severities.shape) == ((2, 10), (2, 9))
    assert severities.min() > 0 and severities.max() < 1
    torch.testing.assert_close(detector(patches.flip(1), small)[0], logits)
    once, twice = detector(patches[:, :1], small)[0], detector(patches[:, [0, 0]], small)[0]
    torch.testing.assert_close(once, twice)
    assert not torch.allclose(once, logits, atol=1e-4)
    assert not torch.allclose(detector(patches, small.flip(0))[0], logits, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (37, 53), (500, 300)])
def test_any_size_is_judged(size: tuple[int, int]) -> None:
    logits, _ = judged(Detector(width=4), torch.rand(1, 3, *size))
    assert logits.isfinite().all()
