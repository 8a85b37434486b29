"""The formats that Pillow reads whole: GIF, WebP, BMP, ICO."""

import io

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.IcoImagePlugin import IcoFile
from PIL.WebPImagePlugin import WebPImageFile

from ggt_hub.errors import ImageError
from ggt_hub.images.convert import check_size, from_open_file, warn_of_others
from ggt_hub.images.picture import Picture
from ggt_hub.images.png import seek
from ggt_hub.images.request import Request

_MOST_FRAMES = 10_000


def read_webp(data: bytes, request: Request) -> Picture:
    """A WebP picture, or a frame of an animation."""
    image = WebPImageFile(io.BytesIO(data))
    return _frame(image, image.n_frames, request)


def read_gif(data: bytes, request: Request) -> Picture:
    """A GIF, or a frame of an animation."""
    return _frame(GifImageFile(io.BytesIO(data)), _gif_frames(data), request)


def _frame(image: GifImageFile | WebPImageFile, frames: int, request: Request) -> Picture:
    check_size(*image.size, request.max_pixels, request.name)
    seek(image, request.index_among(frames, "frame"), request)
    picture = from_open_file(image, request.name, request.max_pixels, request.orientation)
    warn_of_others(request, frames, "frame")
    return picture


def _gif_frames(data: bytes) -> int:
    """How many frames a GIF holds, at least 1: a walk over its blocks (GIF89a), nothing decoded."""

    def table(flags: int) -> int:
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    count, at = 0, 13 + table(data[10])
    while at < len(data) and count < _MOST_FRAMES and data[at] in (0x21, 0x2C):
        if data[at] == 0x2C:
            count += 1
            at += 11 + table(data[at + 9] if at + 9 < len(data) else 0)
        else:
            at += 2
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return max(1, count)


def read_bmp(data: bytes, request: Request) -> Picture:
    """A BMP. An alpha channel of nothing but zeros is one that its writer never filled: opaque."""
    request.index_among(1, "picture")
    picture = from_open_file(BmpImageFile(io.BytesIO(data)), request.name, request.max_pixels)
    if picture.alpha is not None and not picture.alpha.any():
        return Picture(picture.pixels, name=picture.name)
    return picture


def read_ico(data: bytes, request: Request) -> Picture:
    """The largest icon. It may be a PNG inside, whose own header is the one that counts.

    Pillow's `IcoImageFile` would decode while it opens; `IcoFile` only looks.
    """
    request.index_among(1, "picture")
    icons = IcoFile(io.BytesIO(data))
    if not icons.entry:
        raise ImageError(f"cannot read {request.name!r}: it holds no icon. Get a fresh copy.")
    return from_open_file(icons.getimage(max(icons.sizes())), request.name, request.max_pixels)
