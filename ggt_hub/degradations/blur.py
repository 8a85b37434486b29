"""Blur: out of focus, camera movement, the Gaussian of cheap optics, and the average of a clip's frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ggt_hub.degradations.base import (
    Array,
    Degradation,
    Need,
    Parameters,
    Range,
    Sample,
    between,
    draw_seed,
    to_float,
)
from ggt_hub.degradations.fields import convolved
from ggt_hub.degradations.light import to_display, to_light
from ggt_hub.scenes import Assets, Scene
from ggt_hub.tasks import Task

Kind = Literal["gaussian", "defocus", "motion", "path", "frames", "sinc"]

Offsets = NDArray[np.float64]
"""A small square grid, for building kernels."""

_STEPS = 96
"""Points of a path."""


@dataclass(frozen=True)
class Blur(Degradation):
    """Convolution with one kernel for the whole picture, or the average of what a camera saw while it moved.

    Borders are reflected. `gaussian`, `defocus` and `motion` (a straight line) are those of lenses and quick hands;
    `path` is the path of a shaking hand (after Boracchi and Foi, "Modeling the Performance of Image Restoration
    from Motion Blur", TIP 2012, section III); `sinc` an ideal low pass, whose ringing sharpening and resizing leave
    (Real-ESRGAN, arXiv 2107.10833, section 3.3). `frames` averages, in linear light, the frames of a clip in the
    assets' folder `clips`, of which the middle one becomes the ground truth; without clips nine copies of the
    picture, moved and turned along a path.

    Attributes:
        sigma: standard deviation of the Gaussian along its longer axis, in pixels.
        elongation: the shorter axis as a share of the longer one is drawn between this and 1.
        radius: radius of the disk of a defocused lens, in pixels.
        length: length of the line or path of a camera movement, in pixels.
        wander: how much a path turns, in degrees (standard deviation over its whole length).
        turn: largest angle by which the camera turns over `frames` at severity 1, in degrees.
        frames: number of a clip's frames that are averaged, rounded.
        cutoff: of `sinc`, in radians a pixel.
        sizes: sides of the kernels of `gaussian` (round then) and `sinc` to choose from, odd; none: as large as
            needed for the Gaussian, 21 for `sinc`.
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "blur"
    task: ClassVar[Task] = "blur"
    needs: ClassVar[frozenset[Need]] = frozenset({"clips"})

    sigma: Range = (0.4, 4.0)
    elongation: float = 0.4
    radius: Range = (0.7, 6.0)
    length: Range = (2.0, 20.0)
    wander: tuple[float, float] = (30.0, 240.0)
    turn: float = 1.5
    frames: Range = (3.0, 15.0)
    cutoff: Range = (np.pi, np.pi / 4)
    sizes: tuple[int, ...] = ()
    kinds: tuple[Kind, ...] = ("gaussian", "defocus", "motion")

    @classmethod
    def alone(cls) -> Self:
        return cls(
            sigma=(0.0, 4.0),
            radius=(0.0, 6.0),
            length=(0.0, 20.0),
            frames=(1.0, 15.0),
            kinds=("gaussian", "defocus", "motion", "path", "frames"),
        )

    def draw(self, rng: Generator, severity: float) -> Parameters:
        kind = str(rng.choice(self.kinds))
        angle = float(rng.uniform(0.0, 180.0))
        if kind == "defocus":
            return {"kind": kind, "radius": between(self.radius, severity)}
        if kind == "motion":
            return {"kind": kind, "length": between(self.length, severity), "angle": angle}
        if kind in ("path", "frames"):
            return self._movement(kind, angle, rng, severity)
        size = {"size": int(rng.choice(self.sizes))} if self.sizes else {}
        if kind == "sinc":
            return {"kind": kind, "cutoff": between(self.cutoff, severity), "size": 21} | size
        sigma = between(self.sigma, severity)
        shorter = sigma * float(rng.uniform(self.elongation, 1.0))
        return {"kind": kind, "sigma": [sigma, sigma if size else shorter], "angle": angle} | size

    def _movement(self, kind: str, angle: float, rng: Generator, severity: float) -> Parameters:
        parameters: Parameters = {
            "kind": kind,
            "length": between(self.length, severity),
            "angle": angle,
            "wander": float(rng.uniform(*self.wander)),
            "seed": draw_seed(rng),
        }
        if kind == "path":
            return parameters
        turn = severity * float(rng.uniform(-self.turn, self.turn))
        return parameters | {"turn": turn, "frames": round(between(self.frames, severity))}

    def choose(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        if parameters["kind"] != "frames" or not (clips := assets.pick(rng, "clips")):
            return parameters
        return parameters | {"clip": clips[0], "start": float(rng.random())}

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        if "clip" in parameters:
            return _averaged_clip(sample, parameters)
        if parameters["kind"] == "frames":
            return replace(sample, lq=_averaged_still(sample.lq, parameters))
        if parameters["kind"] == "gaussian" and "size" in parameters:  # round, so rows and columns one by one
            taps = kernel(parameters).sum(axis=0)
            blurred = cv2.sepFilter2D(sample.lq, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)
        elif parameters["kind"] in ("path", "sinc"):
            blurred = convolved(sample.lq, kernel(parameters))
        else:  # as records of 0.1 have it: by Fourier transform the last bits would be others
            blurred = cv2.filter2D(sample.lq, -1, kernel(parameters), borderType=cv2.BORDER_REFLECT)
        # Large kernels go through a Fourier transform, which rounds below 0.
        return replace(sample, lq=np.clip(blurred, 0.0, 1.0))

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """Mean standard deviation of the kernel along its axes; 1 is 3 pixels."""
        if parameters["kind"] == "gaussian":
            deviation = float(np.mean(parameters["sigma"]))
        elif parameters["kind"] == "defocus":
            deviation = parameters["radius"] / 2
        elif parameters["kind"] == "sinc":
            deviation = np.pi / parameters["cutoff"] - 1
        else:
            deviation = parameters["length"] / np.sqrt(12) / 2
        return {"blur": float(deviation) / 3}


def kernel(parameters: Parameters) -> Array:
    """The convolution kernel (odd square, sums to 1) that the parameters describe."""
    if parameters["kind"] == "gaussian":
        weights = _gaussian(parameters["sigma"], parameters["angle"], parameters.get("size"))
    elif parameters["kind"] == "defocus":
        weights = _disk(parameters["radius"])
    elif parameters["kind"] == "path":
        weights = _trace(path(parameters, _STEPS))
    elif parameters["kind"] == "sinc":
        weights = _sinc(parameters["cutoff"], parameters["size"])
    else:
        weights = _line(parameters["length"], parameters["angle"])
    return (weights / weights.sum()).astype(np.float32)


def path(parameters: Parameters, points: int) -> NDArray[np.float64]:
    """Where a shaking hand points the camera: points x 2 (columns, rows, in pixels), around their mean.

    Steps of equal length, whose direction turns by a random walk of the deviation `wander` over the whole path.
    """
    turns = default_rng(parameters["seed"]).standard_normal(_STEPS) / np.sqrt(_STEPS)
    direction = np.deg2rad(parameters["angle"] + parameters["wander"] * np.cumsum(turns))
    steps = parameters["length"] / _STEPS * np.stack([np.cos(direction), np.sin(direction)], axis=1)
    places = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    chosen = places[np.rint(np.linspace(0, _STEPS, points)).astype(int)]
    return chosen - chosen.mean(axis=0)


def _averaged_still(image: Array, parameters: Parameters, copies: int = 9) -> Array:
    """The mean light of copies of a picture, moved along a path and turned evenly about its middle."""
    if not parameters["length"] and not parameters["turn"]:
        return image
    height, width = image.shape[:2]
    middle = ((width - 1) / 2, (height - 1) / 2)
    light = np.rint(to_light(image) * 65535).astype(np.uint16)  # half the time of float32
    total = np.zeros(image.shape, np.float32)
    for place, turn in zip(path(parameters, copies), np.linspace(-0.5, 0.5, copies), strict=True):
        pose = cv2.getRotationMatrix2D(middle, parameters["turn"] * turn, 1.0)
        pose[:, 2] += place
        moved = cv2.warpAffine(
            light, pose, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        cv2.accumulate(moved.reshape(image.shape), total)
    return to_display(total / np.float32(copies * 65535))


def _averaged_clip(sample: Sample, parameters: Parameters) -> Sample:
    """The mean light of successive frames of a clip, and the middle one of them as ground truth.

    Frames are scaled to cover the picture's size, and cut to it.
    """
    frames = sample.scene.clip(parameters["clip"])
    count = min(parameters["frames"], len(frames))
    first = int(parameters["start"] * (len(frames) - count))
    chosen = [_covering(frame, sample.lq) for frame in frames[first : first + count]]
    total = np.zeros_like(sample.lq)
    for frame in chosen:
        total += to_light(frame)
    middle = chosen[count // 2]
    lq = middle if count == 1 else to_display(total / np.float32(count))
    return Sample(lq, middle, Scene(middle, sample.scene.assets))  # it shows something else now


def _covering(frame: NDArray[np.uint8], like: Array) -> Array:
    height, width = like.shape[:2]
    share = max(height / frame.shape[0], width / frame.shape[1])
    size = (max(width, round(frame.shape[1] * share)), max(height, round(frame.shape[0] * share)))
    scaled = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return to_float(np.ascontiguousarray(scaled[top : top + height, left : left + width]))


def _grid(radius: int) -> tuple[Offsets, Offsets]:
    """Column and row offsets from the centre, each of side 2 * radius + 1."""
    offsets = np.arange(-radius, radius + 1, dtype=np.float64)
    x, y = np.meshgrid(offsets, offsets)
    return x, y


def _rotated(radius: int, angle: float) -> tuple[Offsets, Offsets]:
    """Offsets along and across a direction, `angle` degrees from the row axis."""
    x, y = _grid(radius)
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def _gaussian(sigma: Sequence[float], angle: float, size: int | None) -> Offsets:
    sigma = [max(deviation, 1e-3) for deviation in sigma]  # 0 is one pixel, and no division
    along, across = _rotated(int(np.ceil(3 * max(sigma))) if size is None else size // 2, angle)
    return np.exp(-0.5 * ((along / sigma[0]) ** 2 + (across / sigma[1]) ** 2))


def _disk(radius: float) -> Offsets:
    x, y = _grid(int(np.ceil(radius)))
    return _soft_step(radius - np.hypot(x, y))


def _line(length: float, angle: float) -> Offsets:
    along, across = _rotated(int(np.ceil(length / 2)), angle)
    return _soft_step(length / 2 - np.abs(along)) * _soft_step(0.5 - np.abs(across))


def _soft_step(distance: Offsets) -> Offsets:
    """1 inside, 0 outside, linear over the pixel that the edge crosses: so radii need not be whole numbers."""
    return np.clip(distance + 0.5, 0.0, 1.0)


def _trace(places: NDArray[np.float64]) -> Offsets:
    """How long each pixel was pointed at: each place is shared by the four pixels around it."""
    reach = int(np.ceil(np.abs(places).max())) + 1
    weights = np.zeros((2 * reach + 1, 2 * reach + 1))
    whole = np.floor(places).astype(int)
    part = places - whole
    for across, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        share = np.abs(1 - across - part[:, 0]) * np.abs(1 - down - part[:, 1])
        np.add.at(weights, (whole[:, 1] + down + reach, whole[:, 0] + across + reach), share)
    return weights


def _sinc(cutoff: float, size: int) -> Offsets:
    """Frequencies below the cutoff c alone: c J1(c r) / (2 pi r), at the centre c^2 / (4 pi)."""
    away = np.hypot(*_grid(size // 2))
    outer = np.where(away > 0, away, 1.0)
    ideal = cutoff * _bessel1(cutoff * outer) / (2 * np.pi * outer)
    return np.where(away > 0, ideal, cutoff**2 / (4 * np.pi))


def _bessel1(x: Offsets) -> Offsets:
    """The Bessel function J1: the mean of cos(t - x sin t) over half a turn, exact to 1e-12 below x = 150."""
    turn = (np.arange(256) + 0.5) * (np.pi / 256)
    return np.cos(turn - x[..., None] * np.sin(turn)).mean(axis=-1)
