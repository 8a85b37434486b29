"""The tab Degrade: a clean photograph in, a damaged one out, and on to Restore."""

import json
from pathlib import Path

import gradio as gr

from ggt_hub.degradations import FAMILIES, Preset, degrade, list_presets, load_presets
from ggt_hub.demo.examples import Examples
from ggt_hub.demo.files import write_result
from ggt_hub.demo.layout import empty_when, enable_when_done, end_when, first_of, show_when_done
from ggt_hub.demo.restore_tab import PhotoSlot
from ggt_hub.demo.visitors import check_given, in_page, photograph, tell_what_is_left
from ggt_hub.images import Picture


def build(examples: Examples, max_megapixels: float, tabs: gr.Tabs, restore: PhotoSlot) -> None:
    """Lay out the tab and name its endpoint `/degrade`."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            photo = photograph(
                max_megapixels,
                label="Clean photograph",
                sources=["upload", "clipboard"],
                height=320,
                elem_id="degrade-photo",
            )
            damage = gr.Dropdown(_choices(), value="mixture", label="Damage", elem_id="degrade-damage")
            severity = gr.Slider(0, 1, value=0.5, step=0.05, label="Severity")
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**32 - 1)
            button = gr.Button("Degrade", variant="primary", size="lg", elem_id="degrade-button")
            gr.Markdown("Or start from one of these", elem_classes="examples-title")
            samples = examples.component(lambda sample: sample.clean is not None)
        with gr.Column(scale=3, min_width=320):
            result = gr.Image(
                label="Damaged",
                format="png",
                type="filepath",
                interactive=False,
                buttons=["download", "fullscreen"],
                height=480,
                elem_id="degrade-result",
            )
            send = gr.Button("Send to Restore", interactive=False, elem_id="degrade-send")
            with gr.Accordion("Record", open=False):
                record = gr.Code(language="json", show_label=False, interactive=False, label="Record")

    def damaged(photo: Picture | None, damage: str, severity: float, seed: int) -> tuple[Path, str]:
        """Damage a clean photograph.

        Args:
            photo: the photograph.
            damage: a family of damage, a chain of them, or "NAME: TASK" of chains for several tasks.
            severity: 0 (mildest; of a family alone: none) to 1 (worst).
            seed: same picture, damage, severity and seed: same picture again.

        Returns:
            The damaged picture as a PNG, and the record (JSON) that gives the same picture again.
        """
        preset, _, task = damage.partition(": ")
        picture, done = degrade(
            check_given(photo), preset, task=task or None, severity=severity, seed=int(seed)
        )
        return write_result(picture, damage.replace(": ", "-")), json.dumps(done, indent=1)

    run = {
        "fn": in_page(damaged),
        "inputs": [photo, damage, severity, seed],
        "outputs": [result, record],
    }
    clicked, picked = first_of(button.click), first_of(samples.click)
    by_button = button.click(**run, api_name="degrade")
    chosen = samples.click(
        lambda clicked: examples.clean(examples.find(clicked)),
        samples,
        photo,
        queue=False,
        api_visibility="private",
    )
    by_example = chosen.success(**run, api_visibility="private")
    runs = [by_button, by_example]
    end_when(picked, runs)
    end_when(clicked, [by_example])
    for damaged_one in runs:
        enable_when_done(damaged_one, send)
        show_when_done(damaged_one, "degrade-result")
    listeners = (photo.upload, photo.clear)
    empty_when(listeners, "() => ggt.newClean()", [], [result, send, record], runs)
    photo.upload(tell_what_is_left, photo, None, api_visibility="private")
    restore.renew(send.click)
    send.click(
        lambda path: (path, gr.Tabs(selected="restore")),
        result,
        [restore.photo, tabs],
        queue=False,
        api_visibility="private",
    )


def _choices() -> list[tuple[str, str]]:
    """Families by their names, chains marked as such; one for each task of a preset that has several."""
    presets = [load_presets(name) for name in list_presets()]
    return [_choice(preset, len(of_name) > 1) for of_name in presets for preset in of_name]


def _choice(preset: Preset, is_one_of_several: bool) -> tuple[str, str]:
    value = f"{preset.name}: {preset.task}" if is_one_of_several else preset.name
    return value.replace("_", " ").capitalize() + ("" if preset.name in FAMILIES else " (a chain)"), value
