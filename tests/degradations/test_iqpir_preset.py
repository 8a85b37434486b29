"""The damage that IQPIR trains on: what is drawn, and each step against the reference's own pictures."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from ggt_hub.degradations import Sample, load_preset
from ggt_hub.degradations.mixed_blur import kernel
from tests.golden_iqpir import place, tensors

# As the set asks: of kernels, of what is blurred, smaller and noisy. Of JPEG, another coder's, the mean alone.
FAIR, FAIR_ON_THE_MEAN = 1e-5, 2 / 255

RANGES = {
    "iqpir": {"sigma": (1, 15), "scale": (4, 30), "noise": (0, 20), "quality": (30, 79)},
    "iqpir-small": {"sigma": (0.1, 10), "scale": (1, 12), "noise": (0, 15), "quality": (60, 99)},
}
DRAWS = 1500


@pytest.mark.parametrize("name", RANGES)
def test_what_is_drawn_is_evenly_between_the_published_ends(name: str) -> None:
    rng, preset = default_rng(0), load_preset(name)
    drawn = [[step.record() for step in preset.draw(rng)] for _ in range(DRAWS)]
    for blur, rescale, noise, compression, fit in drawn:
        assert blur["size"] == 41 and rescale["filter"] == fit["filter"] == "linear"
        assert noise["kind"] == "gaussian" and compression["full_colour"] is False
    round_ones = [chain[0] for chain in drawn if chain[0]["kind"] == "gaussian_iso"]
    # Shares and means within four standard errors.
    assert len(round_ones) / DRAWS == pytest.approx(0.5, abs=4 * 0.5 / DRAWS**0.5)
    both_axes = [side for chain in drawn if len({*chain[0]["sigma"]}) == 2 for side in chain[0]["sigma"]]
    found: dict[str, list[float]] = {
        "sigma": [blur["sigma"][0] for blur in round_ones],
        "scale": [chain[1]["scale"] for chain in drawn],
        "noise": [chain[2]["sigma"] for chain in drawn],
        "quality": [chain[3]["quality"] for chain in drawn],
    }
    for values, (low, high) in [
        *((found[key], ends) for key, ends in RANGES[name].items()),
        (both_axes, RANGES[name]["sigma"]),
    ]:
        error = (high - low) / np.sqrt(12 * len(values))
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=4 * error)
        assert low <= min(values) <= low + 20 * error and high - 20 * error <= max(values) <= high


@pytest.mark.parametrize("case", range(4))
def test_each_step_gives_the_picture_of_the_reference(case: int) -> None:
    golden = {
        name.removeprefix(f"{case}."): value.numpy()
        for name, value in tensors("degradation").items()
        if name.startswith(f"{case}.")
    }
    told = json.loads(place("degradation/params.json").read_text(encoding="utf-8"))[str(case)]
    *blur, scale, _ = (value for _, _, value in told["uniform_draws_lo_hi_value"])
    names = {step.record()["family"]: step.degradation for step in load_preset("iqpir").draw(default_rng(0))}

    def stepped(family: str, lq: NDArray[Any], **parameters: Any) -> NDArray[Any]:
        return names[family].apply(Sample(np.ascontiguousarray(lq, np.float32), gt), parameters).lq

    gt = np.ascontiguousarray(_shown(golden["gt"]))
    sigma, turn = ((blur[0], blur[1]), blur[2]) if len(blur) == 3 else ((blur[0], blur[0]), 0.0)
    shape = {"kind": "gaussian_aniso", "size": 41, "shape": 1.0, "sigma": sigma, "angle": np.rad2deg(turn)}
    assert np.abs(kernel(shape) - golden["kernel"]).max() < FAIR
    blurred = stepped("mixed_blur", gt, **shape)
    assert np.abs(blurred - _as_rgb(golden["blurred"])).max() < FAIR
    small = stepped("rescale", blurred, scale=scale, filter="linear")
    assert list(small.shape[:2]) == told["low_size"]
    assert np.abs(small - _as_rgb(golden["down"])).max() < FAIR
    noise = np.float32(told["noise_sigma_255"] / 255) * _as_rgb(golden["noise_unit"]).astype(np.float32)
    noisy = np.clip(small + noise, 0, 1)
    assert np.abs(noisy - _as_rgb(golden["noisy"])).max() < FAIR
    coded = stepped("compression", noisy, kind="jpeg", quality=told["jpeg_q"], full_colour=False)
    lq = np.rint(stepped("fit", coded, filter="linear") * 255) / 255
    assert np.abs(lq - _shown(golden["lq"])).mean() < FAIR_ON_THE_MEAN


def _shown(picture: NDArray[Any]) -> NDArray[Any]:
    """(3, H, W), -1..1, as rows and columns of 0..1."""
    return ((picture + 1) / 2).transpose(1, 2, 0).astype(np.float32)


def _as_rgb(picture: NDArray[Any]) -> NDArray[Any]:
    return picture[..., ::-1]
