"""Filters on batches, each picture with kernels of its own."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Border = Literal["symmetric", "reflect"]
"""`symmetric` repeats the last pixel (OpenCV's BORDER_REFLECT), `reflect` does not (BORDER_REFLECT_101)."""


def convolved(x: Tensor, kernels: Sequence[NDArray[np.float32]], border: Border) -> Tensor:
    """Each picture convolved with its kernel, by Fourier transform: the time does not depend on the kernels.

    Args:
        x: (B, C, H, W).
        kernels: one for each picture, odd squares of any size.
        border: what lies around the picture.
    """
    height, width = x.shape[2:]
    reach = max(kernel.shape[0] for kernel in kernels) // 2
    largest = np.stack([np.pad(kernel, reach - kernel.shape[0] // 2) for kernel in kernels])
    around = _bordered(x, reach, border)
    size = around.shape[2] + 2 * reach, around.shape[3] + 2 * reach
    weights = torch.from_numpy(largest.astype(np.float32)).to(x.device)[:, None]
    spectrum = torch.fft.rfft2(around, s=size) * torch.fft.rfft2(weights, s=size)
    whole = torch.fft.irfft2(spectrum, s=size)
    return whole[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


def gaussian(sigma: float) -> NDArray[np.float32]:
    """The kernel of OpenCV's GaussianBlur of float pictures where no size is given."""
    taps = cv2.getGaussianKernel(round(8 * sigma + 1) | 1, sigma)
    return (taps @ taps.T).astype(np.float32)


def _bordered(x: Tensor, reach: int, border: Border) -> Tensor:
    """With `reach` pixels more on each side, also where that is more than the picture has."""
    for axis in (2, 3):
        places = np.pad(np.arange(x.shape[axis]), reach, mode=border)
        x = x.index_select(axis, torch.from_numpy(places).to(x.device))
    return x
