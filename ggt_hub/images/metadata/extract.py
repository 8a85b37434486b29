"""`extract`: from the bytes of any file to what its picture carries."""

import re
from collections.abc import Callable
from dataclasses import replace

from ggt_hub.images import ifd
from ggt_hub.images.faults import DECODER_ERRORS
from ggt_hub.images.metadata import bmff, exif, gif, jpeg, png, tiff, webp, xmp
from ggt_hub.images.metadata.model import Carried, Metadata

_READERS: list[tuple[re.Pattern[bytes], Callable[[bytes], tuple[Metadata, list[str]]]]] = [
    (re.compile(rb"\xff\xd8\xff"), jpeg.read),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), png.read),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), webp.read),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), tiff.read),
    (re.compile(rb"GIF8[79]a"), gif.read),
    (re.compile(rb"BM"), gif.read_bmp),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n"), bmff.read_jpeg2000),
    (re.compile(rb".{4}ftyp", re.DOTALL), bmff.read),
]

_MOST_WORDS = 20  # a file may have a million chunks of different names


def extract(data: bytes) -> Carried:
    """What the file's picture carries, made ready for another file, and in words what is left behind.

    Damage costs the block that has it, and never the picture.
    """
    for signature, read in _READERS:
        if signature.match(data[:16]):
            try:
                stored, left = read(data)
                metadata, words = portable(stored, left)
                return Carried(
                    metadata, words, _orientation(stored if metadata.exif else replace(stored, exif=None))
                )
            except DECODER_ERRORS as error:
                return Carried(left_behind=(f"its metadata, which is damaged ({error})",))
    return Carried()


def portable(metadata: Metadata, left: list[str]) -> tuple[Metadata, tuple[str, ...]]:
    """The blocks of an upright picture that stands alone."""
    changes: dict[str, bytes | None] = {}
    resolution = metadata.resolution
    if resolution and not resolution.is_sane():
        resolution, left = None, [*left, "resolution, which is absurd"]
    if metadata.exif is not None:
        try:
            if ifd.repeats_itself(metadata.exif):
                raise ValueError(f"it {ifd.REPEATS}")
            changes["exif"] = exif.upright(metadata.exif)
        except ValueError as error:
            changes["exif"] = None
            left = [*left, f"EXIF, which is damaged ({error})"]
    if resolution and _orientation(metadata) >= exif.SIDEWAYS:
        resolution = resolution._replace(x=resolution.y, y=resolution.x)
    if metadata.xmp is not None:
        try:
            whole = _whole(metadata)
            if metadata.extended_xmp and not whole:
                left = [*left, "extended XMP, which is incomplete"]
            extended = xmp.portable(whole) if whole else None
            changes["extended_xmp"] = extended
            changes["xmp"] = xmp.with_extension(xmp.portable(metadata.xmp), extended)
        except ValueError as error:
            changes["xmp"] = changes["extended_xmp"] = None
            left = [*left, f"XMP, which is damaged ({error})"]
    if len(left) > _MOST_WORDS:
        left = [*left[:_MOST_WORDS], f"{len(left) - _MOST_WORDS} more things"]
    return replace(metadata, resolution=resolution, **changes), tuple(left)  # type: ignore[arg-type]


def _orientation(metadata: Metadata) -> int:
    """How the stored pixels are to be turned: as EXIF says, else as XMP does."""
    stated = exif.stated_orientation(metadata.exif) if metadata.exif else None
    return stated or (xmp.stated_orientation(metadata.xmp) if metadata.xmp else None) or 1


def _whole(metadata: Metadata) -> bytes | None:
    """The extended part if it is the one that the packet names."""
    extended = metadata.extended_xmp
    return extended if extended and xmp.guid(extended) in (metadata.xmp or b"").upper() else None
