"""Noise: independent, photon-limited, and the coarse grain that cameras' own processing leaves behind."""

from dataclasses import dataclass, replace
from functools import cache
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
    to_uint8,
)
from ggt_hub.degradations.light import DISPLAY_GAMMA, to_display, to_light
from ggt_hub.scenes import Assets
from ggt_hub.tasks import Task

Kind = Literal[
    "gaussian", "poisson", "grain", "salt_pepper", "granular", "segments", "sensor", "photons", "levels"
]

_QUANTILES = 2048


@dataclass(frozen=True)
class Noise(Degradation):
    """Noise of one kind, clipped to the range of the picture.

    `gaussian` is independent per pixel and channel; `poisson` grows with the square root of the brightness and has
    the same deviation at white; `grain` is smoothed over neighbouring pixels and mostly shared by the channels, as
    after demosaicing and in-camera smoothing. `salt_pepper` turns single values black or white. `granular` is
    luminance noise with 0.35 of it again in each channel, and `segments` Gaussian noise of another deviation in
    each region of the picture, both after RealRestorer (arXiv 2603.25502, noise). `sensor` is read and shot noise
    on the mosaic of a camera's sensor, in linear light, carried through demosaicing, white balance and the
    display's curve. `photons` and `levels` are Poisson's law in the values as they are stored: of so many photons
    at white, as in RealRestorer's blur; and of as many as the picture has different values, rounded up to a power
    of two, its error multiplied by a factor, as in Real-ESRGAN (arXiv 2107.10833, section 3.2).

    Attributes:
        sigma: standard deviation, in levels of 255.
        even_variance: whether it is the variance that is evenly drawn between the squares of `sigma`.
        grey: chance that all channels of `gaussian` and `levels` have the same noise.
        photons: at white, of `photons`.
        error: the factor of `levels`.
        grain_size: range of the smoothing of `grain`, standard deviation in pixels.
        amount: share of the values that `salt_pepper` replaces.
        read_noise: of `sensor`: standard deviation, as a share of white in linear light.
        shot_noise: standard deviation at white, likewise; it grows with the square root of the light.
        averaging: the chance that busy places are averaged afterwards (`averaged_where_busy`).
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "noise"
    task: ClassVar[Task] = "noise"
    needs: ClassVar[frozenset[Need]] = frozenset({"masks"})

    sigma: Range = (3.0, 60.0)
    even_variance: bool = False
    grey: float = 0.0
    photons: Range = (2.5, 0.05)
    error: Range = (0.05, 3.0)
    grain_size: Range = (0.4, 1.2)
    amount: Range = (0.005, 0.05)
    read_noise: Range = (0.002, 0.04)
    shot_noise: Range = (0.01, 0.1)
    averaging: float = 0.0
    kinds: tuple[Kind, ...] = ("gaussian", "poisson", "grain")

    @classmethod
    def alone(cls) -> Self:
        return cls(
            sigma=(0.0, 60.0),
            amount=(0.0, 0.1),
            read_noise=(0.0, 0.04),
            shot_noise=(0.0, 0.1),
            kinds=("gaussian", "poisson", "grain", "salt_pepper", "granular", "segments", "sensor"),
        )

    def draw(self, rng: Generator, severity: float) -> Parameters:
        kind = str(rng.choice(self.kinds))
        parameters = self._drawn(kind, rng, severity) | {"seed": draw_seed(rng)}
        if self.grey and kind in ("gaussian", "levels") and rng.random() < self.grey:
            parameters["grey"] = True
        if self.averaging and rng.random() < self.averaging:
            parameters["box"] = int(rng.choice((3, 5, 7)))
            parameters["threshold"] = float(rng.uniform(0.4, 0.8))
        return parameters

    def _drawn(self, kind: str, rng: Generator, severity: float) -> Parameters:
        if kind == "salt_pepper":
            return {"kind": kind, "amount": between(self.amount, severity)}
        if kind == "sensor":
            read, shot = between(self.read_noise, severity), between(self.shot_noise, severity)
            gains = [float(gain) for gain in rng.uniform(1.2, 2.2, 2)]
            return {"kind": kind, "read_noise": read, "shot_noise": shot, "gains": gains}
        if kind == "photons":
            return {"kind": kind, "photons": between(self.photons, severity)}
        if kind == "levels":
            return {"kind": kind, "error": between(self.error, severity)}
        parameters: Parameters = {"kind": kind, "sigma": between(self.sigma, severity)}
        if self.even_variance:
            parameters["sigma"] = between((self.sigma[0] ** 2, self.sigma[1] ** 2), severity) ** 0.5
        if kind == "grain":
            parameters["size"] = float(rng.uniform(*self.grain_size))
            parameters["chroma"] = float(rng.uniform(0.1, 0.7))
        return parameters

    def choose(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        if parameters["kind"] == "segments" and assets.masks_by:
            return parameters | {"masks_by": assets.masks_by}
        return parameters

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        rng, image = default_rng(parameters["seed"]), sample.lq
        if parameters["kind"] == "salt_pepper":
            noisy = _salted(rng, image, parameters["amount"])
        elif parameters["kind"] == "sensor":
            noisy = _sensed(rng, image, parameters)
        elif parameters["kind"] == "photons":
            noisy = counted(rng, image, parameters["photons"])
        elif parameters["kind"] == "levels":
            noisy = _over(image, _error(rng, image, "grey" in parameters), parameters["error"])
        elif parameters["sigma"] == 0:
            noisy = image
        else:
            noisy = _over(image, self._field(rng, sample, parameters), parameters["sigma"] / 255.0)
        if "box" in parameters:
            noisy = averaged_where_busy(np.clip(noisy, 0.0, 1.0), parameters["box"], parameters["threshold"])
        return replace(sample, lq=np.clip(noisy, 0.0, 1.0))

    def _field(self, rng: Generator, sample: Sample, parameters: Parameters) -> Array:
        """Noise of about unit deviation."""
        kind, image = parameters["kind"], sample.lq
        if kind == "grain":
            return _grain(rng, image.shape, parameters["size"], parameters["chroma"])
        if kind == "granular":
            return _granular(rng, image.shape)
        shape = (*image.shape[:2], 1) if "grey" in parameters else image.shape
        field = rng.standard_normal(shape, dtype=np.float32)
        if kind == "poisson":
            field *= np.sqrt(image)
        if kind == "segments":
            field *= _by_region(rng, sample.scene.masks(parameters.get("masks_by")), image)
        return field

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """The deviation, of a picture of mid grey; 1 is 50 levels."""
        if parameters["kind"] == "salt_pepper":
            sigma = 255 * np.sqrt(parameters["amount"]) / 2
        elif parameters["kind"] == "sensor":
            grey = 0.5**DISPLAY_GAMMA
            slope = grey ** (1 / DISPLAY_GAMMA - 1) / DISPLAY_GAMMA
            sigma = 255 * slope * np.hypot(parameters["read_noise"], parameters["shot_noise"] * np.sqrt(grey))
        elif parameters["kind"] == "photons":
            sigma = 255 * np.sqrt(0.5 / parameters["photons"])
        elif parameters["kind"] == "levels":
            sigma = 255 * parameters["error"] * np.sqrt(0.5 / 256)
        else:
            sigma = parameters["sigma"]
        return {"noise": float(sigma) / 50}


def _over(image: Array, field: Array, strength: float) -> Array:
    """The picture and so much of a field of noise, in the field's own memory where that is as large."""
    field *= np.float32(strength)
    return np.add(image, field, out=field if field.shape == image.shape else None)


