"""What `evaluate.load("realir_fs")` finds."""

from ggt_hub.metrics import modules


class RealirFs(modules.RealIRScore):
    """RS and FS of RealIR-Bench (arXiv 2603.25502), from LPIPS and the ratings of a judge."""

    names = ("lpips",)
