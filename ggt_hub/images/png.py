"""PNG, with all its bits; damaged or bloated chunks beside the pixels do not cost the picture."""

import io
import struct
from collections.abc import Iterator

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from ggt_hub.errors import ImageError
from ggt_hub.images import deep, hdr
from ggt_hub.images.convert import (
    check_size,
    exif_of,
    finished,
    from_array,
    from_open_file,
    warn_of_others,
    with_colour_key,
)
from ggt_hub.images.faults import DECODER_ERRORS, warn
from ggt_hub.images.picture import Picture
from ggt_hub.images.request import Request


def read_png(data: bytes, request: Request) -> Picture:
    """A PNG; if a chunk beside the pixels is damaged or a bomb, once more without text, profile and EXIF."""
    name = request.name
    kind, width, height = struct.unpack_from(">4sII", data, 12)  # PNG 3rd edition, 11.2.1
    if kind != b"IHDR":
        raise ImageError(f"cannot read {name!r}: it does not begin with IHDR as PNG must. Get a fresh copy.")
    check_size(width, height, request.max_pixels, name)
    primaries, transfer = next(
        (data[at + 8 : at + 10] for kind, at, end in _chunks(data) if kind == b"cICP" and end - at == 16),
        (2, 2),
    )
    return hdr.to_sdr(_read_sound_chunks(data, request), primaries, transfer)


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
    if depth < 16 or index:
        if depth in (2, 4) and "transparency" in image.info and image.mode == "L":
            image.info["transparency"] *= 255 // (2**depth - 1)  # Pillow scales the pixels, not this
        seek(image, index, request)
        picture = from_open_file(image, name, request.max_pixels)
    else:
        picture = _read_deep(data, image, colour_type, request)
    warn_of_others(request, getattr(image, "n_frames", 1), "frame")
    return picture


def _read_deep(data: bytes, image: PngImageFile, colour_type: int, request: Request) -> Picture:
    image.load()  # Pillow is the stricter judge of damage, OpenCV gives all the bits
    array, colour_key = deep.decode_with_opencv(data, request.name), image.info.get("transparency")
    if colour_type == 4:  # grey with alpha: OpenCV repeats the grey
        array = array[..., [0, 3]]
    elif colour_key is not None and (array.ndim == 2 or array.shape[2] == 3):
        array = with_colour_key(array, colour_key)
    picture = from_array(array, request.name, request.max_pixels)
    return finished(picture, image.info.get("icc_profile"), exif_of(image, request.name), request.name)


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
