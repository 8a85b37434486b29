"""A picture as a screen shows it, and as it is shown to models."""

import io
from typing import Any

import numpy as np
from PIL import Image

from ggt_hub.images.picture import Picture, to_eight_bits
from ggt_hub.images.read import read_image


def shown_rgb(source: Any) -> np.ndarray:
    """The colours of a picture in 8 bits, HW3, with transparency laid on white: what is hidden stays hidden.

    Args:
        source: anything that `read_image` takes.

    Raises:
        ImageError: if it cannot be read.
    """
    picture: Picture = read_image(source)
    pixels = picture.pixels if picture.levels == 255 else to_eight_bits(picture.pixels)
    if picture.alpha is not None:
        weight = picture.alpha[..., None] / np.float32(picture.levels)
        pixels = np.rint(pixels * weight + 255 * (1 - weight)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def png(picture: Image.Image) -> bytes:
    """A file, quickly written."""
    picture.save(buffer := io.BytesIO(), "PNG", compress_level=1)
    return buffer.getvalue()
