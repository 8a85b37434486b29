"""From `Picture` to the bytes of a file, one function per format."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ggt_hub.images.metadata import SUB_DIRECTORIES, sub_directory
from ggt_hub.images.picture import ImageWarning, Picture, to_eight_bits

_PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG 3rd edition, table 9
_JPEG_EXIF_LIMIT = 65533
_ROWS_AT_ONCE = 256


def encode_png(picture: Picture, quality: int) -> bytes:
    """PNG of 8 or 16 bits in any layout that a Picture has, `quality` ignored.

    Each row is filtered by "Sub" (PNG 3rd edition, 9.2) and compressed at level 1: 11 ms and 491 KB for a
    photograph of 512x512, where Pillow's default takes 64 ms and 505 KB. Besides, Pillow has no 16-bit colour and
    OpenCV no grey with alpha.
    """
    array = np.asarray(picture)
    channels = 1 if array.ndim == 2 else array.shape[2]
    bits = array.itemsize * 8
    header = struct.pack(">IIBBBBB", *picture.size, bits, _PNG_COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if picture.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc)))
    if picture.exif:
        chunks.append((b"eXIf", picture.exif[6:]))
    chunks += [(b"IDAT", part) for part in _compressed_rows(array, channels)]
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        for kind, data in chunks
    )


def _compressed_rows(array: np.ndarray, channels: int) -> Iterator[bytes]:
    """The filtered rows as one zlib stream, in parts."""
    step = channels * array.itemsize
    compressor = zlib.compressobj(1)
    for top in range(0, len(array), _ROWS_AT_ONCE):
        band = array[top : top + _ROWS_AT_ONCE]
        rows = band.astype(band.dtype.newbyteorder(">")).view(np.uint8).reshape(len(band), -1)
        filtered = np.empty((len(band), 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = 1
        filtered[:, 1 : 1 + step] = rows[:, :step]
        np.subtract(rows[:, step:], rows[:, :-step], out=filtered[:, 1 + step :])
        if part := compressor.compress(filtered.data):
            yield part
    yield compressor.flush()


def encode_tiff(picture: Picture, quality: int) -> bytes:
    """TIFF of 8 or 16 bits, Deflate with horizontal predictor, `quality` ignored.

    Written here because Pillow writes no 16-bit colour and OpenCV neither profile nor EXIF; Pillow's directory
    class does the tags (TIFF 6.0; technical note 2 for Deflate).
    """
    array = np.asarray(picture)
    layered = array[..., None] if array.ndim == 2 else array
    differences = layered.astype(layered.dtype.newbyteorder("<"))
    differences[:, 1:] -= layered[:, :-1]
    data = zlib.compress(differences.data, 1)
    tags = _exif_tags(picture)
    tags[256], tags[257] = picture.size
    tags[258] = (array.itemsize * 8,) * layered.shape[2]
    tags[259], tags[317] = 8, 2  # Deflate, horizontal differencing
    tags[262] = 1 if picture.is_grey else 2
    tags[273], tags[279] = 0, len(data)  # Pillow counts offsets from the end of the directory
    tags[277], tags[278] = layered.shape[2], picture.size[1]
    if picture.alpha is not None:
        tags[338] = 2  # not premultiplied
    if picture.icc:
        tags.tagtype[34675] = 7
        tags[34675] = picture.icc
    return b"II*\0\x08\0\0\0" + tags.tobytes(8) + data


def _exif_tags(picture: Picture) -> ImageFileDirectory_v2:
    """A little-endian directory that holds the picture's EXIF, with Exif and GPS as directories below it."""
    tags = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    if picture.exif:
        exif = Image.Exif()
        exif.load(picture.exif)
        for tag, value in exif.items():
            tags[tag] = sub_directory(exif, tag) if tag in SUB_DIRECTORIES else value
    return tags


def encode_jpeg(picture: Picture, quality: int) -> bytes:
    """Baseline JPEG without chroma subsampling (4:4:4). 16 bits are rounded to 8, transparency lies on white."""
    picture = _on_white(picture, "JPEG")
    exif = picture.exif
    if exif and len(exif) > _JPEG_EXIF_LIMIT:
        _warn_of_loss(picture, "its EXIF exceeds the 64 KB that JPEG allows and was left behind")
        exif = None
    return _by_pillow(replace(picture, exif=exif), "JPEG", quality=quality, subsampling=0)


def encode_webp(picture: Picture, quality: int) -> bytes:
    """WebP of 8 bits: lossless at quality 100, colours under full transparency kept. Grey becomes RGB."""
    return _by_pillow(picture, "WEBP", quality=quality, lossless=quality >= 100, exact=True, method=0)


def encode_bmp(picture: Picture, quality: int) -> bytes:
    """BMP of 8 bits, transparency laid on white, `quality` ignored. It holds neither profile nor EXIF."""
    return _by_pillow(replace(_on_white(picture, "BMP"), exif=None, icc=None), "BMP")


def _by_pillow(picture: Picture, image_format: str, **options: int) -> bytes:
    if picture.levels > 255:
        _warn_of_loss(picture, f"{image_format} holds 8 bits: 16 were rounded")
        picture = _in_eight_bits(picture)
    buffer = io.BytesIO()
    metadata = {"icc_profile": picture.icc, "exif": picture.exif}
    carried = {key: value for key, value in metadata.items() if value}
    picture.to_pil().save(buffer, image_format, **options, **carried)
    return buffer.getvalue()


def _on_white(picture: Picture, image_format: str) -> Picture:
    if picture.alpha is None:
        return picture
    _warn_of_loss(picture, f"{image_format} has no transparency: it was laid on white")
    weight = picture.alpha[..., None] / np.float32(picture.levels)
    blended = picture.pixels * weight + picture.levels * (1 - weight)
    return replace(picture, pixels=np.rint(blended).astype(picture.pixels.dtype), alpha=None)


def _in_eight_bits(picture: Picture) -> Picture:
    alpha = None if picture.alpha is None else to_eight_bits(picture.alpha)
    return replace(picture, pixels=to_eight_bits(picture.pixels), alpha=alpha)


def _warn_of_loss(picture: Picture, what: str) -> None:
    warnings.warn(f"{picture.name!r}: {what}.", ImageWarning, stacklevel=2)


ENCODERS: dict[str, Callable[[Picture, int], bytes]] = {
    ".png": encode_png,
    ".jpg": encode_jpeg,
    ".jpeg": encode_jpeg,
    ".webp": encode_webp,
    ".tif": encode_tiff,
    ".tiff": encode_tiff,
    ".bmp": encode_bmp,
}
