"""Structural similarity (Wang et al., IEEE TIP 13(4), 2004), and over several scales (Asilomar 2003)."""

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ggt_hub.errors import MetricError
from ggt_hub.metrics.pictures import Channels, Pictures, Scores, luma, score_pairs

WINDOW, SIGMA = 11, 1.5  # the Gaussian window of the paper (section III.B)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_KERNEL = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2


def ssim(restored: Pictures, gt: Pictures, *, channels: Channels = "rgb", precise: bool = False) -> Scores:
    """Structural similarity with the 11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03, range 255.

    The mean runs over all positions where the whole window lies inside the picture, and over the channels.
    On RGB this is scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False)`. On luma, as pyiqa has it, the plane is first rounded to 8 bits, and
    a negative contrast-structure term counts as 0.

    Args:
        restored: pictures to score; arrays or tensors as in `ggt_hub.metrics.pictures`.
        gt: their references, of the same sizes.
        channels: "rgb" for the mean over the channels, "y" for luma 0..255, "ycbcr" for luma 16..235.
        precise: compute in float64 (error below 1e-9) rather than float32 (below 1e-5).

    Returns:
        One score for each picture, float64; 1 for equal pictures.

    Raises:
        MetricError: if pictures and references do not match, or a side is under 11 pixels.
    """

    def score(x: Any, y: Any) -> Any:
        luminance, contrast = _terms(*_planes(x, y, channels, precise))
        if channels != "rgb":
            contrast = contrast.clip(min=0)
        return _mean(luminance * contrast)

    return score_pairs(restored, gt, score)


def ms_ssim(restored: Pictures, gt: Pictures, *, channels: Channels = "rgb", precise: bool = False) -> Scores:
    """Multi-scale structural similarity: five scales, each the 2x2 mean of the one before.

    The product of the contrast-structure terms (negative ones count as 0) of four scales and the SSIM of
    the coarsest, with the paper's exponents. Window, constants and range as in `ssim`; planes are rounded
    to 8 bits first. An odd side gets one line of zeros at its start before it is halved (as in pyiqa).

    Args:
        restored: pictures to score; arrays or tensors as in `ggt_hub.metrics.pictures`.
        gt: their references, of the same sizes.
        channels: as in `ssim`.
        precise: compute in float64.

    Returns:
        One score for each picture, float64; 1 for equal pictures.

    Raises:
        MetricError: if pictures and references do not match, or a side is under 161 pixels.
    """
    return score_pairs(restored, gt, lambda x, y: _over_scales(*_planes(x, y, channels, precise, 161, True)))


def _over_scales(x: Any, y: Any) -> Any:
    score = 1.0
    for weight in _SCALE_WEIGHTS[:-1]:
        _, contrast = _terms(x, y)
        score = score * _mean(contrast.clip(min=0)) ** weight
        x, y = _halve(x), _halve(y)
    luminance, contrast = _terms(x, y)
    return score * _mean(luminance * contrast.clip(min=0)) ** _SCALE_WEIGHTS[-1]


def _planes(
    x: Any, y: Any, channels: Channels, precise: bool, smallest: int = WINDOW, rounded: bool = False
) -> tuple[Any, Any]:
    """Pick the channels, round them where the protocol does, and set the precision to compute in."""
    height, width = x.shape[-2:] if isinstance(x, torch.Tensor) else x.shape[1:3]
    if min(height, width) < smallest:
        raise MetricError(
            f"a picture of {width}x{height} is too small: this metric needs {smallest} pixels a side"
        )
    x, y = luma(x, channels), luma(y, channels)
    if rounded or channels != "rgb":
        x, y = x.round(), y.round()
    if isinstance(x, torch.Tensor):
        dtype = torch.float64 if precise else torch.float32
        return x.to(dtype), y.to(dtype)
    return x.astype(np.float64 if precise else np.float32), y.astype(np.float64 if precise else np.float32)


def _terms(x: Any, y: Any) -> tuple[Any, Any]:
    """The luminance and the contrast-structure term at every position (equations 6, 9 and 10).

    Variances are small differences of large squares: in float32 they drown where a picture is bright and smooth.
    They stay the same if one constant is taken from both pictures, and the squares of what is left are small.
    """
    offset = _level(y)
    x, y = x - offset, y - offset
    mean_x, mean_y = _blur(x), _blur(y)
    means, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = _blur(x * y) - means
    variances = _blur(x * x + y * y) - squares
    level_x, level_y = mean_x + offset, mean_y + offset
    luminance = (2 * level_x * level_y + _C1) / (level_x * level_x + level_y * level_y + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _level(y: Any) -> Any:
    """A constant for each picture in the middle of its values; whole, so that taking it away is exact."""
    if isinstance(y, torch.Tensor):
        return y.mean((1, 2, 3), keepdim=True).round()
    return y.mean((1, 2, 3), keepdims=True, dtype=np.float64).round().astype(y.dtype)


def _blur(x: Any) -> Any:
    """The Gaussian window's mean, at the positions where the window fits."""
    half = WINDOW // 2
    if not isinstance(x, torch.Tensor):
        blurred = cv2.sepFilter2D(x[0], -1, _KERNEL, _KERNEL)
        return blurred.reshape(x.shape)[:, half:-half, half:-half]
    kernel = torch.as_tensor(_KERNEL, dtype=x.dtype, device=x.device).reshape(1, 1, -1, 1)
    planes = x.reshape(-1, 1, *x.shape[-2:])
    with torch.backends.cudnn.flags(allow_tf32=False):  # ten bits of mantissa would spoil the variances
        planes = F.conv2d(F.conv2d(planes, kernel), kernel.mT)
    return planes.reshape(*x.shape[:2], *planes.shape[-2:])


def _halve(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return F.avg_pool2d(x, 2, padding=(x.shape[2] % 2, x.shape[3] % 2))
    x = np.pad(x, ((0, 0), (x.shape[1] % 2, 0), (x.shape[2] % 2, 0), (0, 0)))
    # The mean of two neighbouring rows, then of two neighbouring columns.
    x = x[:, ::2] + x[:, 1::2]
    return (x[:, :, ::2] + x[:, :, 1::2]) / 4


def _mean(values: Any) -> Any:
    """The mean of each picture; rounding never lifts it above 1."""
    if isinstance(values, torch.Tensor):
        return values.mean((1, 2, 3), dtype=torch.float64).clamp(max=1)
    return values.mean((1, 2, 3), dtype=np.float64).clip(max=1)
