"""Flare: light that a lens scatters, reflects between its glasses, or bends at the edges of its aperture."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

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
)
from ggt_hub.degradations.fields import coordinates, fitted, softened
from ggt_hub.degradations.light import to_display, to_light
from ggt_hub.scenes import Assets
from ggt_hub.tasks import Task

Kind = Literal["glare", "streaks", "ghosts", "veil"]


@dataclass(frozen=True)
class Flare(Degradation):
    """Light of a source in or near the picture, added to it in linear light.

    `glare` is the glow around the source with a faint ring; `streaks` are the rays of an aperture with straight
    edges; `ghosts` are images of the aperture on the line from the source through the middle of the picture; `veil`
    is light scattered over the whole picture, most near the source. No synthesis of flare was published with
    RealRestorer (arXiv 2603.25502 names 3,000 glare patterns and flips): this is ours. With a folder `flare` among
    the assets, half of the draws add one of its patterns instead, flipped at random.

    Attributes:
        strength: the brightest added light, as a share of white.
        spread: extent of glow and rays, as a share of the picture's diagonal.
        blades: of the aperture; an even number makes as many rays, an odd one twice as many.
        ghosts: how many images of the aperture.
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "flare"
    task: ClassVar[Task] = "flare"
    needs: ClassVar[frozenset[Need]] = frozenset({"flare"})

    strength: Range = (0.2, 1.0)
    spread: tuple[float, float] = (0.1, 0.28)
    blades: tuple[int, int] = (5, 9)
    ghosts: tuple[int, int] = (5, 9)
    kinds: tuple[Kind, ...] = ("glare", "streaks", "ghosts", "veil")

    @classmethod
    def alone(cls) -> Self:
        return cls(strength=(0.0, 1.0))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        return {
            "kind": str(rng.choice(self.kinds)),
            "strength": between(self.strength, severity),
            "source": [float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.05, 0.5))],
            "warmth": float(rng.uniform(-0.5, 1.0)),
            "spread": float(rng.uniform(*self.spread)),
            "blades": int(rng.integers(self.blades[0], self.blades[1] + 1)),
            "angle": float(rng.uniform(0.0, 180.0)),
            "ghosts": int(rng.integers(self.ghosts[0], self.ghosts[1] + 1)),
            "seed": draw_seed(rng),
        }

    def choose(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        if not assets.files("flare") or rng.random() < 0.5:
            return parameters
        flips = [bool(rng.random() < 0.5), bool(rng.random() < 0.5)]
        return parameters | {"pattern": assets.pick(rng, "flare")[0], "flips": flips}

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        if "pattern" in parameters:
            added = to_light(
                _flipped(fitted(sample.scene.asset("flare", parameters["pattern"]), sample.lq), parameters)
            )
        else:
            added = LIGHTS[parameters["kind"]](sample.lq, parameters)
        return replace(
            sample, lq=to_display(to_light(sample.lq) + np.float32(parameters["strength"]) * added)
        )

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """The strength."""
        return {"flare": parameters["strength"]}


def _flipped(pattern: Array, parameters: Parameters) -> Array:
    across, down = parameters["flips"]
    return np.ascontiguousarray(pattern[:: -1 if down else 1, :: -1 if across else 1])


def glare(image: Array, parameters: Parameters) -> Array:
    """A bright core, a glow that falls off with the square of the distance, and a ring at 2.5 times its extent."""
    away, _ = _around(image, parameters)
    core = np.exp(-((away / 0.35) ** 2))
    glow = 0.45 / (1 + (away / 0.6) ** 2) - 0.45 / (1 + (4.0 / 0.6) ** 2)
    light = (core + np.clip(glow, 0.0, None))[..., None] * _colour(parameters["warmth"])
    for channel, radius in enumerate((2.6, 2.5, 2.4)):  # red bends least in glass, and lies outside
        light[..., channel] += 0.05 * np.exp(-(((away - radius) / 0.12) ** 2))
    return light.astype(np.float32)


def streaks(image: Array, parameters: Parameters) -> Array:
    """Rays: each edge of the aperture bends light at a right angle to it, to both sides, fading outwards."""
    away, x_y = _around(image, parameters)
    rng, rays = default_rng(parameters["seed"]), np.zeros_like(away)
    lines = parameters["blades"] if parameters["blades"] % 2 else parameters["blades"] // 2
    for line in range(lines):  # of an even number of edges each two lie opposite, and share their rays
        turn = np.deg2rad(parameters["angle"] + 180.0 * line / lines)
        cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        across = np.abs(x_y[1] * cosine - x_y[0] * sine)
        bright, long = 0.5 + 0.5 * rng.random(), 1.2 + 1.6 * rng.random()
        along = np.exp(away / np.float32(-long))
        rays += np.float32(bright) * along * np.float32(0.02) / (np.float32(0.02) + across * (1 + 2 * across))
    core = np.exp(-((away / 0.18) ** 2)) + 0.25 * np.exp(-((away / 0.7) ** 2))
    light: Array = ((0.8 * np.minimum(rays, 1.0) + core)[..., None] * _colour(parameters["warmth"])).astype(
        np.float32
    )
    return light


def ghosts(image: Array, parameters: Parameters) -> Array:
    """Images of the aperture in a row through the picture's middle, and a core at the source itself.

    A ghost lies where the source's place, seen from the middle, is multiplied by a factor of its own, -1.4..0.7:
    negative ones on the other side (Hullin et al., "Physically-Based Real-Time Lens Flare Rendering", 2011).
    """
    rng = default_rng(parameters["seed"])
    light = (
        0.6 * np.exp(-((_around(image, parameters)[0] / 0.3) ** 2))[..., None] * _colour(parameters["warmth"])
    )
    light = light.astype(np.float32)
    height, width = image.shape[:2]
    diagonal = float(np.hypot(height, width))
    x, y = coordinates(image)
    for _ in range(parameters["ghosts"]):
        factor, size, bright = (
            rng.uniform(-1.4, 0.7),
            rng.uniform(0.015, 0.09) * diagonal,
            rng.uniform(0.12, 0.4),
        )
        colour = (0.25 + 0.75 * rng.random(3)).astype(np.float32)
        at = ghost_place(parameters["source"], factor)
        left, top = (max(0, int(at[0] * width - 1.3 * size)), max(0, int(at[1] * height - 1.3 * size)))
        box = np.s_[top : int(at[1] * height + 1.3 * size) + 2, left : int(at[0] * width + 1.3 * size) + 2]
        across, down = (x[:, box[1]] - at[0] * width) / size, (y[box[0]] - at[1] * height) / size
        if not (across.size and down.size):
            continue
        for channel in range(3):  # each colour has a focus of its own: the rims are coloured
            distance = _from_polygon(across, down, parameters) / np.float32(1 + 0.035 * (channel - 1))
            disk = np.clip((1 - distance) * np.float32(max(size, 4.0) / 8), 0.0, 1.0) * (
                0.55 + 0.45 * distance**2
            )
            light[(*box, channel)] += np.float32(bright) * colour[channel] * disk
    return light


def ghost_place(source: list[float], factor: float) -> tuple[float, float]:
    """Column and row of a ghost, as shares of the sides."""
    return 0.5 + factor * (source[0] - 0.5), 0.5 + factor * (source[1] - 0.5)


def veil(image: Array, parameters: Parameters) -> Array:
    """The source's light and the picture's own, spread over all of it: it takes the contrast of the shadows."""
    away, _ = _around(image, parameters)
    near = 0.35 / (1 + away * parameters["spread"] * 3)
    own = softened(to_light(image), 0.1 * float(np.hypot(*image.shape[:2])))
    light: Array = near[..., None] * _colour(parameters["warmth"]) + np.float32(0.3) * np.clip(own, 0.0, 1.0)
    return light.astype(np.float32)


LIGHTS = {"glare": glare, "streaks": streaks, "ghosts": ghosts, "veil": veil}


def _around(image: Array, parameters: Parameters) -> tuple[Array, tuple[Array, Array]]:
    """Distance of each pixel from the source, and its offsets, in units of the spread."""
    height, width = image.shape[:2]
    unit = max(1.0, parameters["spread"] * float(np.hypot(height, width)))
    x, y = coordinates(image)
    across = (x - np.float32(parameters["source"][0] * width)) / np.float32(unit)
    down = (y - np.float32(parameters["source"][1] * height)) / np.float32(unit)
    return np.sqrt(across * across + down * down), (across, down)


def _colour(warmth: float) -> Array:
    """Of the source: white at 0, orange at 1, bluish at -0.5; its largest channel is 1."""
    colour = np.array(
        [1 + 0.2 * min(warmth, 0), 1 - 0.25 * abs(warmth), 1 - 0.6 * max(warmth, 0)], np.float32
    )
    return colour / colour.max()


def _from_polygon(across: Array, down: Array, parameters: Parameters) -> Array:
    """Distance from the middle of the aperture, 1 on its edges: a polygon with rounded corners."""
    distance = np.hypot(across, down)
    sector = 2 * np.pi / parameters["blades"]
    turned = np.arctan2(down, across) + np.float32(np.deg2rad(parameters["angle"]))
    corner = np.cos(turned - np.float32(sector) * np.floor(turned / np.float32(sector) + np.float32(0.5)))
    polygon: Array = distance * (0.4 + 0.6 * corner / np.float32(np.cos(sector / 2))).astype(np.float32)
    return polygon
