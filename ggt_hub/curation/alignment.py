"""Laying a generated picture over the photograph that it was made of.

First the whole picture (matches of SIFT and a homography or, where there are too few, the shift by phase
correlation), then what is left of it place by place (dense inverse search), warped where it is small. Generators
shift and zoom by a few pixels; by more they have drawn another scene. All limits are of pictures of 1024 pixels and
ours; they grow with the picture.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ggt_hub.images.shown import brightness

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

_NATIVE = 1024
_FLOW_SIDE = 512
_FEWEST_MATCHES = 16
_ASPECT = 0.01
_SAME_SHIFT = 0.1  # least response of the phase correlation
_EXACT = 1e-4  # squared pixels; matches are never nearer
_FOLLOWED = 0.5  # pixels of the picture in which ways are followed; shorter ones are not told from none
_TEXTURED = 8.0  # size of the gradient, 0..255, below which a place cannot be followed
_SURE = 1.0  # pixels; ways that damage has shifted by less make nothing liker
_LIKER = 0.7  # what bending may leave of the unlikeness: true bends leave 0.15 to 0.45, blurs 0.9 and more
_DETAIL, _WINDOW, _QUIET = 1.5, 15, 4.0  # pixels of a blur, pixels of a side, squared levels


@dataclass(frozen=True)
class Limits:
    """What is accepted, in pixels of a picture of 1024.

    Attributes:
        inliers: least share of matches that the homography explains.
        corner: largest way of a corner.
        still: median residual up to which nothing is warped, and twice the mean way up to which nothing is moved.
        median, most: largest median residual, and largest 95th percentile, that are warped.
        border: largest border that is cut off.
    """

    inliers: float = 0.25
    corner: float = 24.0
    still: float = 1.0
    median: float = 6.0
    most: float = 12.0
    border: int = 16


@dataclass(frozen=True)
class Alignment:
    """What came of it.

    Attributes:
        lq, gt: both pictures, cut alike; None where they were refused.
        refused: why; "" where they were not.
        statistics: what was measured, by name: `resized`, `matches`, `inliers`, `corner`, `mean`, `median`, `most`,
            `cut`. `is_known` is 0 where too little could be matched to say anything: that is no refusal.
    """

    lq: Pixels | None
    gt: Pixels | None
    refused: str = ""
    statistics: dict[str, float] = field(default_factory=dict)


def align(candidate: Pixels, lq: Pixels, limits: Limits = Limits()) -> Alignment:
    """Lay a candidate over a photograph.

    Args:
        candidate: 8-bit RGB, of any size.
        lq: likewise; what the candidate was made of.
        limits: what is accepted.
    """
    statistics: dict[str, float] = {"resized": float(candidate.shape[:2] != lq.shape[:2])}
    if abs(candidate.shape[1] * lq.shape[0] / (candidate.shape[0] * lq.shape[1]) - 1) > _ASPECT:
        shapes = f"{candidate.shape[1]}x{candidate.shape[0]} of {lq.shape[1]}x{lq.shape[0]}"
        return Alignment(None, None, f"another shape: {shapes}", statistics)
    moved = _resized(candidate, lq.shape[:2])
    valid = np.full(lq.shape[:2], 255, np.uint8)
    unit = max(lq.shape[:2]) / _NATIVE
    way, told = _global_way(brightness(moved), brightness(lq))
    statistics |= told
    if way is not None:
        mean, corner = (length / unit for length in _lengths(way, lq.shape[:2]))
        statistics |= {"mean": mean, "corner": corner}
        if told.get("inliers", 1.0) < limits.inliers:
            return Alignment(None, None, "another scene: few matches agree", statistics)
        if corner > limits.corner:
            return Alignment(None, None, "moved too far", statistics)
        if mean > limits.still / 2:
            nearer = _warped(moved, way)
            if mean * unit > _SURE or _unlikeness(nearer, lq) < _unlikeness(moved, lq):
                moved, valid = nearer, _warped(valid, way)
    there, sure, residual = _residual(brightness(moved), brightness(lq))
    statistics |= {name: value / unit for name, value in residual.items()}
    statistics["is_known"] = float(way is not None)
    median, most = statistics["median"], statistics["most"]
    if median > limits.median or most > limits.most:
        return Alignment(None, None, "bent too far", statistics)
    if median > max(limits.still, _FOLLOWED / (unit * _flow_scale(lq))):
        flow = _spread(there, sure, lq)
        nearer = _bent(moved, flow)
        if _unlikeness(nearer, lq) < _LIKER * _unlikeness(moved, lq):
            moved, valid = nearer, _bent(valid, flow)
    cut = _border(valid)
    statistics["cut"] = cut / unit
    if cut > limits.border * unit:
        return Alignment(None, None, "too much of the border is missing", statistics)
    inside = (slice(cut, lq.shape[0] - cut), slice(cut, lq.shape[1] - cut))
    return Alignment(lq[inside], moved[inside], "", statistics)


def limits_of(settings: Any) -> Limits:
    """Limits from the fields of the same names of a stage's settings."""
    return Limits(**{name: getattr(settings, name) for name in asdict(Limits())})


