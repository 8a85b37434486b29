"""One reader per format: from the bytes of a file to `Picture`, the size checked before anything is decoded."""

import functools
import io
import struct
import warnings

import cv2
import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.IcoImagePlugin import IcoFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ggt_hub.errors import ImageError
from ggt_hub.images import deep
from ggt_hub.images.convert import (
    check_size,
    exif_of,
    finished,
    from_array,
    from_pil,
    warn_of_others,
    with_colour_key,
)
from ggt_hub.images.faults import DECODER_ERRORS
from ggt_hub.images.picture import ImageWarning, Picture

_ICC_TAG = 34675
_ORIENTATION_TAG = 274


def _read_with_pillow(plugin: type[ImageFile], data: bytes, name: str, max_pixels: int) -> Picture:
    return from_pil(plugin(io.BytesIO(data)), name, max_pixels)


read_avif = functools.partial(_read_with_pillow, AvifImageFile)
read_bmp = functools.partial(_read_with_pillow, BmpImageFile)
read_gif = functools.partial(_read_with_pillow, GifImageFile)
read_webp = functools.partial(_read_with_pillow, WebPImageFile)


def read_jpeg(data: bytes, name: str, max_pixels: int) -> Picture:
    """A JPEG. OpenCV decodes grey and RGB to Pillow's bytes (both are libjpeg-turbo) in half the time.

    It is never taken for MPO: what phones append to a photograph are gain maps and previews of the same.
    """
    image = JpegImageFile(io.BytesIO(data))
    check_size(*image.size, max_pixels, name)
    if image.mode not in ("L", "RGB") or not _has_its_end(data):
        return from_pil(image, name, max_pixels)  # CMYK; and Pillow says what a cut file lacks
    colours = cv2.IMREAD_GRAYSCALE if image.mode == "L" else cv2.IMREAD_COLOR_RGB
    array = cv2.imdecode(np.frombuffer(data, np.uint8), colours | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        return from_pil(image, name, max_pixels)
    return finished(
        from_array(array, name, max_pixels), image.info.get("icc_profile"), exif_of(image, name), name
    )


def _has_its_end(data: bytes) -> bool:
    """Whether an end marker follows the first scan: OpenCV would fill what a cut JPEG lacks with grey.

    Up to the scan, segments are skipped by their length, since a thumbnail in EXIF has an end marker of its own.
    """
    position = 2
    while position + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        position += 2 + length
        if marker == 0xFFDA:
            return data.rfind(b"\xff\xd9", position) >= 0
    return False


def read_png(data: bytes, name: str, max_pixels: int) -> Picture:
    """A PNG; if a chunk beside the pixels is damaged or a bomb, once more without text, profile and EXIF."""
    kind, width, height = struct.unpack_from(">4sII", data, 12)  # PNG 3rd edition, 11.2.1
    if kind != b"IHDR":
        raise ImageError(f"cannot read {name!r}: it does not begin with IHDR as PNG must. Get a fresh copy.")
    check_size(width, height, max_pixels, name)
    try:
        return _read_whole_png(data, name, max_pixels)
    except DECODER_ERRORS as error:
        failure = error
    for extras in ((b"iCCP", b"eXIf"), (b"eXIf",), ()):
        smaller = _essential_chunks(data, extras)
        if smaller == data:
            continue
        try:
            picture = _read_whole_png(smaller, name, max_pixels)
        except DECODER_ERRORS:
            continue
        warnings.warn(f"{name!r}: damaged metadata was left behind ({failure}).", ImageWarning, stacklevel=2)
        return picture
    raise failure


def _read_whole_png(data: bytes, name: str, max_pixels: int) -> Picture:
    image = PngImageFile(io.BytesIO(data))
    check_size(*image.size, max_pixels, name)  # again: a second IHDR may hide behind the first
    depth, colour_type = data[24:26]
    if depth < 16:
        if depth in (2, 4) and "transparency" in image.info and image.mode == "L":
            image.info["transparency"] *= 255 // (2**depth - 1)  # Pillow scales the pixels, not this
        return from_pil(image, name, max_pixels)
    image.load()  # Pillow is the stricter judge of damage, OpenCV gives all the bits
    array, colour_key = deep.decode_with_opencv(data, name), image.info.get("transparency")
    if colour_type == 4:  # grey with alpha: OpenCV repeats the grey
        array = array[..., [0, 3]]
    elif colour_key is not None and (array.ndim == 2 or array.shape[2] == 3):
        array = with_colour_key(array, colour_key)
    return finished(
        from_array(array, name, max_pixels), image.info.get("icc_profile"), exif_of(image, name), name
    )


def _essential_chunks(data: bytes, extras: tuple[bytes, ...]) -> bytes:
    """The PNG with only the chunks that its pixels need, and the `extras`."""
    kept, position = [data[:8]], 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", *extras):
            kept.append(data[position : position + 12 + length])
        position += 12 + length
    return b"".join(kept)


def read_pnm(data: bytes, name: str, max_pixels: int) -> Picture:
    """A PBM, PGM, PPM or grey PFM."""
    if not deep.pnm_is_deep(data):
        return _read_with_pillow(PpmImageFile, data, name, max_pixels)
    image = PpmImageFile(io.BytesIO(data))
    check_size(*image.size, max_pixels, name)
    image.load()  # as for PNG: the judge of damage
    return from_array(deep.decode_with_opencv(data, name), name, max_pixels)


def read_jpeg2000(data: bytes, name: str, max_pixels: int) -> Picture:
    """A JPEG 2000 picture or bare codestream."""
    image = Jpeg2KImageFile(io.BytesIO(data))
    if image.mode not in ("RGB", "RGBA") or not deep.jpeg2000_is_deep(data):
        return from_pil(image, name, max_pixels)
    check_size(*image.size, max_pixels, name)
    image.load()  # as for PNG: the judge of damage
    array = deep.decode_with_opencv(data, name)
    return finished(
        from_array(array, name, max_pixels), image.info.get("icc_profile"), exif_of(image, name), name
    )


def read_tiff(data: bytes, name: str, max_pixels: int) -> Picture:
    """The first page of a TIFF."""
    tags = deep.tiff_tags(data, name, max_pixels)
    if not deep.tiff_is_deep(tags):
        return _read_with_pillow(TiffImageFile, data, name, max_pixels)
    array, is_upright = deep.decode_tiff(data, tags, name)
    exif = _exif_of_tiff(data)
    exif[_ORIENTATION_TAG] = 1 if is_upright else tags.get(_ORIENTATION_TAG, 1)
    if tags.next:
        warn_of_others(name, 0)
    return finished(from_array(array, name, max_pixels), tags.get(_ICC_TAG), exif, name)


def _exif_of_tiff(data: bytes) -> Image.Exif:
    exif = Image.Exif()
    try:
        exif.load(data)
    except DECODER_ERRORS:  # BigTIFF, which Pillow reads as a picture but not as EXIF
        return Image.Exif()
    return exif


def read_ico(data: bytes, name: str, max_pixels: int) -> Picture:
    """The largest icon. It may be a PNG inside, whose own header is the one that counts.

    Pillow's `IcoImageFile` would decode while it opens; `IcoFile` only looks.
    """
    icons = IcoFile(io.BytesIO(data))
    return from_pil(icons.getimage(max(icons.sizes())), name, max_pixels)
