"""Clean pictures into damaged ones, with a record that gives the same bytes again."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ggt_hub.degradations.base import Degradation, Parameters, Sample
from ggt_hub.degradations.chains import Drawn, apply_steps, severities
from ggt_hub.degradations.presets import (
    FAMILIES,
    STEPS,
    Preset,
    list_presets,
    load_preset,
    load_presets,
    parse_step,
)
from ggt_hub.degradations.versions import versions, warn_of_other
from ggt_hub.errors import DegradationError
from ggt_hub.images import Picture, fill_hidden, read_image
from ggt_hub.images.write import encoded
from ggt_hub.scenes import NOTHING, Assets, Scene

__all__ = [
    "FAMILIES",
    "NOTHING",
    "STEPS",
    "Assets",
    "Degradation",
    "Preset",
    "Sample",
    "apply_steps",
    "check_severity",
    "degrade",
    "degrade_pair",
    "encoding",
    "list_presets",
    "load_preset",
    "load_presets",
    "replay",
    "severities",
]

Record = dict[str, Any]
"""Plain JSON: `preset`, `task`, `seed`, `severity`, `versions`, and `steps`, what each family did, in order.

A last step `encode` says that the picture was written in a format that does not keep every pixel, and how.
"""

_LOSSLESS = (".png", ".tif", ".tiff")
_QUALITY = 95  # the default of `write_image`


def degrade(
    image: Any,
    preset: str | Path | Preset,
    *,
    task: str | None = None,
    severity: float | None = None,
    seed: int = 0,
    assets: Assets = NOTHING,
) -> tuple[Any, Record]:
    """Damage a picture.

    Args:
        image: anything `read_image` takes. Alpha and metadata are kept.
        preset: a family (`blur`, `noise`, `compression`, `low_light`, `resize`), a chain of them (`mixture`, `web`,
            `night`), or the path of a preset's YAML file; see `load_preset`.
        task: of a preset for several tasks.
        severity: 0 (mildest; of a family alone: none) .. 1 (worst); None draws that of each step.
        seed: same picture, preset, severity, seed and assets: same bytes.
        assets: what may be used besides the picture (`Assets.open`): patterns, second pictures, clips, networks for
            depth and masks. The record names what was used, and `replay` needs it again.

    Returns:
        The picture (PIL for PIL, an integer array for an array, otherwise a `Picture`), and its record.

    Raises:
        DegradationError: for an unknown name, a severity outside 0..1, or a negative seed.
        ImageError: if the picture cannot be read.
    """
    lq, _, record = degrade_pair(
        read_image(image), preset, task=task, severity=severity, seed=seed, assets=assets
    )
    return _as_given(lq, image), record


def degrade_pair(
    picture: Picture,
    preset: str | Path | Preset,
    *,
    task: str | None = None,
    severity: float | None = None,
    seed: int = 0,
    assets: Assets = NOTHING,
) -> tuple[Picture, Picture, Record]:
    """Damage a picture, and say what a restorer shall make of it; see `degrade`.

    Returns:
        The damaged picture, its ground truth (`picture` itself unless the damage touched it, too), and the record.
    """
    check_severity(severity)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DegradationError(f"seed is {seed!r}: give a whole number from 0 on")
    preset = load_preset(preset, task)
    steps = list(preset.draw(np.random.default_rng(seed), severity, assets))
    record = {"preset": preset.name, "task": preset.task, "seed": int(seed), "severity": severity}
    lq, gt = _damaged(picture, steps, assets)
    record |= {"versions": dict(versions()), "steps": [step.record() for step in steps]}
    return lq, gt, record


def check_severity(severity: float | None) -> None:
    """Refuse what no severity is.

    Raises:
        DegradationError: for a number outside 0..1.
    """
    if severity is not None and not 0.0 <= severity <= 1.0:
        raise DegradationError(f"severity is {severity}: it must lie in 0..1, or be left out to draw it")


def replay(image: Any, record: Record, *, assets: Assets = NOTHING) -> Any:
    """Apply a record to a picture: the bytes that `degrade` gave when it wrote the record.

    Warns once where the record names other versions of NumPy, OpenCV, Pillow or its codecs: bytes may differ then.

    Raises:
        DegradationError: if the record names a family or a setting that does not exist, or an asset or a network
            that `assets` lack (by name and hash).
        ImageError: if the picture cannot be read.
    """
    picture = read_image(image)
    warn_of_other(record.get("versions", {}))  # 0.1 noted none
    steps = [step for step in record["steps"] if step["family"] != "encode"]
    damaged, _ = _damaged(picture, map(parse_step, steps), assets)
    for step in record["steps"][len(steps) :]:
        made = encoded(damaged, Path(f"picture.{step['format']}"), step["quality"])
        damaged = read_image(made.data, name=picture.name)
    return _as_given(damaged, image)


def _damaged(picture: Picture, steps: Iterable[Drawn], assets: Assets) -> tuple[Picture, Picture]:
    """The damaged picture, and its ground truth."""
    filled = fill_hidden(picture)  # or blur would bring colours to light that nobody saw
    clean = filled.rgb()
    sample = apply_steps(Sample(clean, clean, Scene(clean, assets)), steps)
    cut = _cut(filled, *sample.gt.shape[:2])
    gt = picture if sample.gt is clean else cut.with_rgb(sample.gt)
    return cut.with_rgb(sample.lq), gt


def _cut(picture: Picture, height: int, width: int) -> Picture:
    """Without what a family cut off at the right and at the bottom: alpha keeps its place under the colours."""
    if picture.size == (width, height):
        return picture
    alpha = None if picture.alpha is None else picture.alpha[:height, :width]
    return replace(picture, pixels=picture.pixels[:height, :width], alpha=alpha)


def encoding(suffix: str, quality: int = _QUALITY) -> list[Parameters]:
    """The last step of the record of a picture that `write_image` writes so; none if all of it is kept."""
    suffix = suffix.lower()
    if suffix in _LOSSLESS or (suffix == ".webp" and quality == 100):
        return []
    return [{"family": "encode", "format": suffix.lstrip("."), "quality": quality}]


def _as_given(picture: Picture, given: Any) -> Any:
    if isinstance(given, Image.Image):
        return picture.to_pil()
    return np.asarray(picture) if isinstance(given, np.ndarray) else picture
