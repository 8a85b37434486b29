"""Metrics of picture quality as plain functions on batches, and the table of them.

`METRICS` maps a name such as "ssim-y" to the function and its protocol; `compute` scores by several names.
"""

from ggt_hub.metrics.niqe import niqe
from ggt_hub.metrics.pictures import Pictures, Scores
from ggt_hub.metrics.psnr import psnr
from ggt_hub.metrics.registry import METRICS, Metric, compute, get_metric
from ggt_hub.metrics.ssim import ms_ssim, ssim

__all__ = [
    "METRICS",
    "Metric",
    "Pictures",
    "Scores",
    "compute",
    "get_metric",
    "ms_ssim",
    "niqe",
    "psnr",
    "ssim",
]
