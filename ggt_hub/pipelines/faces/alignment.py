"""Where a face is brought to for restoration, and how it comes back into its photograph without a seam.

The frame is that of CodeFormer and IQPIR (arXiv 2206.11253, 2603.29773): five points of a face of 512 pixels.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ggt_hub.images import Picture

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

_POINTS = (
    np.array(
        [
            (192.98138, 239.94708),
            (318.90277, 240.1936),
            (256.63416, 314.01935),
            (201.26117, 371.41043),
            (313.08905, 371.15118),
        ]
    )
    / 512
)
_BEYOND = (132 / 255, 133 / 255, 135 / 255)  # what the networks were shown where a photograph ends
_HIDDEN, _FULL = 0.05, 0.15  # of the frame's side: the mask is 0 up to here from its border, 1 from here on
_SOFTENING = 0.25  # pixels of the smaller picture: standard deviation of the blur before one is made smaller


@dataclass(frozen=True, eq=False)
class Alignment:
    """A similarity that brings a face into the frame.

    Attributes:
        matrix: (2, 3), from pixels of the photograph to those of the frame; whole numbers are middles of pixels.
        side: of the frame.
    """

    matrix: Points
    side: int

    @property
    def scale(self) -> float:
        """How many pixels of the frame there are for one of the photograph."""
        return float(np.hypot(*self.matrix[:, 0]))

    def enlarged(self, factor: int) -> "Alignment":
        """The alignment of the same face in the photograph `factor` times as large."""
        middle = (factor - 1) / 2
        shrink = np.array([[1 / factor, 0, -middle / factor], [0, 1 / factor, -middle / factor], [0, 0, 1]])
        return Alignment(self.matrix @ shrink, self.side)

    def back(self, points: Points) -> Points:
        """Points of the frame, (N, 2), in the photograph."""
        inverse = cv2.invertAffineTransform(self.matrix)
        return points @ inverse[:, :2].T + inverse[:, 2]

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of what the frame covers of a photograph of this size; may be empty."""
        last = self.side - 0.5
        corners = self.back(np.array([(-0.5, -0.5), (last, -0.5), (last, last), (-0.5, last)]))
        left, top = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width, height))
        right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, (width, height))
        return int(left), int(top), int(right), int(bottom)

    def moved(self, left: float, top: float) -> Points:
        """The matrix for a part of the photograph that begins at (left, top)."""
        return self.matrix @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])


def align(points: Points, side: int) -> Alignment | None:
    """The similarity that brings five points of a face to those of the frame, by the least median of squares.

    Args:
        points: (5, 2), as `Face.points`.
        side: of the frame.

    Returns:
        None for points that are no face's: all in one place.
    """
    # The frame's points are counted from the middle of the first pixel of 512.
    target = (512 * _POINTS + 0.5) * side / 512 - 0.5
    matrix, _ = cv2.estimateAffinePartial2D(points, target, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all() or np.hypot(*matrix[:, 0]) < 1e-6:
        return None
    return Alignment(matrix, side)


def cut_out(picture: Picture, alignment: Alignment) -> Floats:
    """A face in the frame, (side, side, 3), 0..1; grey where the photograph ends."""
    left, top, right, bottom = alignment.box(*picture.size)
    if left >= right or top >= bottom:
        return np.full((alignment.side, alignment.side, 3), _BEYOND, np.float32)
    part = _softened(picture.rgb((left, top, right, bottom)), alignment.scale)
    part = cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_REPLICATE)  # no grey within the last row of pixels
    return cv2.warpAffine(
        part, alignment.moved(left - 1, top - 1), (alignment.side, alignment.side), borderValue=_BEYOND
    )


def paste(photograph: Floats, face: Floats, alignment: Alignment) -> None:
    """Put a face back into a photograph, through a mask that is soft towards the border of the frame.

    Args:
        photograph: (height, width, 3), 0..1, written into; nothing outside of the frame changes.
        face: (side, side, 3).
        alignment: of the face in this photograph.
    """
    left, top, right, bottom = alignment.box(photograph.shape[1], photograph.shape[0])
    if left >= right or top >= bottom:
        return
    matrix, size = alignment.moved(left, top), (right - left, bottom - top)
    back: dict[str, Any] = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "dsize": size}
    mask = cv2.warpAffine(_mask(alignment.side), matrix, **back)[..., None]
    softened = _softened(face, 1 / alignment.scale)
    placed = cv2.warpAffine(softened, matrix, borderMode=cv2.BORDER_REPLICATE, **back)
    part = photograph[top:bottom, left:right]
    part += mask * (placed - part)
    np.clip(part, 0, 1, out=part)  # rounding may lead out


def colours_of(face: Floats, original: Floats) -> Floats:
    """A restored face without colour where the original has none: black and white, or all of one tint.

    Such a face takes mean and spread of each of the original's channels. Others come back as they are.

    Args:
        face: (side, side, 3), 0..1.
        original: of the same shape.
    """
    between = original - np.roll(original, 1, axis=2)
    if between.var(axis=(0, 1)).mean() * 255**2 > 10:  # as the authors decide it
        return face
    grey = face.mean(axis=2, keepdims=True)
    mean, spread = original.mean(axis=(0, 1)), original.std(axis=(0, 1))
    return np.clip((grey - grey.mean()) / (grey.std() + 1e-5) * spread + mean, 0, 1).astype(np.float32)


def _mask(side: int) -> Floats:
    """(side, side): 0 at the border of the frame, 1 in the middle, smooth between."""
    from_border = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) / side
    way = np.clip((from_border - _HIDDEN) / (_FULL - _HIDDEN), 0, 1)
    edge = (way * way * (3 - 2 * way)).astype(np.float32)
    return edge[:, None] * edge


def _softened(pixels: Floats, scale: float) -> Floats:
    """Pixels as they can be sampled `scale` times as densely: blurred first where that is below 1."""
    if scale >= 1:
        return pixels
    sigma = _SOFTENING * float(np.sqrt(1 / scale**2 - 1))
    return cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
