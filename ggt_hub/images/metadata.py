"""What travels beside the pixels: orientation, EXIF, and the ICC profile."""

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from ggt_hub.images.faults import DECODER_ERRORS
from ggt_hub.images.picture import ImageWarning

# Tags that describe how one TIFF file stores its pixels; in another file they would be wrong.
_STORAGE_TAGS = {*range(254, 267), 273, *range(277, 282), 284, *range(288, 294), 301, *range(317, 348)}
_STORAGE_TAGS |= {*range(512, 533), 700, 33723, 34377, 34675, 37724}  # from 700 on: XMP, IPTC, Photoshop, ICC
_SIZE_TAGS = (Base.ExifImageWidth, Base.ExifImageHeight)
SUB_DIRECTORIES = (IFD.Exif, IFD.GPSInfo)


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


def portable_exif(exif: Image.Exif, name: str) -> bytes | None:
    """The EXIF block that may go into another file: upright, without thumbnail or storage tags.

    A block that cannot be read is left behind with an `ImageWarning`: it must not cost the picture.
    """
    try:
        clean = Image.Exif()
        clean.endian = exif.endian
        for tag, value in exif.items():
            if tag not in _STORAGE_TAGS and tag not in SUB_DIRECTORIES:
                clean[tag] = value
        for directory in SUB_DIRECTORIES:
            if entries := sub_directory(exif, directory):
                clean[directory] = entries
        if not len(clean):
            return None
        clean[Base.Orientation] = 1
        return clean.tobytes()
    except DECODER_ERRORS as error:
        warn_of_damaged_exif(name, error)
        return None


def sub_directory(exif: Image.Exif, directory: int) -> dict[int, Any]:
    """The entries of the Exif or GPS directory, those of the directory below it included.

    Without the size of the picture, which would be wrong after turning or upscaling.
    """
    stored = exif.get(directory)  # an offset where it was read, a dict where somebody put one in
    directory_below = stored if isinstance(stored, dict) else exif.get_ifd(directory)
    entries = {tag: value for tag, value in directory_below.items() if tag not in _SIZE_TAGS}
    if isinstance(entries.get(IFD.Interop), int):
        entries[IFD.Interop] = exif.get_ifd(IFD.Interop)
    return entries


def warn_of_damaged_exif(name: str, error: Exception) -> None:
    """Say that the picture was kept and its EXIF was not."""
    warnings.warn(f"{name!r}: its EXIF is damaged ({error}) and was left behind.", ImageWarning, stacklevel=3)


def usable_icc(icc: bytes | None, channels: int, name: str) -> bytes | None:
    """The profile if it is sound and describes pictures of so many channels, else None and an `ImageWarning`."""
    if not icc:
        return None
    wanted = "GRAY" if channels == 1 else "RGB"
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space.strip()
        reason = "" if space == wanted else f"describes {space}, the picture is {wanted}"
    except DECODER_ERRORS:
        reason = "is damaged"
    if not reason:
        return icc
    warnings.warn(f"{name!r}: its ICC profile {reason}; it was left behind.", ImageWarning, stacklevel=2)
    return None
