"""What is measured of a candidate beside its photograph, by parts that are free: numbers, and no verdicts.

All of them compare; an absolute value says little, for how hard a picture is decides it. Names are those under
which gates have their limits.
"""

import math
from collections.abc import Callable
from heapq import nsmallest
from itertools import product
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ggt_hub.curation.structures import cast, recoloured, repainted, strengths
from ggt_hub.errors import MetricError
from ggt_hub.metrics.brisque import brisque
from ggt_hub.metrics.checks import chromaticity_drift, ssim_at_192
from ggt_hub.metrics.niqe import niqe
from ggt_hub.metrics.piqe import piqe

Pixels = NDArray[np.uint8]

_NEVER = 100.0  # dB, of equal pictures
_EXPERTS: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
    # A tensor is one batch, which takes little longer than one picture.
    "brisque": lambda pair: brisque(torch.from_numpy(pair).permute(0, 3, 1, 2) / 255),
    "piqe": piqe,
    "niqe": niqe,
}
_QUALITIES = range(70, 101)
_SUBSAMPLINGS = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
_LOOKED_AT = 256  # side of the part that is coded again
_GRIDS = (8, 16, 32)
_FLAT = 1.5  # levels; the spread of a row below which it is a bar
_CALM = 4.0  # pixels of a blur that leaves that many levels of strong noise
_SAME_LEVEL = 16.0


def measured(lq: Pixels, gt: Pixels) -> dict[str, float]:
    """All values of a pair; not a number where one cannot be had.

    Args:
        lq: the photograph, 8-bit RGB.
        gt: what was made of it, of the same size.

    Returns:
        By name:
        `bar`: share of the longer side that is a uniform bar in `gt` and shows something else in `lq`, at the
            worst edge.
        `structure`: SSIM at 192 pixels after the brightness of `gt` was given the histogram of `lq`'s, -1..1;
            without that, true pairs of low light have 0.17 to 0.43.
        `mirrored`: the same for the mirrored `gt`, less `structure`.
        `repainted`: how far the place stands out that has lost most of what `lq` shows; see
            `structures.repainted`.
        `weaker`, `sharper`: by how much the structures of `lq` are weaker, or stronger, in `gt`; see `structures`.
        `cast`: shift of all chromaticities, 0..0.8, beyond what makes colours stronger; see `structures.cast`.
        `recoloured`: how far colours are others, in levels, in a tenth of the places at least; see
            `structures.recoloured`.
        `recoloured_place`: the same of the worst place, over that of others.
        `unchanged`: PSNR of the two in dB, or of `gt` and what JPEG makes of `lq`, where that explains `gt` by far.
        `colour`: chromaticity drift at 192 pixels, where noise has none, 0..1.42.
        `redegraded`: PSNR in dB of `lq` and a copy of `gt` that was blurred and recoloured to fit it best.
        `brisque`, `piqe`, `niqe`: by how much `gt` is better than `lq`, in their own units.
        `grid`: how much stronger `gt` is at the periods of decoders (8, 16, 32 pixels), against other change
            around them; see `grid`.
    """
    grey, grey_gt = _brightness(lq), _brightness(gt)
    matched = _with_histogram(grey_gt, grey)
    structure = _ssim(grey, matched)
    planes = grey.astype(np.float32), grey_gt.astype(np.float32)
    weaker, sharper = strengths(*planes)
    small = _small(lq), _small(gt)
    others, other_place = recoloured(*small)
    return {
        "bar": _bar(matched, grey),
        "structure": structure,
        "mirrored": _ssim(grey, matched[:, ::-1]) - structure,
        "repainted": repainted(*planes),
        "weaker": weaker,
        "sharper": sharper,
        "cast": cast(*small),
        "recoloured": others,
        "recoloured_place": other_place,
        "unchanged": unchanged(lq, gt),
        "colour": _number(lambda: chromaticity_drift(small[1][None], small[0][None])),
        "redegraded": redegraded(lq, gt),
        **{name: _gain(expert, np.stack([lq, gt])) for name, expert in _EXPERTS.items()},
        "grid": grid(grey, grey_gt),
    }


def unchanged(lq: Pixels, gt: Pixels) -> float:
    """How much a picture is the one that was given, in dB.

    A limit on SSIM refuses most good restorations of light damage, which change little. What was returned as it was
    is equal, or equal to what a coder makes of it; a restoration is neither.
    """
    plain = _psnr(lq, gt)
    if plain == _NEVER:
        return plain
    grey, grey_gt = _brightness(lq), _brightness(gt)
    part = _most_detail(grey)
    # Whatever becomes of the colours, the brightness tells the quality, up to its neighbours.
    likely = nsmallest(3, _QUALITIES, key=lambda one: cv2.norm(_coded(grey[part], one), grey_gt[part]))
    bgr, bgr_gt = (one[part][..., ::-1] for one in (lq, gt))
    coded = max(_psnr(_coded(bgr, *how), bgr_gt) for how in product(likely, _SUBSAMPLINGS))
    return coded if coded > plain + 6 else plain


