"""What every degradation is: a few ranges, a draw from them, and a pure function of the drawn parameters."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ggt_hub.tasks import Task

Array = NDArray[np.float32]
"""A picture: float32, height x width x 3, RGB, sRGB-encoded, 0..1."""

Parameters = dict[str, Any]
"""What one application used; plain JSON values, so that a recipe can be stored and replayed."""

Range = tuple[float, float]
"""(mildest, most severe) value of a parameter; the first may be the larger one, as for JPEG quality."""


@dataclass(frozen=True)
class Degradation(ABC):
    """One family of damage.

    The fields of a subclass are the ranges it draws from. What a family needs besides the picture (textures, a
    depth estimator, a second picture) is a field too, and `sample` records which of it was used, so that `apply`
    remains a function of the picture and the parameters alone.
    """

    name: ClassVar[str]
    task: ClassVar[Task]

    @abstractmethod
    def sample(self, rng: Generator, severity: float) -> Parameters:
        """Draw parameters: the severity (0..1) places the main one in its range, `rng` draws the others."""

    @abstractmethod
    def apply(self, image: Array, parameters: Parameters) -> Array:
        """Return the damaged picture (same layout and range; new memory). Same input, same bytes."""


def between(limits: Range, severity: float) -> float:
    """The value at `severity` (0 mildest, 1 most severe) of a range."""
    return float(limits[0] + (limits[1] - limits[0]) * severity)


def draw_seed(rng: Generator) -> int:
    """A seed for the random numbers of one step, small enough for any JSON reader (below 2**32)."""
    return int(rng.integers(2**32))


def to_uint8(image: Array) -> NDArray[np.uint8]:
    """Round 0..1 to 0..255, as any 8-bit file does."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def to_float(image: NDArray[np.uint8]) -> Array:
    """Map 0..255 to 0..1."""
    return image.astype(np.float32) / np.float32(255.0)
