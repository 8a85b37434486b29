"""A sheet to look at: every family and kind on one picture, at three severities."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ggt_hub.degradations.base import Degradation, Sample, to_float, to_uint8
from ggt_hub.degradations.presets import FAMILIES
from ggt_hub.errors import DegradationError, did_you_mean
from ggt_hub.images.shown import shown_rgb
from ggt_hub.reports import contact_sheet
from ggt_hub.scenes import NOTHING, Assets, Scene

SEVERITIES = (0.2, 0.5, 0.9)


def damage_sheet(
    picture: Any,
    families: Sequence[str] | None = None,
    *,
    seed: int = 0,
    assets: Assets = NOTHING,
    cell: int = 400,
) -> Image.Image:
    """Lay out what each kind of damage does to a picture, two kinds in a row, each at severities 0.2, 0.5 and 0.9.

    Args:
        picture: anything that `read_image` takes; transparency is laid on white.
        families: by name; None takes all that there are.
        seed: of the draws.
        assets: what may be used besides the picture; see `degrade`.
        cell: the longer side of each picture on the sheet.

    Raises:
        DegradationError: for a family that does not exist.
        ImageError: if the picture cannot be read.
    """
    clean = to_float(_thumbnail(shown_rgb(picture), cell))
    scene = Scene(clean, assets)
    pictures, captions = [], []
    for name in FAMILIES if families is None else families:
        for caption, family in _kinds(name):
            for severity in SEVERITIES:
                rng = np.random.default_rng(seed)
                parameters = family.choose(rng, family.draw(rng, severity), assets)
                damaged = family.apply(Sample(clean, clean, scene), parameters)
                pictures.append(to_uint8(damaged.lq))
                captions.append(f"{caption} {severity}")
    return contact_sheet(pictures, captions, columns=2 * len(SEVERITIES), cell=cell)


def _thumbnail(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture at the size of its cell: so damage is seen pixel for pixel."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _kinds(name: str) -> Iterator[tuple[str, Degradation]]:
    """Each kind of a family alone, with its name; the family itself where it has no kinds."""
    if name not in FAMILIES:
        raise DegradationError(
            f"no family named {name!r}: there are {', '.join(FAMILIES)}{did_you_mean(name, FAMILIES)}"
        )
    family: Any = FAMILIES[name].alone()
    for kind in getattr(family, "kinds", ()):
        yield f"{name}, {kind}", replace(family, kinds=(kind,))
    if not hasattr(family, "kinds"):
        yield name, family