def _resized(pixels: Pixels, size: tuple[int, ...]) -> Pixels:
    if pixels.shape[:2] == size:
        return pixels
    smaller = pixels.shape[0] > size[0]
    return cv2.resize(
        pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    )


def _global_way(moved: Pixels, fixed: Pixels) -> tuple[NDArray[np.float64] | None, dict[str, float]]:
    """The homography from the fixed picture's places to the moved one's, and what it rests on; None: not known."""
    points = _matches(moved, fixed)
    if len(points) >= _FEWEST_MATCHES:
        ours, theirs = points[:, :2], points[:, 2:]
        cv2.setRNGSeed(0)
        way, inside = cv2.findHomography(theirs, ours, cv2.USAC_MAGSAC, 3.0)
        if way is not None:
            agree = inside.ravel() > 0
            told = {"matches": float(len(points)), "inliers": float(inside.mean())}
            return _simplest(way, theirs[agree], ours[agree]), told
    window = cv2.createHanningWindow(fixed.shape[::-1], cv2.CV_32F)
    (right, down), response = cv2.phaseCorrelate(fixed.astype(np.float32), moved.astype(np.float32), window)
    told = {"matches": float(len(points)), "response": float(response)}
    if response < _SAME_SHIFT:
        return None, told
    return np.array([[1, 0, right], [0, 1, down], [0, 0, 1.0]]), told


