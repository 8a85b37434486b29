"""Small Gradio pages for metrics, as their Spaces show them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ggt_hub.errors import MetricError
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
            gt = None if reference is None else [np.asarray(reference)]
            if picture is None:
                raise MetricError("there is no picture: give one")
            scores = compute(chosen, [np.asarray(picture)], gt)
        except MetricError as error:
            raise gr.Error(str(error)) from error
        left_out = [name for name in chosen if name not in scores]
        return {name: round(float(values[0]), 6) for name, values in scores.items()} | (
            {"not available here": left_out} if left_out else {}
        )

    compares = any(name not in METRICS or METRICS[name].needs_reference for name in names)
    protocols = "\n".join(f"- **{name}**: {METRICS[name].protocol}" for name in names if name in METRICS)
    return gr.Interface(
        score,
        [
            gr.Image(type="pil", image_mode="RGB", height=300, label="picture"),
            gr.Image(type="pil", image_mode="RGB", height=300, label="reference", visible=compares),
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
            raise gr.Error("FS compares a result with its degraded input: give both pictures")
        rise = float(rs(before, after))
        try:
            distance = compute(["lpips"], [np.asarray(result)], [np.asarray(degraded)]).get("lpips")
        except MetricError as error:
            raise gr.Error(str(error)) from error
        if distance is None:
            return {"rs": rise, "not available here": ["lpips", "fs"]}
        return {
            "lpips": round(float(distance[0]), 6), "rs": rise, "fs": round(float(fs(distance[0], rise)), 6)
        }  # fmt: skip

    return gr.Interface(
        score,
        [
            gr.Image(type="pil", image_mode="RGB", height=300, label="result"),
            gr.Image(type="pil", image_mode="RGB", height=300, label="degraded input"),
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
