"""What our degradations are timed against: the published algorithms, as their authors have them.

Two peers, written anew from descriptions of what they compute:

* RealRestorer's degradation pipeline (arXiv 2603.25502; repository `yfyang007/RealRestorer`, state of 2026-05-10):
  blur, noise, haze and rain on one picture, (H, W, 3) uint8 to the same. Its filters are convolutions of torch with
  a kernel for each channel, its resizing is torch's with antialiasing, its noise NumPy's in float64, its rain a
  loop of `cv2.line`. `tests/test_degradation_peers.py` holds them to numbers that the authors' code gave. The
  textures that it can lay over haze and rain are not published and left out.
* The second-order chain of Real-ESRGAN (arXiv 2107.10833, section 3) from the functions of BasicSR (repository
  `XPixelGroup/BasicSR`), with the settings that DreamClear names (arXiv 2410.18666): all six kinds of kernel and
  sinc, filters, resizing and noise of torch. Its JPEG is OpenCV's, which BasicSR has beside a differentiable one of
  torch that takes many times as long: so a ratio to this peer is on the safe side.

Nothing here is for use: it is as slow as it is published.
"""

import math
from io import BytesIO

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import special
from torch import Tensor
from torch.nn import functional as F

Picture = NDArray[np.uint8]


# RealRestorer --------------------------------------------------------------------------------


def published_blur(image: Picture, rng: Generator, *, noisy: bool = True) -> Picture:
    """Blur: filter, shrink, noise and JPEG; in seven of ten cases filter and shrink again; then enlarge."""
    x = to_tensor(image)
    x = filter_channels(x, draw_filter(rng, range(7, 22, 2), 6.0))
    x = shrink(x, rng.uniform(2, 4), draw_mode(rng))
    if noisy:
        x = add_noise(x, rng)
    x = jpeg(x, int(rng.integers(20, 81)))
    if rng.random() < 0.7:
        x = filter_channels(x, draw_filter(rng, range(7, 14, 2), 5.0))
        x = shrink(x, rng.uniform(3, 5), draw_mode(rng))
    return to_picture(enlarge(x, image.shape[:2]))


def published_noise(image: Picture, rng: Generator) -> Picture:
    """Noise: two to four kinds in any order, perhaps averaged where it is dense, perhaps blurred and compressed."""
    kinds = [gaussian_noise, salt_and_pepper, poisson_noise, granular_noise]
    x = image.astype(np.float64) / 255
    for number in rng.permutation(4)[: int(rng.integers(2, 5))]:
        x = np.clip(kinds[number](x, rng), 0, 1)
    noisy = (x * 255).astype(np.uint8)
    if rng.random() < 0.4:
        noisy = average_where_dense(noisy, int(rng.choice((3, 5, 7))), rng.uniform(0.4, 0.8))
    return published_blur(noisy, rng, noisy=False) if rng.random() < 0.5 else noisy


