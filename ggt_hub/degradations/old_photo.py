"""Old photographs: what light, paper, hands and printing have done to them."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ggt_hub.degradations.base import (
    Array,
    Degradation,
    Parameters,
    Range,
    Sample,
    between,
    draw_seed,
    relative_side,
)
from ggt_hub.degradations.blend import screen
from ggt_hub.degradations.fields import clouds, coordinates, softened
from ggt_hub.degradations.strokes import draw_soft_lines
from ggt_hub.tasks import Task

Kind = Literal["fading", "yellowing", "scratches", "dust", "folds", "halftone", "album"]

_ALBUM = ("fading", "yellowing", "scratches", "dust", "folds")
_PAPER = np.array([0.98, 0.86, 0.62], np.float32)
"""Old paper where it was white."""
_SCREENS = (15.0, 75.0, 45.0)
"""Angles of the screens of cyan, magenta and yellow, in degrees, as printers turn them."""


@dataclass(frozen=True)
class OldPhoto(Degradation):
    """One kind of wear, or all but the printer's screen together, as in an `album`.

    Counts are of the whole print, whatever the size of its scan; lengths are in pixels of a 1024 picture and grow
    with its side.

    Attributes:
        fading: how far the dyes have gone: contrast, depth of the blacks and colour.
        yellowing: how much of the paper's colour and stains show.
        scratches: their number.
        dust: number of specks; one in ten is a hair.
        folds: how deep the creases are, 0..1.
        halftone: how much of the picture is made of printed dots, 0..1.
        cell: side of the printer's screen, in pixels of a 1024 picture; three of this one at least.
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "old_photo"
    task: ClassVar[Task] = "old_photo"

    fading: Range = (0.1, 0.9)
    yellowing: Range = (0.1, 0.9)
    scratches: Range = (4.0, 60.0)
    dust: Range = (30.0, 500.0)
    folds: Range = (0.3, 1.0)
    halftone: Range = (0.2, 0.9)
    cell: tuple[float, float] = (8.0, 16.0)
    kinds: tuple[Kind, ...] = (*_ALBUM, "halftone", "album")  # type: ignore[assignment]

    @classmethod
    def alone(cls) -> Self:
        return cls(
            fading=(0.0, 0.9),
            yellowing=(0.0, 0.9),
            scratches=(0.0, 60.0),
            dust=(0.0, 500.0),
            folds=(0.0, 1.0),
            halftone=(0.0, 0.9),
        )

    def draw(self, rng: Generator, severity: float) -> Parameters:
        kind = str(rng.choice(self.kinds))
        parameters: Parameters = {"kind": kind}
        for wear in _ALBUM if kind == "album" else (kind,):
            parameters[wear] = between(getattr(self, wear), severity)
        for counted in {"scratches", "dust"} & set(parameters):
            parameters[counted] = round(parameters[counted])
        if kind == "halftone":
            parameters["cell"] = float(rng.uniform(*self.cell))
        return parameters | {"seed": draw_seed(rng)}

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        worn = sample.lq
        for wear in STEPS:
            if wear in parameters:
                worn = STEPS[wear](worn, parameters)
        return replace(sample, lq=np.clip(worn, 0.0, 1.0).astype(np.float32))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """The most of what is there, each as a share of its worst."""
        worst = self.alone()
        return {
            "old_photo": max(
                parameters[wear] / getattr(worst, wear)[1] for wear in STEPS if wear in parameters
            )
        }


def faded(image: Array, parameters: Parameters) -> Array:
    """Blacks rise to 0.35 of `fading`, whites sink by a tenth of it, and 0.7 of it of the colour is gone."""
    share = np.float32(parameters["fading"])
    grey = cv2.transform(image, np.full((1, 3), 1 / 3, np.float32))[..., None]
    dull = image + np.float32(0.7) * share * (grey - image)
    return np.float32(0.35) * share + dull * (1 - np.float32(0.45) * share)


def yellowed(image: Array, parameters: Parameters) -> Array:
    """Times the colour of old paper, unevenly: between 0.7 and 1.3 of `yellowing`, at most all of it."""
    stains = clouds(default_rng(parameters["seed"]), image.shape)[..., None]
    share = np.clip(np.float32(parameters["yellowing"]) * (0.7 + 0.6 * stains), 0.0, 1.0)
    return image * (1 + share * (_PAPER - 1))


def scratched(image: Array, parameters: Parameters) -> Array:
    """Long thin lines, white where the picture's layer is gone, wavering about the upright."""
    rng, count = default_rng((parameters["seed"], 1)), parameters["scratches"]
    height, width = image.shape[:2]
    drawn = rng.random((count, 4), dtype=np.float32)
    wander = rng.normal(0.0, 3.0, (count, 9)).astype(np.float32).cumsum(axis=1) * relative_side(image)
    slant = (drawn[:, 2] - 0.5) * 0.3
    length = height * (0.08 + 0.8 * drawn[:, 3] ** 2)
    along = np.linspace(0.0, 1.0, 9, dtype=np.float32)[None] * length[:, None]
    rows = drawn[:, 1:2] * height * 1.2 - 0.2 * height + along
    columns = drawn[:, :1] * width + slant[:, None] * along + wander
    values = 0.35 + 0.6 * rng.random((count, 1), dtype=np.float32)[:, 0]
    lines = _curves(image, np.stack([columns, rows], axis=2), values, _pixels(1.5, image))
    return screen(image, lines[..., None])


