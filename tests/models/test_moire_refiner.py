"""UniDemoire's refinement network against the reference's own numbers."""

import pytest
import torch

from ggt_hub.errors import DegradationError
from ggt_hub.models import MoireRefiner
from tests.golden import difference, tensors

# Reached: 9e-7, at values of order 1.
FAIR = 1e-5


@pytest.fixture(scope="module")
def network() -> MoireRefiner:
    network = MoireRefiner(width=4).eval()
    network.load_state_dict(tensors("degradation/moire_refine_network.safetensors"))
    return network


@torch.no_grad()
def test_the_gain_is_that_of_the_reference(network: MoireRefiner) -> None:
    golden = tensors("degradation/moire.safetensors")
    assert difference(network(golden["blend.result"]), golden["refine.network_with_reference"]) < FAIR


@torch.no_grad()
def test_windows_of_a_wide_picture_are_cut_and_joined_as_of_a_high_one(network: MoireRefiner) -> None:
    """Turned by 90 degrees with all that has a direction in it, the network gives the turned gain."""
    wide = torch.rand(2, 3, 128, 256, generator=torch.Generator().manual_seed(0))
    turned = MoireRefiner(width=4).eval()
    turned.load_state_dict({name: _mirrored(name, value) for name, value in network.state_dict().items()})
    # Sums are taken in another order: 1e-6 is reached.
    assert difference(turned(wide.transpose(2, 3)).transpose(2, 3), network(wide)) < FAIR


def _mirrored(name: str, weight: torch.Tensor) -> torch.Tensor:
    """A weight with rows and columns of the picture in each other's place."""
    if name.endswith("relative_position_bias_table"):
        return weight.unflatten(0, (15, 15)).transpose(0, 1).flatten(0, 1)
    if name.endswith("deconv.0.encoder.weight"):  # its outputs are 3x3 old pixels for 2x2 new ones
        weight = weight.unflatten(0, (3, 3, 2, 2)).transpose(0, 1).transpose(2, 3).flatten(0, 3)
    elif name.endswith("deconv.0.encoder.bias"):
        return weight.unflatten(0, (3, 3, 2, 2)).transpose(0, 1).transpose(2, 3).flatten(0, 3)
    return weight.transpose(2, 3) if weight.ndim == 4 else weight


def test_sides_that_hold_no_whole_windows_are_refused(network: MoireRefiner) -> None:
    with pytest.raises(
        DegradationError, match="128 x 64 pixels: its sides are multiples of 128; resize to 512"
    ):
        network(torch.zeros(1, 3, 64, 128))


def test_the_full_size_is_the_published_one() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in MoireRefiner().parameters()) == 3_005_344
