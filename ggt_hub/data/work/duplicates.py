"""Pictures that are alike: a hash that small changes leave as it is, and hashes that are near each other."""

from collections.abc import Sequence

import cv2
import numpy as np

from ggt_hub.images.shown import brightness

DISTANCE = 3
"""Bits of 64 in which two pictures may differ and still count as the same, such as after recompression."""
_BANDS = 4  # with one more than DISTANCE, two near hashes agree in at least one band (pigeonhole)
_FLAT = 2.0  # levels of 255; below, the hash is of noise alone
_MOST_IN_A_BUCKET = 2000


def perceptual_hash(pixels: np.ndarray) -> int | None:
    """64 bits: whether each of 9x8 areas is darker than its right neighbour ("difference hash").

    Args:
        pixels: uint8, HWC, RGB.

    Returns:
        The hash; None for a picture that is flat, of which there is nothing to say.
    """
    grey = brightness(pixels)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _FLAT:
        return None
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def near(hashes: Sequence[int | None]) -> list[tuple[int, int]]:
    """The positions of all pairs of pictures whose hashes differ in at most `DISTANCE` bits."""
    known = np.array([n for n, value in enumerate(hashes) if value is not None], np.int64)
    values = np.array([hashes[n] for n in known], np.uint64)
    found: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        keys = (values >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order][:1] + np.uint64(1)))
        for bucket in np.split(order, starts[1:]) if len(order) else ():
            found |= _near_in(bucket[:_MOST_IN_A_BUCKET], values)
    return sorted((int(known[a]), int(known[b])) for a, b in found)


def _near_in(bucket: np.ndarray, values: np.ndarray) -> set[tuple[int, int]]:
    pairs = set()
    for place, first in enumerate(bucket[:-1]):
        rest = bucket[place + 1 :]
        close = rest[np.bitwise_count(values[rest] ^ values[first]) <= DISTANCE]
        pairs |= {(min(first, other), max(first, other)) for other in close}
    return pairs
