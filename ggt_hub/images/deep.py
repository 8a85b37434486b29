"""Decoders for what Pillow cuts to 8 bits or cannot open: 16-bit PNG, PPM, JPEG 2000; 16-bit and float TIFF."""

import io
import re
from typing import Any

import cv2
import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ggt_hub.errors import ImageError
from ggt_hub.images.convert import check_size

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_TILE_WIDTH, _TILE_LENGTH, _PLANAR, _EXTRA_SAMPLES = 322, 323, 284, 338
_SUBFILE_TYPE, _DNG_VERSION = 254, 50706
_TIFFFILE_CODECS = (1, 8, 32946)  # none and the two numbers of Deflate; the rest would need imagecodecs
_WHITE_IS_ZERO, _RGB = 0, 2
_PREMULTIPLIED = 1
_MOST_CHANNELS = 16  # a header may claim 65535, each of which would cost a picture of memory


def pnm_is_deep(data: bytes) -> bool:
    """Whether a PGM or PPM uses the whole 16-bit range, the only deep one that OpenCV need not rescale."""
    comment_free = re.sub(rb"#[^\n]*\n", b"", data[:4096])
    return re.match(rb"P[2356]\s+\d+\s+\d+\s+65535\s", comment_free) is not None


def jpeg2000_is_deep(data: bytes) -> bool:
    """Whether the first channel has 16 unsigned bits (Ssiz in the SIZ segment, ITU-T T.800, A.5.1)."""
    segment = data.find(b"\xff\x51")
    return data[segment + 40 : segment + 41] == b"\x0f"


def decode_with_opencv(data: bytes, name: str) -> np.ndarray:
    """All bits of a picture: HW or HWC, RGB order, 1, 3 or 4 channels.

    Raises:
        ImageError: If OpenCV cannot decode it.
    """
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ImageError(f"cannot read {name!r}: OpenCV cannot decode it. The file is incomplete or damaged.")
    if array.ndim == 3:
        order = cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        array = cv2.cvtColor(array, order)
    return array


def tiff_tags(data: bytes, name: str, max_pixels: int) -> ImageFileDirectory_v2:
    """The tags of a TIFF's first page, checked for size.

    Raises:
        ImageError: For a page or tile of too many pixels, and for camera raw, whose first page is a thumbnail.
    """
    header = data[:16] if data[2:3] == b"\x2b" or data[3:4] == b"\x2b" else data[:8]  # BigTIFF : TIFF
    tags = ImageFileDirectory_v2(header)
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    if _DNG_VERSION in tags or tags.get(_SUBFILE_TYPE, 0) & 1:
        raise ImageError(f"{name!r}: camera raw is not supported. Develop it into a 16-bit TIFF first.")
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise ImageError(
            f"cannot read {name!r}: its directory is missing. The file is incomplete or damaged."
        )
    check_size(_number(tags, _WIDTH), _number(tags, _HEIGHT), max_pixels, name)
    if _TILE_WIDTH in tags:
        check_size(_number(tags, _TILE_WIDTH), _number(tags, _TILE_LENGTH), max_pixels, f"a tile of {name}")
    return tags


def tiff_is_deep(tags: ImageFileDirectory_v2) -> bool:
    """Whether a grey or RGB page stores more than 8 bits a channel, or colours under the name of grey.

    Other colour spaces stay with Pillow, which has their formulas but only 8 bits.
    """
    nameless_colours = _number(tags, _SAMPLES, 1) >= 3 and _number(tags, _PHOTOMETRIC) < _RGB
    return (_number(tags, _BITS, 1) > 8 or nameless_colours) and _number(tags, _PHOTOMETRIC) <= _RGB


def decode_tiff(data: bytes, tags: ImageFileDirectory_v2, name: str) -> tuple[np.ndarray, bool]:
    """All bits of a deep grey or RGB page, and whether its orientation has been applied already.

    Returns:
        HW or HWC with 1 to 4 channels; integers or floats as the file holds them. Alpha is not premultiplied.

    Raises:
        ImageError: For a layout that neither tifffile nor OpenCV decodes.
    """
    samples, bits = _number(tags, _SAMPLES, 1), _number(tags, _BITS)
    if bits not in (8, 16, 32, 64) or samples > _MOST_CHANNELS:
        raise ImageError(
            f"{name!r}: TIFF of {samples} channels of {bits} bits is not supported. Save it as RGB with 8 or 16."
        )
    if _number(tags, _COMPRESSION, 1) in _TIFFFILE_CODECS:
        array, turned = _decode_with_tifffile(data), False
    elif _number(tags, _PLANAR, 1) == 1 and samples in (1, 3, 4):
        array, turned = decode_with_opencv(data, name), True  # OpenCV turns TIFF whatever it is told
    else:
        raise ImageError(
            f"{name!r}: this layout of TIFF ({samples} channels, compression {tags[_COMPRESSION]}) is not "
            "supported at more than 8 bits. Save it uncompressed or with Deflate (ZIP)."
        )
    if _number(tags, _PHOTOMETRIC) == _WHITE_IS_ZERO and samples == 1 and array.dtype == np.uint16:
        array = 65535 - array
    if samples in (2, 4) and _PREMULTIPLIED in _numbers(tags, _EXTRA_SAMPLES) and array.dtype == np.uint16:
        array = _unpremultiplied(array)
    return (array[..., :4] if samples > 4 else array), turned  # of several extra channels the first is alpha


def _decode_with_tifffile(data: bytes) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        array, axes = page.asarray(), page.axes
    return np.moveaxis(array, 0, -1) if axes == "SYX" else array


def _unpremultiplied(array: np.ndarray) -> np.ndarray:
    alpha = array[..., -1:].astype(np.float64)
    colours = np.divide(
        array[..., :-1] * 65535.0, alpha, out=np.zeros(array[..., :-1].shape), where=alpha > 0
    )
    return np.dstack([np.rint(np.minimum(colours, 65535)).astype(np.uint16), array[..., -1]])


def _number(tags: ImageFileDirectory_v2, tag: int, default: int = 0) -> int:
    return int((_numbers(tags, tag) or (default,))[0])


def _numbers(tags: ImageFileDirectory_v2, tag: int) -> tuple[Any, ...]:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)
