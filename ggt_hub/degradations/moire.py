"""Moire: what the grids of a screen and of a camera's sensor make together when a screen is photographed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.random import Generator

from ggt_hub.degradations.base import (
    Array,
    Degradation,
    Need,
    Parameters,
    Range,
    Sample,
    between,
    relative_side,
)
from ggt_hub.degradations.blend import blend
from ggt_hub.degradations.fields import coordinates, fitted, softened
from ggt_hub.degradations.light import to_display, to_light
from ggt_hub.degradations.resampling import resampled
from ggt_hub.scenes import Assets
from ggt_hub.scenes.blending import REFINED_SIDE
from ggt_hub.tasks import Task

Kind = Literal["pattern", "recapture"]

_LIT = 1 / 3
"""The share of a screen's pixel that each of its three stripes takes."""
_OPEN = 0.8
"""The share of a row of a screen's pixels that is lit; the rest is black."""
_FILL = 0.6
"""The share of its side over which a sensor's pixel gathers light."""
_CROSSTALK = 0.35
"""How much of what a filter lets through is of all colours alike."""
_FILTERS = ((1 - _CROSSTALK) * np.eye(3) + _CROSSTALK / 3).astype(np.float32)

_SITES = ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2))
"""Bayer's filters: row, column and channel of each of four neighbours."""


@dataclass(frozen=True)
class Moire(Degradation):
    """Beats between a screen's grid and a sensor's.

    `pattern` lays one to three patterns over the picture, those of the assets' folder `moire` or beats of grids of
    different scales, by multiplying and grain merging (RealRestorer, arXiv 2603.25502, moire, from UniDemoire).
    Where the assets have UniDemoire's refining network, that is applied at 512 x 512, and what all of it changes
    there is brought to the picture's size, so that the picture keeps its detail. `recapture` is one photograph of a
    screen: the light of the picture times what the two grids let through, with the screen's tint, uneven backlight
    and reflected room light. In both the picture keeps its place, so that the ground truth lies under it.

    Attributes:
        strength: how much of it there is, 0..1.
        detune: how far the screen's pitch is from what the sensor samples evenly, in cycles a pixel of a 1024
            picture: its inverse is the period of the beats, a length that grows with the picture's side.
        angle: between the two grids, in degrees.
        tilt: change of the screen's scale from the middle to the edge, as under perspective.
        bulge: the same for the lens's radial distortion.
        weight: share of multiplying; the rest is grain merging.
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "moire"
    task: ClassVar[Task] = "moire"
    needs: ClassVar[frozenset[Need]] = frozenset({"moire"})

    strength: Range = (0.2, 1.0)
    detune: tuple[float, float] = (0.004, 0.03)
    angle: tuple[float, float] = (-4.0, 4.0)
    tilt: float = 0.03
    bulge: float = 0.03
    weight: tuple[float, float] = (0.65, 0.75)
    kinds: tuple[Kind, ...] = ("pattern", "recapture")

    @classmethod
    def alone(cls) -> Self:
        return cls(strength=(0.0, 1.0))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        kind = str(rng.choice(self.kinds))
        count = int(rng.integers(1, 4)) if kind == "pattern" else 1
        parameters: Parameters = {
            "kind": kind,
            "strength": between(self.strength, severity),
            "grids": [self._grid(rng) for _ in range(count)],
        }
        if kind == "pattern":
            return parameters | {"weight": float(rng.uniform(*self.weight))}
        centre = [float(value) for value in rng.uniform(0.2, 0.8, 2)]
        return parameters | {"tint": float(rng.uniform(0.0, 1.0)), "bright": centre}

    def _grid(self, rng: Generator) -> Parameters:
        detune = float(rng.uniform(*self.detune)) * float(rng.choice((-1.0, 1.0)))
        return {
            "order": int(rng.integers(1, 3)),
            "detune": detune,
            "angle": float(rng.uniform(*self.angle)),
            "tilt": [float(value) for value in rng.uniform(-self.tilt, self.tilt, 2)],
            "bulge": float(rng.uniform(-self.bulge, self.bulge)),
            "phase": [float(value) for value in rng.random(2)],
        }

    def choose(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        if parameters["kind"] == "pattern" and (patterns := assets.pick(rng, "moire", 1, 3)):
            parameters = parameters | {"patterns": patterns}
        refines = parameters["kind"] == "pattern" and assets.refined_by
        return parameters | ({"refined_by": assets.refined_by} if refines else {})

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        if parameters["kind"] == "recapture":
            return replace(sample, lq=recaptured(sample.lq, parameters))
        patterns = [
            fitted(sample.scene.asset("moire", named), sample.lq) for named in parameters.get("patterns", ())
        ]
        if not patterns:
            grids = parameters["grids"]
            patterns = [pattern_of(beats(sample.lq.shape, grids), 0.45 / np.sqrt(len(grids)))]
        if "refined_by" in parameters:
            laid = _refined(sample, fused(patterns), parameters)
        else:
            laid = laid_over(sample.lq, fused(patterns), parameters["weight"])
        share = np.float32(parameters["strength"])
        return replace(sample, lq=np.clip(sample.lq + share * (laid - sample.lq), 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """The strength."""
        return {"moire": parameters["strength"]}


def _refined(sample: Sample, pattern: Array, parameters: Parameters) -> Array:
    """The picture with the pattern as the network refines it; of 512 x 512 pixels exactly what is published."""
    height, width = sample.lq.shape[:2]
    size = (REFINED_SIDE, REFINED_SIDE)
    small, pattern = (resampled(picture, size, "antialiased_linear") for picture in (sample.lq, pattern))
    blended = np.clip(mixed_blend(small, pattern, parameters["weight"]), 0.0, 1.0)
    change = sample.scene.refined(blended, parameters["refined_by"]) - small
    return sample.lq + resampled(change, (width, height), "antialiased_lanczos")


def beats(shape: tuple[int, ...], grids: Sequence[dict[str, Any]]) -> Array:
    """What a white screen looks like to the sensor: height x width x 3, light around a mean of 1.

    Each of the sensor's pixels sees, through its filter, how much of a stripe of that colour lies in the part of it
    that gathers light; what the other filters hide is filled in linearly, and the pixels' own rate smoothed away.
    Of several grids, the light goes through all.
    """
    height, width = shape[:2]
    planes: list[Array] = []
    for row, column, channel in _SITES:
        move = np.array([[0.5, 0, -column / 2], [0, 0.5, -row / 2]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = math.prod(_through(shape, grid, row, column, channel) for grid in grids)
        planes.append(cv2.warpAffine(seen, move, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT))
    red, green, also_green, blue = planes
    colours = cv2.transform(cv2.merge([red, (green + also_green) / 2, blue]), _FILTERS)
    return softened(colours.reshape(height, width, 3), 0.8)


def _through(shape: tuple[int, ...], grid: dict[str, Any], row: int, column: int, channel: int) -> Array:
    """Light of one grid for each second pixel of the sensor, from a row and column on; its mean is 1."""
    along, down, each = _on_screen(shape, grid, row, column)
    return (
        _lit(along - np.float32(channel * _LIT), each, _LIT)
        * _lit(down, each, _OPEN)
        / np.float32(_LIT * _OPEN)
    )


def _on_screen(
    shape: tuple[int, ...], grid: dict[str, Any], row: int, column: int
) -> tuple[Array, Array, float]:
    """Where each second of the sensor's pixels looks: column and row on the screen, and the side of what it sees.

    All three in pixels of the screen. `order` halves of a sensor's sampling rate, and the detuning, are its rate.
    """
    height, width = shape[:2]
    scale = relative_side(np.empty(shape[:2], np.float32))
    rate = grid["order"] / 2 + float(np.clip(grid["detune"] / max(scale, 1e-6), -0.2, 0.2))
    x = np.arange(column, max(width, column + 1), 2, dtype=np.float32)[None, :] - np.float32(width / 2)
    y = np.arange(row, max(height, row + 1), 2, dtype=np.float32)[:, None] - np.float32(height / 2)
    reach = np.float32(max(height, width) / 2)
    bent = (
        1 + grid["bulge"] * (x * x + y * y) / reach**2 + (grid["tilt"][0] * x + grid["tilt"][1] * y) / reach
    )
    bent = (1 + (bent - 1) * np.float32(min(1.0, 0.5 / max(scale, 1e-6)))) * np.float32(rate)
    cosine, sine = (
        np.float32(np.cos(np.deg2rad(grid["angle"]))),
        np.float32(np.sin(np.deg2rad(grid["angle"]))),
    )
    along = (x * cosine + y * sine) * bent + np.float32(grid["phase"][0])
    down = (y * cosine - x * sine) * bent + np.float32(grid["phase"][1])
    return along, down, rate * _FILL


def _lit(at: Array, each: float, share: float) -> Array:
    """The lit share of a window of the side `each` around a place; of each unit the first `share` is lit."""

    def before(place: Array) -> Array:
        whole = np.floor(place)
        return whole * np.float32(share) + np.minimum(place - whole, np.float32(share))

    half = np.float32(each / 2)
    return (before(at + half) - before(at - half)) / np.float32(each)


def pattern_of(seen: Array, contrast: float) -> Array:
    """A photograph of a white screen, as patterns in folders are: 0..1, 0.8 in the mean."""
    return np.clip(np.float32(0.8) + np.float32(contrast) * (seen - 1), 0.0, 1.0)


def fused(patterns: Sequence[Array]) -> Array:
    """One pattern of several: light that goes through all of them, as bright on the whole as the first."""
    through = patterns[0]
    for pattern in patterns[1:]:
        through = through * (pattern / np.float32(max(float(pattern.mean()), 1e-3)))
    return np.clip(through, 0.0, 1.0)


def laid_over(image: Array, pattern: Array, weight: float) -> Array:
    """The pattern over the picture by RealRestorer's mix of modes, without making it darker on the whole."""
    mixed = mixed_blend(image, pattern, weight)
    return mixed * np.float32(float(image.mean()) / max(float(mixed.mean()), 1e-3))


