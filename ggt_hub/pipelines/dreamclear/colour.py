"""Giving a restored picture the colours of its reference (Wang et al., StableSR, arXiv 2305.07015, section 3.3)."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

LEVELS = 5
"""Of the wavelet decomposition; each blurs twice as widely as the one before."""

_REACH = 2**LEVELS - 1  # pixels that the blurs of all levels reach together
_ROWS = 512  # worked on at once


def with_colours_of(restored: Floats, reference: Floats, how: str | None) -> Floats:
    """The restored picture with the colours of the reference; both (height, width, 3), nominally 0..1.

    Args:
        restored: what is restored.
        reference: of the same size.
        how: `wavelet` exchanges the coarsest level, `adain` mean and deviation of each channel, `none` or None
            nothing.
    """
    if how in (None, "none"):
        return restored
    return (wavelet if how == "wavelet" else adain)(restored, reference)


def wavelet(content: Floats, style: Floats) -> Floats:
    """The details of `content` on the coarsest level of `style`; (height, width, C) each.

    Blurring is linear, so what is added is the coarsest level of their difference. In bands of rows.
    """
    result = np.empty_like(content)
    for top in range(0, len(content), _ROWS):
        first, last = max(top - _REACH, 0), min(top + _ROWS + _REACH, len(content))
        band = torch.from_numpy(style[first:last] - content[first:last])
        low = coarsest(band.permute(2, 0, 1)[None], LEVELS)[0].permute(1, 2, 0).numpy()
        rows = slice(top, min(top + _ROWS, len(content)))
        result[rows] = content[rows] + low[rows.start - first : rows.stop - first]
    return result


def coarsest(pixels: Tensor, levels: int) -> Tensor:
    """What is left of (B, C, H, W) after blurs of radius 1, 2, 4 ...; the finer levels are the rest."""
    for level in range(levels):
        pixels = blurred(pixels, 2**level)
    return pixels


def blurred(pixels: Tensor, radius: int) -> Tensor:
    """[1 2 1] x [1 2 1] / 16, each tap `radius` pixels from the next, over (B, C, H, W) whose edges go on."""
    taps = torch.tensor([0.25, 0.5, 0.25]).to(pixels)
    kernel = torch.outer(taps, taps).expand(pixels.shape[1], 1, 3, 3)
    padded = F.pad(pixels, (radius,) * 4, mode="replicate")
    return F.conv2d(padded, kernel, groups=pixels.shape[1], dilation=radius)


def adain(content: Floats, style: Floats) -> Floats:
    """`content` with mean and standard deviation of each channel of `style`; (height, width, C) each."""
    (own_mean, own), (mean, wanted) = (_statistics(picture) for picture in (content, style))
    return ((content - own_mean) / own * wanted + mean).astype(np.float32)


def _statistics(pixels: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each channel; the small term is the reference's."""
    mean = pixels.mean(axis=(0, 1), dtype=np.float64)
    variance = pixels.var(axis=(0, 1), dtype=np.float64, ddof=1)
    return mean.astype(np.float32), np.sqrt(variance + 1e-5).astype(np.float32)