def gaussian_noise(x: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    return x + rng.normal(0, math.sqrt(rng.uniform(0.005, 0.1)), x.shape)


def salt_and_pepper(x: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    hit, salt = rng.random(x.shape) <= rng.uniform(0.005, 0.05), rng.random(x.shape) <= 0.5
    x = x.copy()
    x[hit & salt], x[hit & ~salt] = 1, 0
    return x


def poisson_noise(x: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    return rng.poisson(x * 256) / 256


def granular_noise(x: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    sigma = 8 * rng.uniform(0.6, 2.4) / 255
    shared = rng.normal(0, sigma, (*x.shape[:2], 1))
    return x + shared + rng.normal(0, 0.35 * sigma, x.shape)


def published_haze(image: Picture, inverse_depth: NDArray[np.float32], rng: Generator) -> Picture:
    """Haze: the scattering model on the depth that a network estimated, whose own time does not count here."""
    near = nearness(inverse_depth, image.shape[:2])
    gamma, beta = rng.uniform(1, 2), rng.uniform(0.6, 1.8)
    return scatter(image, near, gamma, beta, rng.normal(0, 0.01, 3), rng.uniform(0, 1))


def published_rain(image: Picture, inverse_depth: NDArray[np.float32], rng: Generator) -> Picture:
    """Rain: thousands of lines and dots, one after the other, on a black picture that is added."""
    canvas, nearby = np.zeros(image.shape, np.float32), nearness(inverse_depth, image.shape[:2])
    height, width = nearby.shape
    angle, chance = np.deg2rad(rng.uniform(75, 105)), rng.uniform(0.02, 0.07)
    for _ in range(int(rng.integers(8000, 15001))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        near = float(nearby[y, x])
        if rng.random() < chance and rng.random() < near**1.5:
            draw_splash(canvas, x, y, near, rng)
        else:
            draw_streak(canvas, x, y, near, angle, rng)
    return add_canvas(image, canvas)


def draw_splash(canvas: NDArray[np.float32], x: int, y: int, near: float, rng: Generator) -> None:
    radius, brightness = int(3 + 8 * (1 - near)), rng.uniform(0.6, 1) * near
    for _ in range(int(rng.integers(3, 7))):
        column, row = x + int(rng.integers(-radius, radius + 1)), y + int(rng.integers(-radius, radius + 1))
        if 0 <= row < canvas.shape[0] and 0 <= column < canvas.shape[1]:
            canvas[row, column] = np.minimum(canvas[row, column] + brightness, 1)


def draw_streak(
    canvas: NDArray[np.float32], x: int, y: int, near: float, angle: float, rng: Generator
) -> None:
    length, thickness = int(5 + 45 * near), int(rng.choice((1, 1, 1, 2)))
    gray = rng.uniform(0.7, 0.95)
    across, down = int(length * math.cos(angle)), int(length * math.sin(angle))
    draw_line(canvas, (x, y), (x + across, y + down), gray, thickness)
    if rng.random() < 0.4:
        for _ in range(3):
            left, top = (int(v) for v in rng.integers(-thickness, thickness + 1, 2))
            start, end = (x + left, y + top), (x + left + across, y + top + down)
            draw_line(canvas, start, end, 0.2 * gray, thickness)


def draw_line(
    canvas: NDArray[np.float32], start: tuple[int, int], end: tuple[int, int], gray: float, thickness: int
) -> None:
    cv2.line(canvas, start, end, (gray, gray, gray), thickness, cv2.LINE_AA)


def add_canvas(image: Picture, canvas: NDArray[np.float32]) -> Picture:
    return (np.clip(image.astype(np.float32) / 255 + canvas, 0, 1) * 255).astype(np.uint8)


def sinc_kernel(cutoff: float, size: int) -> Tensor:
    """The low-pass with a round pass band: c J1(c r) / (2 pi r), normalised."""
    offsets = np.arange(size) - (size - 1) / 2
    r = np.hypot(*np.meshgrid(offsets, offsets))
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = cutoff * special.j1(cutoff * r) / (2 * np.pi * r)
    weights[r == 0] = cutoff**2 / (4 * np.pi)
    return torch.from_numpy((weights / weights.sum()).astype(np.float32))


def gaussian_kernel(sigma: float, size: int) -> Tensor:
    offsets = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    taps = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights = torch.outer(taps, taps)
    return weights / weights.sum()


def draw_filter(rng: Generator, sizes: range, largest_sigma: float) -> Tensor:
    size = int(rng.choice(list(sizes)))
    if rng.random() < 0.5:
        return sinc_kernel(rng.uniform(np.pi / 4, np.pi), size)
    return gaussian_kernel(rng.uniform(0.5, largest_sigma), size)


def draw_mode(rng: Generator) -> str:
    return str(rng.choice(("area", "bilinear", "bicubic")))


def filter_channels(x: Tensor, kernel: Tensor) -> Tensor:
    """One kernel on each channel; borders reflected."""
    padded = F.pad(x, [kernel.shape[0] // 2] * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)


def shrink(x: Tensor, factor: float, mode: str) -> Tensor:
    return F.interpolate(x, scale_factor=1 / factor, mode=mode, antialias=mode != "area")


def enlarge(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, list(size), mode="bicubic", align_corners=False, antialias=True)


def add_noise(x: Tensor, rng: Generator) -> Tensor:
    if rng.random() < 0.75:
        return add_gaussian(x, torch.randn_like(x), rng.uniform(1, 25))
    scale = rng.uniform(0.05, 2.5)
    return (torch.poisson(x.clamp(0, 1) * scale) / scale).clamp(0, 1)


def add_gaussian(x: Tensor, noise: Tensor, sigma: float) -> Tensor:
    return (x + noise * (sigma / 255)).clamp(0, 1)


def jpeg(x: Tensor, quality: int) -> Tensor:
    file = BytesIO()
    Image.fromarray(to_picture(x)).save(file, "JPEG", quality=quality)
    return to_tensor(np.array(Image.open(file)))


def to_tensor(image: Picture) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def to_picture(x: Tensor) -> Picture:
    return (x[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()


def average_where_dense(image: Picture, size: int, threshold: float) -> Picture:
    """The mean of a box where the local variance exceeds `threshold` of its mean."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    variance = cv2.blur((gray - cv2.blur(gray, (size, size))) ** 2, (size, size))
    dense = variance > variance.mean() * threshold
    return np.where(dense[..., None], cv2.blur(image, (size, size)), image)


def nearness(inverse_depth: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """0 (far) to 1 for each pixel, from the coarse inverse depth of a network; zeros if that is constant."""
    fine = cv2.resize(inverse_depth, size[::-1], interpolation=cv2.INTER_LINEAR)
    low, high = fine.min(), fine.max()
    return np.zeros_like(fine) if high == low else (fine - low) / (high - low)


def scatter(
    image: Picture,
    near: NDArray[np.float32],
    gamma: float,
    beta: float,
    jitter: NDArray[np.float64],
    tint: float,
) -> Picture:
    """x T + A (1 - T), with T from the distance and A whiter the denser the haze."""
    transmission = np.exp(-beta * (1 - near) ** gamma)
    transmission = np.clip(cv2.GaussianBlur(transmission, (0, 0), 1), 0.05, 1)[..., None]
    airlight = np.interp(beta, (0.3, 3.0), (0.78, 0.95)) + jitter + np.array((-0.005, 0, 0.005)) * tint
    x = image.astype(np.float32) / 255
    hazy = x * transmission + np.clip(airlight, 0.7, 1) * (1 - transmission)
    return (np.clip(hazy, 0, 1) * 255).astype(np.uint8)


# BasicSR -------------------------------------------------------------------------------------

SIDE = 21  # of all kernels; smaller ones are filled up with zeros
KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
SHARES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)


def second_order(image: Picture, rng: Generator) -> Picture:
    """Twice filter, resize, noise and JPEG, a sinc filter before or after the last; a quarter of the size."""
    height, width = image.shape[:2]
    x = filter2d(to_tensor(image), draw_kernel(rng, 0.2, 3.0))
    x = resize(x, draw_scale(rng, (0.2, 0.7, 0.1), 0.15, 1.5), draw_mode(rng))
    x = add_either_noise(x, rng, 30, 3.0)
    x = cv2_jpeg(x, rng)
    if rng.random() < 0.8:
        x = filter2d(x, draw_kernel(rng, 0.2, 1.5))
    scale = draw_scale(rng, (0.3, 0.4, 0.3), 0.3, 1.2) / 4
    x = F.interpolate(x, (int(height * scale), int(width * scale)), mode=draw_mode(rng))
    x = add_either_noise(x, rng, 25, 2.5)
    last = draw_last_kernel(rng)
    size = (height // 4, width // 4)
    if rng.random() < 0.5:
        x = cv2_jpeg(filter2d(F.interpolate(x, size, mode=draw_mode(rng)), last), rng)
    else:
        x = filter2d(F.interpolate(cv2_jpeg(x, rng), size, mode=draw_mode(rng)), last)
    return (x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def usm_sharp(image: Picture, radius: int = 51, weight: float = 0.5, threshold: float = 10) -> Picture:
    """The target's sharpening: a square Gaussian of 51 pixels, twice, by convolution."""
    x = to_tensor(image)
    taps = cv2.getGaussianKernel(radius, 0)
    kernel = torch.from_numpy((taps @ taps.T).astype(np.float32))
    detail = x - filter2d(x, kernel)
    soft = filter2d((detail.abs() * 255 > threshold).float(), kernel)
    sharp = (x + weight * detail).clamp(0, 1)
    return to_picture(soft * sharp + (1 - soft) * x)


def filter2d(x: Tensor, kernel: Tensor) -> Tensor:
    """One kernel on all channels of all pictures; borders reflected."""
    count, channels, height, width = x.shape
    padded = F.pad(x, [kernel.shape[0] // 2] * 4, mode="reflect")
    planes = padded.view(count * channels, 1, *padded.shape[-2:])
    return F.conv2d(planes, kernel[None, None]).view(count, channels, height, width)


def resize(x: Tensor, scale: float, mode: str) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode=mode)


def draw_scale(rng: Generator, shares: tuple[float, float, float], low: float, high: float) -> float:
    """Up, down or kept."""
    way = rng.choice(3, p=shares)
    return float((rng.uniform(1, high), rng.uniform(low, 1), 1.0)[way])


def draw_kernel(rng: Generator, low: float, high: float) -> Tensor:
    size = int(rng.choice(range(7, 22, 2)))
    if rng.random() < 0.1:
        kernel = circular_lowpass(rng.uniform(np.pi / (3 if size < 13 else 5), np.pi), size)
    else:
        kernel = mixed_kernel(rng, str(rng.choice(KINDS, p=SHARES)), size, low, high)
    return torch.from_numpy(np.pad(kernel, (SIDE - size) // 2).astype(np.float32))


def draw_last_kernel(rng: Generator) -> Tensor:
    size = int(rng.choice(range(7, 22, 2)))
    if rng.random() < 0.8:
        kernel = circular_lowpass(rng.uniform(np.pi / 3, np.pi), size)
    else:
        size, kernel = 1, np.ones((1, 1))
    return torch.from_numpy(np.pad(kernel, (SIDE - size) // 2).astype(np.float32))


def mixed_kernel(rng: Generator, kind: str, size: int, low: float, high: float) -> NDArray[np.float64]:
    """One of the six bivariate kernels, of random deviations (equal ones for iso), direction and shape."""
    first, second, turn = rng.uniform(low, high), rng.uniform(low, high), rng.uniform(-np.pi, np.pi)
    if kind.endswith("iso") and not kind.endswith("aniso"):
        second, turn = first, 0.0
    below, above = (1.0, 2.0) if kind.startswith("plateau") else (0.5, 4.0)
    shape = rng.uniform(below, 1) if rng.random() < 0.5 else rng.uniform(1, above)
    return bivariate_kernel(kind, size, first, second, turn, shape)


def bivariate_kernel(
    kind: str, size: int, first: float, second: float, turn: float, shape: float
) -> NDArray[np.float64]:
    """Gaussian, generalised Gaussian or plateau over the ellipse of two deviations; sums to 1."""
    offsets = np.arange(size) - size // 2
    grid = np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(size, size, 2).astype(np.float64)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    covariance = rotation @ np.diag((first**2, second**2)) @ rotation.T
    distance = np.sum((grid @ np.linalg.inv(covariance)) * grid, axis=2)
    if kind.startswith("plateau"):
        weights = 1 / (distance**shape + 1)
    elif kind.startswith("generalized"):
        weights = np.exp(-0.5 * distance**shape)
    else:
        weights = np.exp(-0.5 * distance)
    return weights / weights.sum()


def circular_lowpass(cutoff: float, size: int) -> NDArray[np.float64]:
    """The sinc kernel; the same one as RealRestorer's, evaluated point by point as BasicSR does."""
    middle = (size - 1) / 2

    def weight(row: float, column: float) -> float:
        r = math.hypot(row - middle, column - middle)
        return cutoff**2 / (4 * np.pi) if r == 0 else cutoff * special.j1(cutoff * r) / (2 * np.pi * r)

    kernel = np.fromfunction(np.vectorize(weight), (size, size))
    return kernel / kernel.sum()


def add_either_noise(x: Tensor, rng: Generator, sigma: float, scale: float) -> Tensor:
    gray = rng.random() < 0.4
    if rng.random() < 0.5:
        return (x + gaussian_field(x, rng.uniform(1, sigma), gray)).clamp(0, 1)
    return (x + poisson_field(x, gray) * rng.uniform(0.05, scale)).clamp(0, 1)


def gaussian_field(x: Tensor, sigma: float, gray: bool) -> Tensor:
    shared = torch.randn(x.shape[-2:]) * sigma / 255 if gray else 0
    return shared + (0 if gray else 1) * torch.randn(x.shape) * sigma / 255


def poisson_field(x: Tensor, gray: bool) -> Tensor:
    """What Poisson's law adds at as many photons as there are levels in the picture, rounded up to a power of 2."""
    x = (x * 255).round().clamp(0, 255) / 255
    shared = 0
    if gray:
        luma = (255 * (0.2989 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:])).round().clamp(0, 255) / 255
        shared = poisson_error(luma)
    return shared + (0 if gray else 1) * poisson_error(x)


def poisson_error(x: Tensor) -> Tensor:
    levels = 2 ** math.ceil(math.log2(len(torch.unique(x))))
    return torch.poisson(x * levels) / levels - x


def cv2_jpeg(x: Tensor, rng: Generator) -> Tensor:
    pixels = (x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(30, 95))]
    return to_tensor(cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_COLOR))
