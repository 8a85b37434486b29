"""RealRestorer's published chains, step by step, with the parameters that its own runs drew."""

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ggt_hub.degradations import Sample
from ggt_hub.degradations.base import Array, to_float
from ggt_hub.degradations.presets import parse_step
from tests.golden import document, place

FILTERS = {"area": "pooled", "bilinear": "antialiased_linear", "bicubic": "antialiased_cubic"}


def arrays(name: str) -> dict[str, np.ndarray]:
    return load_file(place(f"degradation/{name}.safetensors"))


def picture(tensor: np.ndarray) -> Array:
    return np.ascontiguousarray(tensor[0].transpose(1, 2, 0))


def done(
    lq: Array, gt: Array, family: str, settings: dict[str, Any] | None = None, **parameters: Any
) -> Array:
    step = parse_step({"family": family, "settings": settings or {}, **parameters})
    return step.degradation.apply(Sample(lq, gt), step.parameters).lq


def shrunk(lq: Array, factor: float, mode: str, *, divides: bool = True) -> Array:
    settings = {"shifts": True, "divides": divides}
    return done(lq, lq, "rescale", settings, scale=factor, filter=FILTERS[mode])


def blurred(lq: Array, size: int, is_sinc: bool, value: float) -> Array:
    drawn = (
        {"kind": "sinc", "cutoff": value}
        if is_sinc
        else {"kind": "gaussian", "sigma": [value] * 2, "angle": 0.0}
    )
    return done(lq, lq, "blur", size=size, **drawn)


def jpeg(lq: Array, quality: int) -> Array:
    return done(lq, lq, "compression", kind="jpeg", quality=quality, full_colour=False)


def test_resizing() -> None:
    wanted = arrays("filters")
    if "in.tensor" not in wanted:
        pytest.skip("resized pictures are in the complete set alone")
    clean = picture(wanted["in.tensor"])
    for mode in FILTERS:
        found = shrunk(clean, 0.37, mode, divides=False)
        assert np.abs(found - np.clip(picture(wanted[f"down_{mode}_0.37"]), 0, 1)).max() < 2e-6
    found = done(picture(wanted["down_area_0.37"]), clean, "fit", filter="antialiased_cubic")
    assert np.abs(found - np.clip(picture(wanted["up_bicubic_antialias"]), 0, 1)).max() < 2e-6


@pytest.mark.parametrize("number", range(4))
def test_the_chain_of_blur(number: int) -> None:
    """Noise is theirs. Between filter and shrinking ours cuts overshoot off, which moves run 3 by two levels.

    Before JPEG theirs cuts decimals off, and so is given whole levels here.
    """
    wanted = arrays(f"blur_{number}")
    draws = [draw["value"] for draw in document(f"degradation/blur_{number}.json")["draws"]]
    size, chance, value, factor, mode, _, sigma, _, quality, again, *second = draws
    clean = to_float(wanted["in.image_uint8_hwc"])
    found = shrunk(blurred(clean, size, chance < 0.5, value), factor, mode)
    found = np.clip(found + picture(wanted["noise.randn_like_0"]) * np.float32(sigma / 255), 0, 1)
    noisy = picture(wanted["stage.add_gaussian_noise_0"])
    assert 255 * np.abs(found - noisy).max() < (2.5 if number == 3 else 1e-3)
    coded = picture(wanted["stage.apply_jpeg_compression_0"])
    assert 255 * np.abs(jpeg(whole(noisy), quality) - coded).max() < 1e-3
    if again < 0.7:
        size, chance, value, factor, mode = second
        coded = shrunk(blurred(coded, size, chance < 0.5, value), factor, mode)
    right, wrong = wanted["out.image_clamped_uint8_hwc"], wanted["out.image_uint8_hwc"]
    assert np.any(right != wrong) == (number == 0)
    for wraps, out in ((False, right), (True, wrong)):
        last = done(coded, clean, "fit", {"wraps": wraps}, filter="antialiased_cubic")
        assert np.abs(np.floor(last * 255 + 1e-3) - out).max() <= 1


@pytest.mark.parametrize("number", range(4))
def test_the_chain_of_pictures_on_the_web(number: int) -> None:
    wanted = arrays(f"web_{number}")
    draws = [draw["value"] for draw in document(f"degradation/web_{number}.json")["draws"]]
    _, scale, mode, *draws = draws  # of a small picture
    clean = to_float(wanted["in.image_uint8_hwc"])
    found = shrunk(clean, scale, mode, divides=False)
    if draws.pop(0) < 0.6:
        size, sigma = draws[:2]
        found, draws = blurred(found, size, False, sigma), draws[2:]
    if draws.pop(0) < 0.5:
        sigma, _ = draws[:2]
        found = np.clip(found + picture(wanted["noise.randn_like_0"]) * np.float32(sigma / 255), 0, 1)
        assert 255 * np.abs(found - picture(wanted["stage.add_gaussian_noise_0"])).max() < 1e-3
        draws = draws[2:]
    _, quality, mode = draws
    coded = picture(wanted["stage.apply_jpeg_compression_0"])
    apart = 255 * np.abs(jpeg(whole(found), quality) - coded)
    # A last bit decides whether one value is a level lower, and that is felt in its whole block of 8 x 8.
    assert (apart > 2.01).mean() < 0.01
    last = done(coded, clean, "fit", filter=FILTERS[mode])
    assert np.abs(np.floor(last * 255 + 1e-3) - wanted["out.image_clamped_uint8_hwc"]).max() <= 1


def whole(image: Array) -> Array:
    """Decimals of 255 levels cut off."""
    return np.floor(image * np.float32(255) + np.float32(1e-4)) / np.float32(255)
