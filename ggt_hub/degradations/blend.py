"""Ways to lay one picture over another, as painting programs name them; all take and give float32 in 0..1.

The modes are those that RealRestorer takes from UniDemoire for moire: each gives
`opacity` of the blended value, clipped, and the rest of the lower picture.
"""

from collections.abc import Callable, Iterable
from itertools import cycle

import cv2
import numpy as np

from ggt_hub.degradations.base import Array


def screen(below: Array, above: Array, strength: float = 1.0) -> Array:
    """1 - (1 - below) (1 - strength above): brightens as a second projector does.

    `above` has the channels of `below`, or one for all.
    """
    through = cv2.split(1 - np.float32(strength) * above)
    channels = cv2.split(below)
    for channel, share in zip(channels, cycle(through), strict=False):
        np.subtract(1, channel, out=channel)
        channel *= share
        np.subtract(1, channel, out=channel)
    return cv2.merge(channels).reshape(below.shape)


def veiled(image: Array, through: Array, light: Iterable[float]) -> Array:
    """A picture times T plus light (1 - T), with T of each pixel (height x width) and the light of each channel.

    Plane by plane: NumPy takes four times as long where the three values of a pixel share one factor.
    """
    scattered, channels = 1 - through, cv2.split(image)
    for channel, own in zip(channels, light, strict=True):
        channel *= through
        channel += np.float32(own) * scattered
    return cv2.merge(channels)


def blend(mode: str, below: Array, above: Array, opacity: float = 1.0) -> Array:
    """Blend by one of `MODES`; the result lies in 0..1."""
    share = np.float32(opacity)
    mixed: Array = (1 - share) * below + share * np.clip(MODES[mode](below, above), 0.0, 1.0)
    return mixed


def _hard_light(below: Array, above: Array) -> Array:
    return np.where(above > 0.5, 1 - (1 - below) * (1 - 2 * (above - 0.5)), 2 * below * above)


def _soft_light(below: Array, above: Array) -> Array:
    darker = 2 * below * above + below * below * (1 - 2 * above)
    return np.where(above > 0.5, np.sqrt(below) * (2 * above - 1) + 2 * below * (1 - above), darker)


MODES: dict[str, Callable[[Array, Array], Array]] = {
    "multiply": lambda below, above: below * above,
    "grain_merge": lambda below, above: below + above - np.float32(0.5),
    "darken": np.minimum,
    "lighten": np.maximum,
    "hard_light": _hard_light,
    "soft_light": _soft_light,
}