def _simplest(
    way: NDArray[np.float64], theirs: NDArray[np.float32], ours: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Of no way at all, a shift, a turn with a zoom, and a homography the one that matches speak for.

    By the Bayesian information criterion (Schwarz, Annals of Statistics 1978): a homography that rests on a few
    uncertain matches moves what lies right.

    Args:
        way: the homography.
        theirs: matches that agree with it, x, y in the fixed picture.
        ours: the same in the moved one.
    """
    found, least = way, np.inf
    for parameters, one in (
        (0, np.eye(3)),
        (2, _shift(theirs, ours)),
        (4, _similarity(theirs, ours)),
        (8, way),
    ):
        left = cv2.perspectiveTransform(theirs[None].astype(np.float64), one)[0] - ours
        score = left.size * np.log(np.square(left).mean() + _EXACT) + parameters * np.log(left.size)
        if score < least:
            found, least = one, score
    return found


def _shift(theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> NDArray[np.float64]:
    right, down = (ours - theirs).mean(0)
    return np.array([[1, 0, right], [0, 1, down], [0, 0, 1.0]])


def _similarity(theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> NDArray[np.float64]:
    """Least squares in complex numbers."""
    x, y = (one[:, 0] + 1j * one[:, 1] for one in (theirs.astype(np.float64), ours.astype(np.float64)))
    turn = np.vdot(x - x.mean(), y - y.mean()) / max(np.vdot(x - x.mean(), x - x.mean()).real, 1e-9)
    offset = y.mean() - turn * x.mean()
    return np.array([[turn.real, -turn.imag, offset.real], [turn.imag, turn.real, offset.imag], [0, 0, 1.0]])


def _matches(moved: Pixels, fixed: Pixels) -> NDArray[np.float32]:
    """Places that look alike: x, y in the moved picture, x, y in the fixed one."""
    finder = cv2.SIFT.create(4000)
    # The photograph is damaged: its noise would be taken for features.
    (points, words), (others, theirs) = (
        finder.detectAndCompute(cv2.GaussianBlur(plane, (0, 0), 1.5), None) for plane in (moved, fixed)
    )
    if words is None or theirs is None or min(len(words), len(theirs)) < 2:
        return np.empty((0, 4), np.float32)
    pairs = cv2.BFMatcher().knnMatch(words, theirs, k=2)
    good = [best for best, second in pairs if best.distance < 0.75 * second.distance]
    found = [(*points[one.queryIdx].pt, *others[one.trainIdx].pt) for one in good]
    return np.array(found, np.float32).reshape(-1, 4)


def _lengths(way: NDArray[np.float64], size: tuple[int, ...]) -> tuple[float, float]:
    """The mean way of all places, and the longest of a corner, in pixels."""
    rows, columns = (np.linspace(0, extent, 9) for extent in size)
    places = np.stack(np.meshgrid(columns, rows), 2).reshape(1, -1, 2)
    lengths = np.linalg.norm(cv2.perspectiveTransform(places, way) - places, axis=2).reshape(9, 9)
    return float(lengths.mean()), float(lengths[::8, ::8].max())


def _warped(picture: Pixels, way: NDArray[np.float64]) -> Pixels:
    nearest = picture.ndim == 2
    flags = (cv2.INTER_NEAREST if nearest else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(picture, way, picture.shape[1::-1], flags=flags)


def _residual(moved: Pixels, fixed: Pixels) -> tuple[Plane, NDArray[np.bool_], dict[str, float]]:
    """The way from each place of the fixed picture to the moved one, where it is sure, and its length there.

    The way is in pixels of the pictures in which it is followed, the length in those of the fixed picture.
    """
    scale = _flow_scale(fixed)
    size = round(fixed.shape[1] * scale), round(fixed.shape[0] * scale)
    small = [_evened(cv2.resize(plane, size, interpolation=cv2.INTER_AREA)) for plane in (fixed, moved)]
    follower = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = small
    there, back = follower.calc(first, second, None), follower.calc(second, first, None)
    places = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), 2).astype(np.float32)
    returned = cv2.remap(back, places + there, None, cv2.INTER_LINEAR)
    gradient = np.hypot(cv2.Sobel(small[0], cv2.CV_32F, 1, 0), cv2.Sobel(small[0], cv2.CV_32F, 0, 1)) / 4
    sure = (np.linalg.norm(there + returned, axis=2) < 1) & (gradient > _TEXTURED)
    lengths = np.linalg.norm(there, axis=2)[sure] / scale
    told = {"median": 0.0, "most": 0.0}
    if sure.mean() > 0.01:
        told = {"median": float(np.median(lengths)), "most": float(np.percentile(lengths, 95))}
    return there, sure, told


def _spread(there: Plane, sure: NDArray[np.bool_], fixed: Pixels) -> Plane:
    """The way from each pixel of the fixed picture: of places that are not sure their neighbours know more."""
    weight = cv2.GaussianBlur(sure.astype(np.float32), (0, 0), 8)[..., None]
    smooth = cv2.GaussianBlur(there * sure[..., None], (0, 0), 8) / np.maximum(weight, 1e-3)
    return cv2.resize(smooth, fixed.shape[1::-1]) / _flow_scale(fixed)


def _flow_scale(fixed: Pixels) -> float:
    """Of the pictures in which ways are followed."""
    return min(1.0, _FLOW_SIDE / max(fixed.shape[:2]))


def _evened(plane: Pixels) -> Pixels:
    """Local contrast alike everywhere, so that fog and darkness do not count."""
    return cv2.createCLAHE(4.0, (8, 8)).apply(plane)


def _bent(picture: Pixels, flow: Plane) -> Pixels:
    height, width = picture.shape[:2]
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), 2).astype(np.float32) + flow
    return cv2.remap(picture, places, None, cv2.INTER_NEAREST if picture.ndim == 2 else cv2.INTER_CUBIC)


def _unlikeness(moved: Pixels, fixed: Pixels) -> float:
    """One less the correlation in small windows, weighted by what the fixed picture shows there, 0..2.

    Along edges, and under a blur, ways are followed that nothing has gone: bending by them makes nothing liker.
    """
    x, y = (cv2.GaussianBlur(brightness(one).astype(np.float32), (0, 0), _DETAIL) for one in (fixed, moved))

    def mean(plane: Plane) -> Plane:
        return cv2.blur(plane, (_WINDOW, _WINDOW))

    spread_x, spread_y = (np.maximum(mean(one * one) - mean(one) ** 2, 0) for one in (x, y))
    likeness = (mean(x * y) - mean(x) * mean(y)) / np.sqrt(spread_x * spread_y + _QUIET)
    weight = np.sqrt(spread_x) + 1e-6
    return 1 - float((weight * likeness).sum() / weight.sum())


def _border(valid: Pixels) -> int:
    """How many pixels must go on each side so that nothing is left that is not there."""
    missing = np.argwhere(valid == 0)
    if not len(missing):
        return 0
    height, width = valid.shape
    rows, columns = missing.T
    return 1 + int(np.minimum.reduce([rows, height - 1 - rows, columns, width - 1 - columns]).max())
