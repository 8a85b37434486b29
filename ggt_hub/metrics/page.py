"""Small Gradio pages for metrics, as their Spaces show them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ggt_hub.errors import GGTHubError, MetricError
from ggt_hub.images import read_image
from ggt_hub.metrics.fs import fs, rs
from ggt_hub.metrics.registry import METRICS, compute


def metric_page(title: str, names: Sequence[str]) -> Any:
    """Build the page: one or two pictures in, scores and their protocols out.

    Args:
        title: the page's heading.
        names: metrics that may be chosen.
    """
    import gradio as gr

    def score(picture: Any, reference: Any, chosen: list[str]) -> dict[str, Any]:
        try:
            if picture is None or not chosen:
                raise MetricError("there is no picture, or no metric: give one")
            gt = None if reference is None else [_pixels(reference)]
            scores = {name: float(compute([name], [_pixels(picture)], gt)[name][0]) for name in chosen}
        except GGTHubError as error:
            raise gr.Error(str(error)) from error
        return {
            name: round(value, 6) if math.isfinite(value) else "undefined" for name, value in scores.items()
        }

    compares = any(name not in METRICS or METRICS[name].needs_reference for name in names)
    protocols = "\n".join(f"- **{name}**: {METRICS[name].protocol}" for name in names if name in METRICS)
    return gr.Interface(
        score,
        [
            _picture("picture"),
            _picture("reference", visible=compares),
            gr.CheckboxGroup(list(names), value=list(names), label="metrics"),
        ],
        gr.JSON(label="scores"),
        title=title,
        description=protocols,
        flagging_mode="never",
        api_name="score",
    )


def _picture(label: str, *, visible: bool = True) -> Any:
    """A field for a file, which is read as everywhere here: with all its bits, upright."""
    import gradio as gr

    return gr.File(
        type="filepath", file_types=["image", ".tif", ".tiff", ".jxl", ".avif"], label=label, visible=visible
    )


def _pixels(path: Any) -> np.ndarray[Any, Any]:
    return read_image(path).pixels


def rating_page(title: str) -> Any:
    """Build the page of RS and FS: a result, its degraded input and their ratings in, scores out.

    Args:
        title: the page's heading.
    """
    import gradio as gr

    def score(result: Any, degraded: Any, before: float, after: float) -> dict[str, Any]:
        if result is None or degraded is None:
            raise gr.Error("FS compares a result with its degraded input: give both pictures")
        try:
            rise = float(rs(before, after))
            pictures = [[_pixels(path)] for path in (result, degraded)]
            distance = compute(["lpips"], *pictures)["lpips"]
        except GGTHubError as error:
            raise gr.Error(str(error)) from error
        return {
            "lpips": round(float(distance[0]), 6), "rs": rise, "fs": round(float(fs(distance[0], rise)), 6)
        }  # fmt: skip

    return gr.Interface(
        score,
        [
            _picture("result"),
            _picture("degraded input"),
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
