"""The tab Restore: a photograph in, a restored one out, with a slider between them."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ggt_hub.demo.examples import Examples
from ggt_hub.demo.files import write_previews, write_result
from ggt_hub.demo.jobs import Progress
from ggt_hub.demo.layout import empty_when, enable_when_done, end_when, first_of, show_when_done
from ggt_hub.demo.restorers import DEFAULT_STEPS, Request, Restored, Restorer
from ggt_hub.demo.visitors import check_given, in_page, photograph, tell_what_is_left
from ggt_hub.images import Picture
from ggt_hub.pipelines import describe_findings

ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "restorer"}
"""For all events that run a model: they wait for each other, others do not wait for them."""


@dataclass(frozen=True)
class Controls:
    """The inputs of a restoration, in the order in which `/restore` takes them."""

    photo: gr.Image
    task: gr.Dropdown
    model: gr.Dropdown
    strength: gr.Slider
    upscale: gr.Radio
    steps: gr.Slider
    seed: gr.Number

    def __iter__(self) -> Any:
        return iter(vars(self).values())


@dataclass(frozen=True)
class Entry:
    """Where another tab may put a picture.

    Attributes:
        photo: where the picture goes.
        renew: called with a listener (`button.click`) of what puts one there: it takes away what was of the last.
    """

    photo: gr.Image
    renew: Callable[[Callable[..., Any]], None]


def build(restorers: dict[str, Restorer], examples: Examples, max_megapixels: float) -> Entry:
    """Lay out the tab and name its endpoint `/restore`."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            controls = _controls(restorers, max_megapixels)
            with gr.Row():
                button = gr.Button(
                    "Restore", variant="primary", size="lg", scale=3, min_width=160, elem_id="restore-button"
                )
                stop = gr.Button("Stop", size="lg", scale=1, min_width=90, elem_id="restore-stop")
            gr.Markdown("Or try one of these", elem_classes="examples-title")
            samples = examples.component()
        with gr.Column(scale=3, min_width=320):
            slider = gr.ImageSlider(
                label="Before | after",
                format="png",
                interactive=False,
                buttons=["fullscreen"],
                max_height=560,
                elem_id="restore-slider",
            )
            with gr.Row(equal_height=True):
                note = gr.Markdown(label="Note", elem_id="restore-note")
                download = gr.DownloadButton(
                    "Download PNG", interactive=False, scale=0, min_width=180, elem_id="restore-download"
                )
    outputs = [slider, download, note]

    def restore(
        photo: Picture | None,
        task: str,
        model: str,
        strength: float,
        upscale: int,
        steps: int,
        seed: int,
        progress: Progress = gr.Progress(),  # noqa: B008 - what Gradio looks for
    ) -> tuple[tuple[Path, Path], Path, str]:
        """Restore a photograph.

        Args:
            photo: the photograph; JPEG, PNG, WebP, TIFF, AVIF, BMP or GIF.
            task: what is wrong with it; "automatic" leaves that to the model.
            model: the name of the model.
            strength: 0 (as it is) to 1 (fully restored); for models without it, 1.
            upscale: enlarge by this factor.
            steps: for models that work in steps; others ignore it.
            seed: for models that draw random numbers: same seed, same picture.
            progress: what the page shows meanwhile.

        Returns:
            Both pictures for the slider; the restored picture as a lossless PNG; time and findings in words.
        """
        picture, request = check_given(photo), Request(task, strength, upscale, int(steps), int(seed))
        restored = restorers[model].restore(picture, request, progress)
        file = write_result(restored.picture, "restored")
        previews = write_previews(picture, restored.picture, file)
        return previews, file, _words(restored)

    run = {"fn": in_page(restore), "inputs": list(controls), "outputs": outputs, **ONE_AT_A_TIME}
    clicked, picked = first_of(button.click), first_of(samples.click)
    by_button = button.click(**run, api_name="restore")
    chosen = samples.click(
        examples.load,
        samples,
        [controls.photo, controls.task],
        js="(example) => ggt.example(example)",
        queue=False,
        api_visibility="private",
    )
    by_example = chosen.success(**run, api_visibility="private")
    runs = [by_button, by_example]
    end_when(picked, runs)
    end_when(clicked, [by_example])
    end_when(first_of(stop.click), runs)
    for restored in runs:
        enable_when_done(restored, download)
        show_when_done(restored, "restore-slider")

    def renew(listen: Callable[..., Any]) -> None:
        empty_when([listen], "() => ggt.newPhoto()", [], [*outputs, controls.task], runs)

    for listen in (controls.photo.upload, controls.photo.clear, controls.photo.input):
        renew(listen)
    controls.task.input(None, js="() => ggt.chooseTask()", queue=False, api_visibility="private")
    # A bad file is told at once: the server reads the picture for this, and does nothing with it.
    controls.photo.upload(tell_what_is_left, controls.photo, None, api_visibility="private")
    return Entry(controls.photo, renew)


def _controls(restorers: dict[str, Restorer], max_megapixels: float) -> Controls:
    first = next(iter(restorers.values()))
    photo = photograph(
        max_megapixels,
        label="Photograph",
        sources=["upload", "webcam", "clipboard"],
        height=320,
        buttons=["fullscreen"],
        elem_id="restore-photo",
    )
    with gr.Row():
        task = gr.Dropdown(
            task_choices(first),
            value=first.tasks[0],
            label="What is wrong?",
            min_width=140,
            elem_id="restore-task",
        )
        model = gr.Dropdown(
            list(restorers), value=first.name, label="Model", min_width=140, visible=len(restorers) > 1
        )
    with gr.Accordion("More settings", open=False):
        strength = gr.Slider(0, 1, value=1, step=0.05, label="Strength", visible=first.has_strength)
        upscale = gr.Radio(upscale_choices(first), value=1, label="Enlarge")
        steps = gr.Slider(4, 50, value=DEFAULT_STEPS, step=1, label="Steps", visible=first.has_steps)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**32 - 1, info=_seed_info(first))
    model.change(
        lambda name: _adapted(restorers[name]),
        model,
        [task, strength, upscale, steps, seed],
        queue=False,
        api_visibility="private",
    )
    return Controls(photo, task, model, strength, upscale, steps, seed)


def _adapted(restorer: Restorer) -> tuple[Any, ...]:
    """The controls, as this model understands them."""
    return (
        gr.Dropdown(task_choices(restorer), value=restorer.tasks[0]),
        gr.Slider(value=1, visible=restorer.has_strength),
        gr.Radio(upscale_choices(restorer), value=1),
        gr.Slider(visible=restorer.has_steps),
        gr.Number(info=_seed_info(restorer)),
    )


def _seed_info(restorer: Restorer) -> str:
    return "Same seed, same picture." if restorer.has_steps else "This model draws no random numbers."


def task_choices(restorer: Restorer) -> list[tuple[str, str]]:
    """What people read, and what the model is told, for each task."""
    return [(task.replace("_", " ").capitalize(), task) for task in restorer.tasks]


def upscale_choices(restorer: Restorer) -> list[tuple[str, int]]:
    """What people read, and the factor."""
    return [("no" if factor == 1 else f"{factor}x", factor) for factor in restorer.pipe.description.upscales]


def _words(restored: Restored) -> str:
    width, height = restored.picture.size
    words = [f"**Restored in {restored.seconds:.1f} s**", f"{width} x {height} pixels"]
    if restored.findings:
        words.append(describe_findings(restored.findings))
    if restored.picture.left_behind:
        words.append("not used: " + html.escape("; ".join(restored.picture.left_behind), quote=False))
    return " · ".join(words)
