"""Told parts: nothing at first, only their own task, and what veil and adapter do by value."""

from pathlib import Path

import pytest
import torch

from ggt_hub.models import CompactRestorer, ToldParts
from ggt_hub.models.compact_restorer import told_condition
from ggt_hub.models.told_parts import SMALL_SIDE, small_copy, unveiled
from tests.training.objectives.tiny import tiny_restorer

SHAPE = {"channels": (8, 8, 8), "blocks": (1, 1, 1), "width": 4}


@pytest.fixture
def restorer() -> CompactRestorer:
    return tiny_restorer().requires_grad_(False)


def test_new_parts_change_nothing(restorer: CompactRestorer) -> None:
    parts, lq = ToldParts({"rain": 2, "haze": 0}, **SHAPE), torch.rand(2, 3, 40, 48)
    c = told_condition(restorer, lq)
    with torch.no_grad():
        assert torch.equal(parts(lq, "rain", restorer, c), restorer(lq, c))
        assert torch.equal(parts(lq, "haze", restorer, c), lq)  # a veil alone
    assert parts.tasks == ("haze", "rain")
    assert parts.weights("haze", restorer) == {}


def test_a_part_changes_its_own_task_and_never_the_restorer(restorer: CompactRestorer) -> None:
    parts, lq = ToldParts({"rain": 2, "moire": 2}, **SHAPE), torch.rand(1, 3, 40, 48)
    c, before = told_condition(restorer, lq), restorer(lq, told_condition(restorer, lq))
    with torch.no_grad():
        for weight in parts.parts["rain"].parameters():
            weight.add_(0.1)
    assert not torch.equal(parts(lq, "rain", restorer, c), before)
    assert torch.equal(parts(lq, "moire", restorer, c), before)
    assert torch.equal(restorer(lq, c), before)


def test_the_adapter_is_a_change_of_low_rank_of_every_convolution(restorer: CompactRestorer) -> None:
    parts = ToldParts({"rain": 2}, **SHAPE)
    with torch.no_grad():
        for name, weight in parts.parts["rain"].named_parameters():
            if name.startswith("up."):
                weight.normal_()
    own = dict(restorer.named_parameters())
    changed = parts.weights("rain", restorer)
    convolutions = {
        f"{name}.weight"
        for name, module in restorer.named_modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) and "estimator" not in name
    }
    assert set(changed) == convolutions
    for name, weight in changed.items():
        difference = (weight - own[name]).flatten(1)
        assert int(torch.linalg.matrix_rank(difference, rtol=1e-4)) == 2


def test_a_veil_is_gain_and_offset_enlarged_to_the_picture() -> None:
    lq = torch.full((1, 3, 8, 8), 0.25)
    maps = torch.zeros(1, 6, 2, 2)
    maps[:, :3] = torch.tensor(2.0).log()
    maps[:, 3] = 0.1
    out = unveiled(lq, maps)
    torch.testing.assert_close(out[0, :, 3, 3], torch.tensor([0.6, 0.5, 0.5]))
    maps[:, 5, :, 0], maps[:, 5, :, 1] = -0.25, 0.25  # from left to right, bilinear
    row = unveiled(lq, maps)[0, 2, 0]
    torch.testing.assert_close(row, 0.5 + torch.tensor([-4, -4, -3, -1, 1, 3, 4, 4]) / 16)
    maps[:, 3:] = 9.0
    assert float(unveiled(lq, maps).max()) == 1.0


@pytest.mark.parametrize(
    ("size", "small"),
    [((192, 96), (96, 48)), ((40, 48), (40, 48)), ((1, 960), (1, 96)), ((97, 97), (96, 96))],
)
def test_small_copies_keep_the_sides_in_proportion(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert small_copy(torch.rand(1, 3, *size)).shape[2:] == small
    assert max(small) <= SMALL_SIDE


def test_the_veil_knows_places_and_takes_any_size() -> None:
    torch.manual_seed(0)
    parts = ToldParts({"haze": 0}, **SHAPE)
    torch.nn.init.normal_(parts.parts["haze"].veil.last.weight)
    flat = parts.veil("haze", torch.full((1, 3, 24, 32), 0.5))
    assert flat.shape == (1, 6, 24, 32)
    assert not torch.allclose(flat[..., 6:10, 16], flat[..., 14:18, 16], atol=1e-3)  # away from the borders
    assert parts.veil("haze", torch.rand(1, 3, 1, 1)).shape == (1, 6, 1, 1)


def test_saved_and_loaded_they_are_the_same(tmp_path: Path, restorer: CompactRestorer) -> None:
    parts, lq = ToldParts({"rain": 2, "haze": 0}, **SHAPE), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        for weight in parts.parameters():
            weight.add_(0.05)
    parts.save_pretrained(tmp_path)
    loaded, c = ToldParts.from_pretrained(tmp_path), told_condition(restorer, lq)
    for task in ("rain", "haze"):
        assert torch.equal(loaded(lq, task, restorer, c), parts(lq, task, restorer, c))
