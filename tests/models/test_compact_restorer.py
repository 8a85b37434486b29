"""The compact restorer's curve for low light: by value, and what it leaves dark."""

import pytest
import torch

from ggt_hub.models.compact_restorer import apply_curve

CURVE = torch.tensor([[2.0, 0.5]])


def night(level: float, side: int = 24) -> torch.Tensor:
    return torch.full((1, 3, side, side), level / 255)


@pytest.mark.parametrize(("level", "lifted"), [(3.0, 36.65), (10.0, 68.91), (120.0, 244.85), (200.0, 316.83)])
def test_what_holds_light_is_lifted_by_the_curve(level: float, lifted: float) -> None:
    """255 * ((2 * level / 255 + 1e-4) ^ 0.5 - 0.01)."""
    assert 255 * apply_curve(night(level), CURVE) == pytest.approx(
        torch.full((1, 3, 24, 24), lifted), abs=0.01
    )


def test_a_sky_of_the_last_two_levels_stays() -> None:
    sky = (torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) < 0.4) / 255.0
    assert sky.max() == 1 / 255
    assert 255 * float((apply_curve(sky, CURVE) - sky).abs().max()) < 0.01


def test_it_is_lifted_in_part_between_one_level_and_three() -> None:
    """At two levels half: the mean of 2 and of 255 * ((4 / 255 + 1e-4) ^ 0.5 - 0.01)."""
    assert float(255 * apply_curve(night(2.0), CURVE)[0, 0, 12, 12]) == pytest.approx(
        (2 + 29.49) / 2, abs=0.01
    )


def test_beside_a_light_the_sky_stays_from_four_pixels_on() -> None:
    lit = night(0.0)
    lit[:, :, :, :12] = 200 / 255
    given = 255 * apply_curve(lit, CURVE)
    assert float(given[..., 15:].max()) == 0
    assert float(given[..., :12].min()) == pytest.approx(316.83, abs=0.01)
