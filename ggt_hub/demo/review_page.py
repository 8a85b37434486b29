"""The page on which people label the candidates of a run: a slider, a few keys, and nothing that gives hints.

It shows neither what was measured nor a prompt, a verdict or who has drawn a candidate.
"""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import gradio as gr

from ggt_hub.curation.review import Review
from ggt_hub.demo.looker import SCRIPT, free_when_done, key_button, under_slider, words
from ggt_hub.demo.serving import serving_page, until_told
from ggt_hub.demo.settings import Settings
from ggt_hub.demo.visitors import Page, in_page
from ggt_hub.errors import DemoError

_HEADER = """# Is this the photograph, restored?
Keep what could be the truth: the damage is gone, and nothing was added, lost or changed."""

_HELP = """Drag the slider, or hold X to see the photograph alone. Wheel, double click or Z zoom, dragging moves.
Labels are kept at once; go back to change one."""

_LABELS = {
    "k": ("Keep", "keep", ""),
    "d": ("Damage left", "refuse", "D"),
    "f": ("Unfaithful", "refuse", "F"),
    "b": ("Both", "refuse", "DF"),
    "r": ("Other", "refuse", ""),
    "u": ("Unsure", "unsure", ""),
}
"""What the buttons say, and what that is as a label and fault, by their keys."""

_STEPS = {"arrowleft": ("Back", -1), "arrowright": ("Next", 1)}


def launch_review(review: Review, settings: Settings, **options: Any) -> None:
    """Serve the page until interrupted or told to terminate; arguments as of `serving_review`."""
    with until_told(), serving_review(review, settings, **options) as page:
        page.block_thread()


def serving_review(review: Review, settings: Settings, **options: Any) -> AbstractContextManager[Page]:
    """Serve the page within a `with`, to as many reviewers as come.

    Args:
        review: what is shown and said.
        settings: by which names the server may be called.
        **options: `server_name`, `server_port`, `inbrowser` and others of `gradio.Blocks.launch`.
    """
    return serving_page(lambda _: _build(review), settings, SCRIPT, **options)


def _build(review: Review) -> Page:
    with Page(title="ggt-hub review", analytics_enabled=False) as page:
        gr.Markdown(_HEADER, elem_id="header")
        with gr.Row(equal_height=True, elem_id="who") as who:
            name = gr.Textbox(label="Your name", scale=3, max_length=80, elem_id="reviewer", autofocus=True)
            start = gr.Button("Start", variant="primary", min_width=110, elem_id="start")
        with gr.Column(visible=False) as desk:
            viewer = gr.HTML(words(""), elem_id="viewer")
            note = gr.Markdown(elem_id="note")
            place = gr.Number(-1, precision=0, visible="hidden")
            with gr.Row():
                labels = {
                    key: key_button(key, text, variant="primary" if key == "k" else "secondary")
                    for key, (text, _, _) in _LABELS.items()
                }
            with gr.Row():
                steps = {key: key_button(key, text) for key, (text, _) in _STEPS.items()}
            gr.Markdown(_HELP, elem_classes="credits")
        shown = [viewer, note, place]
        private: dict[str, Any] = {"queue": False, "api_visibility": "private"}

        def begin(name: str) -> tuple[Any, ...]:
            reviewer = name.strip()
            if not reviewer:
                raise DemoError("write your name first: labels are kept under it")
            return (
                gr.Row(visible=False),
                gr.Column(visible=True),
                *_shown(review, reviewer, review.first(reviewer)),
            )

        for begun in (start.click, name.submit):
            begun(in_page(begin), name, [who, desk, *shown], **private)
        for key, button in labels.items():
            free_when_done(
                button.click(in_page(partial(_label, review, key)), [name, place], shown, **private)
            )
        for key, button in steps.items():
            free_when_done(
                button.click(in_page(partial(_step, review, key)), [name, place], shown, **private)
            )
    return page


def _label(review: Review, key: str, name: str, place: int) -> tuple[str, str, int]:
    """Keep what a button says of the picture at a place, and go on."""
    reviewer, (_, label, fault) = name.strip(), _LABELS[key]
    if _is_place(review, reviewer, place):
        review.say(reviewer, place, label, fault)
    return _step(review, "arrowright", name, place)


def _step(review: Review, key: str, name: str, place: int) -> tuple[str, str, int]:
    reviewer, step = name.strip(), _STEPS[key][1]
    found = review.beside(reviewer, place, step)
    if found is None:
        found = review.first(reviewer) if step > 0 else place
    return _shown(review, reviewer, found)


def _shown(review: Review, reviewer: str, place: int | None) -> tuple[str, str, int]:
    """What the page shows of a place: the pictures, a note, and the place itself."""
    given, wanted = review.progress(reviewer)
    note = f"{reviewer}: {given} labelled, {wanted} to go."
    if place is None or not _is_place(review, reviewer, place):
        return words("Nothing is left for you. Thank you!"), note, len(review.order(reviewer))
    if (label := review.said(reviewer, place)) is not None:
        told = next(text for text, *what in _LABELS.values() if what == [label.label, label.fault])
        note += f" You have said of this one: **{told}**."
    return under_slider(*review.pictures(review.order(reviewer)[place].id)), note, place


def _is_place(review: Review, reviewer: str, place: int) -> bool:
    return 0 <= place < len(review.order(reviewer))
