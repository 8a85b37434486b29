"""Snow: flakes in perspective, the nearest out of focus, before a veil of those too far to be seen."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator, default_rng

from ggt_hub.degradations.base import (
    Array,
    Degradation,
    Need,
    Parameters,
    Range,
    Sample,
    between,
    draw_seed,
    relative_side,
)
from ggt_hub.degradations.blend import screen, veiled
from ggt_hub.degradations.blur import kernel
from ggt_hub.degradations.fields import convolved, fitted
from ggt_hub.degradations.rain import on_black
from ggt_hub.scenes import Assets
from ggt_hub.tasks import Task

_WHITE = 0.96

_HIDES = 0.3
"""What is nearer than this hides the farthest layer of flakes."""

# Layers of flakes from far to near: share of the flakes, radius and opacity of one.
_LAYERS = ((0.70, 2.2, 0.75), (0.22, 4.0, 0.9), (0.07, 7.0, 0.9), (0.01, 16.0, 0.6))


@dataclass(frozen=True)
class Snow(Degradation):
    """Falling snow, four layers deep; what is near hides the farthest.

    A flake is a soft disk, drawn out along its way while the shutter was open; the nearest are large and faint, as
    what is out of focus is. With a folder `snow` among the assets, half of the draws are also screened with one
    of its patterns.

    Attributes:
        flakes: how many in a picture of 1024 x 1024 pixels; their number grows with the area, radii with the side.
        size: factor to the radii, which are 2.2 (far) to 16 pixels (near) of such a picture.
        angle: direction of fall, in degrees; 90 falls straight, less leans to the right on its way down.
        travel: how far a flake falls while the shutter is open, in radii.
        veil: optical depth of the far snow over the farthest things.
        pattern: strength of a pattern of the assets.
    """

    name: ClassVar[str] = "snow"
    task: ClassVar[Task] = "snow"
    needs: ClassVar[frozenset[Need]] = frozenset({"depth", "snow"})

    flakes: Range = (3000.0, 14000.0)
    size: tuple[float, float] = (0.8, 1.4)
    angle: tuple[float, float] = (50.0, 130.0)
    travel: tuple[float, float] = (0.0, 4.0)
    veil: Range = (0.05, 0.5)
    pattern: Range = (0.25, 0.6)

    @classmethod
    def alone(cls) -> Self:
        return cls(flakes=(0.0, 14000.0), veil=(0.0, 0.5), pattern=(0.0, 0.6))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        return {
            "flakes": round(between(self.flakes, severity)),
            "size": float(rng.uniform(*self.size)),
            "angle": float(rng.uniform(*self.angle)),
            "travel": float(rng.uniform(*self.travel)),
            "veil": between(self.veil, severity),
            "strength": between(self.pattern, severity),
            "seed": draw_seed(rng),
        }

    def choose(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        if assets.files("snow") and rng.random() < 0.5:
            parameters = parameters | {"pattern": assets.pick(rng, "snow")[0]}
        return parameters | ({"depth_by": assets.depth_by} if assets.depth_by else {})

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        depth = fitted(sample.scene.depth(parameters.get("depth_by")), sample.lq)
        through = np.exp(-np.float32(parameters["veil"]) * depth)
        snowy = veiled(sample.lq, through, [_WHITE] * 3)
        flakes = falling(depth, parameters)[..., None]
        snowy = snowy + flakes * (np.float32(_WHITE) - snowy)
        if "pattern" in parameters:
            pattern = fitted(sample.scene.asset("snow", parameters["pattern"]), sample.lq)
            snowy = screen(snowy, on_black(pattern), parameters["strength"])
        return replace(sample, lq=np.clip(snowy, 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """Number of flakes; 1 is 14,000."""
        return {"snow": parameters["flakes"] / 14000}


def falling(depth: Array, parameters: Parameters) -> Array:
    """How much each pixel is covered by flakes: height x width, 0..1."""
    rng, scale = default_rng(parameters["seed"]), relative_side(depth)
    count = round(parameters["flakes"] * scale**2)
    height, width = depth.shape
    drawn = rng.random((count, 4), dtype=np.float32)
    columns, rows = (drawn[:, :2] * np.array([width, height], np.float32)).astype(np.int32).T
    edges = np.cumsum([0.0, *(share for share, _, _ in _LAYERS)])
    clear = np.ones((height, width), np.float32)
    for (_, radius, opacity), start, stop in zip(_LAYERS, edges, edges[1:], strict=False):
        one = (drawn[:, 2] >= start) & (drawn[:, 2] < stop)
        seen = one & (depth[rows, columns] > _HIDES) if start == 0 else one
        points = np.zeros((height, width), np.float32)
        np.maximum.at(points, (rows[seen], columns[seen]), 0.4 + 0.6 * drawn[seen, 3])
        extent = max(0.5, radius * parameters["size"] * scale)
        flake = _flake(extent, parameters["travel"] * extent, parameters["angle"])
        cover = convolved(points, flake * np.float32(opacity))
        clear *= 1 - np.clip(cover, 0.0, 1.0)
    return 1 - clear


def _flake(radius: float, travel: float, angle: float) -> Array:
    """A soft disk drawn out along its way, 1 at its centre where it does not move."""
    disk = kernel({"kind": "defocus", "radius": radius})
    way = kernel({"kind": "motion", "length": travel, "angle": angle})
    reach = len(way) // 2
    drawn_out = convolved(np.pad(disk, reach), way)
    return drawn_out / np.float32(disk.max())
