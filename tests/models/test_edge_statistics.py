"""Statistics of edges, by value: how heavy the tails of gradients are, how far they agree, how much is calm."""

import pytest
import torch

from ggt_hub.models.edge_statistics import SIZE, edge_statistics

# The numbers of a scale, in their order, each thrice: of all, the least and the largest among nine blocks.
NAMES = (
    "tail_x",
    "tail_y",
    "ratio_x",
    "ratio_y",
    "x",
    "y",
    "agreeing",
    "agreement",
    "crossing",
    *["calm"] * 4,
)


def told(lq: torch.Tensor, of: str = "all", scale: int = 0) -> dict[str, float]:
    begin = 3 * len(NAMES) * scale + len(NAMES) * ("all", "least", "largest").index(of)
    found = edge_statistics(lq)[0, begin : begin + len(NAMES)].tolist()
    return dict(zip(NAMES, found, strict=True))


def noise(size: tuple[int, int] = (96, 96), spread: float = 0.02) -> torch.Tensor:
    plane = 0.5 + spread * torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    return plane.expand(1, 3, *size)


def stripes(size: int = 96) -> torch.Tensor:
    """Steps of a factor of e to and fro, every four columns."""
    light = torch.exp((torch.arange(size) // 4 % 2).float() - 1) - 0.05
    return light.expand(1, 3, size, size)


def test_differences_of_white_noise_are_normal() -> None:
    """Their kurtosis is 3, the mean of what is taken absolutely sqrt(2 / pi) of their deviation."""
    found = told(noise())
    assert found["tail_x"] == pytest.approx(1.0986, abs=0.05)  # log 3, of 9,000 values
    assert found["ratio_y"] == pytest.approx(0.798, abs=0.01)
    # Of light: sqrt(2) * 0.02 / (0.5 + 0.05), and its logarithm.
    assert found["x"] == pytest.approx(-2.967, abs=0.03)


def test_lines_agree_and_noise_does_not() -> None:
    lines, grains = told(stripes()), told(noise())
    assert lines["agreeing"] == pytest.approx(1.0, abs=1e-3)
    assert grains["agreeing"] < 0.6  # 25 differences agree so far by chance
    assert grains["crossing"] - lines["crossing"] > 5  # lines do not cross at all


@pytest.mark.parametrize("direction", [1, -1])
def test_edges_along_a_diagonal_agree_and_do_not_cross(direction: int) -> None:
    """A slope in the logarithm of 0.005 a pixel each way: an energy of 2 * 0.005 squared, next to 1e-6 and 1e-7."""
    steps = torch.arange(96) * 0.005
    light = (steps[:, None] + direction * steps[None] - 1.5).exp() - 0.05
    lq = light.expand(1, 3, 96, 96)
    assert told(lq, "largest")["agreement"] == pytest.approx(0.98, abs=0.01)  # 5.0e-5 of 5.1e-5
    crossing = told(lq, "least")["crossing"]  # of the block in the middle, for at the last row the slope ends
    assert crossing == pytest.approx(torch.log(torch.tensor(1e-7 / 5.11e-5)).item(), abs=0.01)


def test_gradients_of_few_lines_have_heavy_tails() -> None:
    """Every fourth column has a step of one: the fourth power over the square of the square is 4."""
    assert told(stripes())["tail_x"] == pytest.approx(1.386, abs=0.05)


def test_a_second_picture_through_the_first_makes_edges_cross_and_leaves_less_calm() -> None:
    one = stripes()
    both = 0.7 * one + 0.3 * one.transpose(2, 3)
    alone, mixed = told(one), told(both)
    assert mixed["agreeing"] < 0.9 < alone["agreeing"]
    assert mixed["crossing"] > alone["crossing"] + 3


def test_what_is_in_a_corner_is_told_by_the_least_and_the_largest_of_nine_blocks() -> None:
    lq = torch.full((1, 3, 96, 96), 0.5)
    lq[..., :32, :32] = noise((32, 32))
    least, largest = told(lq, "least"), told(lq, "largest")
    assert least["x"] == pytest.approx(0.5 * torch.log(torch.tensor(1e-6)).item(), abs=0.01)  # nothing at all
    assert largest["x"] == pytest.approx(-2.967, abs=0.1)
    assert least["calm"] == 0.0 or least["calm"] < 0.1
    assert largest["calm"] == 1.0


def test_each_scale_is_half_of_the_one_before() -> None:
    """Differences of means over 2 x 2 of white noise are half as strong."""
    fine, coarse = told(noise((192, 192))), told(noise((192, 192)), scale=1)
    assert fine["x"] - coarse["x"] == pytest.approx(0.693, abs=0.03)


def test_large_pictures_are_looked_at_as_if_they_were_smaller() -> None:
    lq = torch.rand(1, 3, 240, 480, generator=torch.Generator().manual_seed(1))
    large = lq.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(edge_statistics(large), edge_statistics(lq), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (700, 3)])
def test_any_size_has_its_statistics(size: tuple[int, int]) -> None:
    found = edge_statistics(torch.rand(2, 3, *size))
    assert found.shape == (2, SIZE)
    assert found.isfinite().all()