def mixed_blend(image: Array, pattern: Array, weight: float) -> Array:
    """`weight` * multiply(opacity 1.0) + (1 - `weight`) * grain merge(opacity 0.8)."""
    merged = np.float32(1 - weight) * blend("grain_merge", image, pattern, 0.8)
    mixed: Array = np.float32(weight) * blend("multiply", image, pattern) + merged
    return mixed


def recaptured(image: Array, parameters: Parameters) -> Array:
    """The picture on a screen, photographed; of each effect as much as the strength says.

    In linear light: times the beats, a bluish tint and a backlight that fades from its brightest place, plus a
    little light of the room on the glass.
    """
    share, tint = np.float32(parameters["strength"]), parameters["tint"]
    x, y = coordinates(image)
    height, width = image.shape[:2]
    away = (x / width - parameters["bright"][0]) ** 2 + (y / height - parameters["bright"][1]) ** 2
    backlight = 1 - share * np.float32(0.35) * np.clip(away, 0.0, 1.0)[..., None]
    colour = 1 + share * np.array([-0.12 * tint, -0.03, 0.10 * tint], np.float32)
    through = 1 + share * (beats(image.shape, parameters["grids"]) - 1)
    light = to_light(image) * backlight * colour * np.maximum(through, 0.0)
    return to_display(light * (1 - share * np.float32(0.03)) + share * np.float32(0.012))
