"""Peak signal-to-noise ratio."""

import math
from typing import Any

import numpy as np
import torch

from ggt_hub.metrics.pictures import Channels, Pictures, Scores, luma, score_pairs

HIGHEST = 80.0
"""What equal pictures score, in dB."""


def psnr(restored: Pictures, gt: Pictures, *, channels: Channels = "rgb") -> Scores:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / MSE), at most 80.

    The mean squared error runs over all pixels, no border cropped, and all channels together; values are
    not rounded. Equal pictures score 80 as in pyiqa, so that one of them leaves a mean its meaning. (pyiqa gets
    there by adding 1e-8 to the error on a scale of 0..1, which is felt by 1e-4 from 34 dB on; ours is exact.)

    Args:
        restored: pictures to score; arrays or tensors as in `ggt_hub.metrics.pictures`.
        gt: their references, of the same sizes.
        channels: "rgb" for all channels, "y" for luma 0..255 (as pyiqa's psnry), "ycbcr" for luma 16..235
            (as MATLAB's rgb2ycbcr).

    Returns:
        One score for each picture, float64.

    Raises:
        MetricError: if pictures and references do not match.

    Example:
        >>> black = np.zeros((8, 8, 3), np.uint8)
        >>> psnr(black + np.uint8(16), black).round(3)
        array([24.048])
    """
    return score_pairs(restored, gt, lambda x, y: _decibels(luma(x, channels) - luma(y, channels)))


def _decibels(difference: Any) -> Any:
    if isinstance(difference, torch.Tensor):
        error = difference.double().square().mean((1, 2, 3))
        return (20 * math.log10(255) - 10 * torch.log10(error)).clamp(max=HIGHEST)
    with np.errstate(divide="ignore"):
        error = np.square(difference, dtype=np.float64).mean((1, 2, 3))
        return (20 * math.log10(255) - 10 * np.log10(error)).clip(max=HIGHEST)
