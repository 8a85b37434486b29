"""Aspect buckets: whole pictures of about one shape become one size, so that a batch can hold them.

A picture is shrunk by the mean of areas until it just covers its bucket, both sides of a pair alike, and what
stands over is cut off evenly at both ends. It is never enlarged.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from ggt_hub.degradations.base import Array
from ggt_hub.errors import DatasetError

Size = tuple[int, int]
"""Width and height, in pixels."""


def bucket_of(width: int, height: int, buckets: Sequence[Size]) -> Size | None:
    """Of the sizes that a picture covers the nearest in aspect, and of those the largest; None if it covers none.

    Args:
        width: of the picture, in pixels.
        height: likewise.
        buckets: among which one is chosen.
    """
    covered = [size for size in buckets if size[0] <= width and size[1] <= height]
    aspect = math.log(width / height)
    return min(
        covered, key=lambda size: (abs(math.log(size[0] / size[1]) - aspect), -math.prod(size)), default=None
    )


def fitted(pixels: np.ndarray, buckets: Sequence[Size], scale: int = 1) -> Array:
    """A picture of 8 bits as its bucket holds it: float32, 0..1, height x width x 3.

    Args:
        pixels: height x width x 3.
        buckets: see `bucket_of`.
        scale: how many times as large the sides of this picture are as those of the one that a bucket is for.

    Raises:
        DatasetError: if it covers none.
    """
    rows, columns = (extent // scale for extent in pixels.shape[:2])
    bucket = bucket_of(columns, rows, buckets)
    if bucket is None:
        raise DatasetError(f"{columns}x{rows} pixels cover none of the buckets {in_words(buckets)}")
    ratio = max(bucket[0] / columns, bucket[1] / rows)
    width, height = (round(extent * ratio) for extent in (columns, rows))
    picture = pixels.astype(np.float32) / np.float32(255)
    if ratio < 1:
        picture = cv2.resize(picture, (scale * width, scale * height), interpolation=cv2.INTER_AREA)
    left, top = (scale * ((extent - side) // 2) for extent, side in zip((width, height), bucket, strict=True))
    return picture[top : top + scale * bucket[1], left : left + scale * bucket[0]]


def in_words(buckets: Sequence[Size]) -> str:
    """Sizes as they are written."""
    return ", ".join(f"{width}x{height}" for width, height in buckets)
