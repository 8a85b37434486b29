"""The table of metrics: what each is called, computes and means."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Literal

from ggt_hub.errors import MetricError
from ggt_hub.metrics.niqe import niqe
from ggt_hub.metrics.pictures import Pictures, Scores
from ggt_hub.metrics.psnr import psnr
from ggt_hub.metrics.ssim import ms_ssim, ssim


@dataclass(frozen=True)
class Metric:
    """A metric and what a reader of its number must know.

    Attributes:
        name: what users type; it carries the protocol.
        function: takes pictures (and references, where `needs_reference`), gives one score for each.
        direction: whether higher or lower is better.
        range: the lowest and highest score possible.
        pyiqa: what pyiqa calls the same protocol, with its options; None if it has none.
        needs_reference: whether it compares with a reference.
        protocol: channels, range, window, border and rounding, in one line.
    """

    name: str
    function: Callable[..., Scores]
    direction: Literal["higher", "lower"]
    range: tuple[float, float]
    pyiqa: str | None
    needs_reference: bool
    protocol: str


_ALL = [
    Metric("psnr", psnr, "higher", (0, inf), "psnr", True, "dB; RGB, all channels together, no border cropped"),
    Metric(
        "psnr-y", partial(psnr, channels="y"), "higher", (0, inf), "psnry", True,
        "dB; luma 0..255 (BT.601), not rounded, no border cropped",
    ),
    Metric(
        "psnr-ycbcr", partial(psnr, channels="ycbcr"), "higher", (0, inf), "psnry(color_space=ycbcr)", True,
        "dB; luma 16..235 as MATLAB's rgb2ycbcr but not rounded, peak 255, no border cropped",
    ),
    Metric(
        "ssim", ssim, "higher", (-1, 1), "ssimc", True,
        "RGB, mean of channels; Gaussian window 11x11, sigma 1.5, wholly inside the picture; as scikit-image",
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
]  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def get_metric(name: str) -> Metric:
    """Look a metric up.

    Raises:
        MetricError: if there is none of that name; the message lists what there is.
    """
    if name not in METRICS:
        raise MetricError(f"unknown metric {name!r}: known are {', '.join(METRICS)}")
    return METRICS[name]


def compute(names: Sequence[str], restored: Pictures, gt: Pictures | None = None) -> dict[str, Scores]:
    """Score pictures by several metrics.

    Args:
        names: keys of `METRICS`.
        restored: pictures to score; arrays or tensors as in `ggt_hub.metrics.pictures`.
        gt: their references; may be None where no metric needs them.

    Returns:
        For each name, in the order given, one float64 score for each picture.

    Raises:
        MetricError: if a name is unknown, a reference is needed and missing, or the pictures cannot be scored.
    """
    metrics = [get_metric(name) for name in names]
    scores: dict[str, Scores] = {}
    for metric in metrics:
        if not metric.needs_reference:
            scores[metric.name] = metric.function(restored)
        elif gt is None:
            raise MetricError(f"{metric.name} compares with a reference: give one, or ask for niqe")
        else:
            scores[metric.name] = metric.function(restored, gt)
    return scores
