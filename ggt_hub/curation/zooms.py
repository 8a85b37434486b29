"""What models are shown: whole pictures, and details where a candidate is least like its photograph."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ggt_hub.images.shown import brightness, is_plain_png, png, png_size, shown_rgb
from ggt_hub.vlm.protocols import RATED_AREA, resized_for_rating

Pixels = NDArray[np.uint8]

DETAIL = 256
"""Side of a detail, in pixels of the picture."""

_GAP = 8
_C2 = (0.03 * 255) ** 2  # SSIM's (Wang et al. 2004, equation 13): flat places are alike
_COARSE = 4  # places are compared at a quarter of the size, where noise does not count


def glance(picture: Any) -> bytes:
    """A picture as it is shown to a model that describes it: PNG of about 512x512 pixels in area, never enlarged.

    Args:
        picture: anything that `read_image` takes; a file that can be shown as it is is not read.

    Raises:
        ImageError: if it cannot be read.
    """
    if isinstance(picture, bytes) and is_plain_png(picture) and math.prod(png_size(picture)) <= RATED_AREA:
        return picture
    shown = Image.fromarray(shown_rgb(picture))
    return png(resized_for_rating(shown) if shown.width * shown.height > RATED_AREA else shown)


def whole(pixels: Pixels, side: int) -> Pixels:
    """A picture, shrunk where it is longer than `side`.

    Args:
        pixels: 8-bit RGB.
        side: of the longer side, in pixels.
    """
    if max(pixels.shape[:2]) <= side:
        return pixels
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def details(lq: Pixels, gt: Pixels, count: int) -> Pixels:
    """Pairs of details one below the other, of `lq` on the left and of `gt` on the right.

    Args:
        lq: 8-bit RGB.
        gt: of the same size.
        count: pairs; fewer where there is no room for others.
    """
    places = [*dict.fromkeys(unlike_places(lq, gt, count))]
    side = min(DETAIL, *lq.shape[:2])
    sheet = np.full((len(places) * (side + _GAP) - _GAP, 2 * side + _GAP, 3), 255, np.uint8)
    for number, (top, left) in enumerate(places):
        here = slice(number * (side + _GAP), number * (side + _GAP) + side)
        sheet[here, :side], sheet[here, -side:] = (
            one[top : top + side, left : left + side] for one in (lq, gt)
        )
    return sheet


def unlike_places(lq: Pixels, gt: Pixels, count: int) -> list[tuple[int, int]]:
    """Top left corners of the squares in which the structures are least alike, the worst first.

    Compared is the structure part of SSIM, without the brightness, which restoring may change. Squares do not
    overlap by more than half of their sides, as long as there is room.
    """
    side = min(DETAIL, *lq.shape[:2])
    likeness = cv2.boxFilter(_structure(lq, gt), -1, (side // _COARSE,) * 2, borderType=cv2.BORDER_REFLECT)
    margin = side // 2 // _COARSE
    found: list[tuple[int, int]] = []
    rows, columns = (
        np.arange(margin, max(margin + 1, extent // _COARSE - margin)) for extent in lq.shape[:2]
    )
    room = likeness[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    for _ in range(count):
        row, column = np.unravel_index(int(room.argmin()), room.shape)
        top, left = (
            min(int(place) * _COARSE, extent - side)
            for place, extent in zip((row, column), lq.shape, strict=False)
        )
        found.append((top, left))
        room[max(0, row - margin) : row + margin + 1, max(0, column - margin) : column + margin + 1] += 2
    return found


def _structure(lq: Pixels, gt: Pixels) -> NDArray[np.float32]:
    """(2 cov + c) / (var + var + c) in windows, -1..1."""
    size = max(1, lq.shape[1] // _COARSE), max(1, lq.shape[0] // _COARSE)
    x, y = (
        cv2.resize(brightness(one), size, interpolation=cv2.INTER_AREA).astype(np.float32) for one in (lq, gt)
    )

    def mean(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.boxFilter(plane, -1, (8, 8), borderType=cv2.BORDER_REFLECT)

    both = mean(x * y) - mean(x) * mean(y)
    spread = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    return (2 * both + _C2) / (spread + _C2)
