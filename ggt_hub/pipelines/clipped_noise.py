"""Shadows after noise is removed: back to the darkness that clipping took.

Noise that is clipped at black brightens what is dark, on the mean by an amount that is known where the noise is
white and equally strong everywhere: a normal variable of mean x and deviation sigma, clipped at 0, has the mean
x P(x / sigma) + sigma p(x / sigma), with the standard normal's distribution P and density p (Tobin, Econometrica
26, 1958). So in the neighbourhood of a dark place the restored picture, clipped like that, must have the mean of
the noisy one, and where it has not, it is shifted until it has.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ggt_hub.images import Picture

Array = NDArray[np.float32]

WINDOW = 31
"""Side in pixels of a neighbourhood: of 961 values with noise of 25 levels the mean is known to 0.8."""

DARK = 80 / 255
"""From here down places are shifted, from half of it on fully."""

BRIGHTENED = 0.5
"""How much of a shift towards bright is made: in doubt it is dark. It has the least error on `clean/free`."""

BLOCK, MIDDLE, BAND = 32, (75 / 255, 180 / 255), 512
"""Side of the blocks in which noise is measured, between which values; and rows that are worked on at once."""


def white_noise(lq: Picture, restored: Array, strength: float) -> float | None:
    """The deviation of the noise that was taken off, if it is white, and as strong in the dark as in bright places.

    Args:
        lq: the noisy picture.
        restored: (H, W, 3), 0..1; `lq` changed by `strength` times what restores it fully.
        strength: above 0.

    Returns:
        In 0..1, at least 2 levels of 255; None for other noise, or where no middle tones show it.
    """
    blocks = [_measured(_rows(lq, rows), restored[rows]) for rows in _bands(len(restored))]
    fine, all_of_it, level = np.concatenate(blocks, axis=1)
    if not len(level):
        return None
    darker, brighter = np.quantile(level, (0.3, 0.7))
    slope = np.median(fine[level >= brighter]) / max(np.median(fine[level <= darker]), 1e-12)
    is_white = np.median(all_of_it) < 1.1 * np.median(fine)
    # What is restored holds a little of the noise still, more of it in busy blocks: hence more than the median.
    sigma = float(np.sqrt(np.quantile(fine, 0.6))) / strength
    return sigma if is_white and 0.8 < slope < 1.2 and sigma >= 2 / 255 else None


def darken_shadows(restored: Array, lq: Picture, sigma: float, strength: float) -> None:
    """Shift dark places, in place, until clipped noise explains the mean of the noisy picture.

    Args:
        restored: as for `white_noise`.
        lq: the noisy picture.
        sigma: of its noise, see `white_noise`.
        strength: above 0.
    """
    height, margin = len(restored), 2 * (WINDOW // 2)
    above = restored[:0].copy()
    for rows in _bands(height):
        around = slice(rows.start - len(above), min(rows.stop + margin, height))
        some, noisy = np.concatenate([above, restored[rows.start : around.stop]]), _rows(lq, around)
        above = some[: rows.stop - around.start][-margin:]
        if some.min() >= DARK:
            continue
        full = noisy + (some - noisy) / np.float32(strength)
        shift = _shifted(_shifted(full, noisy, sigma), noisy, sigma) - full
        mine = np.minimum(shift, BRIGHTENED * shift)[rows.start - around.start :][: rows.stop - rows.start]
        restored[rows] = np.clip(restored[rows] + np.float32(strength) * mine, 0, 1)


def _shifted(restored: Array, lq: Array, sigma: float) -> Array:
    """One step of Newton's method, at each place with the means of its neighbourhood."""
    relative = torch.from_numpy(restored / np.float32(sigma))
    lit = torch.special.ndtr(relative).numpy()  # the share of the noise that is not clipped
    density = torch.exp(-relative.square() / 2).numpy() * np.float32((2 * np.pi) ** -0.5)
    missing = _mean_around(lq - (restored * lit + np.float32(sigma) * density))
    weight = np.clip(2 - 2 * restored / np.float32(DARK), 0, 1)
    return np.clip(restored + weight * missing / np.maximum(_mean_around(lit), 0.4), 0, 1)


def _mean_around(values: Array) -> Array:
    return cv2.blur(values, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT)


def _measured(lq: Array, restored: Array) -> Array:
    """Of each block of middle tones: the variance of the noise between neighbours, and of all of it; the level."""
    if min(lq.shape[:2]) <= BLOCK:
        return np.zeros((3, 0), np.float32)
    noise = lq - restored
    fine = (noise[1:, 1:] - noise[:-1, 1:] - noise[1:, :-1] + noise[:-1, :-1]) / 2
    height, width = (side // BLOCK * BLOCK for side in fine.shape[:2])
    level = restored[:height, :width]
    middle = ((level > MIDDLE[0]) & (level < MIDDLE[1])).astype(np.float32)
    of_blocks = [
        cv2.resize(values, (width // BLOCK, height // BLOCK), interpolation=cv2.INTER_AREA).ravel()
        for values in (
            middle,
            middle * fine[:height, :width] ** 2,
            middle * noise[:height, :width] ** 2,
            middle * level,
        )
    ]
    mostly = of_blocks[0] > 0.5
    return np.stack([values[mostly] / of_blocks[0][mostly] for values in of_blocks[1:]])


def _rows(picture: Picture, rows: slice) -> Array:
    return picture.rgb((0, rows.start, picture.size[0], rows.stop))


def _bands(height: int) -> Iterator[slice]:
    yield from (slice(top, min(top + BAND, height)) for top in range(0, height, BAND))
