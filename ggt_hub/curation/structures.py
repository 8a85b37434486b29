"""What of a photograph's structures is in a candidate: place by place, and scale by scale. No verdicts.

A restoration takes away what has no structure (noise) or lies over the structures (veils, blocks), and brings back
those that a blur has made weak. So structures of the photograph that are gone, or are others, were repainted; those
that are weaker than in the photograph were smoothed away; those that are much stronger were sharpened. Noise of the
photograph is estimated and taken off, for it is not to be found again.
"""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

_GRIDS = ((64, 5), (128, 9))  # cells along a side, and cells of a window
_FLAT = 20.0  # squared levels: places with less variance are alike
_APART = 0.17  # of the side: what is nearer than that to a place belongs to it
_QUIET = 0.5  # share of what places show, by which none stands out
_HIDDEN = 1.0  # share that is damage at most, where several places have lost it
_FITS, _AROUND, _MOST = 3, 17, 7  # fits, and cells of the windows around a place and of the place
_SIGMAS = (0.8, 1.6, 3.2, 6.4, 12.8)  # bands lie between these blurs, in pixels
_FORGIVEN = 0.6
_DARK = 0.05 * 3 * 255  # sum of the channels below which colour is noise
_FEWEST = 6  # blocks
_PALER, _STRONGER = 0.5, 4.0  # factors of colours that are still the same
_LEVELS = 5.0  # of 255, by which no colour stands out
_NOISE = np.array(
    [[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32
)  # Immerkaer 1996; of unit noise its spread is 6


def noise_of(plane: Plane) -> float:
    """The spread of white noise in a picture, in levels, by the median of Immerkaer's mask."""
    return float(np.median(np.abs(cv2.filter2D(plane, -1, _NOISE))) / 0.6745 / 6)


def repainted(photograph: Plane, candidate: Plane, noise: float) -> float:
    """How far the place stands out that has lost most of what the photograph shows.

    In windows of a thirteenth and a fourteenth of the side, on grids of 64 and 128 cells: the variance of the
    photograph that no gain and offset of the candidate explains, over the mean variance. Drops, flakes and
    scratches hide something in many places, a painter changes one or two: so the worst place counts against the
    third worst apart from it. About 0.1 for equal pictures, above 1 where one place is another.

    Args:
        photograph: brightness, 0..255.
        candidate: likewise, of the same size.
        noise: of the photograph, see `noise_of`.
    """
    return max(_repainted(photograph, candidate, noise, *grid) for grid in _GRIDS)


def _repainted(x: Plane, y: Plane, noise: float, cells: int, window: int) -> float:
    x, y, sigma = _cells(x, y, cells)
    mean_x, mean_y = _mean(x, window), _mean(y, window)
    spread_x, spread_y = (
        np.maximum(_mean(one * one, window) - mean**2, 0) for one, mean in ((x, mean_x), (y, mean_y))
    )
    both = np.maximum(_mean(x * y, window) - mean_x * mean_y, 0)
    gain = max(float(spread_y.mean()), 1.0) / max(float(spread_x.mean()), 1.0)  # a dark photograph has less
    left = noise**2 / (4 * np.pi * sigma**2) * gain
    unexplained = spread_x * gain - both**2 * gain / (spread_y + _FLAT + 4 * left)
    lost = (unexplained - left) / (float(spread_x.mean()) * gain + _FLAT + 4 * left)
    worst, third = _worst(lost)
    return worst / (_QUIET + min(third, _HIDDEN))


def replaced(photograph: Plane, candidate: Plane, noise: float) -> float:
    """How far the place stands out of which most, and not some, shows something else than the photograph.

    Flakes cover less than half of a place of a ninth of the side, a painter all of it. So in each cell of a 64th:
    how far the photograph lies from the gain and offset of the candidate that fit best around it, where cells that
    lie far count little (Cauchy's weights); and of 7 x 7 such cells the median. Squared, over the mean variance,
    and the worst place against the third worst, as in `repainted`.

    Args:
        photograph: brightness, 0..255.
        candidate: likewise, of the same size.
        noise: of the photograph, see `noise_of`.
    """
    cells, window = _GRIDS[0]
    x, y, sigma = _cells(photograph, candidate, cells)
    left = noise**2 / (4 * np.pi * sigma**2)
    weight, apart = np.ones_like(x), x
    for _ in range(_FITS):
        total = _mean(weight, _AROUND)
        mean_x, mean_y = (_mean(weight * one, _AROUND) / total for one in (x, y))
        both = _mean(weight * x * y, _AROUND) / total - mean_x * mean_y
        own = np.maximum(_mean(weight * y * y, _AROUND) / total - mean_y**2, 0)
        apart = np.abs(x - mean_x - np.maximum(both, 0) / (own + _FLAT) * (y - mean_y))
        weight = 1 / (1 + (apart / (1.5 * np.median(apart) + 1)) ** 2)
    most = cv2.medianBlur(np.clip(2 * apart, 0, 255).astype(np.uint8), _MOST).astype(np.float32) / 2
    shown = np.maximum(_mean(x * x, window) - _mean(x, window) ** 2, 0)
    worst, third = _worst((most**2 - left) / (float(shown.mean()) + _FLAT + 4 * left))
    return worst / (_QUIET + min(third, _HIDDEN))


def _cells(x: Plane, y: Plane, cells: int) -> tuple[Plane, Plane, float]:
    """Both with so many cells along the longer side, and the blur before that, in pixels."""
    sigma = max(x.shape) / cells / 2.5
    size = tuple(max(1, round(extent * cells / max(x.shape))) for extent in x.shape[::-1])
    x, y = (
        cv2.resize(cv2.GaussianBlur(one, (0, 0), sigma), size, interpolation=cv2.INTER_AREA) for one in (x, y)
    )
    return x, y, sigma


def _mean(plane: Plane, window: int) -> Plane:
    return cv2.boxFilter(plane, -1, (window, window), borderType=cv2.BORDER_REFLECT)


def _worst(values: Plane) -> tuple[float, float]:
    """The largest value and the third largest of places apart from each other, both at least 0."""
    left, found = values.copy(), []
    reach = round(_APART * max(values.shape))
    for _ in range(3):
        row, column = divmod(int(left.argmax()), left.shape[1])
        found.append(max(0.0, float(left[row, column])))
        left[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = 0
    return found[0], found[2]


def strengths(photograph: Plane, candidate: Plane) -> tuple[float, float]:
    """How much weaker the photograph's detail of 6 to 13 pixels is in a candidate, and how much stronger.

    The slope of the photograph on the candidate in that band of the brightness, against that of coarser structures,
    in each of 64 places; of these the median, weighted by what they show. It is 1 for a perfect restoration of what
    has no structure, more where structures were smoothed away, less where they were sharpened. Where noise hides
    them a good denoiser weakens them, too: so a share of what the candidate does not explain is taken off. And who
    takes a blur away strengthens detail more the finer it is, while a mask that sharpens does so at its own scale:
    so is taken off how much further the slope falls from the next finer band to the finest.

    Args:
        photograph: brightness, 0..255.
        candidate: likewise, of the same size.

    Returns:
        By how much the slope lies above 1 after that, and how far it lies below 1.
    """
    ours, theirs = map(_bands, (photograph, candidate))
    finest, finer, slope = (_slope(*ours[band : band + 2], *theirs[band : band + 2]) for band in range(3))
    fine_x, fine_y = ours[2], theirs[2]
    explained = float((fine_x * fine_y).mean()) ** 2 / max(float((fine_y * fine_y).mean()), 1e-3)
    hidden = max(0.0, float((fine_x * fine_x).mean()) - explained) / max(explained, 1e-3)
    return slope - 1 - _FORGIVEN * hidden, 1 - slope - max(0.0, finer - finest)


def _slope(fine_x: Plane, coarse_x: Plane, fine_y: Plane, coarse_y: Plane) -> float:
    """Of one picture on another in a band, against that in a coarser one; 1 where nothing tells."""
    both, own = _places(fine_x * fine_y), _places(fine_y * fine_y)
    coarse_both, coarse_own = _places(coarse_x * coarse_y), _places(coarse_y * coarse_y)
    told = (coarse_both > 0) & (own > 0)
    if not told.any():
        return 1.0
    slopes = both[told] / own[told] * coarse_own[told] / coarse_both[told]
    return _median(slopes, np.sqrt(coarse_own[told]))


def _bands(plane: Plane) -> list[Plane]:
    blurred = [cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in _SIGMAS]
    return [one - wider for one, wider in pairwise(blurred)]


def _places(plane: Plane) -> Plane:
    """Means over 8 x 8 places."""
    return cv2.resize(plane, (8, 8), interpolation=cv2.INTER_AREA)


def _median(values: Plane, weights: Plane) -> float:
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(sums, sums[-1] / 2)])


def small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of 192 pixels at most, in which colours are compared, for noise has none there."""
    scale = min(1.0, 192 / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def cast(photograph: NDArray[np.uint8], candidate: NDArray[np.uint8]) -> float:
    """How far the colours of a candidate are shifted all together: of chromaticities, 0..0.8; nan where it is dark.

    Restoring may make colours stronger, as where haze goes: chromaticities move away from grey, all by the same
    factor. What is left of the way of their mean is a cast.

    Args:
        photograph: 8-bit RGB, as `small` has it.
        candidate: likewise, of the same size.
    """
    blocks = [one.reshape(-1, 3) for one in _blocks(photograph, candidate)]
    sums = [one.sum(1, keepdims=True) for one in blocks]
    bright = np.minimum(*sums)[:, 0] > _DARK
    if bright.sum() < _FEWEST:
        return float("nan")
    ours, theirs = (one[bright] / total[bright] - 1 / 3 for one, total in zip(blocks, sums, strict=True))
    spreads = [float(np.sqrt(np.square(one - one.mean(0)).sum(1).mean())) for one in (ours, theirs)]
    stronger = float(np.clip(spreads[1] / (spreads[0] + 1e-4), 1, _STRONGER))
    return float(np.linalg.norm(theirs.mean(0) - stronger * ours.mean(0)))


def graded(photograph: NDArray[np.uint8], candidate: NDArray[np.uint8]) -> tuple[float, float]:
    """How far a candidate's colours are mixed otherwise, all alike, and how much of its way that explains.

    What hangs before a scene makes it paler and greyer: a gain and an offset, the same of all channels, are taken
    off first. A 3x3 map of the colours then explains a grade of the whole picture, and little of what drops,
    flakes and noise have done.

    Args:
        photograph: 8-bit RGB, as `small` has it.
        candidate: likewise, of the same size.

    Returns:
        The median way of chromaticities after that, 0..0.8, nan where it is dark; and the share of the squared
        difference that the map explains, 0..1.
    """
    theirs, ours = (one.reshape(-1, 3).astype(np.float64) for one in _blocks(photograph, candidate))
    veil, *_ = np.linalg.lstsq(np.stack([ours.ravel(), np.ones(ours.size)], 1), theirs.ravel(), rcond=None)
    veiled = veil[0] * ours + veil[1]
    sums = [one.sum(1, keepdims=True) for one in (theirs, veiled)]
    bright = np.minimum(*sums)[:, 0] > _DARK
    if bright.sum() < _FEWEST:
        return float("nan"), 0.0
    way = np.median(veiled[bright] / sums[1][bright] - theirs[bright] / sums[0][bright], 0)
    grade, *_ = np.linalg.lstsq(veiled, theirs, rcond=None)
    left, before = (float(np.square(theirs - one).sum()) for one in (veiled @ grade, veiled))
    return float(np.linalg.norm(way)), 1 - left / max(before, 1e-6)


def recoloured(photograph: NDArray[np.uint8], candidate: NDArray[np.uint8]) -> tuple[float, float]:
    """How far colours are others than stronger or weaker ones: in most places, and in one of them alone.

    What is not grey of both, in blocks: the way, in levels, from the photograph's, made stronger by the factor that
    fits best, to the candidate's. A cast of all can be seen in `cast`; other hues, grey for colours, and casts of a
    half can not.

    Args:
        photograph: 8-bit RGB, as `small` has it.
        candidate: likewise, of the same size.

    Returns:
        The 90th percentile of these ways; and that of the worst place, over that of the third worst and 5 levels.
    """
    ours, theirs = (one - one.mean(2, keepdims=True) for one in _blocks(photograph, candidate))
    factor = float((ours * theirs).sum()) / max(float((ours * ours).sum()), 1e-3)
    stronger = min(max(_PALER, factor), _STRONGER)
    ways = np.linalg.norm(cv2.boxFilter(theirs - stronger * ours, -1, (3, 3)), axis=2)
    worst, third = _worst(ways)
    return float(np.quantile(ways, 0.9)), worst / (_LEVELS + third)


def _blocks(*pictures: NDArray[np.uint8]) -> list[Plane]:
    """Means of 9 x 9 pixels, as rows, columns, channels."""
    return [
        cv2.boxFilter(one.astype(np.float32), -1, (9, 9), borderType=cv2.BORDER_REFLECT)[4::9, 4::9]
        for one in pictures
    ]
