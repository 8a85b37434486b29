"""Formats that Pillow cuts to 8 bits or cannot open: PNM and PFM, JPEG 2000, JPEG XR."""

import io
import re
import struct

import imagecodecs
import numpy as np
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.PpmImagePlugin import PpmImageFile

from ggt_hub.errors import ImageError
from ggt_hub.images import ifd
from ggt_hub.images.convert import check_size, finished, from_array, from_open_file, in_sixteen_bits
from ggt_hub.images.picture import Picture
from ggt_hub.images.request import Request

_PNM_HEADER = re.compile(
    rb"P([2356fF])\s(?:\s*#[^\n]*\n)*\s*(\d+)\s(?:\s*#[^\n]*\n)*\s*(\d+)\s(?:\s*#[^\n]*\n)*\s*(\S+)\s"
)
_JXR_WIDTH, _JXR_HEIGHT, _JXR_OFFSET, _JXR_BYTES = 0xBC80, 0xBC81, 0xBCC0, 0xBCC1


def read_pnm(data: bytes, request: Request) -> Picture:
    """A PBM, PGM or PPM of any highest value, or a PFM; floats as they are."""
    request.index_among(1, "picture")
    name, header = request.name, _PNM_HEADER.match(data[:100_000])
    if header is None:  # PBM, or damaged in a way that Pillow has words for
        return from_open_file(PpmImageFile(io.BytesIO(data)), name, request.max_pixels)
    kind, width, height = header[1], int(header[2]), int(header[3])
    check_size(width, height, request.max_pixels, name)
    shape = (height, width, 3 if kind in b"36F" else 1)
    if kind in b"fF":
        scale = float(header[4])
        floats = np.frombuffer(data, "<f4" if scale < 0 else ">f4", int(np.prod(shape)), header.end())
        return from_array(floats.reshape(shape)[::-1].astype(np.float32), name, request.max_pixels)
    highest = int(header[4])
    if not 0 < highest < 65536:
        raise ImageError(f"cannot read {name!r}: its highest value is {highest}, it must be 1 to 65535.")
    values = _pnm_values(data, header.end(), kind in b"23", int(np.prod(shape)), highest)
    if values.max() > highest:
        raise ImageError(f"cannot read {name!r}: values above its highest, {highest}. Get a fresh copy.")
    return from_array(_scaled(values, highest).reshape(shape), name, request.max_pixels)


def _pnm_values(data: bytes, start: int, is_text: bool, count: int, highest: int) -> np.ndarray:
    if not is_text:
        return np.frombuffer(data, np.uint8 if highest < 256 else ">u2", count, start)
    if len(data) - start < 2 * count - 1:  # a digit and a space each
        raise ValueError("it ends before its picture does")
    numbers = re.sub(rb"#[^\n]*", b"", data[start:]).split(maxsplit=count)[:count]
    values = np.array(numbers, "S6").astype(np.int64)
    if len(values) < count or values.min() < 0:
        raise ValueError("it ends before its picture does")
    return values


def _scaled(values: np.ndarray, highest: int) -> np.ndarray:
    depth, top = (np.uint8, 255) if highest < 256 else (np.uint16, 65535)
    if highest == top:
        return values.astype(depth)
    table = (np.arange(highest + 1, dtype=np.uint64) * top + highest // 2) // highest
    return table.astype(depth)[values]


def read_jpeg2000(data: bytes, request: Request) -> Picture:
    """A JPEG 2000 picture or bare codestream."""
    request.index_among(1, "picture")
    name, image = request.name, Jpeg2KImageFile(io.BytesIO(data))
    check_size(*image.size, request.max_pixels, name)
    bits, is_signed = _jpeg2000_depth(data)
    if bits <= 8 or is_signed or image.mode == "P":
        return from_open_file(image, name, request.max_pixels, request.orientation)
    image.load()  # the judge of damage: the other decoder fills what is lacking with grey
    array = in_sixteen_bits(imagecodecs.jpeg2k_decode(data, numthreads=1), bits)
    picture = from_array(array, name, request.max_pixels)
    return finished(picture, image.info.get("icc_profile"), request.orientation, name)


def _jpeg2000_depth(data: bytes) -> tuple[int, bool]:
    """Bits of the first channel, and whether they are signed (Ssiz in the SIZ segment, ITU-T T.800, A.5.1)."""
    depth = data[data.find(b"\xff\x51") + 40]
    return (depth & 127) + 1, depth > 127


def read_jpeg_xr(data: bytes, request: Request) -> Picture:
    """A JPEG XR picture of whole numbers."""
    request.index_among(1, "picture")
    name, directories = request.name, ifd.chain(data)
    sizes = [(d.number(_JXR_WIDTH), d.number(_JXR_HEIGHT)) for d in directories[:1]]
    sizes += [_codestream_size(data, d.number(_JXR_OFFSET)) for d in directories[:1]]
    for size in sizes:
        check_size(*size, request.max_pixels, name)
    if any(d.number(_JXR_OFFSET) + d.number(_JXR_BYTES) > len(data) for d in directories[:1]):
        raise ValueError("it ends before its picture does")  # the decoder would not say so
    array = imagecodecs.jpegxr_decode(data)
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{name!r}: JPEG XR of {array.dtype} is HDR or scientific data. Export it as 16-bit TIFF."
        )
    return from_array(array, name, request.max_pixels)


def _codestream_size(data: bytes, offset: int) -> tuple[int, int]:
    """Width and height in the image header (ITU-T T.832, 8.3), which may differ from those of the container."""
    if data[offset : offset + 8] != b"WMPHOTO\0":
        raise ValueError("its picture does not begin as one")
    layout = ">HH" if data[offset + 10] & 0x80 else ">II"
    width, height = struct.unpack_from(layout, data, offset + 12)
    return width + 1, height + 1
