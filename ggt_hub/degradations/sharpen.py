"""Sharpening of what a restorer is to learn, before any damage is done."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import cv2
import numpy as np
from numpy.random import Generator

from ggt_hub.degradations.base import Array, Degradation, Parameters, Range, Sample, between
from ggt_hub.tasks import Task


@dataclass(frozen=True)
class Sharpen(Degradation):
    """Unsharp masking of both pictures: the first step of Real-ESRGAN and DreamClear, whose targets are sharpened.

    What a Gaussian takes away is added once more, in part, and only where it is strong, with soft borders between
    there and elsewhere (arXiv 2107.10833, section 3.4; arXiv 2410.18666 has the same settings).

    Attributes:
        weight: which part of it.
        size: side of the Gaussian's window, in pixels; made odd. Its deviation is 0.35 and 0.15 of that: 8 for 51.
        threshold: what counts as strong, in levels of 255.
    """

    name: ClassVar[str] = "sharpen"
    task: ClassVar[Task] = "general"

    weight: Range = (0.5, 0.5)
    size: int = 51
    threshold: float = 10.0

    @classmethod
    def alone(cls) -> Self:
        return cls(weight=(0.0, 0.5))

    def draw(self, rng: Generator, severity: float) -> Parameters:
        return {"weight": between(self.weight, severity)}

    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        gt = self._sharpened(sample.gt, parameters["weight"])
        lq = gt if sample.lq is sample.gt else self._sharpened(sample.lq, parameters["weight"])
        return replace(sample, lq=lq, gt=gt)

    def severity(self, parameters: Parameters) -> dict[str, float]:
        """The weight; 1 is the published one."""
        return {"sharpening": 2 * parameters["weight"]}

    def _sharpened(self, image: Array, weight: float) -> Array:
        detail = image - self._smooth(image)
        strong = self._smooth((np.abs(detail) * 255 > self.threshold).astype(np.float32))
        sharp = np.clip(image + np.float32(weight) * detail, 0.0, 1.0)
        mixed: Array = np.clip(image + strong * (sharp - image), 0.0, 1.0)  # sums of weights round above 1
        return mixed

    def _smooth(self, image: Array) -> Array:
        smooth: Array = cv2.GaussianBlur(image, (self.size | 1,) * 2, 0, borderType=cv2.BORDER_REFLECT_101)
        return smooth
