"""Sizes of DreamClear: in which a picture is restored, and how it gets there and back."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ggt_hub.errors import RestorerError

MULTIPLE = 64
"""What sides are rounded to: 8 of the pre-cleaner's unshuffling times 8 of its windows."""

NATIVE = 1024
"""Side in pixels of the pictures that the weights were trained on; no picture is restored at a smaller one."""

STEEPEST = 16
"""A picture whose sides differ by more is enlarged less, so that its longer side is this times the least."""

LARGEST = 2**28
"""Pixels of the largest picture that is restored."""


def network_size(width: int, height: int, upscale: float, least: int = NATIVE) -> tuple[int, int]:
    """(width, height) in which a picture is restored: `upscale` times its own, or more if that is small.

    The shorter side is at least `least`, unless the longer one would exceed `STEEPEST` times that. Nothing is
    rounded before both sides are brought to multiples of 64, half to even; so the aspect shifts by up to 3
    percent.

    Raises:
        RestorerError: for more pixels than `LARGEST`; nothing was allocated then.
    """
    wide, high = width * upscale, height * upscale
    factor = max(1.0, min(least / min(wide, high), STEEPEST * least / max(wide, high)))
    sides = tuple(max(round(side * factor / MULTIPLE), 1) * MULTIPLE for side in (wide, high))
    if sides[0] * sides[1] > LARGEST:
        raise RestorerError(
            f"a picture of {width}x{height} times {upscale:g} would be restored at {sides[0]}x{sides[1]}, more "
            f"than {LARGEST // 10**6} megapixels: take a smaller upscale, or a part of the picture"
        )
    return sides[0], sides[1]


def result_size(width: int, height: int, upscale: float) -> tuple[int, int]:
    """(width, height) of the result."""
    return max(round(width * upscale), 1), max(round(height * upscale), 1)


def enlarged(rgb: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """A picture of 8 bits as the networks see it: bicubic to `size`, (height, width, 3), 0..1.

    The width goes first, unless the height shrinks by more than twice as many pixels as the width. Pillow 13 does
    so, Pillow 12 always begins with the width; the order makes a difference of up to 18 levels.
    """
    across, down = (size[0], rgb.height), (rgb.width, size[1])
    shrinks = size[1] < rgb.height and rgb.height - size[1] > 2 * (rgb.width - size[0])
    between, method = down if shrinks else across, Image.Resampling.BICUBIC
    return np.asarray(rgb.resize(between, method).resize(size, method), np.float32) / np.float32(255)


def brought_back(
    pixels: NDArray[np.float32], size: tuple[int, int], levels: int = 255
) -> NDArray[np.float32]:
    """Restored pixels (height, width, 3) in the size asked for, 0..1.

    Cut to 0..1, bicubic without antialiasing, and truncated (not rounded) to `levels`, as published.
    """
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None].clamp(0, 1)
    found = resampled(whole, size)[0].permute(1, 2, 0)
    return ((found * levels).clamp(0, levels).floor() / levels).numpy()


def resampled(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic without antialiasing of (B, C, H, W) to `size` (width, height); the corners are not aligned."""
    return F.interpolate(pixels, size=(size[1], size[0]), mode="bicubic", align_corners=False)
