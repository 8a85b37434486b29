"""Whether a candidate is the photograph that was given, coded again or adjusted."""

from functools import cache
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from ggt_hub.curation.structures import noise_of
from ggt_hub.degradations.tensors.compression import quantisation_tables
from ggt_hub.images.shown import brightness

Pixels = NDArray[np.uint8]

_NEVER = 100.0  # dB, of equal pictures
_QUALITIES = range(30, 101)
_SUBSAMPLINGS = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
_LOOKED_AT = 256  # side of the part that is coded again
_CLEARLY = 6.0  # dB
_FILTERS = (0.5, 0.8, 1.2, 2.0)  # pixels of blurs, of which a small filter is a sum
_FITTED = 2**13  # pixels that a fit rests on, about
_FEWEST = 256
_CLIPPED = (3, 252)  # levels beyond which a curve has lost what was there
_EXPLAINED = 45.0  # dB, below which no channel is asked
_GRAINS = 2.0  # levels of noise; who takes more away has restored something, be it by a blur


def unchanged(lq: Pixels, gt: Pixels) -> float:
    """How much a picture is the one that was given, in dB.

    A limit on SSIM refuses most good restorations of light damage, which change little. What was returned as it was
    is equal, or equal to what a coder makes of it; a restoration is neither.
    """
    plain = psnr(lq, gt)
    if plain == _NEVER:
        return plain
    grey, grey_gt = brightness(lq), brightness(gt)
    part = _most_detail(grey)
    bgr, bgr_gt = (one[part][..., ::-1] for one in (lq, gt))
    likeliest, *others = _likely_qualities(grey[part], grey_gt[part])
    coded = max(psnr(_coded(bgr, likeliest, how), bgr_gt) for how in _SUBSAMPLINGS)
    if coded > plain + _CLEARLY / 2:
        coded = max(coded, *(psnr(_coded(bgr, *how), bgr_gt) for how in product(others, _SUBSAMPLINGS)))
    return coded if coded > plain + _CLEARLY else plain


def adjusted(lq: Pixels, gt: Pixels) -> float:
    """How well a small filter and a curve of the levels lead from the photograph to a candidate, in dB.

    Exposure, gamma, contrast, a mild blur and a mild sharpening restore nothing, and nothing else is so well
    explained: noise, drops and blocks that go are no sum of their neighbours. The brightness tells; where it is
    explained, the worst of the channels. Where they explain little of the change it is that of the two as they
    are; not a number where noise went, which a blur takes away, too, and where too little is neither black nor
    white.

    Args:
        lq: the photograph, 8-bit RGB.
        gt: what was made of it, of the same size.
    """
    grey, grey_gt = brightness(lq), brightness(gt)
    part = _most_detail(grey)
    x, y = (plane[part].astype(np.float32) for plane in (grey, grey_gt))
    if noise_of(x) - noise_of(y) > _GRAINS:
        return float("nan")
    found = _adjusted(x, y)
    if not found > _EXPLAINED:
        return found
    channels = (lq[part][..., channel].astype(np.float32) for channel in range(3))
    return min(found, *(_adjusted(x, gt[part][..., n].astype(np.float32)) for n, x in enumerate(channels)))


def _adjusted(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Of one plane, in dB, at some thousand places."""
    step = max(1, round((x.size / _FITTED) ** 0.5))
    seen = slice(3, -3, step), slice(3, -3, step)
    planes = [x, *(cv2.GaussianBlur(x, (7, 7), sigma) for sigma in _FILTERS), x * x / 255, x**3 / 255**2]
    x, y = x[seen], y[seen]
    low, high = _CLIPPED
    inside = (np.minimum(x, y) >= low) & (np.maximum(x, y) <= high)
    if inside.sum() < _FEWEST:
        return float("nan")
    terms = np.stack([*(plane[seen][inside] for plane in planes), np.full(inside.sum(), 255, np.float32)], 1)
    way, *_ = np.linalg.lstsq(terms.astype(np.float64), y[inside].astype(np.float64), rcond=None)
    found, plain = psnr(terms @ way, y[inside]), psnr(x, y)
    return found if found > plain + _CLEARLY else plain


def _likely_qualities(grey: Pixels, like: Pixels) -> list[int]:
    """The three with which a coder leads from a plane to the likest other, the best first.

    Whatever becomes of the colours, the brightness tells the quality, up to its neighbours; and of a coder only the
    rounding of coefficients loses anything.
    """
    ours, theirs = map(_coefficients, (grey, like))
    errors = [cv2.norm(np.rint(ours / steps) * steps, theirs) for steps in _steps()]
    return [_QUALITIES[place] for place in np.argsort(errors, kind="stable")[:3]]


def _coefficients(plane: Pixels) -> NDArray[np.float32]:
    """The cosine transform of each block, its border repeated: blocks x 8 x 8."""
    rows, columns = (-extent % 8 for extent in plane.shape)
    whole = np.pad(plane.astype(np.float32) - 128, ((0, rows), (0, columns)), mode="edge")
    blocks = whole.reshape(whole.shape[0] // 8, 8, -1, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    cosines = cv2.dct(np.eye(8, dtype=np.float32), flags=cv2.DCT_ROWS).T
    return np.asarray(cosines @ blocks @ cosines.T, np.float32)


@cache
def _steps() -> list[NDArray[np.float32]]:
    """What coefficients of the brightness are rounded to, for each quality."""
    return [quantisation_tables(quality)[0].astype(np.float32) for quality in _QUALITIES]


def _coded(bgr: Pixels, quality: int, subsampling: int) -> Pixels:
    """What JPEG makes of it; OpenCV's coder gives what Pillow's gives in half the time."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, subsampling]
    _, file = cv2.imencode(".jpg", bgr, settings)
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_UNCHANGED))


def _most_detail(grey: Pixels) -> tuple[slice, slice]:
    """The part with most detail, at a place where the blocks of coders begin."""
    detail = np.abs(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F))
    sums, (height, width) = cv2.integral(detail), (min(_LOOKED_AT, extent) for extent in grey.shape)
    places = [
        (top, left)
        for top in range(0, grey.shape[0] - height + 1, 64)
        for left in range(0, grey.shape[1] - width + 1, 64)
    ]

    def shows(place: tuple[int, int]) -> float:
        (top, left), (bottom, right) = place, (place[0] + height, place[1] + width)
        return float(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])

    top, left = max(places, key=shows)
    return slice(top, top + height), slice(left, left + width)


def psnr(x: NDArray[np.generic], y: NDArray[np.generic]) -> float:
    """In dB, of levels 0..255; 100 for equal pictures."""
    error = float(np.square(x.astype(np.float32) - y.astype(np.float32)).mean())
    return min(_NEVER, float(10 * np.log10(255**2 / error))) if error else _NEVER
