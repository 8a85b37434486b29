"""Resampling: the filters by which pictures are brought to another size, as OpenCV, Pillow and torch have them."""

from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ggt_hub.degradations.base import Array

Filter = Literal[
    "area",
    "pooled",
    "linear",
    "cubic",
    "lanczos",
    "antialiased_linear",
    "antialiased_cubic",
    "antialiased_lanczos",
]

Ratio = tuple[Fraction, Fraction]
"""By what columns and rows are multiplied."""

# These look at as many pixels as they do when enlarging, so that shrinking aliases: torch without antialiasing.
_OPENCV = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
# These widen as the picture shrinks: what Pillow, browsers and most photo software do, and torch with antialiasing.
_PILLOW = {
    "antialiased_linear": Image.Resampling.BILINEAR,
    "antialiased_cubic": Image.Resampling.BICUBIC,
    "antialiased_lanczos": Image.Resampling.LANCZOS,
}


def resampled(image: Array, size: tuple[int, int], kind: str, ratio: Ratio | None = None) -> Array:
    """A picture at another size; what overshoots is left as it is.

    `pooled` is the mean of all pixels that a new one touches, each counted whole (torch's `area`); `area` counts
    what is touched in part by that part.

    Args:
        image: height x width x 3.
        size: columns and rows of the result.
        kind: one of `Filter`.
        ratio: of a new picture that would be a little larger than `size`, which it is then cut to, at the right and
            at the bottom. None: new over old size, so that all of the picture is in the result.
    """
    if kind == "pooled":
        return _pooled(image, size, ratio or _ratio(image, size))
    if kind in _OPENCV:
        if ratio is None:
            return cv2.resize(image, size, interpolation=_OPENCV[kind])
        larger = cv2.resize(image, None, None, float(ratio[0]), float(ratio[1]), _OPENCV[kind])
        return np.ascontiguousarray(larger[: size[1], : size[0]])
    box = None if ratio is None else (0.0, 0.0, float(size[0] / ratio[0]), float(size[1] / ratio[1]))
    channels = [Image.fromarray(channel).resize(size, _PILLOW[kind], box) for channel in cv2.split(image)]
    return cv2.merge([np.asarray(channel) for channel in channels]).reshape(size[1], size[0], 3)


def _ratio(image: Array, size: tuple[int, int]) -> Ratio:
    return Fraction(size[0], image.shape[1]), Fraction(size[1], image.shape[0])


def _pooled(image: Array, size: tuple[int, int], ratio: Ratio) -> Array:
    left, right = _touched(image.shape[1], size[0], ratio[0])
    top, bottom = _touched(image.shape[0], size[1], ratio[1])
    sums = cv2.integral(image, sdepth=cv2.CV_64F)
    rows = sums[bottom] - sums[top]
    total = rows[:, right] - rows[:, left]
    counts = (bottom - top)[:, None, None] * (right - left)[None, :, None]
    return (total / counts).astype(np.float32)


def _touched(old: int, new: int, ratio: Fraction) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first of the old pixels that each new one touches, and the one behind the last."""
    places = np.arange(new + 1, dtype=np.int64) * ratio.denominator
    return places[:-1] // ratio.numerator, np.minimum(-(-places[1:] // ratio.numerator), old)
