"""Turning pixels as EXIF's Orientation asks."""

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from ggt_hub.images.faults import DECODER_ERRORS


def orientation_of(exif: Image.Exif) -> int:
    """The EXIF Orientation, 1 (upright) where it is missing, absurd or unreadable."""
    try:
        value = exif.get(Base.Orientation, 1)
    except DECODER_ERRORS:
        return 1
    return value if value in range(1, 9) else 1


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """An HW or HWC array turned as its EXIF orientation (1..8; EXIF 2.3, 4.6.4) asks."""
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }[orientation](array)
    return np.ascontiguousarray(turned)