def counted(rng: Generator, image: Array, photons: float) -> Array:
    """What is seen where the photons that arrive are counted, so many at white: by Poisson's law."""
    seen: Array = (rng.poisson(image * np.float64(photons)) / photons).astype(np.float32)
    return seen


def _error(rng: Generator, image: Array, grey: bool) -> Array:
    """What Poisson's law adds at as many photons as the picture has levels of 255, rounded up to a power of two."""
    levels = to_uint8(image)
    if grey:
        levels = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)[..., None]
    different = np.count_nonzero(np.bincount(levels.ravel(), minlength=256))
    photons = 2 ** int(np.ceil(np.log2(different)))
    place = levels.astype(np.int32)
    place *= _QUANTILES
    place += rng.integers(_QUANTILES, size=levels.shape, dtype=np.uint16)
    return _quantile(photons).take(place)


@cache
def _quantile(photons: int) -> Array:
    """The error that Poisson's law makes of each level: 256 x `_QUANTILES`, from the least to the largest.

    A draw is one of them, in a twentieth of the time of drawing counts. The mean is exact, the variance within a
    hundredth from level 20 on (the tails are cut off).
    """
    counts = np.arange(2 * photons + 64)
    logs = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    rates = np.arange(256)[:, None] / 255 * photons
    with np.errstate(divide="ignore", invalid="ignore"):
        law = np.exp(np.where(counts > 0, counts * np.log(rates), 0.0) - rates - logs)
    upto = np.cumsum(law, axis=1)
    share = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    drawn = np.stack([np.searchsorted(row / row[-1], share) for row in upto])
    return ((drawn - drawn.mean(axis=1, keepdims=True)) / photons).astype(np.float32)


