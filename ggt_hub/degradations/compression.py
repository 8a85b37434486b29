"""Compression: blocks, ringing and lost colour of JPEG, WebP and AVIF, once or again and again."""

import io
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from numpy.random import Generator
from PIL import Image, features

from ggt_hub.degradations.base import Degradation, Parameters, Range, Sample, between, to_float, to_uint8
from ggt_hub.errors import DegradationError
from ggt_hub.tasks import Task

Kind = Literal["jpeg", "webp", "avif", "repeated"]

_AVIF_SPEED = 10  # libaom's fastest: 18 ms for 512 x 512, where speed 8 takes 64


@dataclass(frozen=True)
class Compression(Degradation):
    """Lossy encoding and decoding, by Pillow; `repeated` in several rounds, at sizes of their own.

    Attributes:
        quality: the encoder's quality setting (1..100, rounded); above 100 the picture is not encoded.
        even: whether all whole numbers of `quality`, the first and the last too, have the same chance, as where
            they are published; rounding gives those two half of it.
        full_colour: chance that a JPEG keeps its colour at full resolution (4:4:4 instead of 4:2:0).
        rounds: fewest and most rounds of `repeated`, each JPEG or, one in three, WebP.
        scale: the sides at which a round of `repeated` encodes, as a share of the picture's: drawn between 1 and
            the value at the severity.
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "compression"
    task: ClassVar[Task] = "compression"

    quality: Range = (70.0, 8.0)
    even: bool = False
    full_colour: float = 0.2
    rounds: tuple[int, int] = (2, 4)
    scale: Range = (1.0, 0.5)
    kinds: tuple[Kind, ...] = ("jpeg",)

    @classmethod
    def alone(cls) -> Self:
        return cls(quality=(101.0, 8.0), kinds=get_args(Kind))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        kind = str(rng.choice(self.kinds))
        if kind != "repeated":
            return self._round(kind, rng, severity)
        rounds = []
        for _ in range(int(rng.integers(self.rounds[0], self.rounds[1] + 1))):
            one = self._round(str(rng.choice(("jpeg", "jpeg", "webp"))), rng, severity)
            rounds.append(one | {"scale": float(1 - rng.random() * (1 - between(self.scale, severity)))})
        return {"kind": kind, "rounds": rounds}

    def _round(self, kind: str, rng: Generator, severity: float) -> Parameters:
        parameters: Parameters = {"kind": kind, "quality": self._quality(severity)}
        if kind == "jpeg":
            parameters["full_colour"] = bool(rng.random() < self.full_colour)
        return parameters

    def _quality(self, severity: float) -> int:
        if not self.even:
            return round(between(self.quality, severity))
        best, worst = (round(end) for end in self.quality)
        return max(worst, best - int(severity * (best - worst + 1)))

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        rounds = parameters.get("rounds", [parameters])
        if all(one["quality"] > 100 and one.get("scale", 1.0) == 1.0 for one in rounds):
            return sample
        picture = Image.fromarray(to_uint8(sample.lq))
        size = picture.size
        for one in rounds:
            picture = _encoded(_resized(picture, size, one.get("scale", 1.0)), one)
        return replace(sample, lq=to_float(np.asarray(_resized(picture, size, 1.0))))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """What the worst round's quality lacks; 1 is quality 0."""
        worst = min(one["quality"] for one in parameters.get("rounds", [parameters]))
        return {"compression": max(0, 100 - worst) / 100}


def _resized(picture: Image.Image, full: tuple[int, int], scale: float) -> Image.Image:
    """The picture at a share of the size that it had at first."""
    width, height = (max(1, round(side * scale)) for side in full)
    return (
        picture
        if picture.size == (width, height)
        else picture.resize((width, height), Image.Resampling.BICUBIC)
    )


def _encoded(picture: Image.Image, parameters: Parameters) -> Image.Image:
    """What is left of it after one encoding."""
    kind, quality, buffer = parameters["kind"], parameters["quality"], io.BytesIO()
    if quality > 100:
        return picture
    if kind == "avif" and not features.check("avif"):
        raise DegradationError("this Pillow was built without AVIF: take one that has it, or other `kinds`")
    how: dict[str, Any] = {"webp": {"method": 2}, "avif": {"speed": _AVIF_SPEED, "max_threads": 1}}.get(
        kind, {}
    )
    if kind == "jpeg":
        how = {"subsampling": "4:4:4" if parameters["full_colour"] else "4:2:0"}
    try:
        picture.save(buffer, kind.upper(), quality=quality, **how)
    except (OSError, ValueError) as error:
        size = f"{picture.width} x {picture.height}"
        raise DegradationError(
            f"{size} pixels cannot be encoded as {kind}: {error}: take other `kinds`"
        ) from error
    return Image.open(buffer).convert("RGB")
