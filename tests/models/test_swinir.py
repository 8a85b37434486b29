"""SwinIR against the reference's own numbers."""

import pytest
import torch
from safetensors.torch import load_file

from ggt_hub.errors import RestorerError
from ggt_hub.models import SwinIR
from tests.golden_dreamclear import SHIPPED, difference, filled, numbers, pre_cleaner, tensors

# Reached: 8e-7, at values of order 1.
FAIR = 1e-5


@pytest.mark.parametrize("case", ["", "_native"])
@torch.no_grad()
def test_pictures_come_out_as_of_the_reference(case: str) -> None:
    io = tensors("swinir/io.safetensors")
    assert difference(pre_cleaner()(io[f"image{case}"]), io[f"restored{case}"]) < FAIR


@torch.no_grad()
def test_a_small_one_gives_what_it_gave_when_it_agreed_with_the_reference() -> None:
    network = filled(SwinIR(8, (2, 1), (2, 4), num_feat=4))
    wanted = load_file(SHIPPED / "recorded.safetensors")["swinir"]
    found = network(numbers(0, 1, 3, 64, 128).sigmoid())[..., ::8, ::8]
    assert difference(found, wanted) < 1e-5 * float(wanted.abs().max())


def test_the_published_size_is_the_default() -> None:
    with torch.device("meta"):
        network = SwinIR()
    assert sum(parameter.numel() for parameter in network.parameters()) == 15_792_587


def test_sides_are_whole_windows() -> None:
    with pytest.raises(RestorerError, match=r"64 x 72 pixels: its sides are multiples of 64"):
        SwinIR(8, (1,), (2,))(torch.zeros(1, 3, 72, 64))
