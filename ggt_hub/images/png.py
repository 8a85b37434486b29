"""PNG, with all its bits; damaged or bloated chunks beside the pixels do not cost the picture."""

import io
import struct
from collections.abc import Iterator

import imagecodecs
from isal import isal_zlib
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from ggt_hub.errors import ImageError
from ggt_hub.images import hdr
from ggt_hub.images.convert import (
    check_size,
    finished,
    from_array,
    from_open_file,
    warn_of_others,
    with_colour_key,
)
from ggt_hub.images.faults import DECODER_ERRORS, warn
from ggt_hub.images.picture import Picture
from ggt_hub.images.request import Request

_SPARE_BYTES = 1 << 29


def read_png(data: bytes, request: Request) -> Picture:
    """A PNG; if a chunk beside the pixels is damaged or a bomb, once more without text, profile and EXIF."""
    name = request.name
    kind, width, height = struct.unpack_from(">4sII", data, 12)  # PNG 3rd edition, 11.2.1
    if kind != b"IHDR":
        raise ImageError(f"cannot read {name!r}: it does not begin with IHDR as PNG must. Get a fresh copy.")
    check_size(width, height, request.max_pixels, name)
    _check_inflated(data, width, height, name)
    primaries, transfer = next(
        (data[at + 8 : at + 10] for kind, at, end in _chunks(data) if kind == b"cICP" and end - at == 16),
        (2, 2),
    )
    return hdr.to_sdr(_read_sound_chunks(data, request), primaries, transfer)


def _check_inflated(data: bytes, width: int, height: int, name: str) -> None:
    """Refuse pixel data that go on far behind the last row: decoders inflate all of it, whatever its size.

    The pass costs a quarter of the time that decoding takes. Small files are spared it: deflate yields at most
    1032 times its input.
    """
    parts = [data[at + 8 : end - 4] for kind, at, end in _chunks(data) if kind == b"IDAT"]
    if 1032 * sum(map(len, parts)) < _SPARE_BYTES:
        return
    budget = height * (8 * width + 8) + _SPARE_BYTES // 8  # RGBA of 16 bits is the widest pixel
    inflate = isal_zlib.decompressobj()
    for part in parts:
        for at in range(0, len(part), 1 << 14):
            try:
                budget -= len(inflate.decompress(part[at : at + (1 << 14)]))
            except isal_zlib.error:  # type: ignore[misc]  # the decoder will say what is wrong
                return
            if budget < 0:
                raise ImageError(
                    f"cannot read {name!r}: it holds far more data than its pixels. Get a fresh copy."
                )


def _read_sound_chunks(data: bytes, request: Request) -> Picture:
    try:
        return _read_whole(data, request)
    except DECODER_ERRORS as error:
        failure = error
    for extras in ((b"iCCP", b"eXIf"), (b"eXIf",), ()):
        smaller = _essential_chunks(data, extras)
        if smaller == data:
            continue
        try:
            picture = _read_whole(smaller, request)
        except DECODER_ERRORS:
            continue
        warn(request.name, f"damaged metadata was left behind ({failure})")
        return picture
    raise failure


def _read_whole(data: bytes, request: Request) -> Picture:
    name, image = request.name, PngImageFile(io.BytesIO(data))
    check_size(*image.size, request.max_pixels, name)  # again: a second IHDR may hide behind the first
    index = request.index_among(getattr(image, "n_frames", 1), "frame")
    depth, colour_type = data[24:26]
    if depth < 8 or colour_type == 3 or index:
        if depth in (2, 4) and "transparency" in image.info and image.mode == "L":
            image.info["transparency"] *= 255 // (2**depth - 1)  # Pillow scales the pixels, not this
        seek(image, index, request)
        picture = from_open_file(image, name, request.max_pixels, request.orientation)
    else:
        picture = _read_samples(data, image, request)
    warn_of_others(request, getattr(image, "n_frames", 1), "frame")
    return picture


def _read_samples(data: bytes, image: PngImageFile, request: Request) -> Picture:
    """Grey or RGB of 8 or 16 bits, decoded by libpng straight into an array: Pillow holds two more copies."""
    array = imagecodecs.png_decode(data)
    colour_key = image.info.get("transparency")
    if colour_key is not None and (array.ndim == 2 or array.shape[2] == 3):
        array = with_colour_key(array, colour_key)
    picture = from_array(array, request.name, request.max_pixels)
    return finished(picture, image.info.get("icc_profile"), request.orientation, request.name)


def seek(image: Image.Image, index: int, request: Request) -> None:
    """Go to a frame of an animation, unless all those before it cost too much to build.

    Raises:
        ImageError: If they hold more than ten times as many pixels as one picture may.
    """
    if index * image.size[0] * image.size[1] > 10 * request.max_pixels:
        raise ImageError(
            f"{request.name!r}: frame {index + 1} is built from too many large frames before it. Extract it first."
        )
    if index:
        image.seek(index)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position, position + 12 + length
        position += 12 + length


def _essential_chunks(data: bytes, extras: tuple[bytes, ...]) -> bytes:
    """The PNG with only the chunks that its pixels need, and the `extras`."""
    kinds = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", *extras)
    return data[:8] + b"".join(data[begin:end] for kind, begin, end in _chunks(data) if kind in kinds)
