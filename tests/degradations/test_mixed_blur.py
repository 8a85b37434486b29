"""The kernels of Real-ESRGAN, by value."""

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from torch.nn import functional as F

from ggt_hub.degradations import Sample
from ggt_hub.degradations.base import Parameters, to_float
from ggt_hub.degradations.mixed_blur import Kind, MixedBlur, kernel
from tests.golden import document, tensors
from tests.photographs import photograph

DRAWS = 4000
# Four deviations of a share that is counted in so many draws, at most.
CHANCE = 4 * 0.5 / np.sqrt(DRAWS)


def elliptic(
    kind: str, shape: float, angle: float = 0.0, sigma: tuple[float, float] = (2.0, 1.0)
) -> Parameters:
    return {"kind": kind, "size": 21, "sigma": list(sigma), "angle": angle, "shape": shape}


@pytest.mark.parametrize(
    ("kind", "shape", "after_one", "after_two"),
    [
        ("gaussian_aniso", 1.0, np.exp(-0.5), np.exp(-2)),
        ("generalized_aniso", 0.5, np.exp(-0.5), np.exp(-1)),
        ("generalized_aniso", 2.0, np.exp(-0.5), np.exp(-8)),
        ("plateau_aniso", 1.0, 1 / 2, 1 / 5),
        ("plateau_aniso", 2.0, 1 / 2, 1 / 17),
    ],
)
def test_weights_fall_by_the_formula_along_both_axes(
    kind: str, shape: float, after_one: float, after_two: float
) -> None:
    level = kernel(elliptic(kind, shape)) / kernel(elliptic(kind, shape)).max()
    assert level[10, [12, 14]] == pytest.approx([after_one, after_two], rel=1e-6)  # deviation 2 along the row
    assert level[[11, 12], 10] == pytest.approx([after_one, after_two], rel=1e-6)  # 1 along the column
    turned = kernel(elliptic(kind, shape, angle=90.0))
    assert turned == pytest.approx(kernel(elliptic(kind, shape)).T, abs=1e-8)
    assert kernel(elliptic(kind, shape)).sum() == pytest.approx(1.0, abs=1e-6)


def test_a_turned_ellipse_lies_along_the_stated_direction() -> None:
    weights = kernel(elliptic("gaussian_aniso", 1.0, angle=45.0))
    assert weights[13, 13] == weights[7, 7]  # down to the right, as the rows are counted
    assert weights[13, 13] > 2 * weights[7, 13]


def test_sinc_kernels_are_the_published_ones() -> None:
    golden = tensors("degradation/filters.safetensors")
    for number, drawn in enumerate(document("degradation/filters.json")["sinc"]):
        found = kernel({"kind": "sinc", "size": drawn["size"], "cutoff": drawn["cutoff"]})
        # Rounded once to float32, from values up to 0.8; reached: 0.
        assert np.abs(found - golden[f"sinc_{number}"].numpy()).max() < 1e-7


@pytest.mark.parametrize(("frequency", "least", "most"), [(0.3, 0.8, 1.1), (0.8, 0.0, 0.05)])
def test_a_sinc_keeps_what_is_below_its_bound_and_drops_what_is_above(
    frequency: float, least: float, most: float
) -> None:
    """Waves along the rows, frequencies in units of pi; a window of 21 pixels makes the pass band uneven."""
    wave = np.broadcast_to(0.5 + 0.25 * np.sin(frequency * np.pi * np.arange(256)), (64, 256))
    picture = np.repeat(wave[..., None], 3, 2).astype(np.float32)
    parameters = {"kind": "sinc", "size": 21, "cutoff": np.pi / 2}
    done = MixedBlur().apply(Sample(picture, picture), parameters).lq
    assert least <= done[:, 32:-32].std() / picture[:, 32:-32].std() <= most


@pytest.mark.parametrize("size", [7, 21])
def test_the_picture_is_filtered_as_torch_does_with_reflected_borders(size: int) -> None:
    """Both sides of the size from which OpenCV goes through a Fourier transform."""
    picture = to_float(photograph(64))
    parameters = elliptic("generalized_aniso", 1.7, angle=30.0) | {"size": size}
    found = MixedBlur().apply(Sample(picture, picture), parameters).lq
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[:, None]
    wanted = F.conv2d(
        F.pad(x, [size // 2] * 4, mode="reflect"), torch.from_numpy(kernel(parameters))[None, None]
    )
    assert (
        np.abs(found - wanted[:, 0].permute(1, 2, 0).numpy()).max() < 2e-6
    )  # sums in another order: 5e-7 reached


def test_draws_have_the_published_shares() -> None:
    draws = [MixedBlur().draw(default_rng(seed), 0.5) for seed in range(DRAWS)]
    rest = [drawn for drawn in draws if drawn["kind"] != "sinc"]
    assert 1 - len(rest) / DRAWS == pytest.approx(0.1, abs=CHANCE)
    shares: dict[Kind, float] = {
        "gaussian_iso": 0.45,
        "gaussian_aniso": 0.25,
        "generalized_iso": 0.12,
        "generalized_aniso": 0.03,
        "plateau_iso": 0.12,
        "plateau_aniso": 0.03,
    }
    for kind, share in shares.items():
        assert np.mean([drawn["kind"] == kind for drawn in rest]) == pytest.approx(share, abs=CHANCE)
    assert {drawn["size"] for drawn in draws} == set(range(7, 22, 2))
    for kind, low, high in (("generalized", 0.5, 4.0), ("plateau", 1.0, 2.0)):
        shapes = [drawn["shape"] for drawn in rest if drawn["kind"].startswith(kind)]
        assert low <= min(shapes) and max(shapes) <= high and max(shapes) > 0.9 * high
        assert np.mean(np.array(shapes) <= 1) == pytest.approx(
            0.5, abs=2 * CHANCE
        )  # about a seventh of the draws


def test_two_deviations_are_those_of_two_independent_draws() -> None:
    """Where severities are uniform: the mean of the larger of two in 0..1 is 2/3, of the smaller 1/3."""
    family = MixedBlur(sigma=(0.0, 1.0), sinc=0.0, kinds=("gaussian_aniso",))
    drawn = [family.draw(default_rng(seed), (seed + 0.5) / DRAWS)["sigma"] for seed in range(DRAWS)]
    # The deviation of either is 0.236; a thousandth of that of the mean is 0.004.
    assert np.mean(drawn, axis=0) == pytest.approx([2 / 3, 1 / 3], abs=0.015)


def test_severity_is_the_deviation_of_the_kernel_in_threes_of_pixels() -> None:
    family = MixedBlur()
    # Cut off at four deviations along one axis.
    parameters = elliptic("gaussian_iso", 1.0, sigma=(2.4, 2.4))
    assert family.severity(parameters)["blur"] == pytest.approx(0.8, rel=0.01)
    sinc = {"kind": "sinc", "size": 21, "cutoff": 1.0}
    # exp(-(sigma * cutoff)^2 / 2) = 1/2 at sigma = 1.1774.
    assert family.severity(sinc)["blur"] == pytest.approx(1.1774 / 3, rel=1e-4)


def test_large_sincs_may_cut_lower() -> None:
    family = MixedBlur(sinc=1.0)
    lowest = {
        drawn["size"]: drawn["cutoff"] for seed in range(80) if (drawn := family.draw(default_rng(seed), 1.0))
    }
    assert lowest[11] == pytest.approx(np.pi / 3) and lowest[13] == pytest.approx(np.pi / 5)
    assert family.draw(default_rng(0), 0.0)["cutoff"] == pytest.approx(np.pi)
