"""What is measured of a candidate beside its photograph, by parts that are free: numbers, and no verdicts.

All of them compare; an absolute value says little, for how hard a picture is decides it. Names are those under
which gates have their limits.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ggt_hub.curation.recoding import adjusted, psnr, unchanged
from ggt_hub.curation.structures import cast, noise_of, recoloured, repainted, replaced, small, strengths
from ggt_hub.data.batches import batched
from ggt_hub.errors import MetricError
from ggt_hub.images.shown import brightness
from ggt_hub.metrics.brisque import brisque
from ggt_hub.metrics.checks import chromaticity_drift, ssim_at_192
from ggt_hub.metrics.niqe import niqe
from ggt_hub.metrics.piqe import piqe

Pixels = NDArray[np.uint8]

_AT_ONCE = 2**15  # pixels, of which few are scored together
_GRIDS = (8, 16, 32)
_FLAT = 1.5  # levels; the spread of a row below which it is a bar
_CALM = 4.0  # pixels of a blur that leaves that many levels of strong noise
_SAME_LEVEL = 16.0


def measured_each(pairs: Iterable[tuple[Pixels, Pixels]]) -> Iterator[dict[str, float]]:
    """`measured` of each pair, in order; of small ones it takes less time."""
    for shape, alike in groupby(pairs, key=lambda pair: pair[0].shape):
        for group in batched(alike, max(1, _AT_ONCE // (2 * shape[0] * shape[1]))):
            for (lq, gt), gain in zip(group, _brisque_gains(group), strict=True):
                yield _measured(lq, gt) | {"brisque": gain}


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
        `replaced`: the same of the place of which most is another; see `structures.replaced`.
        `weaker`, `sharper`: by how much the structures of `lq` are weaker, or stronger, in `gt`; see `structures`.
        `noisier`: by how much more noise there is in `gt`, in levels of white noise of the brightness.
        `cast`: shift of all chromaticities, 0..0.8, beyond what makes colours stronger; see `structures.cast`.
        `recoloured`: how far colours are others, in levels, in a tenth of the places at least; see
            `structures.recoloured`.
        `recoloured_place`: the same of the worst place, over that of others.
        `unchanged`: PSNR of the two in dB, or of `gt` and what JPEG makes of `lq`, where that explains `gt` by far.
        `adjusted`: PSNR of `gt` and what a small filter and a curve of the levels make of `lq`, in dB.
        `colour`: chromaticity drift at 192 pixels, where noise has none, 0..1.42.
        `redegraded`: PSNR in dB of `lq` and a copy of `gt` that was blurred and recoloured to fit it best.
        `brisque`, `piqe`, `niqe`: by how much `gt` is better than `lq`, in their own units.
        `grid`: how much stronger `gt` is at the periods of decoders (8, 16, 32 pixels), against other change
            around them; see `grid`.
    """
    return next(measured_each([(lq, gt)]))


def _measured(lq: Pixels, gt: Pixels) -> dict[str, float]:
    """All but BRISQUE, of which several are computed together."""
    grey, grey_gt = brightness(lq), brightness(gt)
    matched = _with_histogram(grey_gt, grey)
    structure = _ssim(grey, matched)
    planes = grey.astype(np.float32), grey_gt.astype(np.float32)
    noise, noise_gt = map(noise_of, planes)
    weaker, sharper = strengths(*planes)
    little = small(lq), small(gt)
    others, other_place = recoloured(*little)
    return {
        "bar": _bar(matched, grey),
        "structure": structure,
        "mirrored": _ssim(grey, matched[:, ::-1]) - structure,
        "repainted": repainted(*planes, noise),
        "replaced": replaced(*planes, noise),
        "weaker": weaker,
        "sharper": sharper,
        "noisier": noise_gt - noise,
        "cast": cast(*little),
        "recoloured": others,
        "recoloured_place": other_place,
        "unchanged": unchanged(lq, gt),
        "adjusted": adjusted(lq, gt),
        "colour": _number(lambda: chromaticity_drift(little[1][None], little[0][None])),
        "redegraded": redegraded(lq, gt),
        "piqe": _gain(piqe, lq, gt),
        "niqe": _gain(niqe, lq, gt),
        "grid": grid(grey, grey_gt),
    }


def redegraded(lq: Pixels, gt: Pixels) -> float:
    """How well a blur and a change of brightness lead back from a candidate: dB, of the brightness at half size."""
    size = max(1, lq.shape[1] // 2), max(1, lq.shape[0] // 2)
    ours, theirs = (
        cv2.resize(brightness(one), size, interpolation=cv2.INTER_AREA).astype(np.float32) for one in (gt, lq)
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


def _brisque_gains(pairs: Sequence[tuple[Pixels, Pixels]]) -> list[float]:
    """How much better the second of each pair is; pictures of one size."""
    pictures = torch.from_numpy(np.stack([one for pair in pairs for one in pair])).permute(0, 3, 1, 2) / 255
    try:
        before, after = brisque(pictures).reshape(-1, 2).T
    except MetricError:
        return [math.nan] * len(pairs)
    return [float(gain) for gain in before - after]


def _gain(expert: Callable[[NDArray[np.uint8]], Any], lq: Pixels, gt: Pixels) -> float:
    """Lower is better."""
    try:
        before, after = expert(np.stack([lq, gt]))
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


def _fitted_psnr(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """After the gain and the offset that fit best."""
    centred = ours - ours.mean()
    gain = float((centred * (theirs - theirs.mean())).sum() / max(float(np.square(centred).sum()), 1e-6))
    return psnr(theirs.mean() + gain * centred, theirs)


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
