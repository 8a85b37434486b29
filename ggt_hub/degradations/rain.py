"""Rain: streaks in perspective with their splashes and the veil of the far ones, and drops on the lens."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import cv2
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
from ggt_hub.degradations.fields import coordinates, fitted, softened
from ggt_hub.degradations.strokes import Points, draw_soft_lines
from ggt_hub.scenes import Assets
from ggt_hub.tasks import Task

Kind = Literal["streaks", "drops"]

_VEIL = 0.85
"""The grey of rain so far away that its drops run together."""

_LAYERS = ((0.0, 0.6, 1.0, 0.0), (0.6, 0.9, 1.4, 0.5), (0.9, 1.0, 2.4, 1.1))
"""Streaks by their nearness (from, to), with the width and the blur of that layer, in pixels of a 1024 picture."""


@dataclass(frozen=True)
class Rain(Degradation):
    """Falling rain, or the drops that it leaves on the lens.

    `streaks`: each at a random place and distance; the farther, the shorter, thinner and fainter, and hidden by
    what is nearer than it. Some burst where they meet a surface. What is too far to be seen singly lays a veil over
    the distance. `drops` bend the light of the picture behind them, which stands on its head in each.
    With a folder `rain` among the assets, half of the draws of streaks are also screened with one of its patterns.

    Attributes:
        streaks: how many in a picture of 1024 x 1024 pixels; their number grows with the area (RealRestorer, arXiv
            2603.25502: 8,000 to 15,000 in its pipeline).
        length: of the farthest and the nearest streaks, in pixels of such a picture; lengths grow with its side.
        angle: direction of fall, in degrees; 90 falls straight, less leans to the right on its way down.
        splashes: the share of streaks that burst.
        veil: optical depth of the far rain over the farthest things.
        drops: how many on the lens, whatever the size of the picture.
        radius: smallest and largest radius of a drop, in pixels of a 1024 picture.
        texture: strength of a pattern of the assets.
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "rain"
    task: ClassVar[Task] = "rain"
    needs: ClassVar[frozenset[Need]] = frozenset({"depth", "rain"})

    streaks: Range = (8000.0, 15000.0)
    length: tuple[float, float] = (8.0, 90.0)
    angle: tuple[float, float] = (75.0, 105.0)
    splashes: tuple[float, float] = (0.02, 0.07)
    veil: Range = (0.1, 0.7)
    drops: Range = (20.0, 140.0)
    radius: tuple[float, float] = (9.0, 70.0)
    texture: Range = (0.25, 0.6)
    kinds: tuple[Kind, ...] = ("streaks", "drops")

    @classmethod
    def alone(cls) -> Self:
        return cls(streaks=(0.0, 15000.0), veil=(0.0, 0.7), drops=(0.0, 140.0), texture=(0.0, 0.6))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        if str(rng.choice(self.kinds)) == "drops":
            drops = round(between(self.drops, severity))
            return {"kind": "drops", "drops": drops, "radius": list(self.radius), "seed": draw_seed(rng)}
        return {
            "kind": "streaks",
            "streaks": round(between(self.streaks, severity)),
            "length": list(self.length),
            "angle": float(rng.uniform(*self.angle)),
            "splashes": float(rng.uniform(*self.splashes)),
            "veil": between(self.veil, severity),
            "texture": between(self.texture, severity),
            "seed": draw_seed(rng),
        }

    def choose(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        if parameters["kind"] == "drops":
            return parameters
        if assets.files("rain") and rng.random() < 0.5:
            parameters = parameters | {"pattern": assets.pick(rng, "rain")[0]}
        return parameters | ({"depth_by": assets.depth_by} if assets.depth_by else {})

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        if parameters["kind"] == "drops":
            return replace(sample, lq=_seen_through_drops(sample.lq, parameters))
        depth = fitted(sample.scene.depth(parameters.get("depth_by")), sample.lq)
        through = np.exp(-np.float32(parameters["veil"]) * depth)
        rainy = veiled(sample.lq, through, [_VEIL] * 3)
        rainy = screen(rainy, falling(depth, parameters)[..., None])
        if "pattern" in parameters:
            pattern = fitted(sample.scene.asset("rain", parameters["pattern"]), sample.lq)
            rainy = screen(rainy, on_black(pattern), parameters["texture"])
        return replace(sample, lq=np.clip(rainy, 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """Number of streaks or drops; 1 is 15,000 or 140."""
        drops = parameters["kind"] == "drops"
        return {"rain": parameters["drops"] / 140 if drops else parameters["streaks"] / 15000}


def falling(depth: Array, parameters: Parameters) -> Array:
    """Brightness that streaks and splashes add: height x width, 0..1."""
    rng, scale = default_rng(parameters["seed"]), relative_side(depth)
    height, width = depth.shape
    count = round(parameters["streaks"] * scale**2)
    drawn = rng.random(
        (count, 6), dtype=np.float32
    )  # a row each, so that more of them leave the first as they are
    at = drawn[:, :2] * np.array([width, height], np.float32)
    near = drawn[:, 2] ** 2  # the volume that is seen grows with the distance
    angle = np.deg2rad(parameters["angle"] + 4 * (drawn[:, 3] - 0.5))
    short, long = parameters["length"]
    extent = np.maximum(scale * (short + (long - short) * near), 1.5)
    value = (0.25 + 0.45 * drawn[:, 4]) * (0.45 + 0.55 * near)
    ends = at + (extent * np.stack([np.cos(angle), np.sin(angle)]))[:2].T.astype(np.float32)
    there = depth[np.clip(at[:, 1].astype(int), 0, height - 1), np.clip(at[:, 0].astype(int), 0, width - 1)]
    seen = 1 - near <= 0.25 + 0.75 * there  # what is nearer than the streak hides it
    bursts = drawn[:, 5] < parameters["splashes"]
    canvas = np.zeros((height, width), np.float32)
    for start, stop, broad, blur in _LAYERS:
        layer = seen & ~bursts & (near >= start) & (near < stop)
        lines = draw_soft_lines(
            depth.shape, at[layer], ends[layer], value[layer], max(1, round(broad * scale))
        )
        canvas = screen(canvas, softened(lines, blur * scale))
    return screen(canvas, _splashes(rng, depth, at[bursts], there[bursts], value[bursts]))


def _splashes(rng: Generator, depth: Array, at: Points, far: Array, value: Array) -> Array:
    """A crown of five short strokes at each place, the smaller the farther it is."""
    fan = np.deg2rad(np.array([-155.0, -120.0, -90.0, -60.0, -25.0], np.float32))
    vigour = 0.6 + 0.8 * rng.random((len(at), 5), dtype=np.float32)
    reach = np.float32(relative_side(depth)) * (3 + 9 * (1 - far[:, None])) * vigour
    way = np.stack([np.cos(fan), 0.7 * np.sin(fan)], axis=1)[None] * np.maximum(reach, 1.0)[..., None]
    way = way.reshape(-1, 2)
    origin = np.repeat(at, 5, axis=0)
    starts, ends = (origin + 0.35 * way).astype(np.float32), (origin + way).astype(np.float32)
    return draw_soft_lines(depth.shape, starts, ends, np.repeat(value, 5))


def on_black(pattern: Array) -> Array:
    """A photographed pattern of rain as light on black: inverted where its mean is above 127 of 255."""
    return 1 - pattern if 255 * float(pattern.mean()) > 127 else pattern


def _seen_through_drops(image: Array, parameters: Parameters) -> Array:
    """The picture with drops on the lens: in each it is upside down, small, and darker towards the lower rim.

    A drop is a spherical cap, a strong lens: what it shows spans most of the picture (Halimeh and Roser, "Raindrop
    Detection on Car Windshields Using Geometric-Photometric Environment Construction", IV 2009).
    """
    rng, scale = default_rng(parameters["seed"]), relative_side(image)
    height, width = image.shape[:2]
    drawn = rng.random((parameters["drops"], 5), dtype=np.float32)
    x, y = coordinates(image)
    from_x, from_y = (np.broadcast_to(axis, (height, width)).copy() for axis in (x, y))
    opacity, shade = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
    small, large = parameters["radius"]
    for across, down, size, stretch, slant in drawn:
        radius = max(1.5, scale * (small + (large - small) * float(size) ** 3))
        centre = (float(across) * width, float(down) * height)
        tall = radius * (1 + 0.35 * float(stretch))
        left, top = max(0, int(centre[0] - 1.4 * radius)), max(0, int(centre[1] - 1.4 * tall))
        box = np.s_[top : int(centre[1] + 1.4 * tall) + 1, left : int(centre[0] + 1.4 * radius) + 1]
        u, v = (x[:, box[1]] - centre[0]) / radius, (y[box[0]] - centre[1]) / tall
        lean = u + np.float32(0.9 * (slant - 0.5)) * v  # no drop is an ellipse
        distance = np.sqrt(lean * lean * (1 + 0.25 * v) + v * v)
        inside = np.clip((1 - distance) / np.float32(0.22), 0.0, 1.0)  # out of focus, as the lens is
        bend = 0.55 + 0.45 * distance  # the rim bends more
        wide = inside > 0
        from_x[box] = np.where(wide, width / 2 - u * bend * 0.35 * width, from_x[box])
        from_y[box] = np.where(wide, height / 2 - v * bend * 0.35 * height, from_y[box])
        rim = 1.04 - 0.3 * np.clip((distance - 0.5) / 0.5, 0.0, 1.0) * (0.7 - 0.6 * v)
        glint = 0.25 * np.exp(-((u + 0.35) ** 2 + (v + 0.4) ** 2) / 0.05)
        shade[box] = np.where(wide, rim + glint, shade[box])
        opacity[box] = np.maximum(opacity[box], inside)
    bent = cv2.remap(
        softened(image, 10 * scale), from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    ).reshape(image.shape)
    drops = np.clip(bent * shade[..., None], 0.0, 1.0)
    return image + opacity[..., None] * (drops - image)
