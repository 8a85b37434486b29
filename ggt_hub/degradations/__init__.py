"""Clean pictures into damaged ones, with a recipe that gives the same bytes again."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ggt_hub.degradations.base import Array, Degradation, Parameters
from ggt_hub.degradations.presets import FAMILIES, Preset, list_presets, load_preset
from ggt_hub.errors import DegradationError
from ggt_hub.images import Picture, fill_hidden, read_image
from ggt_hub.images.write import encoded

__all__ = [
    "FAMILIES",
    "Degradation",
    "Preset",
    "degrade",
    "encoding",
    "list_presets",
    "load_preset",
    "replay",
]

Recipe = dict[str, Any]
"""Plain JSON: `preset`, `task`, `seed`, `strength`, and `steps`, the parameters of each step in order.

A last step `encode` says that the picture was written in a format that does not keep every pixel, and how.
"""

_LOSSLESS = (".png", ".tif", ".tiff")
_QUALITY = 95  # the default of `write_image`


def degrade(
    image: Any, preset_or_task: str, *, strength: float | None = None, seed: int = 0
) -> tuple[Any, Recipe]:
    """Damage a picture.

    Args:
        image: anything `read_image` takes. Alpha and metadata are kept.
        preset_or_task: a family (`blur`, `noise`, `compression`, `low_light`, `resize`) or a chain of them
            (`mixture`, `web`, `night`); see `list_presets`.
        strength: 0 (mildest) .. 1 (most severe); None draws the severity of each step.
        seed: same picture, preset, strength and seed: same bytes.

    Returns:
        The picture (PIL for PIL, an integer array for an array, otherwise a `Picture`), and its recipe.

    Raises:
        DegradationError: for an unknown name, a strength outside 0..1, or a negative seed.
        ImageError: if the picture cannot be read.
    """
    if strength is not None and not 0.0 <= strength <= 1.0:
        raise DegradationError(f"strength is {strength}: it must lie in 0..1, or be None to draw it")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DegradationError(f"seed is {seed!r}: give a whole number from 0 on")
    preset = load_preset(preset_or_task)
    steps = list(preset.sample(np.random.default_rng(seed), strength))
    recipe = {"preset": preset.name, "task": preset.task, "seed": seed, "strength": strength, "steps": steps}
    return replay(image, recipe), recipe


def replay(image: Any, recipe: Recipe) -> Any:
    """Apply a recipe to a picture: the bytes that `degrade` gave when it wrote the recipe.

    Raises:
        DegradationError: if the recipe names a family that does not exist.
        ImageError: if the picture cannot be read.
    """
    picture = fill_hidden(read_image(image))  # or blur would bring colours to light that nobody saw
    steps = [step for step in recipe["steps"] if step["family"] != "encode"]
    damaged = picture.with_rgb(apply_steps(picture.rgb(), steps))
    for step in recipe["steps"][len(steps) :]:
        made = encoded(damaged, Path(f"picture.{step['format']}"), step["quality"])
        damaged = read_image(made.data, name=picture.name)
    return _as_given(damaged, image)


def encoding(suffix: str) -> list[Parameters]:
    """The last step of the recipe of a picture that `write_image` writes with that suffix; none if it keeps all."""
    if suffix.lower() in _LOSSLESS:
        return []
    return [{"family": "encode", "format": suffix.lower().lstrip("."), "quality": _QUALITY}]


def apply_steps(image: Array, steps: list[Parameters]) -> Array:
    """Apply drawn parameters to a float picture (height x width x 3, 0..1), one step after the other."""
    for parameters in steps:
        family = parameters["family"]
        if family not in FAMILIES:
            raise DegradationError(f"the recipe names the family {family!r}: there are {', '.join(FAMILIES)}")
        image = FAMILIES[family]().apply(image, parameters)
    return image


def _as_given(picture: Picture, given: Any) -> Any:
    if isinstance(given, Image.Image):
        return picture.to_pil()
    return np.asarray(picture) if isinstance(given, np.ndarray) else picture
