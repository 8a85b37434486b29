"""From the bytes of a file to `Picture`: the size is checked in the header, then one decoder does the work."""

import io
import re
import struct
import warnings
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.IcoImagePlugin import IcoImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ggt_hub.errors import ImageError
from ggt_hub.images import deep
from ggt_hub.images.convert import check_size, exif_of, finished, from_array, from_pil, with_colour_key
from ggt_hub.images.metadata import DECODER_ERRORS
from ggt_hub.images.picture import ImageWarning, Picture

# The only decoders that untrusted bytes reach. Pillow has forty more, some of which start other programs (EPS) or
# recognise nearly anything (TGA). The classes are used without `Image.open`, whose bomb limit is one global
# number; and a JPEG is never taken for MPO, whose further pictures are gain maps or previews of the first.
_FORMATS: list[tuple[re.Pattern[bytes], type[ImageFile]]] = [
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImageFile),
    (re.compile(rb"GIF8[79]a"), GifImageFile),
    (re.compile(rb"BM"), BmpImageFile),
    (re.compile(rb"P[1-6fF]\s"), PpmImageFile),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), Jpeg2KImageFile),
    (re.compile(rb".{4}ftyp.{0,48}?avi[fs]", re.DOTALL), AvifImageFile),
    (re.compile(rb"\0\0\x01\0"), IcoImageFile),
]
_SUPPORTED = "PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, AVIF or ICO"

# What people take for pictures, and what helps.
_OTHERS: list[tuple[re.Pattern[bytes], str]] = [
    (
        re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)", re.DOTALL),
        "a HEIC photograph. Convert it to JPEG or PNG, or open it with pillow-heif and pass the PIL image",
    ),
    (re.compile(rb".{4}ftyp", re.DOTALL), "a video. Extract a frame first"),
    (
        re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE),
        "an HTML page. Take the address of the picture",
    ),
    (re.compile(rb"\s*<(\?xml|svg)", re.IGNORECASE), "SVG or XML. Render it to PNG first"),
    (re.compile(rb"%PDF|%!PS|\xc5\xd0\xd3\xc6"), "PDF or PostScript. Render it to PNG first"),
    (re.compile(rb"8BPS"), "a Photoshop document. Export it as TIFF or PNG"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|Rar!|7z"), "an archive. Unpack it first"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer. Run `git lfs pull`"),
]


def decode(data: bytes, name: str, max_pixels: int) -> Picture:
    """The first picture in an encoded file.

    Args:
        data: The whole file.
        name: What messages call it.
        max_pixels: Larger pictures are refused before any pixel is decoded.

    Raises:
        ImageError: If it is empty, unknown, too large, incomplete or damaged.
    """
    plugin = _recognised(data, name)
    reader = _READERS.get(plugin, _decode_plain)
    try:
        return reader(plugin, data, name, max_pixels)
    except DECODER_ERRORS as error:
        if isinstance(error, ImageError):
            raise
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise ImageError(
            f"cannot read {name!r}: {reason}. The file is incomplete or damaged; get a fresh copy."
        ) from error


def _recognised(data: bytes, name: str) -> type[ImageFile]:
    if not data:
        raise ImageError(f"cannot read {name!r}: it is empty (0 bytes). Get a fresh copy.")
    head = data[:256]
    for signature, plugin in _FORMATS:
        if signature.match(head):
            return plugin
    for signature, what in _OTHERS:
        if signature.match(head):
            raise ImageError(f"cannot read {name!r}: it is {what}.")
    raise ImageError(f"cannot read {name!r}: it is not a picture. Supported are {_SUPPORTED}.")


def _decode_plain(plugin: type[ImageFile], data: bytes, name: str, max_pixels: int) -> Picture:
    image = plugin(io.BytesIO(data))
    picture = from_pil(image, name, max_pixels)
    if _is_animated(image):
        warnings.warn(f"{name!r}: only the first of its pictures is used.", ImageWarning, stacklevel=2)
    return picture


def _is_animated(image: ImageFile) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except DECODER_ERRORS:  # a damaged second frame is no reason to lose the first
        return True


