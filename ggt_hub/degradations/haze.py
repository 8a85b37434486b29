"""Haze: air that scatters light, the more the farther things are, and fog that drifts in patches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.random import Generator, default_rng

from ggt_hub.degradations.base import Array, Degradation, Need, Parameters, Range, Sample, between, draw_seed
from ggt_hub.degradations.blend import screen, veiled
from ggt_hub.degradations.fields import clouds, fitted
from ggt_hub.scenes import Assets
from ggt_hub.tasks import Task

Kind = Literal["depth", "fog"]


@dataclass(frozen=True)
class Haze(Degradation):
    """Scattering by depth, or patches of fog laid over the picture.

    `depth` is the model of Koschmieder as RealRestorer sets it up (arXiv 2603.25502, haze): image * T + A * (1 - T)
    with the transmission T = exp(-beta * depth^gamma), 0.05..1, and an airlight A that is brighter in denser haze.
    `fog` screens the picture with patterns: one to ten of those in the assets' folder `fog`, else clouds that are
    denser in the distance.

    Attributes:
        beta: density of the haze, per unit of depth (0 nearest .. 1 farthest).
        gamma: exponent of the depth, drawn uniformly whatever the severity.
        strength: of the fog: the share of its brightness that is laid over the picture.
        overlay: where the assets hold fog, the chance that patterns of it lie over haze by depth.
        scattering: there, the chance that `depth` scatters; where it does not, patterns always lie there.
        kinds: the kinds to choose from, with equal chance.
    """

    name: ClassVar[str] = "haze"
    task: ClassVar[Task] = "haze"
    needs: ClassVar[frozenset[Need]] = frozenset({"depth", "fog"})

    beta: Range = (0.6, 1.8)
    gamma: Range = (1.0, 2.0)
    strength: Range = (0.25, 0.6)
    overlay: float = 0.0
    scattering: float = 1.0
    kinds: tuple[Kind, ...] = ("depth", "fog")

    @classmethod
    def alone(cls) -> Self:
        return cls(beta=(0.0, 3.0), strength=(0.0, 0.85))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        if str(rng.choice(self.kinds)) == "fog":
            return {"kind": "fog", "strength": between(self.strength, severity), "seed": draw_seed(rng)}
        fog = {"strength": between(self.strength, severity)} if self.overlay else {}
        return {
            "kind": "depth",
            "beta": between(self.beta, severity),
            "gamma": float(rng.uniform(*self.gamma)),
            "jitter": [float(value) for value in rng.normal(0.0, 0.01, 3)],
            "tint": float(rng.uniform(0.0, 1.0)),
        } | fog

    def choose(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        if parameters["kind"] == "fog" and (textures := assets.pick(rng, "fog", 1, 10)):
            return parameters | {"textures": textures}
        if parameters["kind"] == "depth" and self.overlay and assets.files("fog"):
            parameters = self._overlaid(rng, parameters, assets)
        return parameters | ({"depth_by": assets.depth_by} if assets.depth_by else {})

    def _overlaid(self, rng: Generator, parameters: Parameters, assets: Assets) -> Parameters:
        """Haze by depth, patterns of fog, or both; never neither, which is drawn as haze by depth alone."""
        scatters, foggy = rng.random() < self.scattering, rng.random() < self.overlay
        if not foggy:
            return parameters
        return parameters | {"textures": assets.pick(rng, "fog", 1, 10), "scatters": bool(scatters)}

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        hazy = sample.lq
        if parameters["kind"] == "depth" and parameters.get("scatters", True):
            hazy = self._scattered(sample, parameters)
        if parameters["kind"] == "fog" or "textures" in parameters:
            hazy = screen(hazy, self._fog(sample, parameters), parameters["strength"])
        return replace(sample, lq=np.clip(hazy, 0.0, 1.0))

    def _scattered(self, sample: Sample, parameters: Parameters) -> Array:
        depth = fitted(sample.scene.depth(parameters.get("depth_by")), sample.lq)
        through = transmission(depth, parameters["beta"], parameters["gamma"])
        air = airlight(parameters["beta"], parameters["jitter"], parameters["tint"])
        return veiled(sample.lq, through, air)

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """Density or strength; 1 is the worst that the name alone stands for."""
        worst = parameters["strength"] / 0.85 if parameters["kind"] == "fog" else parameters["beta"] / 3.0
        return {"haze": worst}

    def _fog(self, sample: Sample, parameters: Parameters) -> Array:
        """Brightness of the fog: height x width x 1 or 3."""
        textures = [sample.scene.asset("fog", named) for named in parameters.get("textures", ())]
        if textures:
            return layered([fitted(texture, sample.lq) for texture in textures])
        drift = clouds(default_rng(parameters["seed"]), sample.lq.shape)
        drift -= 0.25
        drift /= 0.45
        fog = 0.2 + 0.8 * np.clip(drift, 0.0, 1.0, out=drift)
        fog *= np.float32(0.95)
        fog *= 0.35 + 0.65 * fitted(sample.scene.depth(parameters.get("depth_by")), sample.lq)
        return fog[..., None]


def transmission(depth: Array, beta: float, gamma: float) -> Array:
    """The share of a thing's light that comes through, 0.05..1, smoothed by a Gaussian of one pixel."""
    through = cv2.pow(depth, gamma)
    through *= np.float32(-beta)
    blurred = cv2.GaussianBlur(cv2.exp(through, through), (0, 0), 1.0)
    return np.clip(blurred, 0.05, 1.0, out=blurred).reshape(depth.shape)


def airlight(beta: float, jitter: Sequence[float], tint: float) -> Array:
    """The colour of thick haze, 0.7..1: from 0.78 at density 0.3 to 0.95 at 3, a little bluer with the tint."""
    base = np.interp(beta, (0.3, 3.0), (0.78, 0.95))
    return np.clip(base + np.array(jitter) + tint * np.array([-0.005, 0.0, 0.005]), 0.7, 1.0).astype(
        np.float32
    )


def layered(textures: Sequence[Array]) -> Array:
    """Textures of one size, each screened with the others."""
    together = textures[0]
    for texture in textures[1:]:
        together = screen(together, texture)
    return together
