"""The libraries that decide a damaged picture's last bits: their versions, in records and at their replay."""

import warnings
from collections.abc import Mapping
from functools import cache

import cv2
import numpy as np
import PIL
from PIL import features


@cache
def versions() -> Mapping[str, str]:
    """Of NumPy (random numbers), OpenCV (filters, sizes, lines), Pillow (sizes) and its codecs."""
    codecs = {"libjpeg": "libjpeg_turbo", "webp": "webp", "avif": "avif"}
    found = {name: features.version(feature) for name, feature in codecs.items()}
    libraries = {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": PIL.__version__}
    return libraries | {name: version for name, version in found.items() if version}


def warn_of_other(recorded: Mapping[str, str]) -> None:
    """Warn, once for each difference, that a record was made by other versions; an empty one says nothing."""
    here = versions()
    others = [
        f"{name} {made}, not {here.get(name)}" for name, made in recorded.items() if made != here.get(name)
    ]
    if others:
        _warn_once(", ".join(others))


@cache
def _warn_once(others: str) -> None:
    warnings.warn(
        f"the record was made with {others}: values may differ by a level, and random numbers where NumPy has "
        "changed them; install these versions for the same bytes",
        stacklevel=4,
    )