def _decode_jpeg(plugin: type[ImageFile], data: bytes, name: str, max_pixels: int) -> Picture:
    """OpenCV decodes grey and RGB to the same bytes as Pillow (both are libjpeg-turbo) in half the time."""
    image = plugin(io.BytesIO(data))
    check_size(*image.size, max_pixels, name)
    if image.mode not in ("L", "RGB") or not _has_its_end(data):
        return from_pil(image, name, max_pixels)  # CMYK; and Pillow knows better what a cut file lacks
    colours = cv2.IMREAD_GRAYSCALE if image.mode == "L" else cv2.IMREAD_COLOR_RGB
    array = cv2.imdecode(np.frombuffer(data, np.uint8), colours | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        return from_pil(image, name, max_pixels)
    return finished(from_array(array, name, max_pixels), image.info.get("icc_profile"), exif_of(image), name)


def _has_its_end(data: bytes) -> bool:
    """Whether an end marker follows the first scan: OpenCV would fill what a cut JPEG lacks with grey.

    Up to the scan, segments are skipped by their length, since a thumbnail in EXIF has an end marker of its own.
    """
    position = 2
    while position + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        position += 2 + length
        if marker == 0xFFDA:
            return data.find(b"\xff\xd9", position) >= 0
    return False


def _decode_png(plugin: type[ImageFile], data: bytes, name: str, max_pixels: int) -> Picture:
    """A PNG; if a chunk beside the pixels is damaged or a bomb, once more without such chunks."""
    try:
        return _decode_whole_png(plugin, data, name, max_pixels)
    except DECODER_ERRORS:
        essence = _essential_chunks(data)
        if essence == data:
            raise
        picture = _decode_whole_png(plugin, essence, name, max_pixels)
    warnings.warn(f"{name!r}: its metadata is damaged and was left behind.", ImageWarning, stacklevel=2)
    return picture


def _decode_whole_png(plugin: type[ImageFile], data: bytes, name: str, max_pixels: int) -> Picture:
    if not deep.png_is_deep(data):
        return _decode_plain(plugin, data, name, max_pixels)
    image = plugin(io.BytesIO(data))
    check_size(*image.size, max_pixels, name)
    image.load()  # Pillow is the stricter judge of damage, OpenCV gives all the bits
    array, colour_key = deep.decode_with_opencv(data, name), image.info.get("transparency")
    if data[25:26] == b"\x04":  # grey with alpha: OpenCV repeats the grey
        array = array[..., [0, 3]]
    elif colour_key is not None and (array.ndim == 2 or array.shape[2] == 3):
        array = with_colour_key(array, colour_key)
    return finished(from_array(array, name, max_pixels), image.info.get("icc_profile"), exif_of(image), name)


def _essential_chunks(data: bytes) -> bytes:
    """The PNG without what is not needed for its pixels: text, profile, EXIF, animation."""
    kept, position = [data[:8]], 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[position : position + 12 + length])
        position += 12 + length
    return b"".join(kept)


def _decode_pnm(plugin: type[ImageFile], data: bytes, name: str, max_pixels: int) -> Picture:
    if not deep.pnm_is_deep(data):
        return _decode_plain(plugin, data, name, max_pixels)
    image = plugin(io.BytesIO(data))
    check_size(*image.size, max_pixels, name)
    image.load()  # as for PNG: the judge of damage
    return from_array(deep.decode_with_opencv(data, name), name, max_pixels)


def _decode_tiff(plugin: type[ImageFile], data: bytes, name: str, max_pixels: int) -> Picture:
    tags = deep.tiff_tags(data, name, max_pixels)
    if not deep.tiff_is_deep(tags):
        return _decode_plain(plugin, data, name, max_pixels)
    array, turned = deep.decode_tiff(data, tags, name)
    exif = Image.Exif()
    exif.load(data)
    if turned:
        exif[0x0112] = 1
    if tags.next:
        warnings.warn(f"{name!r}: only the first of its pictures is used.", ImageWarning, stacklevel=2)
    return finished(from_array(array, name, max_pixels), tags.get(34675), exif, name)


def _decode_ico(plugin: type[ImageFile], data: bytes, name: str, max_pixels: int) -> Picture:
    """The largest icon. It may be a PNG inside, whose own header is the one that counts."""
    image = plugin(io.BytesIO(data))
    assert isinstance(image, IcoImageFile)  # noqa: S101 - for the type checker
    return from_pil(image.ico.getimage(image.size), name, max_pixels)


_READERS: dict[type[ImageFile], Callable[[type[ImageFile], bytes, str, int], Picture]] = {
    JpegImageFile: _decode_jpeg,
    PngImageFile: _decode_png,
    PpmImageFile: _decode_pnm,
    TiffImageFile: _decode_tiff,
    IcoImageFile: _decode_ico,
}
