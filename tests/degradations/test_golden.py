"""The deterministic steps of RealRestorer's published pipeline; the part in the checkout has the smallest cases."""

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ggt_hub.degradations.base import to_float
from ggt_hub.degradations.blend import MODES, blend, screen
from ggt_hub.degradations.blur import kernel
from ggt_hub.degradations.fields import convolved, fitted
from ggt_hub.degradations.haze import airlight, layered, transmission
from ggt_hub.degradations.moire import mixed_blend
from ggt_hub.degradations.noise import averaged_where_busy
from ggt_hub.degradations.rain import on_black
from ggt_hub.degradations.reflection import defocused, ghosted
from ggt_hub.scenes.procedural import from_inverse
from tests.golden import document, place


def arrays(name: str) -> dict[str, np.ndarray]:
    return load_file(place(f"degradation/{name}.safetensors"))


def drawn(name: str) -> Any:
    return document(f"degradation/{name}.json")


def levels_apart(found: np.ndarray, wanted: np.ndarray, *, rounded: bool = False) -> int:
    """Largest difference in 255 levels. The published pipeline cuts decimals off where it does not round."""
    scaled = np.clip(found.astype(np.float32), 0, 1) * np.float32(255)
    whole = np.rint(scaled) if rounded else np.floor(scaled + np.float32(1e-4))
    return int(np.abs(whole.astype(int) - wanted).max())


def test_kernels_of_both_kinds() -> None:
    wanted, told = arrays("filters"), drawn("filters")
    for number, parameters in enumerate(told["sinc"]):
        found = kernel({"kind": "sinc", **parameters})
        assert np.abs(found - wanted[f"sinc_{number}"]).max() < 1e-7
    for number, parameters in enumerate(told["gaussian"]):
        sigma = [parameters["sigma"]] * 2
        found = kernel({"kind": "gaussian", "sigma": sigma, "angle": 0.0, "size": parameters["size"]})
        assert np.abs(found - wanted[f"gaussian_{number}"]).max() < 1e-7


def test_pictures_are_filtered_with_the_same_borders() -> None:
    wanted, told = arrays("filters"), drawn("filters")
    if "in.tensor" not in wanted:
        pytest.skip("filtered pictures are in the complete set alone")
    picture = np.ascontiguousarray(wanted["in.tensor"][0].transpose(1, 2, 0))
    for kind in ("sinc", "gaussian"):
        found = convolved(picture, wanted[f"{kind}_1"])
        assert np.abs(found - wanted[f"filtered_{kind}_1"][0].transpose(1, 2, 0)).max() < 2e-6
    assert told["sinc"][1]["size"] == 13


def test_haze_by_depth() -> None:
    wanted = arrays("haze")
    height, width = wanted["out.depth_map"].shape
    depth = from_inverse(wanted["in.raw_inverse_depth"], height, width)
    assert np.abs(1 - depth - wanted["out.depth_map"]).max() < 1e-6
    constant = from_inverse(np.full((24, 32), 3.0, np.float32), height, width)
    assert np.array_equal(1 - constant, wanted["out.depth_map_constant_input"])
    picture = to_float(wanted["in.image_uint8_hwc"])
    for number, run in enumerate(drawn("haze")["haze"]):
        if f"haze_{number}_uint8_hwc" not in wanted:
            continue
        through = transmission(depth, run["beta"], run["gamma"])[..., None]
        air = airlight(run["beta"], run["atmosphere_jitter"], run["tint_strength"])
        assert air == pytest.approx(run["metadata"]["atmosphere_light"], abs=5e-5)  # told to four decimals
        assert levels_apart(picture * through + air * (1 - through), wanted[f"haze_{number}_uint8_hwc"]) <= 1


def test_fog_is_screened() -> None:
    wanted, told = arrays("haze"), drawn("haze")["fog"]
    picture = to_float(wanted["in.image_uint8_hwc"])
    textures = [fitted(wanted[f"in.fog_texture_{name[1:]}"], picture) for name in told["order"]]
    assert levels_apart(screen(picture, layered(textures), told["alpha"]), wanted["fog_uint8_hwc"]) <= 1


def test_busy_places_are_averaged() -> None:
    wanted = arrays("noise")
    picture = to_float(wanted["in.image_uint8_hwc"])
    for number, run in enumerate(drawn("noise")["density_averaging"]):
        if f"density_{number}" in wanted:
            found = averaged_where_busy(picture, run["kernel_size"], run["threshold"])
            assert levels_apart(found, wanted[f"density_{number}"], rounded=True) == 0


def test_a_texture_of_rain_is_screened() -> None:
    wanted = arrays("rain")
    picture = to_float(wanted["in.image_uint8_hwc"])
    for number, run in enumerate(drawn("rain")["texture"]):
        if f"in.rain_texture_{number}_uint8_hwc" in wanted:
            texture = to_float(wanted[f"in.rain_texture_{number}_uint8_hwc"])
            assert (on_black(texture) is not texture) == run["mean_above_127_so_inverted"]
            found = screen(picture, fitted(on_black(texture), picture), run["alpha"])
            assert np.abs(found - wanted[f"out.rain_texture_{number}"]).max() < 1 / 255


def test_reflections_are_prepared() -> None:
    wanted, told = arrays("reflection"), drawn("reflection")
    second = to_float(wanted["in.reflection_uint8_hwc"])
    assert told["defocused"]["kernel_size"] == 2 * int(np.ceil(2 * told["defocused"]["sigma"])) + 1
    blurred = defocused(second, told["defocused"]["sigma"])
    assert levels_apart(blurred, wanted["defocused_uint8_hwc"], rounded=True) <= 1
    shift = (told["ghosting"]["shift_x"], told["ghosting"]["shift_y"])
    doubled = ghosted(second, shift, told["ghosting"]["attenuation"])
    assert levels_apart(doubled, wanted["ghosting_uint8_hwc"], rounded=True) == 0


def test_modes_of_blending() -> None:
    wanted = arrays("moire")
    below, above = wanted["modes.natural"], wanted["modes.pattern"]
    tried = set()
    for name in wanted:
        mode, _, opacity = name.removeprefix("modes.").rpartition("_")
        if name.startswith("modes.") and mode:
            tried.add(mode)
            assert np.abs(blend(mode, below, above, float(opacity)) - wanted[name]).max() < 1e-6, name
    assert tried == set(MODES)


def test_the_mix_of_modes_for_moire() -> None:
    wanted, told = arrays("moire"), drawn("moire")
    if "blend.result" not in wanted:
        pytest.skip("the blended picture is in the complete set alone")
    found = mixed_blend(wanted["in.natural"], wanted["in.pattern"], told["blend_weight"])
    assert np.abs(found - wanted["blend.result"]).max() < 1e-6
