"""Resize: a picture that was shrunk and enlarged again, and so lost its detail."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.random import Generator

from ggt_hub.degradations.base import Array, Degradation, Parameters, Range, between
from ggt_hub.tasks import Task

_FILTERS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


@dataclass(frozen=True)
class Resize(Degradation):
    """Down by a factor and up again to the size it had.

    RealRestorer counts resizing as a form of compression (arXiv 2603.25502, synthesis of the nine types), hence
    the task.

    Attributes:
        scale: the smaller picture's sides as a share of the original's.
        down: filters for shrinking, to choose from with equal chance.
        up: filters for enlarging, likewise.
    """

    name: ClassVar[str] = "resize"
    task: ClassVar[Task] = "compression"

    scale: Range = (0.9, 0.25)
    down: tuple[str, ...] = ("area", "linear", "cubic")
    up: tuple[str, ...] = ("linear", "cubic", "lanczos")

    def sample(self, rng: Generator, severity: float) -> Parameters:
        return {
            "scale": between(self.scale, severity),
            "down": str(rng.choice(self.down)),
            "up": str(rng.choice(self.up)),
        }

    def apply(self, image: Array, parameters: Parameters) -> Array:
        height, width = image.shape[:2]
        small = (max(1, round(width * parameters["scale"])), max(1, round(height * parameters["scale"])))
        shrunk = cv2.resize(image, small, interpolation=_FILTERS[parameters["down"]])
        grown = cv2.resize(shrunk, (width, height), interpolation=_FILTERS[parameters["up"]])
        return np.clip(grown, 0.0, 1.0)
