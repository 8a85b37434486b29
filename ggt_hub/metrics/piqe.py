"""PIQE, a score of visible block artefacts and noise, without reference or training.

N. Venkatanath et al., "Blind image quality evaluation using perception based features", National Conference
on Communications, 2015. Details that the paper leaves open follow pyiqa, where it follows MATLAB.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ggt_hub.errors import MetricError
from ggt_hub.metrics.niqe import luma_planes, normalised
from ggt_hub.metrics.pictures import Array, Pictures, Scores, score_each

_BLOCK, _SEGMENT = 16, 6
_ACTIVE, _FLAT = 0.1, 0.1  # a block of more variance is active; a segment of less deviation is an artefact


def piqe(pictures: Pictures) -> Scores:
    """Perception-based image quality evaluator; 0 (best) to 100.

    Luma 0..255 (ITU-R BT.601), stretched so that its maximum is 255, rounded; blocks of 16x16.

    Args:
        pictures: pictures to score; arrays or tensors as in `ggt_hub.metrics.pictures` (tensors are
            scored on the CPU).

    Returns:
        One score for each picture, float64.

    Raises:
        MetricError: if a side is under 16 pixels, or a picture is black.
    """
    return score_each(pictures, lambda batch: np.array([_score(plane) for plane in luma_planes(batch)]))


def _score(plane: Array) -> float:
    if min(plane.shape) < _BLOCK or plane.max() <= 0:
        height, width = plane.shape
        raise MetricError(
            f"PIQE needs a picture of 16 pixels a side that is not black; this one is {width}x{height}"
        )
    # On 0..1 and in float32 throughout, as the reference: rounding decides ties here, and thresholds later.
    plane = (plane / 255).astype(np.float32)
    plane = np.rint(255 * (plane / plane.max()))
    # The reference pads by the remainder of the division by 16, not by what is missing to the next multiple.
    plane = np.pad(plane, [(0, side % _BLOCK) for side in plane.shape], mode="symmetric")
    rows, columns = (side // _BLOCK for side in plane.shape)
    grid = normalised(plane)[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    blocks = grid.swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)
    variance = blocks.var(axis=(1, 2), ddof=1)
    active = variance > _ACTIVE
    damage = _has_flat_segment(blocks) * (1 - variance) + _is_noisy(blocks, variance) * variance
    return float((damage[active].sum() + 1) / (active.sum() + 1) * 100)


def _has_flat_segment(blocks: Array) -> Any:
    """Whether six pixels in a row along an edge hardly differ: the block shows a coding artefact."""
    edges = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], axis=1)
    deviation = sliding_window_view(edges, _SEGMENT, axis=2).std(axis=3, ddof=1)
    return (deviation < _FLAT).any(axis=(1, 2))


def _is_noisy(blocks: Array, variance: Array) -> Any:
    """Whether the block deviates more than twice as much as its centre does relative to its surround."""
    half = _BLOCK // 2
    centre = blocks[:, :, half - 1 : half + 1].std(axis=(1, 2), ddof=1)
    # The reference drops columns 7 and 9 (from 0) here: it removes 7, and then what has become 8.
    surround = np.delete(blocks, [half - 1, half + 1], axis=2).std(axis=(1, 2), ddof=1)
    deviation = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(centre / surround)
        return deviation > 2 * np.abs(deviation - ratio) / np.maximum(deviation, ratio)
