"""The tab Compare: one photograph, several models or settings, side by side with scores."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ggt_hub import metrics
from ggt_hub.demo.examples import Examples
from ggt_hub.demo.files import write_result
from ggt_hub.demo.jobs import Progress
from ggt_hub.demo.layout import empty_when, end_when, first_of, show_when_done
from ggt_hub.demo.restore_tab import ONE_AT_A_TIME, task_choices
from ggt_hub.demo.restorers import AUTOMATIC, Request, Restorer
from ggt_hub.demo.visitors import check_given, in_page, photograph, tell_what_is_left
from ggt_hub.errors import DemoError, MetricError
from ggt_hub.images import Picture
from ggt_hub.images.picture import to_eight_bits

MAX_RESULTS = 6
SCORES = {"psnr": ("PSNR (dB) ↑", 2), "ssim": ("SSIM ↑", 3), "niqe": ("NIQE ↓", 2)}
"""The metrics, with what people read and the digits that are worth reading."""

COLUMNS = ["Result", *(title for title, _ in SCORES.values()), "Seconds"]


def build(restorers: dict[str, Restorer], examples: Examples, max_megapixels: float) -> None:
    """Lay out the tab and name its endpoint `/compare`."""
    first = next(iter(restorers.values()))
    options = {"sources": ["upload", "clipboard"], "height": 240}
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            with gr.Row():
                photo = photograph(
                    max_megapixels, label="Photograph", min_width=150, elem_id="compare-photo", **options
                )
                clean = photograph(
                    max_megapixels,
                    label="Clean (if there is one)",
                    min_width=150,
                    elem_id="compare-clean",
                    **options,
                )
            models = gr.CheckboxGroup(
                list(restorers), value=list(restorers), label="Models", visible=len(restorers) > 1
            )
            tasks = gr.Dropdown(
                task_choices(first), value=[AUTOMATIC], label="Told that it is", multiselect=True
            )
            strengths = gr.CheckboxGroup(
                [0.25, 0.5, 0.75, 1.0], value=[0.5, 1.0], label="Strength", visible=_by_halves(first)
            )
            with gr.Row():
                button = gr.Button(
                    "Compare", variant="primary", size="lg", scale=3, min_width=160, elem_id="compare-button"
                )
                stop = gr.Button("Stop", size="lg", scale=1, min_width=90, elem_id="compare-stop")
            gr.Markdown("Or try one of these", elem_classes="examples-title")
            samples = examples.component(lambda sample: sample.clean is not None)
        with gr.Column(scale=3, min_width=320):
            gallery = gr.Gallery(
                label="Side by side",
                format="png",
                columns=2,
                object_fit="contain",
                height="auto",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="compare-gallery",
            )
            table = gr.Dataframe(headers=COLUMNS, label="Scores", interactive=False, elem_id="compare-table")

    def compare(
        photo: Picture | None,
        models: list[str],
        tasks: list[str],
        strengths: list[float],
        clean: Picture | None = None,
        progress: Progress = gr.Progress(),  # noqa: B008 - what Gradio looks for
    ) -> tuple[list[tuple[Path, str]], list[list[Any]]]:
        """Restore one photograph in several ways.

        Args:
            photo: the photograph.
            models: names of models.
            tasks: what they are told.
            strengths: 0 (as it is) to 1 (fully restored).
            clean: the same picture undamaged, if there is one: then PSNR and SSIM are computed against it.
            progress: what the page shows meanwhile.

        Returns:
            The pictures with their captions, the unrestored one first; the table of scores.
        """
        picture = check_given(photo)
        wanted = combinations([restorers[name] for name in models], tasks, strengths)
        if clean is not None and clean.size != picture.size:
            raise DemoError("the clean picture has another size: give both in the same size")
        entries, rows = [("before", picture)], [["before", *_scores(picture, clean), None]]
        for number, (caption, restorer, request) in enumerate(wanted):
            restored = restorer.restore(picture, request, _part_of(progress, number, len(wanted)))
            entries.append((caption, restored.picture))
            rows.append([caption, *_scores(restored.picture, clean), round(restored.seconds, 1)])
        return [(write_result(image, "compared"), caption) for caption, image in entries], rows

    run = {
        "fn": in_page(compare),
        "inputs": [photo, models, tasks, strengths, clean],
        "outputs": [gallery, table],
        **ONE_AT_A_TIME,
    }
    clicked, picked = first_of(button.click), first_of(samples.click)
    by_button = button.click(**run, api_name="compare")
    chosen = samples.click(
        lambda clicked: (examples.poor(found := examples.find(clicked)), examples.clean(found)),
        samples,
        [photo, clean],
        js="(example) => ggt.examplePair(example)",
        queue=False,
        api_visibility="private",
    )
    by_example = chosen.success(**run, api_visibility="private")
    runs = [by_button, by_example]
    end_when(picked, runs)
    end_when(clicked, [by_example])
    end_when(first_of(stop.click), runs)
    for compared in runs:
        show_when_done(compared, "compare-gallery")
    empty_when([photo.upload], "(clean) => ggt.newPhotoOfPair(clean)", [clean], [clean, gallery, table], runs)
    empty_when([photo.clear], "() => ggt.noPhotoOfPair()", [], [clean, gallery, table], runs)
    empty_when((clean.upload, clean.clear), "() => [null, null]", [], [gallery, table], runs)
    for given in (photo, clean):
        given.upload(tell_what_is_left, given, None, api_visibility="private")


def _part_of(progress: Progress, number: int, count: int) -> Progress:
    """Progress within one of several results."""

    def tell(share: float, desc: str) -> None:
        progress((number + share) / count, desc=f"result {number + 1} of {count}: {desc}")

    progress(number / count, desc=f"result {number + 1} of {count}")
    return tell


def combinations(
    models: Sequence[Restorer], tasks: Sequence[str], strengths: Sequence[float]
) -> list[tuple[str, Restorer, Request]]:
    """Every model with every task and strength, with a caption; a model without strength is there once.

    Raises:
        DemoError: if there are none, or too many to wait for.
    """
    made = [
        (_caption(model, task, told), model, Request(task, options=told))
        for model in models
        for task, told in product(tasks, [{"strength": s} for s in strengths] if _by_halves(model) else [{}])
    ]
    if not 1 <= len(made) <= MAX_RESULTS:
        raise DemoError(f"this asks for {len(made)} results: choose 1 to {MAX_RESULTS}")
    return made


def _by_halves(model: Restorer) -> bool:
    """Whether a model can restore by halves."""
    return "strength" in model.options


def _caption(model: Restorer, task: str, options: Mapping[str, float]) -> str:
    return ", ".join(
        [model.name, task.replace("_", " "), *(f"{name} {value:g}" for name, value in options.items())]
    )


def _scores(picture: Picture, clean: Picture | None) -> list[float | None]:
    """Scores by the names in `SCORES`; None where one needs a clean picture, or a larger one."""
    scores: list[float | None] = []
    for name, (_, digits) in SCORES.items():
        if metrics.METRICS[name].needs_reference and clean is None:
            scores.append(None)
            continue
        reference = None if clean is None else [_eight_bits(clean)]
        try:
            score = metrics.compute([name], [_eight_bits(picture)], reference)[name][0]
            scores.append(round(float(score), digits))
        except MetricError:  # NIQE needs 192 pixels a side
            scores.append(None)
    return scores


def _eight_bits(picture: Picture) -> np.ndarray:
    pixels = picture.pixels if picture.pixels.dtype == np.uint8 else to_eight_bits(picture.pixels)
    return np.repeat(pixels, 3, axis=2) if picture.is_grey else pixels
