"""Cutting a latent into overlapping tiles, and blending what is predicted for them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggt_hub.errors import RestorerError

Window = tuple[slice, slice]

_SPREAD = 0.01  # variance of the blending window, in parts of the squared side


@dataclass(frozen=True)
class Tiles:
    """Tiles that cover a latent, each at least `overlap` into its neighbour; square, unless it is a single one.

    Attributes:
        height: of the latent.
        width: of the latent.
        side: of each tile.
        overlap: what neighbours share at least.
    """

    height: int
    width: int
    side: int
    overlap: int

    @classmethod
    def of(cls, height: int, width: int, side: int | None, overlap: int) -> "Tiles":
        """Tiles of `side`, or of the latent's shorter side if that is less; None is a single one.

        Where the latent's side leaves no more than the overlap, they share a quarter.

        Raises:
            RestorerError: if tiles would overlap entirely.
        """
        if side is None:
            return cls(height, width, max(height, width), 0)
        if not 0 <= overlap < side:
            raise RestorerError(
                f"tiles of {side} that share {overlap}: an overlap is smaller than the tile, and not negative"
            )
        fitting = min(side, height, width)
        return cls(height, width, fitting, overlap if overlap < fitting else fitting // 4)

    @property
    def one(self) -> bool:
        """Whether a single tile is the whole latent."""
        return self.side >= max(self.height, self.width)

    def windows(self) -> Iterator[Window]:
        """Rows and columns of each tile, column by column as published."""
        for left in self._starts(self.width):
            for top in self._starts(self.height):
                yield (
                    slice(top, min(top + self.side, self.height)),
                    slice(left, min(left + self.side, self.width)),
                )

    def blend(self, predict: Callable[[int, Window], Tensor], like: Tensor) -> Tensor:
        """Weighted mean of what `predict` gives for the number and window of each tile.

        Args:
            predict: returns (B, C, side, side).
            like: (B, C, height, width) of any values.
        """
        windows = list(self.windows())
        if self.one:
            return predict(0, windows[0])
        weight = blending_window(self.side)
        total = np.zeros((self.height, self.width))
        for window in windows:
            total[window] += weight
        blended = torch.zeros_like(like)
        for number, window in enumerate(windows):
            share = torch.from_numpy((weight / total[window]).astype(np.float32)).to(like.device)
            blended[..., *window] += share * predict(number, window)
        return blended

    def _starts(self, length: int) -> list[int]:
        step = self.side - self.overlap
        count = max(1, math.ceil((length - self.overlap) / step))
        return [max(min(number * step, length - self.side), 0) for number in range(count)]


def blending_window(side: int) -> NDArray[np.float64]:
    """The Gaussian weight of each place in a tile, (side, side); its middle is half a row below the centre.

    That the two directions differ is as published.
    """
    places = np.arange(side)
    across, down = (
        np.exp(-((places - middle) ** 2) / (2 * _SPREAD * side**2)) / math.sqrt(2 * math.pi * _SPREAD)
        for middle in ((side - 1) / 2, side / 2)
    )
    return np.outer(down, across)
