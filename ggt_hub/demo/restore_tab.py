"""The tab Restore: a photograph in, a restored one out, with a slider between them."""

import html
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from ggt_hub.demo.examples import Examples
from ggt_hub.demo.files import write_previews, write_result
from ggt_hub.demo.layout import empty_when, enable_when_done, end_when, first_of, show_when_done
from ggt_hub.demo.restorers import STEPS, Request, Restored, Restorer
from ggt_hub.demo.visitors import check_given, in_page, photograph, tell_what_is_left
from ggt_hub.images import Picture
from ggt_hub.pipelines import Option, describe_findings

ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "restorer"}
"""For all events that run a model: they wait for each other, others do not wait for them."""


@dataclass(frozen=True)
class Controls:
    """The inputs of a restoration, in the order in which `/restore` takes them."""

    photo: gr.Image
    task: gr.Dropdown
    model: gr.Dropdown
    upscale: gr.Radio
    seed: gr.Number
    options: dict[str, gr.Slider]

    def __iter__(self) -> Iterator[Component]:
        return iter((self.photo, self.task, self.model, self.upscale, self.seed, *self.options.values()))


@dataclass(frozen=True)
class PhotoSlot:
    """Where another tab may put a picture.

    Attributes:
        photo: where the picture goes.
        renew: called with a listener (`button.click`) of what puts one there: it takes away what was of the last.
    """

    photo: gr.Image
    renew: Callable[[Callable[..., Any]], None]


def build(restorers: dict[str, Restorer], examples: Examples, max_megapixels: float) -> PhotoSlot:
    """Lay out the tab and name its endpoint `/restore`."""
    offered = sliders(restorers)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            controls = _controls(restorers, offered, max_megapixels)
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
        upscale: int,
        seed: int,
        *rest: Any,
    ) -> tuple[tuple[Path, Path], Path, str]:
        """Restore a photograph.

        Args:
            photo: the photograph; JPEG, PNG, WebP, TIFF, AVIF, BMP or GIF.
            task: what is wrong with it; "automatic" leaves that to the model.
            model: the name of the model.
            upscale: enlarge by this factor.
            seed: for models that draw random numbers: same seed, same picture.
            *rest: the options of the models, and what the page shows meanwhile.

        Returns:
            Both pictures for the slider; the restored picture as a lossless PNG; time and findings in words.
        """
        *values, progress = rest
        chosen = restorers[model]
        told = told_options(chosen, offered, dict(zip(controls.options, values, strict=True)))
        picture, request = check_given(photo), Request(task, upscale, int(seed), told)
        restored = chosen.restore(picture, request, progress)
        file = write_result(restored.picture, "restored")
        previews = write_previews(picture, restored.picture, file)
        return previews, file, _words(restored)

    _name_parameters(restore, list(controls.options))
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
    return PhotoSlot(controls.photo, renew)


def sliders(restorers: dict[str, Restorer]) -> dict[str, Option]:
    """What the sliders of the page stand for: for all models; the first that has an option says its range."""
    found: dict[str, Option] = {}
    for model in restorers.values():
        found |= {name: option for name, option in model.sliders.items() if name not in found}
    return found


def _name_parameters(function: Callable[..., Any], options: list[str]) -> None:
    """Give what a function takes beyond its own parameters the names of the options, for whoever calls the page."""
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    kind, progress = inspect.Parameter.POSITIONAL_OR_KEYWORD, gr.Progress()
    further = [inspect.Parameter(name, kind) for name in options]
    last = inspect.Parameter("progress", kind, default=progress)  # what Gradio looks for
    function.__signature__ = signature.replace(parameters=[*own, *further, last])  # type: ignore[attr-defined]


def _controls(restorers: dict[str, Restorer], offered: dict[str, Option], max_megapixels: float) -> Controls:
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
        options = {name: _slider(name, option, name in first.sliders) for name, option in offered.items()}
        upscale = gr.Radio(upscale_choices(first), value=1, label="Enlarge")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**32 - 1, info=_seed_info(first))
    model.change(
        lambda name: _adapted(restorers[name], offered),
        model,
        [task, upscale, seed, *options.values()],
        queue=False,
        api_visibility="private",
    )
    return Controls(photo, task, model, upscale, seed, options)


def _slider(name: str, option: Option, visible: bool) -> gr.Slider:
    """The slider of an option that has one."""
    lowest, highest, step = option.slider  # type: ignore[misc]
    label, info = name.replace("_", " ").capitalize(), option.help[:1].upper() + option.help[1:]
    return gr.Slider(lowest, highest, _start(option), step=step, label=label, info=info, visible=visible)


def _start(option: Option) -> Any:
    """Where the slider of an option begins: for None at its lowest place."""
    return option.slider[0] if option.default is None else option.default  # type: ignore[index]


def told_options(restorer: Restorer, offered: dict[str, Option], values: dict[str, Any]) -> dict[str, Any]:
    """What the sliders of the page tell a model; of options that it lacks only what somebody has moved.

    Args:
        restorer: the model.
        offered: what the sliders stand for, as `sliders` says it.
        values: where they are.
    """
    own = restorer.sliders
    return {
        name: asked(own.get(name, offered[name]), value)
        for name, value in values.items()
        if name in own or value != _start(offered[name])
    }


def asked(option: Option, value: Any) -> Any:
    """What a place of the slider means; one beyond its ends, such as where another model's begins, is no wish."""
    lowest, highest, _ = option.slider  # type: ignore[misc]
    if option.default is None and value == lowest:
        return None
    return value if value is None or lowest <= value <= highest else option.default


def _adapted(restorer: Restorer, offered: dict[str, Option]) -> tuple[Any, ...]:
    """The controls, as this model understands them."""
    return (
        gr.Dropdown(task_choices(restorer), value=restorer.tasks[0]),
        gr.Radio(upscale_choices(restorer), value=1),
        gr.Number(info=_seed_info(restorer)),
        *(
            _slider(name, restorer.sliders.get(name, option), name in restorer.sliders)
            for name, option in offered.items()
        ),
    )


def _seed_info(restorer: Restorer) -> str:
    return "Same seed, same picture." if STEPS in restorer.options else "This model draws no random numbers."


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
