"""Windows: squares of a picture that attention stays within (Liu et al., Swin Transformer, arXiv 2103.14030)."""

import torch
from torch import Tensor


def to_windows(x: Tensor, side: int) -> Tensor:
    """Cut (B, H, W, C) into windows, row by row: (B * windows, side^2, C). H and W are multiples of `side`."""
    cut = x.unflatten(2, (-1, side)).unflatten(1, (-1, side)).transpose(2, 3)
    return cut.flatten(3, 4).flatten(0, 2)


def from_windows(tokens: Tensor, side: int, height: int, width: int) -> Tensor:
    """Inverse of `to_windows`: (B, height, width, C)."""
    rows, columns = height // side, width // side
    cut = tokens.unflatten(1, (side, side)).unflatten(0, (-1, rows, columns))
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def window_offsets(side: int) -> Tensor:
    """Which row of a table of biases belongs to each two pixels of a window, (side^2, side^2)."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    down = rows.flatten()[:, None] - rows.flatten() + side - 1
    right = columns.flatten()[:, None] - columns.flatten() + side - 1
    return down * (2 * side - 1) + right
