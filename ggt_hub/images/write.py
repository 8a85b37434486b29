"""`write_image`: the one way out for pixels. A file is written whole or not at all."""

import contextlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ggt_hub.errors import ImageError
from ggt_hub.images.convert import from_array, from_tensor, is_tensor
from ggt_hub.images.encode import encode_image
from ggt_hub.images.picture import ImageWarning, Picture
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
    try:
        data = encoded(image, path.suffix, quality)
    except ImageError as error:
        raise ImageError(f"cannot write {str(path)!r}: {error}") from error
    write_atomically(data, path)
    return path


def encoded(image: Any, suffix: str, quality: int = 95) -> bytes:
    """The bytes of a file; what the picture loses by it is an `ImageWarning`.

    Args:
        image: As `write_image` takes it.
        suffix: The format, such as `.png`.
        quality: As of `write_image`.

    Raises:
        ImageError: As `encode_image`.
    """
    picture = _as_picture(image)
    result = encode_image(picture, suffix, quality)
    if result.left_behind:
        warnings.warn(
            f"{picture.name!r}: left behind: {'; '.join(result.left_behind)}.", ImageWarning, stacklevel=3
        )
    return result.data


def _as_picture(image: Any) -> Picture:
    if is_tensor(image):
        return from_tensor(image, "<tensor>", _NO_LIMIT, np.uint8)
    if isinstance(image, np.ndarray):
        return from_array(image, "<array>", _NO_LIMIT, np.uint8)
    return read_image(image, max_pixels=_NO_LIMIT)


def write_atomically(data: bytes, path: Path) -> None:
    """Put `data` at `path` in one step, through a temporary file in the same folder.

    A symbolic link stays one: the file that it points to is replaced.

    Raises:
        ImageError: If that fails; the temporary file is removed.
    """
    try:
        target = path.resolve()
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".ggt-hub-", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                with contextlib.suppress(OSError, AttributeError):  # SMB, exFAT; Windows has no fchmod
                    os.fchmod(descriptor, 0o666 & ~_umask())
                os.fsync(descriptor)
            Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
        reason = getattr(error, "strerror", None) or error
        raise ImageError(
            f"cannot write {str(path)!r}: {reason}. Check the folder and the free space."
        ) from error


def _umask() -> int:
    """The process's umask. It can only be read by setting it; Linux also shows it, without that race."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
