"""Many short lines at once: streaks of rain, splashes, scratches."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ggt_hub.degradations.base import Array

Points = NDArray[np.float32]
"""n x 2: column and row."""

_SHIFT = 4
"""Lines are placed to a sixteenth of a pixel."""


def draw_soft_lines(
    shape: tuple[int, ...], starts: Points, ends: Points, values: Array, thickness: int = 1
) -> Array:
    """Lines with smooth edges, the brightest on top: a canvas, height x width, 0 where there is none.

    Values (0..1) are rounded to 24 steps, so that a few calls draw them all.
    """
    canvas = np.zeros(shape[:2], np.uint8)
    steps = np.rint(np.clip(values, 0.0, 1.0) * 24).astype(np.int32)
    order = np.argsort(steps, kind="stable")
    lines = np.rint(np.stack([starts, ends], axis=1)[order] * 2**_SHIFT).astype(np.int32)
    for run in _runs(steps[order]):
        level = int(steps[order][run.start]) * 255 // 24
        cv2.polylines(canvas, list(lines[run]), False, level, thickness, cv2.LINE_AA, _SHIFT)
    return canvas.astype(np.float32) / np.float32(255.0)


def _runs(values: NDArray) -> list[slice]:
    """Stretches of one value."""
    edges = np.flatnonzero(np.diff(values)) + 1
    bounds = [0, *edges.tolist(), len(values)]
    return [slice(start, stop) for start, stop in pairwise(bounds) if stop > start]
