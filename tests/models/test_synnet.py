"""SynNet against the reference's own numbers, and on pictures of any size."""

import pytest
import torch

from ggt_hub.errors import DegradationError
from ggt_hub.models import SynNet
from tests.golden import difference, tensors

# Reached: 0. Pictures in 0..1 that are not brought to -1..1 are 1e-4 off, since each layer is normed.
FAIR = 1e-5


@pytest.fixture(scope="module")
def network() -> SynNet:
    network = SynNet(width=4).eval()
    network.load_state_dict(tensors("degradation/reflection_generator.safetensors"))
    return network


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return tensors("degradation/reflection.safetensors")


@torch.no_grad()
def test_weights_are_those_of_the_reference(network: SynNet, golden: dict[str, torch.Tensor]) -> None:
    transmission, reflection = ((golden[f"net.{name}"] + 1) / 2 for name in ("transmission", "reflection"))
    found = network(transmission, reflection)
    assert difference(found, golden["net.weight"]) < FAIR
    mix = found * golden["net.reflection"] + (1 - found) * golden["net.transmission"]
    assert difference(mix, golden["net.mix"]) < FAIR


@torch.no_grad()
def test_other_sizes_are_those_continued_by_reflection(network: SynNet) -> None:
    both = torch.rand(2, 2, 3, 18, 21, generator=torch.Generator().manual_seed(0))
    below, right = both.flip(3)[..., 1:3, :], both.flip(4)[..., 1:4]  # what lies before the border, mirrored
    corner = below.flip(4)[..., 1:4]
    whole = torch.cat([torch.cat([both, right], 4), torch.cat([below, corner], 4)], 3)
    assert whole.shape[-2:] == (20, 24)
    assert difference(network(*both), network(*whole)[..., :18, :21]) == 0


def test_pictures_that_do_not_fit_are_refused(network: SynNet) -> None:
    with pytest.raises(DegradationError, match=r"\(1, 3, 8, 16\) and \(1, 3, 16, 8\): resize the reflection"):
        network(torch.zeros(1, 3, 8, 16), torch.zeros(1, 3, 16, 8))
    with pytest.raises(DegradationError, match="at least 8 pixels"):
        network(torch.zeros(1, 3, 7, 16), torch.zeros(1, 3, 7, 16))
    assert network(torch.zeros(1, 3, 8, 9), torch.zeros(1, 3, 8, 9)).shape == (1, 3, 8, 9)


def test_the_full_size_is_the_published_one() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in SynNet().parameters()) == 11_387_587
