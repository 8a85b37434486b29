"""A small Gradio page for a metric, as its Space shows it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ggt_hub.errors import MetricError
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
            gr.Image(type="pil", image_mode="RGB", label="picture"),
            gr.Image(type="pil", image_mode="RGB", label="reference", visible=compares),
            gr.CheckboxGroup(list(names), value=list(names), label="metrics"),
        ],
        gr.JSON(label="scores"),
        title=title,
        description=protocols,
        flagging_mode="never",
        api_name="score",
    )
