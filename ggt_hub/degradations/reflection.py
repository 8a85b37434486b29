"""Reflection: a second picture in the pane of glass before the first."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.random import Generator, default_rng
from PIL import Image

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
    to_float,
)
from ggt_hub.degradations.fields import coordinates, fitted
from ggt_hub.degradations.light import to_display, to_light
from ggt_hub.scenes import Assets
from ggt_hub.tasks import Task

Kind = Literal["focused", "defocused", "ghosting"]


@dataclass(frozen=True)
class Reflection(Degradation):
    """Light of a second picture added to what comes through the glass.

    The second picture is one of the assets' folder `pictures`, else a part of the picture itself, mirrored. It is
    sharp (`focused`), blurred (`defocused`), or doubled by the two faces of the pane (`ghosting`), as RealRestorer
    prepares it (arXiv 2603.25502, reflection). The mix is physics: in linear light, what is lost to reflection by
    the first picture, and what the pane reflects of the second, fading from its brightest place. Where the assets
    have the published network, SynNet, it says the weight of the second picture at each pixel, and both are mixed
    by that, as in RealRestorer's pipeline.

    Attributes:
        strength: the share of the second picture's light that is reflected at its brightest place.
        sigma: standard deviation of the blur of `defocused`, in pixels of a 1024 picture; it grows with the side.
        shift: of the second image of `ghosting`, as a share of each side.
        attenuation: the share of the first image in `ghosting`; the second has the rest.
        falloff: how much of the reflection is gone at the picture's diagonal from its brightest place.
        share: of the network's weights, where it mixes; the published mix has all of them.
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "reflection"
    task: ClassVar[Task] = "reflection"
    needs: ClassVar[frozenset[Need]] = frozenset({"pictures"})

    strength: Range = (0.1, 0.7)
    sigma: tuple[float, float] = (5.0, 10.0)
    shift: tuple[float, float] = (0.05, 0.10)
    attenuation: tuple[float, float] = (0.5, 1.0)
    falloff: tuple[float, float] = (0.3, 1.0)
    share: Range = (1.0, 1.0)
    kinds: tuple[Kind, ...] = ("focused", "defocused", "ghosting")

    @classmethod
    def alone(cls) -> Self:
        return cls(strength=(0.0, 0.8), share=(0.0, 1.0))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        kind = str(rng.choice(self.kinds))
        parameters: Parameters = {"kind": kind, "strength": between(self.strength, severity)}
        if kind == "defocused":
            parameters["sigma"] = float(rng.uniform(*self.sigma))
        if kind == "ghosting":
            parameters["shift"] = [float(value) for value in rng.uniform(*self.shift, 2)]
            parameters["attenuation"] = float(rng.uniform(*self.attenuation))
        bright = [float(value) for value in rng.uniform(0.0, 1.0, 2)]
        return parameters | {
            "bright": bright,
            "falloff": float(rng.uniform(*self.falloff)),
            "share": between(self.share, severity),
            "seed": draw_seed(rng),
        }

    def choose(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        if pictures := assets.pick(rng, "pictures"):
            parameters = parameters | {"picture": pictures[0]}
        return parameters | ({"mixed_by": assets.mixed_by} if assets.mixed_by else {})

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        if "picture" in parameters:
            second = fitted(sample.scene.asset("pictures", parameters["picture"]), sample.lq)
        else:
            second = _mirrored(fitted(sample.scene.picture, sample.lq), parameters["seed"])
        second = prepared(second, parameters)
        if "mixed_by" not in parameters:
            return replace(sample, lq=mixed(sample.lq, second, parameters))
        weights = sample.scene.weights(sample.lq, second, parameters["mixed_by"])
        lq = sample.lq + np.float32(parameters["share"]) * weights * (second - sample.lq)
        return replace(sample, lq=np.clip(lq, 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """The strength."""
        return {"reflection": parameters["strength"]}


def prepared(second: Array, parameters: Parameters) -> Array:
    """The second picture as the pane shows it: sharp, blurred or doubled."""
    if parameters["kind"] == "defocused":
        return defocused(second, parameters["sigma"] * relative_side(second))
    if parameters["kind"] == "ghosting":
        height, width = second.shape[:2]
        across, down = parameters["shift"]
        return ghosted(second, (round(across * width), round(down * height)), parameters["attenuation"])
    return second


def defocused(image: Array, sigma: float) -> Array:
    """A Gaussian of 2 * ceil(2 sigma) + 1 pixels."""
    side = 2 * int(np.ceil(2 * sigma)) + 1
    return cv2.GaussianBlur(image, (side, side), sigma).reshape(image.shape)


def ghosted(image: Array, shift: tuple[int, int], attenuation: float) -> Array:
    """The picture and, moved right and down, its second image; where that is missing is cut off, the rest enlarged.

    The levels are whole ones of 255.

    Args:
        image: height x width x 3, 0..1.
        shift: columns and rows.
        attenuation: the share of the first image.
    """
    height, width = image.shape[:2]
    across, down = min(shift[0], width - 1), min(shift[1], height - 1)
    first, share = image[down:, across:], np.float32(attenuation)
    both = share * first + (1 - share) * image[: height - down, : width - across]
    cut_off = np.floor(both * 255 + np.float32(1e-4)).astype(np.uint8)  # as the published pipeline has it
    enlarged = Image.fromarray(cut_off).resize((width, height), Image.Resampling.LANCZOS)
    return to_float(np.asarray(enlarged))


def mixed(first: Array, second: Array, parameters: Parameters) -> Array:
    """What is seen through a pane that mirrors a second picture.

    In linear light (1 - strength / 2) * first + reflectance * second: a pane that reflects more lets less through,
    and reflects most where it is seen at a grazing angle, `bright`, from where the reflectance falls.
    """
    height, width = first.shape[:2]
    x, y = coordinates(first)
    away = np.hypot(x / width - parameters["bright"][0], y / height - parameters["bright"][1]) / np.sqrt(2)
    strength = np.float32(parameters["strength"])
    reflectance = strength * (1 - np.float32(parameters["falloff"]) * away.astype(np.float32))[..., None]
    return to_display((1 - strength / 2) * to_light(first) + reflectance * to_light(second))


def _mirrored(image: Array, seed: int) -> Array:
    """A part of the picture, between a third and two thirds of it, mirrored and enlarged: another view, about."""
    rng = default_rng(seed)
    height, width = image.shape[:2]
    share = rng.uniform(0.35, 0.65)
    part_height, part_width = max(1, round(height * share)), max(1, round(width * share))
    top, left = (
        int(rng.integers(full - part + 1)) for full, part in ((height, part_height), (width, part_width))
    )
    part = image[top : top + part_height, left : left + part_width][:, ::-1]
    return cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_LINEAR)
