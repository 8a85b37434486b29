"""A face detector: where faces are in a photograph, with five points of each.

MTCNN (Zhang et al., IEEE Signal Processing Letters 2016, arXiv 1604.02878): three small networks, each of which
looks closer, at fewer places.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import cv2
import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_STEP = 0.709  # from one size of the picture to the next: half as many pixels
_CELL, _STRIDE = 12, 2  # pixels that the first network sees at once, and between two of its places
_AT_ONCE = 256  # crops


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photograph.

    Attributes:
        box: left, top, right, bottom in pixels; may lie partly outside of the photograph.
        points: (5, 2), x and y of the eye at the left, the eye at the right, the tip of the nose, the left and the
            right corner of the mouth; whole numbers are middles of pixels.
        score: how sure the detector is, 0..1.
    """

    box: Floats
    points: Floats
    score: float


class FaceDetector(ModelMixin, ConfigMixin):
    """Finds faces.

    Args:
        thresholds: of what each of the three networks has to be sure, 0..1.
    """

    _keep_in_fp32_modules: ClassVar[list[str]] = ["propose", "refine", "finish"]

    @register_to_config
    def __init__(self, thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8)) -> None:
        super().__init__()
        self.propose = _Look(
            [*_layer(3, 10, 3), _halved(2), *_layer(10, 16, 3), *_layer(16, 32, 3)], nn.Conv2d(32, 6, 1)
        )
        self.refine = _Look(
            [
                *_layer(3, 28, 3),
                _halved(3),
                *_layer(28, 48, 3),
                _halved(3),
                *_layer(48, 64, 2),
                *_joined(576, 128),
            ],
            nn.Linear(128, 6),
        )
        self.finish = _Look(
            [
                *(
                    *_layer(3, 32, 3),
                    _halved(3),
                    *_layer(32, 64, 3),
                    _halved(3),
                    *_layer(64, 64, 3),
                    _halved(2),
                ),
                *(*_layer(64, 128, 2), *_joined(1152, 256)),
            ],
            nn.Linear(256, 16),
        )

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As in PyTorch, but it stays in float32: in half precision, points are found 1.5 pixels beside."""
        device, *_ = torch._C._nn._parse_to(*args, **kwargs)
        return self if device is None else super().to(device)

    @torch.no_grad()
    def detect(self, pixels: Pixels, smallest: float = 12) -> list[Face]:
        """The faces in a picture, the surest first.

        Args:
            pixels: (height, width, 3), RGB.
            smallest: height in pixels of the smallest faces that are looked for.
        """
        boxes = self._proposals(pixels, smallest)
        for look, side, threshold in (
            (self.refine, 24, self.config.thresholds[1]),
            (self.finish, 48, self.config.thresholds[2]),
        ):
            seen = _squared(boxes)
            scores, shifts, points = self._judged(look, _crops(pixels, seen, side))
            sure = scores >= threshold
            scores, seen, points = scores[sure], seen[sure], points[sure]
            boxes = _shifted(seen, shifts[sure])
            kept = _distinct(boxes, scores, 0.7, nested=look is self.finish)
            boxes, scores, seen, points = boxes[kept], scores[kept], seen[kept], points[kept]
        places = [_at(*pair) for pair in zip(seen, points, strict=True)]
        return [Face(*found) for found in zip(boxes, places, scores.tolist(), strict=True)]

    def _proposals(self, pixels: Pixels, smallest: float) -> Floats:
        """Where faces may be: boxes (N, 4), from the picture at many sizes."""
        height, width = pixels.shape[:2]
        scale, found, scores = _CELL / smallest, [np.zeros((0, 4))], [np.zeros(0)]
        while min(height, width) * scale >= _CELL:
            size = np.array([round(width * scale), round(height * scale)])
            score, shifts, _ = self._judged(self.propose, _resized(pixels, size)[None])
            rows, columns = np.nonzero(score[0] >= self.config.thresholds[0])
            corners: Floats = _STRIDE * np.stack([columns, rows], axis=1).astype(np.float64)
            boxes = np.hstack([corners, corners + _CELL]) * np.tile([width, height] / size, 2)
            sure = score[0][rows, columns]
            kept = _distinct(boxes, sure, 0.5)
            found.append(_shifted(boxes, shifts[0][:, rows, columns].T)[kept])
            scores.append(sure[kept])
            scale *= _STEP
        boxes = np.concatenate(found)
        return boxes[_distinct(boxes, np.concatenate(scores), 0.7)]

    def _judged(self, look: "_Look", pictures: Pixels) -> tuple[Any, Any, Any]:
        """Scores, shifts of the boxes and points of pictures (N, height, width, 3), as arrays.

        All of them have N in front; those of the first network also the places in rows and columns at the end.
        """
        outputs = [np.zeros((0, look.outputs), np.float32)]
        for start in range(0, len(pictures), _AT_ONCE):
            part = torch.from_numpy(pictures[start : start + _AT_ONCE]).to(self.device, torch.float32)
            seen = look(((part - 127.5) / 128).permute(0, 3, 1, 2).to(self.dtype))
            outputs.append(seen.float().cpu().numpy())
        whole = np.concatenate(outputs[1:] or outputs)
        other, face = np.exp(whole[:, 0]), np.exp(whole[:, 1])
        return face / (face + other), whole[:, 2:6], whole[:, 6:]


class _Look(nn.Module):
    """One of the networks: layers, and a last one for the two classes, four shifts of a box and perhaps points."""

    def __init__(self, layers: list[nn.Module], last: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.layers, self.last = nn.Sequential(*layers), last
        self.outputs = len(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, outputs), or to (N, outputs, h, w)."""
        return self.last(self.layers(x))