def redegraded(lq: Pixels, gt: Pixels) -> float:
    """How well a blur and a change of brightness lead back from a candidate: dB, of the brightness at half size."""
    size = max(1, lq.shape[1] // 2), max(1, lq.shape[0] // 2)
    ours, theirs = (
        cv2.resize(_brightness(one), size, interpolation=cv2.INTER_AREA).astype(np.float32)
        for one in (gt, lq)
    )
    theirs = cv2.GaussianBlur(theirs, (0, 0), 1.0)  # noise, rain and the like need not come back
    return max(
        _fitted_psnr(cv2.GaussianBlur(ours, (0, 0), sigma), theirs) for sigma in (0.7, 1, 1.5, 2, 3, 4, 6)
    )


def grid(grey: Pixels, grey_gt: Pixels) -> float:
    """How much stronger periods of 8, 16 and 32 pixels are in a candidate, over the median change around them.

    In the spectra of the means of rows and columns: textures cancel out, a grid does not, and what both pictures
    show cancels out of the change.

    Args:
        grey: brightness of the photograph, 8-bit.
        grey_gt: that of the candidate, of the same size.
    """
    before, after = (
        one - cv2.GaussianBlur(one, (0, 0), 3)
        for one in (grey.astype(np.float32), grey_gt.astype(np.float32))
    )
    found = 0.0
    for axis in (0, 1):
        lines = before.mean(1 - axis), after.mean(1 - axis)
        was, now, change = (np.abs(np.fft.rfft(line)) for line in (*lines, lines[1] - lines[0]))
        for period in _GRIDS:
            place = round(grey.shape[axis] / period)
            around = np.r_[change[max(1, place - 12) : place - 2], change[place + 3 : place + 13]]
            if len(around) >= 12:
                peak = slice(place - 1, place + 2)
                found = max(found, float((now[peak].max() - was[peak].max()) / (np.median(around) + 1e-3)))
    return found


def _gain(expert: Callable[[NDArray[np.uint8]], Any], pair: NDArray[np.uint8]) -> float:
    """All three are lower for better pictures."""
    try:
        before, after = expert(pair)
    except MetricError:
        return math.nan
    return float(before) - float(after)


def _number(score: Callable[[], Any]) -> float:
    try:
        return float(score()[0])
    except MetricError:
        return math.nan


def _ssim(x: Pixels, y: Pixels) -> float:
    return _number(lambda: ssim_at_192(x[None, ..., None], y[None, ..., None]))


def _psnr(x: NDArray[np.generic], y: NDArray[np.generic]) -> float:
    error = float(np.square(x.astype(np.float32) - y.astype(np.float32)).mean())
    return min(_NEVER, float(10 * np.log10(255**2 / error))) if error else _NEVER


def _fitted_psnr(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """After the gain and the offset that fit best."""
    centred = ours - ours.mean()
    gain = float((centred * (theirs - theirs.mean())).sum() / max(float(np.square(centred).sum()), 1e-6))
    return _psnr(theirs.mean() + gain * centred, theirs)


def _coded(pixels: Pixels, quality: int, subsampling: int = 0) -> Pixels:
    """What JPEG makes of a plane, or of BGR; OpenCV's coder gives what Pillow's gives in half the time."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if subsampling:
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, subsampling]
    _, file = cv2.imencode(".jpg", pixels, settings)
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


def _small(pixels: Pixels) -> Pixels:
    scale = min(1.0, 192 / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _brightness(pixels: Pixels) -> Pixels:
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)


def _with_histogram(plane: Pixels, like: Pixels) -> Pixels:
    """A plane whose levels are as frequent as another's."""
    ours, theirs = (np.cumsum(np.bincount(one.ravel(), minlength=256)) / one.size for one in (plane, like))
    return np.interp(ours, theirs, np.arange(256)).round().astype(np.uint8)[plane]


def _bar(gt: Pixels, lq: Pixels) -> float:
    """The thickest uniform bar at an edge, as a share of the longer side; none where the photograph has it, too."""
    calm = cv2.GaussianBlur(lq, (0, 0), _CALM).astype(np.float32)
    ways = (lambda x: x, lambda x: x[::-1], lambda x: x.T, lambda x: x.T[::-1])
    return max(_bar_on_top(way(gt.astype(np.float32)), way(calm)) for way in ways) / max(gt.shape)


def _bar_on_top(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> int:
    """Rows."""
    is_uniform = ours.std(axis=1) < _FLAT
    is_so_there = (theirs.std(axis=1) < _CALM) & (np.abs(ours.mean(1) - theirs.mean(1)) < _SAME_LEVEL)
    is_bar = is_uniform & ~is_so_there
    return len(is_bar) if is_bar.all() else int(is_bar.argmin())
