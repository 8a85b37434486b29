"""Small Gradio pages for metrics, as their Spaces show them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ggt_hub.errors import GGTHubError, MetricError
from ggt_hub.images import read_image
from ggt_hub.metrics.fs import fs, rs
from ggt_hub.metrics.of_sets import SET_METRICS
from ggt_hub.metrics.registry import METRICS, compute

MAX_PIXELS = 16_000_000
MAX_FILE = "50mb"


def metric_page(title: str, names: Sequence[str]) -> Any:
    """Build the page: one or two pictures in, scores and their protocols out.

    Args:
        title: the page's heading.
        names: metrics that may be chosen.
    """
    import gradio as gr

    def score(picture: Any, reference: Any, chosen: list[str]) -> dict[str, Any]:
        try:
            gt = None if reference is None else [_pixels(reference)]
            if picture is None:
                raise MetricError("there is no picture: give one")
            if not chosen:
                raise MetricError("no metric is chosen: choose one")
            scores = {name: float(compute([name], [_pixels(picture)], gt)[name][0]) for name in chosen}
        except GGTHubError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return {
            name: round(value, 6) if math.isfinite(value) else "undefined" for name, value in scores.items()
        }

    compares = any(name not in METRICS or METRICS[name].needs_reference for name in names)
    protocols = "\n".join(f"- **{name}**: {METRICS[name].protocol}" for name in names if name in METRICS)
    return gr.Interface(
        score,
        [
            gr.Image(type="filepath", image_mode=None, height=300, label="picture"),
            gr.Image(type="filepath", image_mode=None, height=300, label="reference", visible=compares),
            gr.CheckboxGroup(list(names), value=list(names), label="metrics"),
        ],
        gr.JSON(label="scores"),
        title=title,
        description=protocols,
        flagging_mode="never",
        api_name="score",
    )


def rating_page(title: str) -> Any:
    """Build the page of RS and FS: a result, its degraded input and their ratings in, scores out.

    Args:
        title: the page's heading.
    """
    import gradio as gr

    def score(result: Any, degraded: Any, before: float, after: float) -> dict[str, Any]:
        if result is None or degraded is None:
            raise gr.Error("FS compares a result with its degraded input: give both", print_exception=False)
        try:
            rise = float(rs(before, after))
            distance = compute(["lpips"], [_pixels(result)], [_pixels(degraded)])["lpips"]
        except GGTHubError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return {
            "lpips": round(float(distance[0]), 6), "rs": rise, "fs": round(float(fs(distance[0], rise)), 6)
        }  # fmt: skip

    return gr.Interface(
        score,
        [
            gr.Image(type="filepath", image_mode=None, height=300, label="result"),
            gr.Image(type="filepath", image_mode=None, height=300, label="degraded input"),
            gr.Slider(1, 5, step=1, value=2, label="rating of the degraded input"),
            gr.Slider(1, 5, step=1, value=4, label="rating of the result"),
        ],
        gr.JSON(label="scores"),
        title=title,
        description="RS is the rise of a judge's rating (1 extreme, 5 none of the degradation); "
        "FS is 0.2 x RS x (1 - LPIPS between result and degraded input).",
        flagging_mode="never",
        api_name="score",
    )


def set_page(title: str) -> Any:
    """Build the page of metrics of sets: two sets of files in, distances and their protocols out.

    Args:
        title: the page's heading.
    """
    import gradio as gr

    def score(restored: list[str] | None, gt: list[str] | None) -> dict[str, Any]:
        try:
            metrics = [metric() for metric in SET_METRICS.values()]
            for metric in metrics:
                for picture in restored or []:
                    metric.update([_pixels(picture)], [])
                for picture in gt or []:
                    metric.update([], [_pixels(picture)])
            return {metric.name: round(metric.compute(), 6) for metric in metrics}
        except GGTHubError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return gr.Interface(
        score,
        [
            gr.File(file_count="multiple", label="restored pictures"),
            gr.File(file_count="multiple", label="pictures as they should be"),
        ],
        gr.JSON(label="distances"),
        title=title,
        description="\n".join(f"- **{name}**: {metric.protocol}" for name, metric in SET_METRICS.items()),
        flagging_mode="never",
        api_name="score",
    )


def launch(page: Any) -> None:
    """Serve such a page, with a limit on what is uploaded."""
    page.launch(max_file_size=MAX_FILE)


def _pixels(source: Any) -> np.ndarray:
    """The pixels of an uploaded file in their whole depth, as the command line reads them; RGB, alpha left out.

    Raises:
        ImageError: if it is no picture, or too large.
    """
    name = Path(source).name if isinstance(source, str) else None  # a path of the server says nothing
    picture = read_image(source, name=name, max_pixels=MAX_PIXELS)
    return np.repeat(picture.pixels, 3, axis=2) if picture.is_grey else picture.pixels
