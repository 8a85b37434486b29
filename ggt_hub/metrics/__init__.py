"""Metrics of picture quality as plain functions on batches, and the table of them.

`METRICS` maps a name such as "ssim-y" to the function and its protocol; `compute` scores by several names.
`SET_METRICS` are those that compare whole sets.
"""

from ggt_hub.metrics.brisque import brisque
from ggt_hub.metrics.checks import chromaticity_drift, registration_error, ssim_at_192
from ggt_hub.metrics.dists import Dists, dists
from ggt_hub.metrics.fs import fs, mean_fs, rs
from ggt_hub.metrics.lpips import Lpips, lpips
from ggt_hub.metrics.metric import Metric
from ggt_hub.metrics.niqe import niqe
from ggt_hub.metrics.of_sets import SET_METRICS, Fid, Kid, fid, kid
from ggt_hub.metrics.pictures import Pictures, Scores
from ggt_hub.metrics.piqe import piqe
from ggt_hub.metrics.psnr import psnr
from ggt_hub.metrics.registry import METRICS, as_loss, available, compute, get_metric
from ggt_hub.metrics.ssim import ms_ssim, ssim

__all__ = [
    "METRICS",
    "SET_METRICS",
    "Dists",
    "Fid",
    "Kid",
    "Lpips",
    "Metric",
    "Pictures",
    "Scores",
    "as_loss",
    "available",
    "brisque",
    "chromaticity_drift",
    "compute",
    "dists",
    "fid",
    "fs",
    "get_metric",
    "kid",
    "lpips",
    "mean_fs",
    "ms_ssim",
    "niqe",
    "piqe",
    "psnr",
    "registration_error",
    "rs",
    "ssim",
    "ssim_at_192",
]
