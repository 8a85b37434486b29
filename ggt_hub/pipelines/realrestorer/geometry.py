"""Sizes, resampling, packing and positions of RealRestorer."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

MULTIPLE = 16
"""Pixels per side of a token: 8 of the autoencoder times 2 of the packing."""

NATIVE = 1024
"""Side in pixels of the pictures that the weights were trained on."""


def working_size(width: int, height: int, level: int) -> tuple[int, int]:
    """(width, height) in which a picture is restored: about level x level pixels, sides multiples of 16.

    Small pictures are enlarged to it; the aspect changes by up to 15 pixels.
    """
    aspect = width / height
    if width > height:
        long = math.ceil(math.sqrt(level * level * aspect))
        sides = long, math.ceil(long / aspect)
    else:
        long = math.ceil(math.sqrt(level * level / aspect))
        sides = math.ceil(long * aspect), long
    return _floored(sides[0]), _floored(sides[1])


def resize(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    """Resample to `size` (width, height), the width first and then the height.

    One call would do the same in Pillow 12; Pillow 13 picks the order by cost, which changes results by up to
    18 levels.
    """
    wide = image if image.width == size[0] else image.resize((size[0], image.height), resample)
    return wide if wide.height == size[1] else wide.resize(size, resample)


def resize_pixels(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bicubic to `size` (width, height), as `resize`, of pixels (height, width, 3), 0..1, that stay floats.

    After each direction what overshoots is cut, as it is in pictures of 8 bits.
    """
    channels = [Image.fromarray(channel) for channel in np.ascontiguousarray(pixels.transpose(2, 0, 1))]
    for step in ((size[0], channels[0].height), size):
        resized = [resize(channel, step, Image.Resampling.BICUBIC) for channel in channels]
        channels = [Image.fromarray(np.clip(np.asarray(channel), 0, 1)) for channel in resized]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def pad(image: Image.Image) -> Image.Image:
    """Reflect right and bottom until both sides are multiples of 16."""
    right, below = -image.width % MULTIPLE, -image.height % MULTIPLE
    return Image.fromarray(np.pad(np.asarray(image), ((0, below), (0, right), (0, 0)), mode="reflect"))


def pack(latents: Tensor) -> Tensor:
    """(B, C, H, W) into tokens (B, H/2 * W/2, 4C): 2x2 patches, row by row, channel-major inside."""
    return F.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Inverse of `pack` for a grid of rows x columns tokens."""
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), 2)


def position_ids(rows: int, columns: int, axis: int, device: torch.device | None = None) -> Tensor:
    """Rotary positions (axis, row, column) of a grid of tokens, (rows * columns, 3), float32."""
    first = torch.tensor([axis], device=device)
    row, column = torch.arange(rows, device=device), torch.arange(columns, device=device)
    return torch.cartesian_prod(first, row, column).float()


def _floored(side: int) -> int:
    return max(side // MULTIPLE * MULTIPLE, MULTIPLE)
