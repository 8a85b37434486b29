"""Run a network over a picture tile by tile, so that memory follows the tile and no seam shows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ggt_hub.errors import RestorerError
from ggt_hub.images.picture import FloatArray, Picture

if TYPE_CHECKING:
    import torch

    TileFunction = Callable[[torch.Tensor], torch.Tensor]


_watcher: ContextVar[Callable[[int, int], None] | None] = ContextVar("_watcher", default=None)


@contextmanager
def watch_tiles(watcher: Callable[[int, int], None]) -> Iterator[None]:
    """Within this, `run_tiled` calls `watcher(done, total)` before each tile; what that raises ends the work."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def run_tiled(
    function: "TileFunction",
    image: Picture | np.ndarray,
    *,
    tile: int | None,
    overlap: int,
    scale: int | Fraction = 1,
    multiple: int = 1,
) -> FloatArray:
    """Apply `function` to overlapping tiles of a picture and blend what it gives.

    Two neighbouring tiles each reach `overlap` pixels (or more) beyond the line between them. Around that line
    one fades linearly into the other over `overlap` pixels; the outermost `overlap / 2` pixels of a tile have
    weight zero, since a network sees padding there instead of picture. So a network whose receptive field is at
    most `overlap` pixels wide gives what it would give on the whole picture. The weights sum to 1 at every pixel
    by construction.

    Args:
        function: From a float32 tensor 1CHW in 0..1 on the CPU to one of `scale` times its height and width.
            It never sees more than `tile` x `tile` pixels.
        image: A `Picture` (given to the function as RGB) or an array HWC: uint8, uint16, or floats.
        tile: Side of a tile in pixels, more than `2 * overlap` and a multiple of `multiple`. None, or a tile as
            large as the picture: one call with the whole picture, whose values come back unchanged.
        overlap: Pixels, see above.
        scale: Output pixels for an input pixel; a fraction if several input pixels give one, and then `multiple`,
            height and width are multiples of so many.
        multiple: What height and width of the function's input must be multiples of. The picture is padded to
            that at the right and bottom, and the result cropped back. Tiles also begin at multiples of it, so a
            network that works on a coarser grid sees the same grid in each tile.

    Returns:
        HWC float32, `scale` times as high and wide as the image; with the channels that the function gives.

    Raises:
        RestorerError: For a tile that does not fit overlap or multiple, or a function whose output has another
            size than announced.
    """
    height, width = image.pixels.shape[:2] if isinstance(image, Picture) else image.shape[:2]
    rows = _spans(height, tile, overlap, multiple)
    columns = _spans(width, tile, overlap, multiple)
    result: FloatArray | None = None
    watcher, done = _watcher.get(), 0
    for top, bottom, row_weights in _weighted(rows, height, overlap, scale):
        for left, right, column_weights in _weighted(columns, width, overlap, scale):
            if watcher is not None:
                watcher(done, len(rows) * len(columns))
            done += 1
            part = _crop(image, left, top, right, bottom)
            output = _apply(function, pad_to_multiple(part, multiple), part.shape[:2], scale)
            if len(rows) == len(columns) == 1:
                return output
            if result is None:
                result = np.zeros((int(height * scale), int(width * scale), output.shape[2]), np.float32)
            output *= row_weights[:, None, None]
            output *= column_weights[None, :, None]
            rows_out, columns_out = (
                slice(int(start * scale), int(stop * scale)) for start, stop in ((top, bottom), (left, right))
            )
            result[rows_out, columns_out] += output
    assert result is not None  # noqa: S101 - a picture has at least one tile
    return result


def pad_to_multiple(array: np.ndarray, multiple: int) -> np.ndarray:
    """An HWC array grown at the right and bottom to multiples of `multiple`.

    By reflection, which continues textures; where the array is too small for that (1x1 is the extreme) the
    reflected edge is repeated.
    """
    return array[_grown(array.shape[0], multiple)][:, _grown(array.shape[1], multiple)]


def _grown(size: int, multiple: int) -> "np.ndarray | slice":
    padded = -(-size // multiple) * multiple
    if padded == size:
        return slice(None)
    index = np.arange(padded)
    return np.clip(np.where(index < size, index, 2 * (size - 1) - index), 0, size - 1)


def _spans(size: int, tile: int | None, overlap: int, multiple: int) -> list[tuple[int, int]]:
    """(start, stop) of each tile along one axis; the last may reach into the padding."""
    padded = -(-size // multiple) * multiple
    if tile is None or tile >= padded:
        return [(0, padded)]
    stride = (tile - 2 * overlap) // multiple * multiple
    if overlap < 0 or stride < 1 or tile % multiple:
        raise RestorerError(
            f"tile={tile} with overlap={overlap} cannot be used: a tile must be a multiple of {multiple} and at "
            f"least {2 * overlap + multiple} (twice the overlap and {multiple}). Take a larger tile or None."
        )
    starts = [*range(0, padded - tile, stride), padded - tile]
    return [(start, start + tile) for start in starts]


def _weighted(
    spans: list[tuple[int, int]], size: int, overlap: int, scale: int | Fraction
) -> Iterator[tuple[int, int, FloatArray]]:
    """Each span, cut to the picture, with its blend weights at output resolution.

    Between two tiles a ramp rises from 0 to 1 around the middle of what they share. A tile's weights are the
    difference of the ramp at its start and the ramp at its end, so the sum over all tiles telescopes to 1.
    """
    middles = [(start + stop) / 2 for (_, stop), (start, _) in pairwise(spans)]
    for index, (start, stop) in enumerate(spans):
        stop = min(stop, size)
        centres = (np.arange(int(start * scale), int(stop * scale)) + 0.5) / float(scale)
        weights = np.ones(len(centres))
        if index > 0:
            weights = _ramp(centres, middles[index - 1], overlap)
        if index < len(middles):
            weights = weights - _ramp(centres, middles[index], overlap)
        yield start, stop, weights.astype(np.float32)


def _ramp(positions: np.ndarray, middle: float, width: int) -> np.ndarray:
    return np.clip((positions - middle) / max(width, 1e-6) + 0.5, 0.0, 1.0)


def _crop(image: Picture | np.ndarray, left: int, top: int, right: int, bottom: int) -> FloatArray:
    if isinstance(image, Picture):
        return image.rgb((left, top, right, bottom))
    part = image[top:bottom, left:right]
    levels = np.iinfo(part.dtype).max if np.issubdtype(part.dtype, np.integer) else 1
    return part.astype(np.float32) / np.float32(levels)


def _apply(
    function: "TileFunction", part: FloatArray, size: tuple[int, int], scale: int | Fraction
) -> FloatArray:
    """One call: HWC in, HWC out, cropped to `size` times `scale`."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(part, -1, 0))[None])
    with torch.inference_mode():
        output = function(tensor).float().cpu().numpy()
    height, width = int(part.shape[0] * scale), int(part.shape[1] * scale)
    if output.ndim != 4 or output.shape[0] != 1 or output.shape[2:] != (height, width):
        raise RestorerError(
            f"a tile of {part.shape[1]}x{part.shape[0]} gave output of shape {output.shape}; "
            f"expected (1, C, {height}, {width}). Check scale={scale} and multiple."
        )
    return np.array(np.moveaxis(output[0], 0, -1)[: int(size[0] * scale), : int(size[1] * scale)])
