"""Cutting a grid of tokens into overlapping tiles, and blending what comes out of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ggt_hub.pipelines.realrestorer.geometry import MULTIPLE, NATIVE


@dataclass(frozen=True)
class Tiles:
    """Equal tiles that cover a grid of tokens.

    Attributes:
        rows: rows of the grid.
        columns: columns of the grid.
        height: rows of each tile.
        width: columns of each tile.
        overlap: tokens that neighbours share at least; over so many the blending ramps.
    """

    rows: int
    columns: int
    height: int
    width: int
    overlap: int

    @classmethod
    def of(cls, rows: int, columns: int, side: int) -> "Tiles":
        """Tiles of at most `side` x `side` tokens, an eighth of it shared with the neighbour.

        They are no larger than as many of them need to be: a grid that is slightly larger than a tile costs
        slightly more than one.
        """
        overlap = max(side // 8, 1)
        return cls(rows, columns, _even(rows, side, overlap), _even(columns, side, overlap), overlap)

    @property
    def tokens(self) -> int:
        """Tokens in each tile."""
        return self.height * self.width

    def __len__(self) -> int:
        return len(_starts(self.rows, self.height, self.overlap)) * len(
            _starts(self.columns, self.width, self.overlap)
        )

    def windows(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of each tile."""
        for top in _starts(self.rows, self.height, self.overlap):
            for left in _starts(self.columns, self.width, self.overlap):
                yield slice(top, top + self.height), slice(left, left + self.width)

    def cut(self, tokens: Tensor, window: tuple[slice, slice]) -> Tensor:
        """The tokens (B, rows * columns, F) of one window, (B, height * width, F)."""
        return tokens.unflatten(1, (self.rows, self.columns))[:, *window].flatten(1, 2)

    def blend(self, function: Callable[[int, tuple[slice, slice]], Tensor], like: Tensor) -> Tensor:
        """Mean of what `function` gives for each tile, weighted so that seams fade; float32.

        Args:
            function: from number and window of a tile to its tokens (B, height * width, F).
            like: tokens of the whole grid, for the shape.
        """
        if len(self) == 1:
            return function(0, next(self.windows())).float()
        weight = self._weight().to(like.device)
        total = torch.zeros_like(like, dtype=torch.float32).unflatten(1, (self.rows, self.columns))
        weights = torch.zeros(self.rows, self.columns, 1, device=like.device)
        for number, window in enumerate(self.windows()):
            tile = function(number, window).float().unflatten(1, (self.height, self.width))
            total[:, *window] += tile * weight
            weights[window] += weight
        return (total / weights).flatten(1, 2)

    def _weight(self) -> Tensor:
        """(height, width, 1): rising over the overlap from each edge, constant inside."""
        return (_ramp(self.height, self.overlap)[:, None] * _ramp(self.width, self.overlap))[..., None]


def set_tile_size(vae: AutoencoderKL) -> None:
    """Let `vae.enable_tiling()` cut tiles of the size that the weights were trained for, not of 256 pixels."""
    vae.tile_sample_min_size, vae.tile_latent_min_size = NATIVE, NATIVE // 8


@contextmanager
def tiled_autoencoder(vae: AutoencoderKL, tiles: Tiles) -> Iterator[None]:
    """Let the autoencoder work in tiles too while there are several; else leave it as it is set.

    Its tiles are no smaller than a published call: its norms look at a whole tile, so each seam is a difference.
    """
    names = ("use_tiling", "tile_sample_min_size", "tile_latent_min_size")
    before = {name: getattr(vae, name) for name in names}
    side = max(tiles.height * MULTIPLE, tiles.width * MULTIPLE, NATIVE)
    wanted = dict(zip(names, (True, side, side // 8), strict=True)) if len(tiles) > 1 else {}
    try:
        for name, value in wanted.items():
            setattr(vae, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(vae, name, value)


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one side: as few as cover it, evenly spread."""
    if tile >= length:
        return [0]
    count = _count(length, tile, overlap)
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def _count(length: int, tile: int, overlap: int) -> int:
    """How many tiles cover a side that is longer than one."""
    return -(-(length - overlap) // (tile - overlap))


def _even(length: int, most: int, overlap: int) -> int:
    """The smallest tile of which no more are needed than of the largest."""
    if most >= length:
        return length
    count = _count(length, most, overlap)
    return -(-(length + (count - 1) * overlap) // count)


def _ramp(length: int, overlap: int) -> Tensor:
    steps = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(steps, steps.flip(0)).clamp(max=overlap)
