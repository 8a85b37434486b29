"""Checks of a pair: is it the same scene, in the same colours, in the same place?"""

import math
from typing import Any

import cv2
import numpy as np

from ggt_hub.errors import MetricError, MetricUnavailableError
from ggt_hub.metrics.pictures import Array, Pictures, Scores, luma, score_pairs

_DARK = 0.05 * 3  # sum of the channels below which colour is noise
_SMALLEST = 64  # pixels a side that registration needs
_SAME_SCENE = (
    0.4  # correlation of the scenes; unrelated photographs reach 0.32, a dark and noisy one has 0.89
)
_BORDER = 4


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
    either picture have no colour to speak of and are left out. Grey pictures have none at all. Peers refuse more
    than 0.10.

    Args:
        restored: pictures; arrays or tensors as in `ggt_hub.metrics.pictures` (tensors go to the CPU).
        gt: what they are compared with, of the same sizes.

    Returns:
        One score for each pair, 0..1.42, float64; 0 for equal pictures and grey ones. NaN where no pixel is bright
        in both, such as white turned black.

    Raises:
        MetricError: if the pictures do not match.
    """
    return score_pairs(restored, gt, lambda x, y: _per_picture(_drift, x, y))


def registration_error(restored: Pictures, gt: Pictures) -> Scores:
    """Length in pixels of the shift between the pictures, by cross-correlation of their luma (scikit-image's).

    Right to a tenth of a pixel for shifts up to 8 and one of the pictures blurred by up to 3 pixels (sigma): the
    pictures are laid over each other and made equally sharp before the rest of the shift is measured.

    Args:
        restored: pictures; arrays or tensors as in `ggt_hub.metrics.pictures` (tensors go to the CPU).
        gt: what they are compared with, of the same sizes.

    Returns:
        One length for each pair, float64; 0 for equal pictures. NaN where nothing can be registered: a flat
        picture, another scene, a side under 64 pixels.

    Raises:
        MetricError: if the pictures do not match.
        MetricUnavailableError: if scikit-image is not installed.
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
    if x.shape[2] == 1 or np.array_equal(x, y):
        return 0.0
    sums = x @ np.ones((3, 1)), y @ np.ones((3, 1))
    bright = (np.minimum(*sums) > _DARK * 255)[..., 0]
    if not bright.any():
        return math.nan
    difference = x / np.maximum(sums[0], 1) - y / np.maximum(sums[1], 1)
    return float(np.sqrt(np.einsum("hwc,hwc->hw", difference, difference))[bright].mean())


def _shift(x: Array, y: Array) -> float:
    x, y = x[..., 0], y[..., 0]
    if np.array_equal(x, y):
        return 0.0
    if min(x.shape) < _SMALLEST or min(np.ptp(x), np.ptp(y)) < 1:
        return math.nan
    likeness, down, right = _whole_shift(x, y)
    if likeness < _SAME_SCENE:
        return math.nan
    rest = _rest_of_shift(*_equally_sharp(*_overlap(x, y, down, right)))
    return float(np.hypot(down + rest[0], right + rest[1]))


def _whole_shift(x: Array, y: Array) -> tuple[float, int, int]:
    """The shift in whole pixels at which the pictures are most alike (correlation, rows, columns)."""
    candidates = {(0, 0)}
    for normalization in (
        None,
        "phase",
    ):  # the first is right for blurred pictures, the second for small ones
        down, right = _correlated(x, y, 1, normalization)
        if abs(down) * 2 < x.shape[0] and abs(right) * 2 < x.shape[1]:
            candidates.add((round(down), round(right)))
    x, y = (cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in (x, y))  # noise is no part of a scene
    return max((_likeness(*_overlap(x, y, *shift)), *shift) for shift in candidates)


def _rest_of_shift(x: Array, y: Array) -> Array:
    """The shift in fractions of a pixel: measure, undo, and measure again, for a window biases large shifts."""
    rest = np.zeros(2)
    inside = (slice(_BORDER, -_BORDER),) * 2
    for _ in range(6):
        back = np.array([[1, 0, -rest[1]], [0, 1, -rest[0]]])
        moved = cv2.warpAffine(
            y,
            back,
            y.shape[::-1],
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        step = np.array(_correlated(x[inside], moved[inside], 100, None))
        if np.abs(step).max() > 2:
            break
        rest += step
        if np.abs(step).max() < 0.015:
            break
    return rest


def _equally_sharp(x: Array, y: Array) -> tuple[Array, Array]:
    """The pictures with the sharper one blurred until they are most alike: else the blur shifts the maximum."""
    inside = (slice(_BORDER, -_BORDER),) * 2

    def blurred(sigma: float) -> tuple[Array, Array]:
        if sigma == 0:
            return x, y
        soft = cv2.GaussianBlur(x if sigma > 0 else y, (0, 0), abs(sigma))
        return (soft, y) if sigma > 0 else (x, soft)

    sigmas = [sign * sigma for sigma in (0.5, 1, 1.5, 2, 2.5, 3, 4) for sign in (1, -1)]
    return max(
        (blurred(sigma) for sigma in (0, *sigmas)), key=lambda pair: _likeness(*(p[inside] for p in pair))
    )


def _correlated(x: Array, y: Array, per_pixel: int, normalization: str | None) -> tuple[float, float]:
    try:
        from skimage.registration import phase_cross_correlation
    except ImportError as error:
        raise MetricUnavailableError(
            "registration-error needs scikit-image: pip install 'ggt-hub[metrics]'"
        ) from error
    window = cv2.createHanningWindow(x.shape[::-1], cv2.CV_64F)
    windowed = [(plane - (plane * window).sum() / window.sum()) * window for plane in (x, y)]
    shift, _, _ = phase_cross_correlation(*windowed, upsample_factor=per_pixel, normalization=normalization)
    return float(shift[0]), float(shift[1])


def _overlap(x: Array, y: Array, down: int, right: int) -> tuple[Array, Array]:
    """What both show if `y` is moved by that much."""
    height, width = x.shape[0] - abs(down), x.shape[1] - abs(right)
    tops, lefts = (max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0))
    first, second = (
        plane[top : top + height, left : left + width]
        for plane, top, left in zip((x, y), tops, lefts, strict=True)
    )
    return first, second


def _likeness(x: Array, y: Array) -> float:
    """Correlation, -1..1; 0 where one is flat."""
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / scale) if scale else 0.0
