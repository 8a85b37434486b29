"""`read_image`: the one way in for pixels."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ggt_hub.errors import ImageError
from ggt_hub.images.convert import from_array, from_pil, from_tensor, is_tensor
from ggt_hub.images.decode import decode
from ggt_hub.images.fetch import fetch
from ggt_hub.images.picture import Picture
from ggt_hub.images.pil import with_metadata_of
from ggt_hub.images.request import Request

MAX_PIXELS = 128_000_000  # phones and medium format take 108 megapixels
MAX_BYTES = 2**30  # a 128-megapixel RGBA picture of 16 bits, uncompressed, is 1.02e9 bytes

ImageSource = (
    Any  # str, Path, bytes, PIL image, array, tensor or Picture; torch is not imported to name its type
)


def read_image(
    source: ImageSource,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    timeout: float = 20.0,
    max_bytes: int = MAX_BYTES,
    allow_private_addresses: bool = False,
    page: int | None = None,
    salvage: bool = False,
) -> Picture:
    """Read one picture, upright, with its bit depth, alpha, profile and EXIF.

    Args:
        source: A path; the bytes of a file; an http or https URL; a PIL image; an array HW or HWC (uint8, uint16,
            bool, floats in 0..1; 1 to 4 channels); a tensor HW, CHW or 1CHW (uint8, floats in 0..1); or a
            `Picture`, which is returned as it is.
        name: What messages call it; by default the path or URL.
        max_pixels: Pictures of more pixels are refused from their header, before decoding.
        timeout: Seconds for a whole download.
        max_bytes: Larger files and downloads are refused unread.
        allow_private_addresses: Let a URL point to loopback, private or link-local addresses.
        page: Which page or frame, from 1, of a file that holds several. None takes the first, and an
            `OtherPicturesWarning` says how many there are.
        salvage: Take what is there of a JPEG of which a part is missing, with an `ImageWarning`.

    Returns:
        The picture. Files of more than 8 bits and floats become uint16, all else uint8; 10 and 12 bits are
        stretched to the whole range. Grey stays one channel. CMYK (by its profile) and Lab become sRGB.

    Raises:
        ImageError: With the name and the reason, whatever is wrong with the source.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode(bytes(source), Request(name or "<bytes>", max_pixels, page, salvage))
    if isinstance(source, Image.Image):
        name = name or getattr(source, "filename", "") or "<PIL image>"
        return with_metadata_of(source, from_pil(source, name, max_pixels))
    if is_tensor(source):
        return from_tensor(source, name or "<tensor>", max_pixels)
    if isinstance(source, np.ndarray):
        return from_array(source, name or "<array>", max_pixels)
    if not isinstance(source, (str, os.PathLike)):
        raise ImageError(
            f"{name or '<source>'!r}: cannot read a picture from {type(source).__name__}. "
            "Pass a path, URL, bytes, PIL image, array or tensor."
        )
    name = name or _shortened(os.fspath(source))
    if isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
        data = fetch(
            source, timeout=timeout, max_bytes=max_bytes, allow_private_addresses=allow_private_addresses
        )
    else:
        data = _file_bytes(Path(source), name, max_bytes)
    return decode(data, Request(name, max_pixels, page, salvage))


def _shortened(name: str) -> str:
    """A name that fits into a message: somebody will pass a picture as a data URI."""
    return name if len(name) <= 500 else name[:200] + "…" + name[-50:]


def _file_bytes(path: Path, name: str, max_bytes: int) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"cannot read {name!r}: it is a folder. Give a file.")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise ImageError(f"cannot read {name!r}: it is a pipe or device, not a file.")
        if status.st_size > max_bytes:
            raise ImageError(
                f"cannot read {name!r}: its {status.st_size / 1e6:,.0f} MB exceed the limit of "
                f"{max_bytes / 1e6:,.0f} MB. Raise max_bytes if you trust it."
            )
        return path.read_bytes()
    except OSError as error:
        reason = "there is no such file" if error.errno == errno.ENOENT else error.strerror
        raise ImageError(f"cannot read {name!r}: {reason}. Check the path.") from error
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot read {name!r}: {error}. Check the path.") from error