def _layer(channels: int, out: int, side: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, side), nn.PReLU(out)


def _joined(inputs: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Flatten(), nn.Linear(inputs, out), nn.PReLU(out)


def _halved(side: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(side, 2, ceil_mode=True)


def _shifted(boxes: Floats, shifts: Floats) -> Floats:
    """Boxes (N, 4) whose sides are moved by shares of their extent."""
    return boxes + shifts * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _squared(boxes: Floats) -> Floats:
    """The squares around the same middles that hold the boxes."""
    middle, half = (
        (boxes[:, :2] + boxes[:, 2:]) / 2,
        (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2,
    )
    return np.hstack([middle - half, middle + half])


def _at(box: Floats, points: Floats) -> Floats:
    """Points given as shares of a box, five times x and five times y, in pixels (5, 2)."""
    return box[:2] + points.reshape(2, 5).T * (box[2:] - box[:2]) - 0.5


def _crops(pixels: Pixels, boxes: Floats, side: int) -> Pixels:
    """What is in boxes, (N, side, side, 3); black beyond the picture."""
    height, width = pixels.shape[:2]
    crops = np.zeros((len(boxes), side, side, 3), np.uint8)
    for crop, (left, top, right, bottom) in zip(crops, np.rint(boxes).astype(int), strict=True):
        within = pixels[max(top, 0) : bottom, max(left, 0) : right]
        if within.size == 0:
            continue
        beyond = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
        whole = cv2.copyMakeBorder(within, *beyond, cv2.BORDER_CONSTANT) if any(beyond) else within
        crop[:] = _resized(whole, (side, side))
    return crops


def _resized(pixels: Pixels, size: Any) -> Pixels:
    smaller = size[0] < pixels.shape[1]
    return cv2.resize(
        pixels, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    )


def _distinct(boxes: Floats, scores: Floats, most: float, *, nested: bool = False) -> NDArray[np.int64]:
    """Which boxes to keep, the surest first: none that overlaps with a surer one by more than `most`.

    The overlap is a share of both together; if `nested`, of the smaller of the two.
    """
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        across = np.minimum(right[first], right[order]) - np.maximum(left[first], left[order])
        down = np.minimum(bottom[first], bottom[order]) - np.maximum(top[first], top[order])
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        whole = np.minimum(areas[first], areas[order]) if nested else areas[first] + areas[order] - shared
        order = order[shared <= most * whole]
    return np.array(kept, np.int64)
