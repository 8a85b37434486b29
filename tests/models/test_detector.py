"""The detector: patches that cover a picture of any size, features by value, and a verdict on them."""

import pytest
import torch

from ggt_hub.models import CompactRestorer, Detector
from ggt_hub.models.detector import (
    DETECTED,
    Eye,
    _Norm,
    _of_light,
    _of_spectrum,
    feature_size,
    features,
    patches_of,
)
from ggt_hub.models.edge_statistics import SIZE, edge_statistics
from ggt_hub.models.told_parts import small_copy
from tests.training.objectives.tiny import tiny_restorer

CHANNELS = (8, 8, 8)


@pytest.fixture(scope="module")
def restorer() -> CompactRestorer:
    return tiny_restorer()


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


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (37, 53), (300, 200)])
def test_any_size_has_its_features(restorer: CompactRestorer, size: tuple[int, int]) -> None:
    found = features(restorer, torch.rand(2, 3, *size))
    assert found.shape == (2, feature_size(CHANNELS))
    assert found.isfinite().all()


def test_features_are_of_each_picture_alone_and_leave_no_hooks(restorer: CompactRestorer) -> None:
    lq = torch.rand(2, 3, 120, 130)
    both, first = features(restorer, lq), features(restorer, lq[:1])
    torch.testing.assert_close(both[:1], first, atol=1e-4, rtol=1e-4)  # sums in another order
    assert not any(module._forward_hooks for module in restorer.modules())


def test_a_grating_stands_out_in_its_ring() -> None:
    """A quarter of a cycle a pixel is half of the way to the edge of the spectrum."""
    wave = torch.sin(2 * torch.pi * torch.arange(96) / 4)
    noise = 0.05 * torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    plain, grating = _of_spectrum(noise), _of_spectrum(noise + 0.1 * wave)
    assert int((grating - plain)[0, 24:].argmax()) == 12
    assert float(grating[0, 24 + 12] - plain[0, 24 + 12]) > 1.5


def test_light_is_told_by_quantiles_and_rows() -> None:
    ramp = torch.linspace(0, 1, 64).view(1, 1, 64, 1).expand(1, 3, 64, 64)
    found = _of_light(ramp)[0]
    torch.testing.assert_close(
        found[:7], torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]), atol=0.02, rtol=0
    )
    torch.testing.assert_close(found[28:35], torch.zeros(7), atol=1e-6, rtol=0)  # grey has no saturation
    torch.testing.assert_close(found[-16:-8], (torch.arange(8) + 0.5) / 8, atol=0.02, rtol=0)


def test_features_end_with_the_light_and_the_edges_of_the_whole_picture(restorer: CompactRestorer) -> None:
    lq = torch.rand(1, 3, 80, 120, generator=torch.Generator().manual_seed(0))
    found = features(restorer, lq)
    assert torch.equal(found[:, -SIZE:], edge_statistics(lq))
    assert torch.equal(found[:, -SIZE - 58 : -SIZE], _of_light(small_copy(lq)))


def test_a_verdict_is_on_features_in_units_of_their_deviation() -> None:
    torch.manual_seed(0)
    detector = Detector(CHANNELS, width=8).eval()
    x, small = torch.randn(3, feature_size(CHANNELS)), torch.rand(3, 3, 64, 96)
    logits, severities = detector(x, small)
    assert (logits.shape, severities.shape) == ((3, 10), (3, 9))
    assert severities.min() > 0 and severities.max() < 1
    other = Detector(CHANNELS, width=8).eval()
    other.load_state_dict(detector.state_dict())
    other.mean.fill_(2.0)
    other.deviation.fill_(3.0)
    torch.testing.assert_close(other(3 * x + 2, small)[0], logits, atol=1e-5, rtol=1e-5)
    clamped = detector(9 * x.sign(), small)[0], detector(5 * x.sign(), small)[0]
    torch.testing.assert_close(*clamped, atol=1e-4, rtol=1e-4)


def test_the_eye_sees_pictures_of_any_size_by_the_mean_and_the_largest_of_what_is_found() -> None:
    torch.manual_seed(0)
    eye = Eye(6, 10).eval()
    small = torch.rand(2, 3, 48, 32)
    found = eye.layers(2 * small - 1)
    assert found.shape == (2, 10, 6, 4)
    assert torch.equal(eye(small), torch.cat([found.mean((2, 3)), found.amax((2, 3))], dim=1))
    assert eye.size == 20
    row = torch.rand(1, 3, 1, 96)  # what is too small for it goes on as its edge does
    torch.testing.assert_close(eye(row), eye(row.expand(1, 3, 8, 96)))


def test_the_eye_weighs_channels_of_each_pixel_against_each_other() -> None:
    x = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    found = _Norm(2)(x)
    torch.testing.assert_close(found[0, :, 1, 2], torch.tensor([1.0, -1.0]), atol=1e-4, rtol=0)


def test_a_verdict_listens_to_the_eye() -> None:
    torch.manual_seed(0)
    detector = Detector(CHANNELS, width=8).eval()
    x = torch.zeros(2, feature_size(CHANNELS))
    dark, light = detector(x, torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]))[0]
    assert float((dark - light).abs().max()) > 1e-3


def test_caution_is_added_to_nothing() -> None:
    torch.manual_seed(0)
    plain, careful = Detector(CHANNELS, width=8).eval(), Detector(CHANNELS, width=8, caution=0.5).eval()
    careful.load_state_dict(plain.state_dict())
    x, small = torch.randn(2, feature_size(CHANNELS)), torch.rand(2, 3, 64, 96)
    difference = careful(x, small)[0] - plain(x, small)[0]
    torch.testing.assert_close(difference, torch.tensor([0.5] + [0.0] * 9).expand(2, 10))


def test_it_judges_by_five_looks() -> None:
    """At all of the small copy and, a sixth of each side smaller, into its corners."""
    torch.manual_seed(0)
    detector = Detector(CHANNELS, width=8, eye_channels=(6, 8), caution=0.5).eval()
    x, small = torch.randn(2, feature_size(CHANNELS)), torch.rand(2, 3, 12, 19)
    wholes = [small, small[:, :, :10, :16], small[:, :, :10, 3:], small[:, :, 2:, :16], small[:, :, 2:, 3:]]
    looks = [detector(x, look) for look in wholes]
    logits, severities = detector.judge(x, small)
    torch.testing.assert_close(logits, sum(look[0].log_softmax(1) for look in looks) / 5)
    torch.testing.assert_close(severities, sum(look[1] for look in looks) / 5)
    assert not torch.allclose(looks[0][0], looks[4][0])
