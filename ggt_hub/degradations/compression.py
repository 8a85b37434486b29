"""Compression: blocks, ringing and lost colour of JPEG and WebP."""

import io
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from PIL import Image

from ggt_hub.degradations.base import Degradation, Parameters, Range, Sample, between, to_float, to_uint8
from ggt_hub.tasks import Task

Kind = Literal["jpeg", "webp"]


@dataclass(frozen=True)
class Compression(Degradation):
    """One round of lossy encoding and decoding, by Pillow.

    Attributes:
        quality: the encoder's quality setting (1..100, rounded); above 100 the picture is not encoded.
        full_colour: chance that a JPEG keeps its colour at full resolution (4:4:4 instead of 4:2:0).
        kinds: the formats to choose from, with equal chance.
    """

    name: ClassVar[str] = "compression"
    task: ClassVar[Task] = "compression"

    quality: Range = (70.0, 8.0)
    full_colour: float = 0.2
    kinds: tuple[Kind, ...] = ("jpeg",)

    @classmethod
    def alone(cls) -> Self:
        return cls(quality=(101.0, 8.0))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        kind = str(rng.choice(self.kinds))
        parameters: Parameters = {"kind": kind, "quality": round(between(self.quality, severity))}
        if kind == "jpeg":
            parameters["full_colour"] = bool(rng.random() < self.full_colour)
        return parameters

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        if parameters["quality"] > 100:
            return sample
        buffer = io.BytesIO()
        picture = Image.fromarray(to_uint8(sample.lq))
        if parameters["kind"] == "jpeg":
            subsampling = "4:4:4" if parameters["full_colour"] else "4:2:0"
            picture.save(buffer, "JPEG", quality=parameters["quality"], subsampling=subsampling)
        else:
            picture.save(buffer, "WEBP", quality=parameters["quality"], method=2)
        return replace(sample, lq=to_float(np.asarray(Image.open(buffer).convert("RGB"))))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """What the quality lacks; 1 is quality 0."""
        return {"compression": max(0, 100 - parameters["quality"]) / 100}
