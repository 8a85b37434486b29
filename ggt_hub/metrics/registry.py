"""The table of metrics: what each is called, computes and means."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from math import inf, sqrt
from pathlib import Path

from torch import Tensor

from ggt_hub.errors import MetricError, MetricUnavailableError, did_you_mean
from ggt_hub.metrics.brisque import brisque, mean_brisque
from ggt_hub.metrics.checks import chromaticity_drift, registration_error, ssim_at_192
from ggt_hub.metrics.dists import WEIGHTS as DISTS_WEIGHTS
from ggt_hub.metrics.dists import dists
from ggt_hub.metrics.from_pyiqa import load_pyiqa, pyiqa_metric
from ggt_hub.metrics.lpips import WEIGHTS as LPIPS_WEIGHTS
from ggt_hub.metrics.lpips import lpips
from ggt_hub.metrics.metric import Metric
from ggt_hub.metrics.niqe import niqe
from ggt_hub.metrics.of_sets import SET_METRICS
from ggt_hub.metrics.pictures import Pictures, Scores
from ggt_hub.metrics.piqe import piqe
from ggt_hub.metrics.psnr import HIGHEST, psnr
from ggt_hub.metrics.ssim import ms_ssim, ssim
from ggt_hub.metrics.weights import load_weights

logger = logging.getLogger(__name__)

_ALL = [
    Metric(
        "psnr", psnr, "higher", (0, HIGHEST), "psnr", True,
        "dB; RGB, all channels together, no border cropped; equal pictures score 80",
    ),
    Metric(
        "psnr-y", partial(psnr, channels="y"), "higher", (0, HIGHEST), "psnry", True,
        "dB; luma 0..255 (BT.601), not rounded, no border cropped; equal pictures score 80",
    ),
    Metric(
        "psnr-ycbcr", partial(psnr, channels="ycbcr"), "higher", (0, HIGHEST), "psnry(color_space=ycbcr)", True,
        "dB; luma 16..235 as MATLAB's rgb2ycbcr but not rounded, peak 255; otherwise as psnr-y",
    ),
    Metric(
        "ssim", ssim, "higher", (-1, 1), "ssimc", True,
        "RGB, mean of channels; Gaussian window 11x11, sigma 1.5, wholly inside the picture; as scikit-image "
        "(pyiqa's ssimc counts negative structure as 0)",
    ),
    Metric(
        "ssim-y", partial(ssim, channels="y"), "higher", (0, 1), "ssim", True,
        "luma 0..255 rounded; window as ssim; negative structure counts as 0",
    ),
    Metric(
        "ssim-ycbcr", partial(ssim, channels="ycbcr"), "higher", (0, 1), "ssim(color_space=ycbcr)", True,
        "luma 16..235 rounded (MATLAB's rgb2ycbcr); window as ssim; negative structure counts as 0",
    ),
    Metric(
        "ms_ssim", ms_ssim, "higher", (0, 1), "ms_ssim(test_y_channel=False)", True,
        "RGB rounded; five scales by 2x2 means, window as ssim; negative structure counts as 0",
    ),
    Metric(
        "ms_ssim-y", partial(ms_ssim, channels="y"), "higher", (0, 1), "ms_ssim", True,
        "luma 0..255 rounded; five scales by 2x2 means, window as ssim; negative structure counts as 0",
    ),
    Metric(
        "niqe", niqe, "lower", (0, inf), "niqe", False,
        "luma 0..255 rounded; blocks of 96x96 and 48x48, parameters of Mittal et al. 2013",
    ),
    Metric("piqe", piqe, "lower", (0, 100), "piqe", False, "luma stretched to 255 and rounded; blocks of 16x16"),
    Metric(
        "brisque", brisque, "lower", (-inf, inf), None, False,
        "luma 0..1 (BT.709), not rounded; full and half size; model of the package brisque (pyiqa's has another)",
        mean=mean_brisque,
    ),
    Metric(
        "lpips", lpips, "lower", (0, inf), "lpips", True,
        "RGB at full resolution; AlexNet, version 0.1", LPIPS_WEIGHTS["alex"],
    ),
    Metric(
        "lpips-vgg", partial(lpips, net="vgg"), "lower", (0, inf), "lpips-vgg", True,
        "RGB at full resolution; VGG16, version 0.1", LPIPS_WEIGHTS["vgg"],
    ),
    Metric(
        "dists", dists, "lower", (0, 1), "dists", True,
        "RGB at full resolution, not resized to 256", DISTS_WEIGHTS,
    ),
    Metric(
        "ssim-192", ssim_at_192, "higher", (-1, 1), None, True,
        "luma 0..255, longer side reduced to 192; uniform window 7x7, sample covariance",
    ),
    Metric(
        "chromaticity-drift", chromaticity_drift, "lower", (0, sqrt(2)), None, True,
        "mean distance of (R, G, B) / (R + G + B), pixels under 5 % left out",
    ),
    Metric(
        "registration-error", registration_error, "lower", (0, inf), None, True,
        "pixels; length of the shift by cross-correlation of luma under a Hann window, sharpness made equal",
        library="skimage: metrics",
    ),
]  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def get_metric(name: str) -> Metric:
    """Look a metric up; `pyiqa:NAME` gives pyiqa's.

    Raises:
        MetricError: if there is none of that name, or it is of sets; the message lists what there is.
        MetricUnavailableError: if it is pyiqa's, and pyiqa is not installed.
    """
    if name.startswith("pyiqa:"):
        return pyiqa_metric(name.removeprefix("pyiqa:"))
    if name in SET_METRICS:
        raise MetricError(f"{name} is of a set of pictures, not of one: bench run has it, and metrics.{name}")
    if name not in METRICS:
        hint = did_you_mean(name, METRICS)
        raise MetricError(f"unknown metric {name!r}: known are {', '.join(METRICS)}, and pyiqa:NAME{hint}")
    return METRICS[name]


def as_loss(name: str) -> Callable[[Tensor], Tensor]:
    """A metric without reference as a loss: pictures (N, 3, H, W), 0..1, to a scalar that falls as they get better.

    It is the mean score, negated where higher is better, in the metric's own units.

    Args:
        name: `brisque`, the one of ours that is differentiable (PIQE and NIQE round and count), or `pyiqa:NAME` of
            a metric without reference; of networks such as `musiq` pyiqa gives the gradient.

    Raises:
        MetricError: if there is none of that name, or it has no gradient: it compares, rounds, or counts.
        MetricUnavailableError: if it is pyiqa's, and pyiqa is not installed; when called, if weights cannot
            be had.
    """
    metric = get_metric(name)
    if (mean := metric.mean) is None:
        there = ", ".join(own.name for own in METRICS.values() if own.mean)
        raise MetricError(f"{name} is no loss without reference: take {there}, or pyiqa:NAME of a network")
    sign = 1 if metric.direction == "lower" else -1
    return lambda pictures: sign * mean(pictures)


def available(names: Sequence[str], weights: str | Path | None = None) -> tuple[list[str], dict[str, str]]:
    """Load what metrics need, and tell which of them can be had here; the log says in one line each which cannot.

    Args:
        names: keys of `METRICS`, or `pyiqa:NAME`.
        weights: folder with the weights of the perceptual metrics; None downloads them.

    Returns:
        The names that can be computed, and the reason for each of the others.

    Raises:
        MetricError: if a name is unknown.
    """
    left_out: dict[str, str] = {}
    for name in names:
        try:
            _check_library(get_metric(name))
            for file in get_metric(name).weights:
                load_weights(file, Path(weights) if weights else None)
            if name.startswith("pyiqa:"):
                load_pyiqa(name.removeprefix("pyiqa:"))
        except MetricUnavailableError as error:
            left_out[name] = str(error)
            logger.warning("%s is left out: %s", name, error)
    return [name for name in names if name not in left_out], left_out


def _check_library(metric: Metric) -> None:
    module, _, extra = (metric.library or "").partition(": ")
    if module and find_spec(module) is None:
        raise MetricUnavailableError(f"{metric.name} needs {module}: pip install 'ggt-hub[{extra}]'")


def compute(
    names: Sequence[str], restored: Pictures, gt: Pictures | None = None, *, weights: str | Path | None = None
) -> dict[str, Scores]:
    """Score pictures by several metrics.

    Args:
        names: keys of `METRICS`, or `pyiqa:NAME`.
        restored: pictures to score; arrays or tensors as in `ggt_hub.metrics.pictures`.
        gt: their references; may be None where no metric needs them.
        weights: folder with the weights of the perceptual metrics; None downloads them at first use.

    Returns:
        For each name, in the order given, one float64 score for each picture.

    Raises:
        MetricError: if a name is unknown, a reference is needed and missing, or the pictures cannot be scored.
        MetricUnavailableError: if the weights or the library of a metric cannot be had.
    """
    scores: dict[str, Scores] = {}
    for name in names:
        metric = get_metric(name)
        if metric.needs_reference and gt is None:
            raise MetricError(f"{name} compares with a reference: give one, or ask for niqe, piqe or brisque")
        pictures = (restored, gt) if metric.needs_reference else (restored,)
        options = {"weights": weights} if metric.weights else {}
        scores[name] = metric.function(*pictures, **options)
    return scores
