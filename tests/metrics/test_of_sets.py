"""FID and KID against torchmetrics', with one seeded network in both."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from ggt_hub.errors import MetricError, MetricUnavailableError
from ggt_hub.metrics import SET_METRICS, Fid, Kid, fid, get_metric, kid
from ggt_hub.metrics.inception import WEIGHTS, inception, load_inception, resized
from tests.metrics.golden import noisy, tensor
from tests.photographs import photograph


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 5, 7, stride=8), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers).requires_grad_(False)


GT = [photograph(128)[top : top + 64] for top in range(0, 64, 8)]
RESTORED = [noisy(picture, 30, seed=at)[:, :100] for at, picture in enumerate(GT)] + GT[:2]


def theirs(metric, network):
    for pictures, real in ((RESTORED, False), (GT, True)):
        metric.update(torch.cat([resized(tensor(picture) * 255) for picture in pictures]), real=real)
    return metric.compute()


def test_fid_is_torchmetrics(network):
    expected = theirs(FrechetInceptionDistance(network, normalize=True), network)
    # Theirs takes the roots of eigenvalues of a product that is not symmetric; features are in float32.
    assert fid(RESTORED, GT, network=network) == pytest.approx(float(expected), rel=1e-5)
    assert fid(GT, GT, network=network) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("size", [8, 5])
def test_kid_is_torchmetrics(network, monkeypatch, size):
    monkeypatch.setattr("ggt_hub.metrics.of_sets._SUBSET", size)
    torch.manual_seed(0)  # from which ours draws its subsets
    mean, _ = theirs(KernelInceptionDistance(network, subset_size=size), network)
    # Both add up the same products, theirs in float32.
    assert kid(RESTORED, GT, network=network) == pytest.approx(float(mean), rel=2e-4, abs=1e-7)


@pytest.mark.parametrize("kind", [Fid, Kid])
def test_two_halves_merge_to_the_whole(network, kind):
    whole, first, second = (kind(network=network) for _ in range(3))
    whole.update(RESTORED, GT)
    first.update(RESTORED[:3], GT[:5])
    second.update(RESTORED[3:], [])
    second.update([], GT[5:])
    first.merge(second)
    # The order of sums of float64; a subset of Kid is drawn by place.
    assert first.compute() == pytest.approx(whole.compute(), rel=1e-9)
    assert second.compute() != pytest.approx(whole.compute(), rel=1e-3)


def test_arrays_and_tensors_grey_and_colour_are_the_same_pictures(network):
    grey = [np.asarray(Image.fromarray(picture).convert("L")) for picture in GT]
    as_colour = [np.repeat(picture[..., None], 3, axis=2) for picture in grey]
    # Eight bits become floats in 0..1 and back: a float32's rounding.
    as_tensors = [tensor(picture)[0] for picture in as_colour]
    expected = fid(RESTORED, as_colour, network=network)
    assert fid(RESTORED, grey, network=network) == expected
    assert fid(RESTORED, as_tensors, network=network) == pytest.approx(expected, rel=1e-5)


def test_too_few_pictures_are_refused(network):
    for distance in (fid, kid):
        with pytest.raises(MetricError, match="sets of 2 pictures or more; there are 1 and 8"):
            distance(RESTORED[:1], GT, network=network)
    with pytest.raises(MetricError, match="fid is of a set of pictures"):
        get_metric("fid")


def test_pictures_are_resized_as_by_pillow_without_rounding():
    picture = noisy(photograph(400), 60)
    planes = [Image.fromarray(picture[..., channel].astype(np.float32)) for channel in range(3)]
    small = [np.asarray(plane.resize((299, 299), Image.Resampling.BICUBIC)) for plane in planes]
    expected = np.clip(np.stack(small), 0, 255)
    # torch forms the weights of windows in float32, Pillow in float64: some 1e-5 of 255.
    assert np.abs(resized(tensor(picture) * 255)[0].numpy() - expected).max() < 0.01
    assert expected.min() == 0  # overshoot is clipped


def test_inception_pools_as_the_network_of_2015():
    torch.manual_seed(0)
    network = inception()
    averaging = {"Mixed_5b": 192, "Mixed_5d": 288, "Mixed_6b": 768, "Mixed_6e": 768, "Mixed_7b": 1280}
    for name, channels in averaging.items():
        block = getattr(network, name)
        block.branch_pool = nn.Identity()
        ones = torch.ones(1, channels, 5, 5)
        assert (block._forward(ones)[-1] == 1).all()  # zeros beyond the border are not counted
    x = torch.rand(1, 2048, 5, 5)
    network.Mixed_7c.branch_pool = nn.Identity()
    largest = nn.functional.max_pool2d(x, 3, stride=1, padding=1)
    assert torch.equal(network.Mixed_7c._forward(x)[-1], largest)


def test_inception_centres_pictures_and_gives_2048_features(tmp_path):
    torch.manual_seed(0)
    network = inception()
    seen = []
    network.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    assert network(torch.full((1, 3, 299, 299), 192.0)).shape == (1, 2048)
    assert (seen[0] == 0.5).all()
    published = network.state_dict() | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(published, tmp_path / WEIGHTS)
    loaded = load_inception(tmp_path)
    assert torch.equal(loaded.Mixed_7c.branch1x1.conv.weight, network.Mixed_7c.branch1x1.conv.weight)
    (tmp_path / "other").mkdir()
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other" / WEIGHTS)
    with pytest.raises(MetricUnavailableError, match="another network than Inception v3"):
        load_inception(tmp_path / "other")
    with pytest.raises(MetricUnavailableError, match=r"the weights pt_inception.* cannot be had"):
        SET_METRICS["kid"](tmp_path / "none")
