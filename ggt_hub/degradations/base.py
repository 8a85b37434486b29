"""What every degradation is: settings, a draw of parameters, and a pure function of a sample and both."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ggt_hub.errors import DegradationError
from ggt_hub.scenes import Assets, Kind, Scene
from ggt_hub.tasks import Task

Array = NDArray[np.float32]
"""A picture: float32, height x width x 3, RGB, sRGB-encoded, 0..1."""

Parameters = dict[str, Any]
"""What one application used; plain JSON values, so that a record can be stored and replayed."""

Need = Literal["depth", "masks", Kind]
"""Something besides the picture: a part of its scene, or assets of a kind."""

Range = tuple[float, float]
"""(mildest, most severe) value of a parameter; the first may be the larger one, as for JPEG quality."""


@dataclass(frozen=True)
class Sample:
    """What damage works on.

    Attributes:
        lq: the picture that gets worse.
        gt: what a restorer shall make of it; at the end of a chain its sides are those of `lq` times one whole
            number.
        scene: what the clean picture shows: depth, masks, and the assets that parameters name. Made of `gt` alone
            where it is not given.
    """

    lq: Array
    gt: Array
    scene: Scene = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.scene is None:
            object.__setattr__(self, "scene", Scene(self.gt))

    @property
    def scale(self) -> int:
        """By which whole number the sides of `gt` are larger than those of `lq`.

        Raises:
            DegradationError: if there is none.
        """
        (rows, columns), (height, width) = self.gt.shape[:2], self.lq.shape[:2]
        scale = rows // height
        if (rows, columns) != (height * scale, width * scale):
            raise DegradationError(
                f"the chain leaves lq at {width}x{height} beside a gt of {columns}x{rows}: let a step "
                "`{family: fit}` follow `rescale`: it brings lq to the size of gt, or with `part` to a fraction"
            )
        return scale


@dataclass(frozen=True)
class Degradation(ABC):
    """One family of damage.

    The fields of a subclass are its settings: ranges that `draw` draws from, and whatever `apply` depends on
    besides the drawn parameters. Records hold both, so that a replay runs on a family that is set up alike.
    """

    name: ClassVar[str]
    task: ClassVar[Task]
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What it uses besides the picture, where there is any."""

    @classmethod
    @abstractmethod
    def alone(cls) -> Self:
        """The family as its name alone stands for it: severity 0 leaves a picture as it is, 1 is the worst."""

    @abstractmethod
    def draw(self, rng: Generator, severity: float) -> Parameters:
        """Draw parameters: the severity (0..1) places the main one in its range, `rng` draws the others."""

    def choose(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        """The drawn parameters with what is used of the assets: files by name and hash, networks by their identity.

        A family that needs nothing inherits this. Where the assets hold nothing, nothing is drawn and added.
        """
        return parameters

    @abstractmethod
    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        """Damage a sample; what is given is not written into. Same sample, settings and parameters: same bytes.

        Most families touch `lq` alone. One that makes it smaller cuts `gt`, at the right and at the bottom, so that
        it fits.
        """

    @abstractmethod
    def severity(self, parameters: Parameters) -> dict[str, float]:
        """What was done, as the compact restorer's estimator says it: name to severity, about 1 for severe damage.

        Names that the estimator does not know (`models.compact_restorer.ESTIMATES`) leave all its targets open.
        """


REFERENCE_SIDE = 1024
"""Lengths and counts that are said to be of a picture of 1024 pixels grow and shrink with the picture."""


def relative_side(image: Array) -> float:
    """The side of a square of the picture's area, as a share of `REFERENCE_SIDE`.

    Lengths of 1024 are multiplied by it, counts by its square.
    """
    return float(np.sqrt(image.shape[0] * image.shape[1])) / REFERENCE_SIDE


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
