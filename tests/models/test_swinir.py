"""SwinIR against the reference's own numbers."""

import pytest
import torch

from ggt_hub.errors import RestorerError
from ggt_hub.models import SwinIR
from tests.golden_dreamclear import difference, pre_cleaner, tensors

# Reached: 8e-7, at values of order 1.
FAIR = 1e-5


@pytest.mark.parametrize("case", ["", "_native"])
@torch.no_grad()
def test_pictures_come_out_as_of_the_reference(case: str) -> None:
    io = tensors("swinir/io.safetensors")
    if f"image{case}" not in io:
        pytest.skip(f"image{case} is not in tests/data/dreamclear")
    assert difference(pre_cleaner()(io[f"image{case}"]), io[f"restored{case}"]) < FAIR


def test_the_published_size_is_the_default() -> None:
    with torch.device("meta"):
        network = SwinIR()
    assert sum(parameter.numel() for parameter in network.parameters()) == 15_792_587


def test_sides_are_whole_windows() -> None:
    with pytest.raises(RestorerError, match=r"64 x 72 pixels: its sides are multiples of 64"):
        SwinIR(8, (1,), (2,))(torch.zeros(1, 3, 72, 64))
