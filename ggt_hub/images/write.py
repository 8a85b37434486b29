"""`write_image`: the one way out for pixels. A file is written whole or not at all."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ggt_hub.commit import commit_bytes
from ggt_hub.errors import ImageError, WriteError
from ggt_hub.images.convert import from_array, from_tensor, is_tensor
from ggt_hub.images.encode import Encoded, encode_image
from ggt_hub.images.faults import ImageWarning
from ggt_hub.images.picture import Picture
from ggt_hub.images.read import read_image

_NO_LIMIT = 2**62  # what is in memory already needs no protection from its size


def write_image(image: Any, path: str | os.PathLike[str], *, quality: int = 95) -> Path:
    """Write one picture; the suffix decides the format.

    PNG and TIFF keep 8 or 16 bits, grey and alpha. JPEG (4:4:4), WebP and BMP hold 8 bits; JPEG and BMP have no
    transparency, which is laid on white; WebP turns grey into RGB. Metadata is carried as bytes as far as the
    format has places for it. Whatever is lost is named by an `ImageWarning`.

    Args:
        image: A `Picture`, PIL image, array or tensor as `read_image` takes them. Floats are written in 8 bits;
            pass uint16 for 16.
        path: Where to; the folder must exist. An existing file is replaced in one step.
        quality: 1 to 100, of JPEG and WebP; 100 makes WebP lossless.

    Returns:
        The path written.

    Raises:
        ImageError: For an unknown suffix or quality, and if the file cannot be written; then nothing is left
            behind and an existing file is as it was.
    """
    path = Path(path)
    commit_encoded(path, encoded(image, path, quality).data)
    return path


def commit_encoded(path: Path, data: bytes) -> None:
    """Put the bytes of a picture at `path` in one step.

    Raises:
        ImageError: If that fails; nothing is left behind then.
    """
    try:
        commit_bytes(path.resolve(), data)  # a link stays one: the file that it points to is replaced
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
        message = str(error) if isinstance(error, WriteError) else f"cannot write {str(path)!r}: {error}."
        raise ImageError(message) from error


def encoded(image: Any, path: Path, quality: int = 95) -> Encoded:
    """What `write_image` would put at `path`; its arguments, errors and warnings."""
    picture = _as_picture(image)
    try:
        result = encode_image(picture, path.suffix, quality)
    except ImageError as error:
        raise ImageError(f"cannot write {str(path)!r}: {error}") from error
    if result.left_behind:
        lost = "; ".join(result.left_behind)
        warnings.warn(f"{picture.name!r}: left behind: {lost}.", ImageWarning, stacklevel=3)
    return result


def _as_picture(image: Any) -> Picture:
    if is_tensor(image):
        return from_tensor(image, "<tensor>", _NO_LIMIT, np.uint8)
    if isinstance(image, np.ndarray):
        return from_array(image, "<array>", _NO_LIMIT, np.uint8)
    return read_image(image, max_pixels=_NO_LIMIT)
