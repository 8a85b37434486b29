"""BRISQUE, how unnatural the statistics of a picture's fine detail are, without reference; differentiable.

A. Mittal, A. K. Moorthy, A. C. Bovik, "No-reference image quality assessment in the spatial domain", IEEE
Transactions on Image Processing 21(12), 2012. Details that the paper leaves open follow the package `brisque`,
whose model this is (`brisque_svr.md` says whence and under which licence).
"""

import math
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ggt_hub.errors import MetricError
from ggt_hub.metrics.pictures import Pictures, Scores, as_tensor, score_each

_SMALLEST = 16
_LUMA = (0.2125, 0.7154, 0.0721)  # ITU-R BT.709, as scikit-image's rgb2gray
_WINDOW = np.exp(-((np.arange(7) - 3.0) ** 2) / (2 * (7 / 6) ** 2))
_HALVING = (-3 / 32, 19 / 32, 19 / 32, -3 / 32)  # bicubic with a = -0.75, as OpenCV's: not antialiased
_SHAPES = (0.05, 50.0)  # of the generalised Gaussian: where its fit is looked for
_LEAST_VARIANCE = 1e-16  # of pixels 0..1: rounding, whose square root has no gradient


def brisque(pictures: Pictures) -> Scores:
    """Blind/referenceless image spatial quality evaluator; lower is better, about 0 to 100.

    Luma 0..1 (ITU-R BT.709), not rounded; window of the local mean 7x7 with sigma 7/6, zeros beyond the border; at
    full size and at half. As the package `brisque`, up to 1e-5 on photographs; in flat regions rounding decides
    signs, and no implementation is exact.

    Args:
        pictures: pictures to score; arrays or tensors as in `ggt_hub.metrics.pictures`.

    Returns:
        One score for each picture, float64. NaN where there is no texture.

    Raises:
        MetricError: if a side is under 16 pixels.
    """
    return score_each(pictures, lambda batch: _scores(as_tensor(batch) / 255))


def mean_brisque(pictures: Tensor) -> Tensor:
    """The mean score of pictures (N, 3, H, W), 0..1, differentiable; computed in float64.

    Where a normalised pixel changes its sign the score has a step, which the gradient does not see: the fit divides
    by the number of pixels on each side of zero.

    Raises:
        MetricError: if a side is under 16 pixels.
    """
    return _scores(pictures).mean()


def _scores(pictures: Tensor) -> Tensor:
    """Score pictures (N, 1 or 3, H, W), 0..1: support vector regression over 36 features."""
    if min(pictures.shape[2:]) < _SMALLEST:
        height, width = pictures.shape[2:]
        raise MetricError(
            f"a picture of {width}x{height} is too small: BRISQUE needs {_SMALLEST} pixels a side"
        )
    pictures = pictures.double()
    weights = _LUMA if pictures.shape[1] == 3 else (1.0,)
    grey = torch.einsum("nchw,c->nhw", pictures, pictures.new_tensor(weights))
    model = {name: values.to(pictures.device) for name, values in _model().items()}
    features = _features(torch.cat([_moments_of(grey), _moments_of(_half(grey))], dim=1))
    scaled = 2 * (features - model["lowest"]) / (model["highest"] - model["lowest"]) - 1
    distances = (scaled[:, None] - model["support"]).square().sum(2)
    return (-model["gamma"] * distances).exp() @ model["coefficients"] - model["rho"]


def _half(grey: Tensor) -> Tensor:
    """Half the size, halves of pixels rounded to even, the border repeated."""
    for _ in range(2):  # the columns, then, transposed, the rows
        count = round(grey.shape[-1] / 2)
        padded = torch.cat([grey[..., :1], grey, grey[..., -1:], grey[..., -1:]], dim=-1)
        taps = [weight * padded[..., i::2][..., :count] for i, weight in enumerate(_HALVING)]
        grey = torch.stack(taps).sum(0).mT
    return grey


def _features(moments: Tensor) -> Tensor:
    """The features (table I) of scales, 18 of each, of what `_moments_of` gives of them."""
    shape, mean, left, right = _asymmetric_fit(*moments.unbind(2))
    of_products = torch.stack([shape, mean, left, right], dim=2).unflatten(1, (-1, 5))
    of_pixels = torch.stack([shape, (left + right) / 2], dim=2).unflatten(1, (-1, 5))[:, :, 0]
    return torch.cat([of_pixels, of_products[:, :, 1:].flatten(2)], dim=2).flatten(1)


