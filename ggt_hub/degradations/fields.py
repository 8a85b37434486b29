"""Fields over a picture: coordinates, clouds, and convolution by Fourier transform."""

import cv2
import numpy as np
from numpy.random import Generator

from ggt_hub.degradations.base import Array


def coordinates(image: Array) -> tuple[Array, Array]:
    """Column and row of each pixel, as arrays that broadcast to height x width."""
    height, width = image.shape[:2]
    return np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]


def clouds(rng: Generator, shape: tuple[int, ...], octaves: int = 5, *, coarsest: int = 3) -> Array:
    """Fractal noise, 0..1: height x width.

    Random grids of `coarsest`, twice, four times ... as many cells along the longer side, each with half the weight
    of the one before, enlarged and added up. The grids do not depend on the size: a smaller picture shows the same
    clouds.
    """
    height, width = _within(shape, 192)
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = coarsest * 2**octave + 1
        grid = rng.random((cells, cells), dtype=np.float32)
        longest = max(height, width)
        patch = grid[: max(2, round(cells * height / longest)), : max(2, round(cells * width / longest))]
        total += np.float32(0.5**octave) * cv2.resize(patch, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = float(total.min()), float(total.max())
    cloudy = (total - np.float32(low)) / np.float32(max(high - low, 1e-6))
    return cv2.resize(cloudy, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _within(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Height and width, scaled down to a longest side."""
    share = min(1.0, longest / max(shape[:2]))
    return max(1, round(shape[0] * share)), max(1, round(shape[1] * share))


def convolved(image: Array, kernel: Array) -> Array:
    """The picture convolved with a kernel of odd sides, by Fourier transform; borders reflect about the last pixel.

    The time does not depend on the kernel's size: from about 13 x 13 on it is less than that of `cv2.filter2D`.
    """
    height, width = image.shape[:2]
    down, right = kernel.shape[0] // 2, kernel.shape[1] // 2
    rows = cv2.getOptimalDFTSize(height + 2 * down)
    columns = cv2.getOptimalDFTSize(width + 2 * right)
    spread = np.zeros((rows, columns), np.float32)
    spread[: kernel.shape[0], : kernel.shape[1]] = kernel
    spectrum = cv2.dft(spread)
    bordered = cv2.copyMakeBorder(
        image, down, rows - height - down, right, columns - width - right, cv2.BORDER_REFLECT_101
    )
    done = [
        cv2.idft(cv2.mulSpectrums(cv2.dft(channel), spectrum, 0), flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)[
            2 * down : 2 * down + height, 2 * right : 2 * right + width
        ]
        for channel in cv2.split(bordered)
    ]
    return cv2.merge(done).reshape(image.shape)


def softened(image: Array, sigma: float) -> Array:
    """Gaussian blur, borders reflected; wide ones at a fraction of the size, where they cost nothing."""
    if sigma < 0.2:
        return image
    height, width = image.shape[:2]
    factor = int(min(sigma / 3, height / 8, width / 8))
    if factor < 2:
        blurred = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        return blurred.reshape(image.shape)
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REFLECT)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(image.shape)


def fitted(picture: Array, like: Array) -> Array:
    """A picture stretched to the size of another one; itself, where it has that."""
    height, width = like.shape[:2]
    if picture.shape[:2] == (height, width):
        return picture
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