def _grain(rng: Generator, shape: tuple[int, ...], size: float, chroma: float) -> Array:
    """Smoothed noise of unit deviation: a shared field plus `chroma` times one of each channel's own."""
    shared = rng.standard_normal((*shape[:2], 1), dtype=np.float32)
    field = shared + np.float32(chroma) * rng.standard_normal(shape, dtype=np.float32)
    smooth = cv2.GaussianBlur(field, (0, 0), size, borderType=cv2.BORDER_REFLECT)
    return smooth / np.float32(np.sqrt(1 + chroma**2) * gain_of_smoothing(size))


def gain_of_smoothing(size: float) -> float:
    """Deviation that unit white noise keeps after OpenCV's Gaussian filter: the norm of its kernel."""
    taps = cv2.getGaussianKernel(2 * int(np.ceil(4 * size)) + 1, size)
    return float((taps**2).sum())


def _granular(rng: Generator, shape: tuple[int, ...]) -> Array:
    """A shared field of unit deviation and 0.35 of each channel's own."""
    shared = rng.standard_normal(shape[:2], dtype=np.float32)
    field = rng.standard_normal(shape, dtype=np.float32)
    field *= np.float32(0.35)
    field += cv2.merge([shared] * 3)
    return field


def _by_region(rng: Generator, regions: NDArray[np.int32], image: Array) -> Array:
    """A factor for each region, 0..sqrt(3) evenly, so that their squares have the mean 1: height x width x 1."""
    factors = rng.uniform(0.0, np.sqrt(3), int(regions.max()) + 1).astype(np.float32)
    height, width = image.shape[:2]
    fitted = cv2.resize(regions, (width, height), interpolation=cv2.INTER_NEAREST)
    return factors[fitted][..., None]


def _salted(rng: Generator, image: Array, amount: float) -> Array:
    """Black and white in place of the values of a share of pixels and channels, half of them each."""
    place = rng.random(image.shape, dtype=np.float32)
    salted = image.copy()
    salted[place < amount / 2] = 0
    salted[place > 1 - amount / 2] = 1
    return salted


def _sensed(rng: Generator, image: Array, parameters: Parameters) -> Array:
    """What a camera makes of the light, and of the noise of its sensor.

    Each of the sensor's pixels has one of Bayer's filters (RGGB); its noise has the variance read^2 + shot^2 *
    light, where the light of red and blue is that of the picture over their gains. Demosaicing is linear, so the
    noise takes that way alone, and the picture keeps its detail.
    """
    gains = np.array([parameters["gains"][0], 1.0, parameters["gains"][1]], np.float32)
    light = to_light(image)
    variance = (
        np.float32(parameters["read_noise"] ** 2) + np.float32(parameters["shot_noise"] ** 2) * light / gains
    )
    height, width = image.shape[:2]
    own = rng.standard_normal((height, width), dtype=np.float32)
    mosaic = np.zeros_like(image)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        site = np.s_[row::2, column::2]
        mosaic[(*site, channel)] = own[site] * np.sqrt(variance[(*site, channel)])
    # Green lacks every second pixel, red and blue three of four: the mean of the neighbours that have it.
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4
    planes = [
        cv2.filter2D(plane, -1, taps, borderType=cv2.BORDER_REFLECT_101)
        for plane, taps in zip(cv2.split(mosaic), (square, cross, square), strict=True)
    ]
    return to_display(light + gains * cv2.merge(planes).reshape(image.shape))


def averaged_where_busy(image: Array, box: int, threshold: float) -> Array:
    """The mean over a box wherever the picture varies more than on average, as in RealRestorer's pipeline.

    Args:
        image: height x width x 3, 0..1; it is rounded to 255 levels.
        box: side of the box, in pixels.
        threshold: the variance above which it is busy, as a share of the mean variance.
    """
    levels = to_uint8(image)
    grey = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    variance = cv2.blur((grey - cv2.blur(grey, (box, box))) ** 2, (box, box))
    busy = variance > np.float32(threshold) * variance.mean()
    return to_float(np.where(busy[..., None], cv2.blur(levels, (box, box)), levels))
