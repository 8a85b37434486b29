"""What `evaluate.load("niqe")` finds."""

from ggt_hub.metrics import modules


class Niqe(modules.PictureMetric):
    """NIQE: how far a picture's statistics are from those of pristine photographs; no reference."""

    names = ("niqe",)
    inputs = ("predictions",)
