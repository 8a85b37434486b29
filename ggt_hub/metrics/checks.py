"""Checks of a pair: is it the same scene, in the same colours, in the same place?"""

from typing import Any

import cv2
import numpy as np

from ggt_hub.errors import MetricError
from ggt_hub.metrics.pictures import Array, Pictures, Scores, luma, score_pairs

_DARK = 0.05 * 3  # sum of the channels below which colour is noise


def ssim_at_192(restored: Pictures, gt: Pictures) -> Scores:
    """SSIM of the grey pictures with the longer side reduced to 192 pixels: is it the same scene?

    The uniform 7x7 window with sample covariance, as scikit-image's defaults have it, on luma 0..255. Peers
    take less than 0.30 for a replaced scene and more than 0.97 for a picture returned as it was.

    Args:
        restored: pictures; arrays or tensors as in `ggt_hub.metrics.pictures` (tensors go to the CPU).
        gt: what they are compared with, of the same sizes.

    Returns:
        One score for each pair, -1..1, float64.

    Raises:
        MetricError: if the pictures do not match or a side is under 7 pixels at that size.
    """
    return score_pairs(restored, gt, lambda x, y: _per_picture(_small_ssim, luma(x, "y"), luma(y, "y")))


def chromaticity_drift(restored: Pictures, gt: Pictures) -> Scores:
    """Mean distance between the chromaticities (R, G, B) / (R + G + B) of pixels at the same place.

    0 for equal colours whatever the brightness; white against pure red is 0.82. Pixels darker than 5 % in
    either picture have no colour to speak of and are left out. Peers refuse more than 0.10.

    Args:
        restored: pictures; arrays or tensors as in `ggt_hub.metrics.pictures` (tensors go to the CPU).
        gt: what they are compared with, of the same sizes.

    Returns:
        One score for each pair, 0..1.42, float64; 0 where all pixels are dark, or the pictures grey.

    Raises:
        MetricError: if the pictures do not match.
    """
    return score_pairs(restored, gt, lambda x, y: _per_picture(_drift, x, y))


def registration_error(restored: Pictures, gt: Pictures) -> Scores:
    """Length in pixels of the shift between the pictures, by phase correlation of their luma.

    Args:
        restored: pictures; arrays or tensors as in `ggt_hub.metrics.pictures` (tensors go to the CPU).
        gt: what they are compared with, of the same sizes.

    Returns:
        One length for each pair, float64, to about a tenth of a pixel where the pictures show the same scene.

    Raises:
        MetricError: if the pictures do not match.
    """
    return score_pairs(restored, gt, lambda x, y: _per_picture(_shift, luma(x, "y"), luma(y, "y")))


def _per_picture(check: Any, x: Any, y: Any) -> Array:
    if not isinstance(x, np.ndarray):
        x, y = (batch.permute(0, 2, 3, 1).cpu().numpy() for batch in (x, y))
    return np.array([check(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(x, y, strict=True)])


def _small_ssim(x: Array, y: Array) -> float:
    height, width = x.shape[:2]
    scale = min(1.0, 192 / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if min(size) < 7:
        raise MetricError(f"a picture of {width}x{height} is too narrow to be compared at 192 pixels")
    x, y = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (x, y))
    mean_x, mean_y = _box(x), _box(y)
    sample = 49 / 48
    variance = sample * (_box(x * x) - mean_x**2 + _box(y * y) - mean_y**2)
    covariance = sample * (_box(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * (2 * covariance + c2) / (variance + c2)).mean())


def _box(plane: Array) -> Array:
    return cv2.blur(plane, (7, 7))[3:-3, 3:-3]


def _drift(x: Array, y: Array) -> float:
    sums = x.sum(2, keepdims=True), y.sum(2, keepdims=True)
    bright = (np.minimum(*sums) > _DARK * 255)[..., 0]
    if x.shape[2] == 1 or not bright.any():
        return 0.0
    difference = x[bright] / sums[0][bright] - y[bright] / sums[1][bright]
    return float(np.linalg.norm(difference, axis=1).mean())


def _shift(x: Array, y: Array) -> float:
    window = cv2.createHanningWindow((x.shape[1], x.shape[0]), cv2.CV_64F)
    (right, down), _ = cv2.phaseCorrelate(x[..., 0], y[..., 0], window)
    return float(np.hypot(right, down))