def _moments_of(grey: Tensor) -> Tensor:
    """Of one scale (N, H, W) the moments of the pixels, and of their products with four neighbours: (N, 5, 3)."""
    pixels = _normalised(grey)
    planes = (
        pixels,
        pixels[:, :, :-1] * pixels[:, :, 1:],
        pixels[:, :-1] * pixels[:, 1:],
        pixels[:, :-1, :-1] * pixels[:, 1:, 1:],
        pixels[:, 1:, :-1] * pixels[:, :-1, 1:],
    )
    return torch.stack([_moments(plane.flatten(1)) for plane in planes], dim=1)


def _normalised(grey: Tensor) -> Tensor:
    """Take from each pixel the local mean and divide by the local deviation + 1/255 (equation 1)."""
    mean = _blurred(grey)
    variance = (_blurred(grey.square()) - mean.square()).abs()
    return (grey - mean) / (variance.clamp(min=_LEAST_VARIANCE).sqrt() + 1 / 255)


def _blurred(grey: Tensor) -> Tensor:
    window = torch.from_numpy(_WINDOW / _WINDOW.sum()).to(grey)
    columns = F.conv2d(grey[:, None], window.view(1, 1, 1, 7), padding=(0, 3))
    return F.conv2d(columns, window.view(1, 1, 7, 1), padding=(3, 0))[:, 0]


def _moments(values: Tensor) -> Tensor:
    """Left and right variance of (N, P), and the squared mean of what is without sign over that of squares."""
    below = values.clamp(max=0)
    of_left, of_all = torch.linalg.vecdot(below, below), torch.linalg.vecdot(values, values)
    count, on_left = values.shape[1], (values < 0).sum(1)
    mean = values.abs().mean(1)
    left, right = of_left / on_left, (of_all - of_left) / (count - on_left)
    return torch.stack([left, right, mean.square() * count / of_all], dim=1)


def _asymmetric_fit(left: Tensor, right: Tensor, moments: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shape, mean, left and right variance of the asymmetric generalised Gaussian that fits (section III-A)."""
    ratio = left.sqrt() / right.sqrt()
    shape = _shape_of(moments * (ratio**3 + 1) * (ratio + 1) / (ratio.square() + 1).square())
    scale = ((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2).exp()
    mean = (right.sqrt() - left.sqrt()) * scale * (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp()
    return shape, mean, left, right


def _shape_of(ratio: Tensor) -> Tensor:
    """The shape whose ratio of moments (rising with it) that is: from a table, and one step of Newton's method.

    The step makes it exact, and carries the gradient: that of the inverse function.
    """
    shapes, ratios = (values.to(ratio.device) for values in _shapes())
    ratio = ratio.clamp(ratios[0], ratios[-1])
    with torch.no_grad():
        after = torch.searchsorted(ratios, ratio).clamp(1, len(ratios) - 1)
        way = (ratio - ratios[after - 1]) / (ratios[after] - ratios[after - 1])
        shape = shapes[after - 1].lerp(shapes[after], way)
        found = _ratio_of(shape)
        one, two, three = (torch.digamma(n / shape) * n for n in (1, 2, 3))
        slope = found * (one + three - 2 * two) / shape.square()
    return shape + (ratio - found) / slope


def _ratio_of(shape: Tensor) -> Tensor:
    one, two, three = (torch.lgamma(n / shape) for n in (1, 2, 3))
    return (2 * two - one - three).exp()


@cache
def _shapes() -> tuple[Tensor, Tensor]:
    """Shapes, so close that Newton's step from between two of them is right to rounding, and their ratios."""
    first, last = map(math.log10, _SHAPES)
    shapes = torch.logspace(first, last, 4096, dtype=torch.float64)
    return shapes, _ratio_of(shapes)


@cache
def _model() -> dict[str, Any]:
    with as_file(files("ggt_hub.metrics") / "brisque_svr.npz") as path, np.load(path) as model:
        values = {name: torch.from_numpy(model[name]).double() for name in model.files}
        return values | {"support": values["support"] / 1e9}
