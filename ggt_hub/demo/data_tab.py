"""The tab Data: pairs of a data set, one at a time, low quality against ground truth."""

from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from datasets import Dataset, DatasetDict
from PIL import Image

from ggt_hub.data.pairs import PAIR_FEATURES, PICTURES, pair_row
from ggt_hub.data.reading.iterate import iter_pairs
from ggt_hub.data.reading.loading import load_dataset
from ggt_hub.demo.files import write_previews, write_result
from ggt_hub.demo.layout import end_when, first_of
from ggt_hub.demo.visitors import in_page
from ggt_hub.errors import DatasetError
from ggt_hub.images import encode_image, read_image
from ggt_hub.samples import load_samples
from ggt_hub.tasks import TASKS

ANY = "any"


def build(names: tuple[str, ...], tab: gr.Tab) -> None:
    """Lay out the tab and name its endpoint `/pair`; the first pair is fetched when the tab is opened."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            source = gr.Dropdown(list(names), value=names[0], label="Data set", elem_id="data-source")
            tasks = [("Any", ANY), *((task.replace("_", " ").capitalize(), task) for task in TASKS)]
            task = gr.Dropdown(tasks, value=ANY, label="Task", elem_id="data-task")
            position = gr.Number(1, label="Pair", precision=0, minimum=1, elem_id="data-position")
            with gr.Row():
                back = gr.Button("Previous", min_width=100, elem_id="data-back")
                forth = gr.Button("Next", min_width=100, variant="primary", elem_id="data-next")
        with gr.Column(scale=3, min_width=320):
            slider = gr.ImageSlider(
                label="Low quality | ground truth",
                format="png",
                interactive=False,
                buttons=["fullscreen"],
                max_height=560,
                elem_id="data-slider",
            )
            note = gr.Markdown(label="Note", elem_id="data-note")
    outputs, where = [slider, note, position], [source, task, position]

    def pair(source: str, task: str, position: int) -> tuple[tuple[Path, Path], str, int]:
        """Show one pair of a data set.

        Args:
            source: the data set.
            task: only pairs of this task, or "any".
            position: 1 for the first pair; beyond the last one it starts again.

        Returns:
            Both pictures for the slider, twice the same where there is no ground truth; what is known of the
            pair, in words; its position.
        """
        return _shown(source, task, int(position))

    shown = {"inputs": where, "outputs": outputs, "concurrency_limit": 2, "concurrency_id": "data"}
    inside = {**shown, "api_visibility": "private"}
    listeners = [position.submit, back.click, forth.click, source.input, task.input, tab.select]
    begun = [first_of(listen) for listen in listeners]
    runs = [
        position.submit(in_page(pair), **shown, api_name="pair"),
        back.click(in_page(lambda s, t, p: _shown(s, t, int(p) - 1)), **inside),
        forth.click(in_page(lambda s, t, p: _shown(s, t, int(p) + 1)), **inside),
        *(choice.input(in_page(lambda s, t, p: _shown(s, t, 1)), **inside) for choice in (source, task)),
        tab.select(in_page(pair), **inside),
    ]
    for event in begun:  # what was asked for last is what is shown
        end_when(event, runs)


def _shown(source: str, task: str, position: int) -> tuple[tuple[Path, Path], str, int]:
    rows = find_rows(source, task)
    index = (position - 1) % len(rows)
    found = next(iter(iter_pairs(load(source).select([int(rows[index])]), window=1)))
    there = {s: read_image(found[s], name=f"{found['id']}-{s}") for s in PICTURES if found[s] is not None}
    lq, gt = there.get("lq", there.get("gt")), there.get("gt", there.get("lq"))
    if lq is None or gt is None:
        raise DatasetError(f"the row {found['id']} holds no picture")
    previews = write_previews(lq, gt, write_result(gt, "shown"))
    return previews, f"**{index + 1} of {len(rows)}** · {_words(found)}", index + 1


def _words(pair: dict[str, Any]) -> str:
    height, width = (pair["gt"] if pair["lq"] is None else pair["lq"]).shape[:2]
    words = [
        f"`{pair['id']}`",
        (pair["task"] or "task unknown").replace("_", " "),
        f"{width} x {height} pixels",
    ]
    words.append(f"from {pair['source']}")
    missing = {"lq": "clean, not damaged yet", "gt": "no ground truth"}
    return " · ".join([*words, *(word for side, word in missing.items() if pair[side] is None)])


@cache
def load(source: str) -> Dataset:
    """The pairs of a data set, its first split; loaded at the first call."""
    if source == "samples":
        return _samples()
    found = load_dataset(source)
    return next(iter(found.values())) if isinstance(found, DatasetDict) else found


@cache
def find_rows(source: str, task: str) -> np.ndarray:
    """The numbers of the rows of a task.

    Raises:
        DatasetError: if there are none.
    """
    tasks = np.array(load(source).select_columns("task").with_format("arrow")[:]["task"].to_pylist(), object)
    rows = np.arange(len(tasks)) if task == ANY else np.flatnonzero(tasks == task)
    if not len(rows):
        known = ", ".join(sorted({str(name) for name in tasks if name})) or "none"
        raise DatasetError(f"{source} has no pairs of the task {task!r}: it has {known}")
    return rows


def _samples() -> Dataset:
    """The photographs of the package as pairs."""
    rows = [
        pair_row(
            sample.name,
            _as_file(sample.image),
            _as_file(sample.clean),
            source="the package's samples",
            task=sample.task,
            gt_sha256=None,
            lq_sha256=None,
        )
        for sample in load_samples()
        if sample.clean is not None
    ]
    return Dataset.from_list(rows, PAIR_FEATURES)


def _as_file(image: Image.Image) -> dict[str, Any]:
    return {"bytes": encode_image(read_image(image), ".png").data, "path": None}
