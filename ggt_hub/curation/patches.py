"""Patches at the same places of several pictures, and whether a patch shows enough to be trained on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ggt_hub.images.shown import brightness

Pixels = NDArray[np.uint8]

_LEVELS = 3  # of the Laplacian pyramid; WildMoire's number is not published


class Place(NamedTuple):
    """A square in what is left of all pictures, in pixels."""

    top: int
    left: int
    side: int

    def of(self, pixels: Pixels) -> Pixels:
        """That square."""
        return pixels[self.top : self.top + self.side, self.left : self.left + self.side]


def common(pictures: Mapping[str, Pixels]) -> dict[str, Pixels]:
    """What is left of all pictures of one photograph, of which each has lost a border, the same on all four sides.

    Args:
        pictures: 8-bit RGB, by names.
    """
    height, width = (min(one.shape[axis] for one in pictures.values()) for axis in (0, 1))
    return {
        name: one[(one.shape[0] - height) // 2 :, (one.shape[1] - width) // 2 :][:height, :width]
        for name, one in pictures.items()
    }


def places(size: Sequence[int], side: int) -> dict[str, Place]:
    """As many squares as fit side by side, spread evenly, by row and column; none where none fits.

    Args:
        size: height and width.
        side: of a square.
    """
    rows, columns = (_spread(extent, side) for extent in size[:2])
    return {
        f"{row}-{column}": Place(top, left, side)
        for row, top in enumerate(rows)
        for column, left in enumerate(columns)
    }


def detail(patch: Pixels) -> float:
    """The variance of the bands of a Laplacian pyramid of the brightness (0..255), the mean of three bands.

    WildMoire keeps patches from 30 on, and does not say how many bands it has.
    """
    plane = brightness(patch).astype(np.float32)
    found = []
    for _ in range(_LEVELS):
        smaller = cv2.pyrDown(plane)
        found.append(float((plane - cv2.pyrUp(smaller, dstsize=plane.shape[::-1])).var()))
        plane = smaller
    return float(np.mean(found))


def texture(patch: Pixels) -> float:
    """The standard deviation of the brightness, 0..127.5."""
    return float(brightness(patch).std())


def _spread(extent: int, side: int) -> list[int]:
    count = extent // side
    if count < 2:
        return [(extent - side) // 2] * count
    return [round((extent - side) * n / (count - 1)) for n in range(count)]
