"""What `evaluate.load("lpips_dists")` finds."""

from ggt_hub.metrics import modules


class LpipsDists(modules.PictureMetric):
    """Distances between deep features: LPIPS (AlexNet, version 0.1) and DISTS."""

    names = ("lpips", "dists")
