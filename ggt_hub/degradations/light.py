"""Linear light, in which glare and exposures add up, and the display's curve, in which pictures are stored."""

import cv2
import numpy as np

from ggt_hub.degradations.base import Array

DISPLAY_GAMMA = 2.2


def to_light(image: Array) -> Array:
    """The share of white's light that each value stands for."""
    light: Array = cv2.pow(image, DISPLAY_GAMMA).reshape(image.shape)
    return light


def to_display(light: Array) -> Array:
    """Values as they are stored, 0..1; light beyond white is cut off."""
    values: Array = cv2.pow(np.clip(light, 0.0, 1.0), 1.0 / DISPLAY_GAMMA).reshape(light.shape)
    return np.clip(values, 0.0, 1.0)
