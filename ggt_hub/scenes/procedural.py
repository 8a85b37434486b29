"""Depth and regions without a network: not what is there, but what looks plausible."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_WORKING_SIDE = 256
"""Depth varies slowly: it is worked out on a picture of this longer side at most."""


def depth(picture: Array) -> Array:
    """A guess at how far things are, 0 (nearest) .. 1 (farthest): height x width.

    What stands higher is farther in most photographs; so is what haze has brightened already, as the dark channel
    shows (He et al., "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009, section 3), and what is
    bright over large areas, as skies are. The sum follows the picture's own edges (guided filter, He et al., ECCV
    2010).
    """
    height, width = picture.shape[:2]
    small = _shrunk(picture, _WORKING_SIDE)
    rows, columns = small.shape[:2]
    higher = np.linspace(1.0, 0.0, rows, dtype=np.float32)[:, None] * np.ones((1, columns), np.float32)
    reach = max(3, round(max(rows, columns) / 16))
    red, green, blue = cv2.split(small)  # by planes, for NumPy is slow along an axis of three
    darkest = cv2.erode(cv2.min(cv2.min(red, green), blue), np.ones((reach, reach), np.uint8))
    grey = (red + green + blue) / np.float32(3)
    bright = cv2.GaussianBlur(grey, (0, 0), reach)
    guess = _guided(grey, 0.6 * higher + 0.25 * darkest + 0.15 * bright, reach)
    return _stretched(cv2.resize(guess, (width, height), interpolation=cv2.INTER_LINEAR))


def from_inverse(inverse: Array, height: int, width: int) -> Array:
    """Depth 0..1 from the inverse depth that MiDaS and Depth Anything give, in any unit; constant: 1 everywhere.

    Resized linearly, stretched to 0..1 and inverted, as RealRestorer does before it adds haze.
    """
    return 1 - _stretched(cv2.resize(inverse, (width, height), interpolation=cv2.INTER_LINEAR))


def regions(picture: Array) -> NDArray[np.int32]:
    """What belongs together, by colour: superpixels, joined where neighbours differ by less than 6 in CIELAB.

    Returns:
        Height x width, the number of each pixel's region, from 0 on.
    """
    height, width = picture.shape[:2]
    small = _shrunk(picture, min(max(1, max(height, width) // 4), 2 * _WORKING_SIDE))
    labels = superpixels(small, 10.0)
    colours = _means(_lab(small).reshape(-1, 3), labels.ravel(), int(labels.max()) + 1)
    joined = _joined(labels, colours, 6.0)
    return cv2.resize(joined, (width, height), interpolation=cv2.INTER_NEAREST)


def superpixels(picture: Array, side: float, rounds: int = 4) -> NDArray[np.int32]:
    """Regions of like colour and size, numbered from 0: height x width.

    Local k-means in colour and place from a grid of centres (SLIC, Achanta et al., TPAMI 2012, algorithm 1); each
    pixel looks at the nine centres around it.

    Args:
        picture: height x width x 3, 0..1.
        side: of a region, in pixels, about.
        rounds: of assigning and averaging.
    """
    rows, columns = picture.shape[:2]
    across, down = max(1, round(columns / side)), max(1, round(rows / side))
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    place = np.dstack([x, y]) * np.float32(10.0 / side)  # compactness 10, in units of CIELAB
    features = np.dstack([_lab(picture), place]).reshape(-1, 5)
    cell_x = np.minimum((x * across / columns).astype(np.int32), across - 1)
    cell_y = np.minimum((y * down / rows).astype(np.int32), down - 1)
    labels = (cell_y * across + cell_x).ravel()
    around = [
        np.clip(cell_y + dy, 0, down - 1) * across + np.clip(cell_x + dx, 0, across - 1)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    ]
    candidates = np.stack(around).reshape(9, -1)
    pixels = np.arange(labels.size)
    for _ in range(rounds):
        centres = _means(features, labels, across * down)
        distances = np.stack([_squared(features - centres[row]) for row in candidates])
        labels = candidates[distances.argmin(axis=0), pixels]
    return _numbered(labels).reshape(rows, columns)


def _joined(labels: NDArray[np.int32], colours: Array, limit: float) -> NDArray[np.int32]:
    """Neighbouring regions whose colours differ by less than the limit become one."""
    count = len(colours)
    right, below = labels[:, :-1] * count + labels[:, 1:], labels[:-1] * count + labels[1:]
    pairs = np.divmod(np.unique(np.concatenate([right.ravel(), below.ravel()])), count)
    alike = np.linalg.norm(colours[pairs[0]] - colours[pairs[1]], axis=1) < limit
    first = np.arange(count)
    for one, other in zip(pairs[0][alike], pairs[1][alike], strict=True):
        if first[one] != first[other]:
            first[first == first[other]] = first[one]
    return _numbered(first)[labels]


def _numbered(labels: NDArray[Any]) -> NDArray[np.int32]:
    """The same regions, numbered from 0 without gaps."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int32)


def _lab(picture: Array) -> Array:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)


def _squared(vectors: Array) -> Array:
    lengths: Array = np.einsum("ij,ij->i", vectors, vectors)
    return lengths


def _means(features: Array, labels: NDArray[np.int32], count: int) -> Array:
    sums = np.stack([np.bincount(labels, column, count) for column in features.T], axis=1)
    members = np.bincount(labels, minlength=count)[:, None]
    means: Array = np.where(members > 0, sums / np.maximum(members, 1), 1e6).astype(np.float32)
    return means


def _shrunk(picture: Array, longest: int) -> Array:
    height, width = picture.shape[:2]
    share = min(1.0, longest / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _guided(guide: Array, values: Array, radius: int) -> Array:
    """The values smoothed, except across edges of the guide."""

    def mean(of: Array) -> Array:
        return cv2.boxFilter(of, -1, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    centre, level = mean(guide), mean(values)
    variance = mean(guide * guide) - centre * centre
    slope = cv2.divide(mean(guide * values) - centre * level, variance + np.float32(1e-2))
    return mean(slope) * guide + mean(level - slope * centre)


def _stretched(values: Array) -> Array:
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-6:
        return np.zeros_like(values)
    values -= np.float32(low)
    values /= np.float32(high - low)
    return values