def dusty(image: Array, parameters: Parameters) -> Array:
    """Specks up to eight pixels long, and bent hairs; two thirds white, as dust on a negative is, the rest dark."""
    rng, count = default_rng((parameters["seed"], 2)), parameters["dust"]
    height, width = image.shape[:2]
    scale = relative_side(image)
    drawn = rng.random((count, 6), dtype=np.float32)
    hair = drawn[:, 2] < 0.06
    reach = np.where(hair, 20 + 60 * drawn[:, 3], 8 * drawn[:, 3] ** 3) * scale
    turn = 2 * np.pi * drawn[:, 4]
    way = reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    bend = np.where(hair, drawn[:, 5] - 0.5, 0)[:, None] * way[:, ::-1] * np.array([-1, 1])
    part = np.linspace(0, 1, 7)[None, :, None]
    points = (
        drawn[:, None, :2] * np.array([width, height])
        + part * way[:, None]
        + 4 * part * (1 - part) * bend[:, None]
    )
    values = 0.45 + 0.5 * drawn[:, 3]
    white = drawn[:, 2] * 50 % 1 < 2 / 3
    for which, paint in ((white, np.float32(0.95)), (~white, np.float32(0.05))):
        hairs = _curves(image, points[which & hair], values[which & hair], 1)
        specks = _curves(image, points[which & ~hair], values[which & ~hair], _pixels(3.5, image))
        cover = softened(screen(hairs, specks), 0.5 * scale)[..., None]
        image = image + cover * (paint - image)
    return image


def folded(image: Array, parameters: Parameters) -> Array:
    """Two creases: a bright crack where the layer broke, and paper that turns from light to shade across it."""
    rng, depth = default_rng((parameters["seed"], 3)), np.float32(parameters["folds"])
    x, y = coordinates(image)
    height, width = image.shape[:2]
    scale = relative_side(image)
    rough = clouds(rng, image.shape, 6, coarsest=12)
    for turn in (rng.uniform(-12, 12), 90 + rng.uniform(-12, 12)):
        slope = np.deg2rad(turn)
        middle = (width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.7))
        across = ((y - middle[1]) * np.cos(slope) - (x - middle[0]) * np.sin(slope)).astype(np.float32)
        across = across / np.float32(max(scale, 1e-3)) + 5 * (rough - 0.5)
        crack = np.exp(-((across / 2.5) ** 2)) * np.clip(1.5 * rough, 0.0, 1.0)
        shade = np.sign(across) * np.exp(np.abs(across) / np.float32(-45))
        image = image * (1 + depth * np.float32(0.25) * shade[..., None])
        image = image + depth * np.float32(0.85) * crack[..., None] * (np.float32(0.92) - image)
    return image


def printed(image: Array, parameters: Parameters) -> Array:
    """Dots of each ink on a screen of its own angle, as large as the ink is dark there (amplitude modulation)."""
    x, y = coordinates(image)
    cell = max(3.0, parameters["cell"] * relative_side(image))
    dots = np.empty_like(image)
    for channel, angle in enumerate(_SCREENS):
        cosine, sine = np.float32(np.cos(np.deg2rad(angle))), np.float32(np.sin(np.deg2rad(angle)))
        turn = np.float32(2 * np.pi / cell)
        waves = np.cos(turn * (x * cosine + y * sine)) + np.cos(turn * (y * cosine - x * sine))
        threshold = 0.5 + 0.25 * waves
        dots[..., channel] = np.clip(
            (image[..., channel] - threshold) * np.float32(cell / 1.5) + 0.5, 0.0, 1.0
        )
    return image + np.float32(parameters["halftone"]) * (dots - image)


STEPS = {
    "fading": faded,
    "yellowing": yellowed,
    "halftone": printed,
    "folds": folded,
    "scratches": scratched,
    "dust": dusty,
}
"""In the order in which they happen to a print."""


def _curves(image: Array, points: NDArray[Any], values: Array, thickness: int) -> Array:
    """Soft lines through points (curve, point, column and row), each of one value: height x width."""
    starts, ends = (points[:, part].reshape(-1, 2).astype(np.float32) for part in (np.s_[:-1], np.s_[1:]))
    return draw_soft_lines(image.shape, starts, ends, np.repeat(values, points.shape[1] - 1), thickness)


def _pixels(width: float, image: Array) -> int:
    """A width in pixels of a 1024 picture, in whole pixels of this one."""
    return max(1, round(width * relative_side(image)))
