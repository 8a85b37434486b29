"""Damage by fixed rules: the same for every picture, so that tables of different years compare."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ggt_hub.errors import EvaluationError

Picture = np.ndarray[Any, np.dtype[np.uint8]]


def damage(picture: Picture, steps: Sequence[dict[str, Any]]) -> Picture:
    """Apply rules one after the other.

    Args:
        picture: `H x W x 3`, uint8.
        steps: each `{"rule": name, ...}` with the rule's parameters.

    Raises:
        EvaluationError: for an unknown rule.
    """
    for step in steps:
        parameters = {key: value for key, value in step.items() if key != "rule"}
        if step["rule"] not in RULES:
            raise EvaluationError(f"unknown rule {step['rule']!r}: there are {', '.join(RULES)}")
        picture = RULES[step["rule"]](picture, **parameters)
    return picture


def noise(picture: Picture, sigma: float) -> Picture:
    """Gaussian noise of `sigma` levels."""
    return _eight_bits(picture + np.random.default_rng(0).normal(0, sigma, picture.shape))


def jpeg(picture: Picture, quality: int) -> Picture:
    """Pillow's JPEG at this quality."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def blur(picture: Picture, sigma: float) -> Picture:
    """OpenCV's Gaussian blur."""
    return cv2.GaussianBlur(picture, (0, 0), sigma)


def half_and_back(picture: Picture) -> Picture:
    """Half size by area, and back by cubic interpolation."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def low_light(picture: Picture) -> Picture:
    """15 % of the light, with noise of 1 % in linear light."""
    linear = (picture / 255) ** 2.2 * 0.15 + np.random.default_rng(0).normal(0, 0.01, picture.shape)
    return _eight_bits(255 * np.clip(linear, 0, 1) ** (1 / 2.2))


RULES: dict[str, Callable[..., Picture]] = {
    "noise": noise,
    "jpeg": jpeg,
    "blur": blur,
    "half_and_back": half_and_back,
    "low_light": low_light,
}


def _eight_bits(values: np.ndarray[Any, Any]) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
