"""Linear light and the display's curve, on tensors; see `degradations.light`."""

from torch import Tensor

from ggt_hub.degradations.light import DISPLAY_GAMMA


def to_light(x: Tensor) -> Tensor:
    """The share of white's light that each value stands for."""
    return x**DISPLAY_GAMMA


def to_display(light: Tensor) -> Tensor:
    """Values as they are stored, 0..1; light beyond white is cut off."""
    return light.clamp(0, 1) ** (1 / DISPLAY_GAMMA)
