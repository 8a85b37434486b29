"""NIQE, the distance of a picture's statistics from those of pristine photographs, and no reference.

A. Mittal, R. Soundararajan, A. C. Bovik, "Making a 'completely blind' image quality analyzer", IEEE Signal
Processing Letters 20(3), 2013. The model of pristine photographs in `niqe_pris_params.npz` (mean and
covariance of 36 features) is the authors' own, as they published it with the paper.
"""

import math
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import cv2
import numpy as np

from ggt_hub.errors import MetricError
from ggt_hub.metrics.pictures import Array, Pictures, Scores, luma, score_each

_BLOCK = 96
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # horizontal, vertical, and the two diagonals
# Halving by the bicubic kernel (a = -0.5) stretched by two, as MATLAB's imresize antialiases: eight
# neighbours at distances of 0.25, 0.75, 1.25 and 1.75 output pixels.
_HALVING = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.float32) / 256
# The window of the local mean, in the reference's float32: its sum misses 1 by 1e-8, which decides the sign,
# and so the side of the fit, of every pixel in a flat region.
_WINDOW = np.outer(*[cv2.getGaussianKernel(7, 7 / 6).ravel()] * 2).astype(np.float32).astype(np.float64)
_log_gamma = np.vectorize(math.lgamma, otypes=[float])


def niqe(pictures: Pictures) -> Scores:
    """Natural image quality evaluator; lower is better, about 2 to 4 for good photographs.

    Luma 0..255 (ITU-R BT.601) rounded to whole levels; blocks of 96x96 at full and 48x48 at half size,
    what is left at the right and bottom is ignored; the window of the local mean is 7x7 with sigma 7/6 and
    repeats the border. As pyiqa's `niqe`; BasicSR differs in using luma 16..235. No implementation is exact, the
    reference's own float32 and float64 differ by up to 0.08, for rounding decides signs in flat regions; ours and
    the reference differ as much.

    Args:
        pictures: pictures to score; arrays or tensors as in `ggt_hub.metrics.pictures` (tensors are
            scored on the CPU).

    Returns:
        One score for each picture, float64. NaN where no block has any texture. The covariance of a single
        block counts as 0.

    Raises:
        MetricError: if a side is under 96 pixels.
    """
    return score_each(pictures, lambda batch: np.array([_score(plane) for plane in luma_planes(batch)]))


def luma_planes(batch: Any) -> Array:
    """Luma of a batch (`1 x H x W x C` array or `N x C x H x W` tensor, 0..255) as `N x H x W`, unrounded."""
    if isinstance(batch, np.ndarray):
        return luma(batch, "y")[..., 0]
    return luma(batch, "y")[:, 0].cpu().numpy()


def normalised(plane: Array) -> Array:
    """Take from each pixel the local mean and divide by the local deviation + 1 (equation 1)."""
    mean = cv2.filter2D(plane, -1, _WINDOW, borderType=cv2.BORDER_REPLICATE)
    square = cv2.filter2D(plane * plane, -1, _WINDOW, borderType=cv2.BORDER_REPLICATE)
    return (plane - mean) / (np.sqrt(np.abs(square - mean * mean)) + 1)


def _score(plane: Array) -> float:
    """Distance between the picture's features and the pristine model (equation 10)."""
    plane = np.rint(plane).astype(np.float64)
    height, width = (side // _BLOCK * _BLOCK for side in plane.shape)
    if not height or not width:
        raise MetricError(
            f"a picture of {plane.shape[1]}x{plane.shape[0]} is too small: NIQE needs {_BLOCK} pixels a side"
        )
    plane = plane[:height, :width]
    features = np.hstack([_features(plane, _BLOCK), _features(_half(plane), _BLOCK // 2)])
    textured = features[~np.isnan(features).any(axis=1)]
    if not len(textured):
        return float("nan")
    mean, covariance = _pristine()
    difference = mean - np.nanmean(features, axis=0)
    inverse = np.linalg.pinv((covariance + np.cov(textured.T, bias=len(textured) == 1)) / 2)
    return float(np.sqrt(difference @ inverse @ difference))


def _half(plane: Array) -> Array:
    """Half the size; in float32 and added up in this order, as the reference.

    In a flat region its rounding error decides the sign of a pixel, and in a dark photograph the fourth digit.
    """
    small = (plane / 255).astype(np.float32)
    for _ in range(2):  # the columns, then, transposed, the rows
        padded = np.pad(small, ((3, 3), (0, 0)), mode="symmetric")
        small = sum(weight * padded[i : i + len(small) : 2] for i, weight in enumerate(_HALVING)).T
    return small.astype(np.float64) * 255


def _features(plane: Array, block: int) -> Array:
    """The 18 features of each block (section II.B), one row for each."""
    rows, columns = plane.shape[0] // block, plane.shape[1] // block
    blocks = normalised(plane).reshape(rows, block, columns, block).swapaxes(1, 2).reshape(-1, block, block)
    shape, left, right = _asymmetric_fit(blocks)
    features = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS:
        shape, left, right = _asymmetric_fit(blocks * np.roll(blocks, shift, axis=(1, 2)))
        mean = (right - left) * np.exp(_log_gamma(2 / shape) - _log_gamma(1 / shape))
        features += [shape, mean, left, right]
    return np.stack(features, axis=1)


def _asymmetric_fit(blocks: Array) -> tuple[Array, Array, Array]:
    """Shape, left and right scale of the asymmetric generalised Gaussian that fits each block (equation 7)."""
    squares = blocks * blocks
    negative = blocks < 0
    left_sum = np.where(negative, squares, 0).sum((1, 2))
    total = squares.sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):  # a flat block has no scales: NaN, left out later
        left = np.sqrt(left_sum / negative.sum((1, 2)))
        right = np.sqrt((total - left_sum) / (blocks > 0).sum((1, 2)))
        ratio = left / right
        mean_ratio = np.abs(blocks).mean((1, 2)) ** 2 / (total / blocks[0].size)
    wanted = mean_ratio * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, ratios = _shape_table()
    after = np.searchsorted(ratios, wanted).clip(1, len(ratios) - 1)
    nearest = np.where(wanted - ratios[after - 1] <= ratios[after] - wanted, after - 1, after)
    # A flat block has no ratio; the reference takes the first shape of its table for it, and so do we.
    shape = shapes[np.where(np.isnan(wanted), 0, nearest)]
    scale = np.sqrt(np.exp(_log_gamma(1 / shape) - _log_gamma(3 / shape)))
    return shape, left * scale, right * scale


@cache
def _shape_table() -> tuple[Array, Array]:
    """Shapes 0.2 to 10 in steps of 0.001 and the (rising) ratio of moments that each gives."""
    shapes = np.arange(200, 10001) / 1000
    return shapes, np.exp(2 * _log_gamma(2 / shapes) - _log_gamma(1 / shapes) - _log_gamma(3 / shapes))


@cache
def _pristine() -> tuple[Array, Array]:
    with as_file(files("ggt_hub.metrics") / "niqe_pris_params.npz") as path, np.load(path) as model:
        return model["mu_pris_param"].ravel(), model["cov_pris_param"]
