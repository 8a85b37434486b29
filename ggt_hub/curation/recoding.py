"""Whether a candidate is the photograph that was given, coded again or not."""

from functools import cache
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from ggt_hub.degradations.tensors.compression import quantisation_tables
from ggt_hub.images.shown import brightness

Pixels = NDArray[np.uint8]

_NEVER = 100.0  # dB, of equal pictures
_QUALITIES = range(30, 101)
_SUBSAMPLINGS = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
_LOOKED_AT = 256  # side of the part that is coded again
_CLEARLY = 6.0  # dB


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
