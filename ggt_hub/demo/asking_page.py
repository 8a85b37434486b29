"""A page on which people answer one question about one thing after the other, by keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from ggt_hub.demo.looker import key_button, words
from ggt_hub.demo.visitors import Page, in_page
from ggt_hub.errors import DemoError
from ggt_hub.evaluation.turns import Turns


@dataclass(frozen=True)
class Asked:
    """What a page asks.

    Attributes:
        turns: of what, and what was said.
        show: markup of a turn.
        header, help: Markdown, above and below.
        answers: what the buttons say, and which answers that is, by their keys.
        back, on: the keys of the buttons to the turn before, and to the next.
    """

    turns: Turns[Any, Any]
    show: Callable[[Any], str]
    header: str
    help: str
    answers: Mapping[str, tuple[str, Any]]
    back: str
    on: str


def build_asking_page(title: str, asked: Asked) -> Page:
    """Lay out the page. It knows a visitor's name and place alone, so that anybody may close it at any time."""
    with Page(title=title, analytics_enabled=False) as page:
        gr.Markdown(asked.header, elem_id="header")
        with gr.Row(equal_height=True, elem_id="who") as who:
            name = gr.Textbox(label="Your name", scale=3, max_length=80, elem_id="person", autofocus=True)
            start = gr.Button("Start", variant="primary", min_width=110, elem_id="start")
        with gr.Column(visible=False) as desk:
            viewer, note = gr.HTML(words(""), elem_id="viewer"), gr.Markdown(elem_id="note")
            place = gr.Number(-1, precision=0, visible="hidden")
            with gr.Row():
                answers = {key: key_button(key, text) for key, (text, _) in asked.answers.items()}
            with gr.Row():
                steps = {key_button(asked.back, "Back"): -1, key_button(asked.on, "Next"): 1}
            gr.Markdown(asked.help, elem_classes="credits")
        shown = [viewer, note, place]
        # Through the queue, where nobody waits for another: of other events Gradio does not show why they failed.
        private: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
        private |= {"api_visibility": "private"}
        for begun in (start.click, name.submit):
            begun(in_page(partial(_begin, asked)), name, [who, desk, *shown], **private)
        presses = [(button, partial(_answer, asked, key)) for key, button in answers.items()]
        presses += [(button, partial(_step, asked, step)) for button, step in steps.items()]
        for button, press in presses:
            pressed = button.click(in_page(press), [name, place], shown, **private)
            for after in (pressed.success, pressed.failure):
                after(None, js="() => looker.free()", queue=False, api_visibility="private")
    return page


def _begin(asked: Asked, name: str) -> tuple[Any, ...]:
    person = name.strip()
    if not person:
        raise DemoError("write your name first: what you say is kept under it")
    return gr.Row(visible=False), gr.Column(visible=True), *_shown(asked, person, asked.turns.first(person))


def _answer(asked: Asked, key: str, name: str, place: int) -> tuple[str, str, int]:
    """Keep what a button says of the turn at a place, and go on."""
    if asked.turns.has(name.strip(), place):
        asked.turns.say(name.strip(), place, asked.answers[key][1])
    return _step(asked, 1, name, place)


def _step(asked: Asked, step: int, name: str, place: int) -> tuple[str, str, int]:
    person = name.strip()
    found = asked.turns.beside(person, place, step)
    if found is None:
        found = asked.turns.first(person) if step > 0 else place
    return _shown(asked, person, found)


def _shown(asked: Asked, person: str, place: int | None) -> tuple[str, str, int]:
    """What the page shows of a place: pictures, a note, and the place itself."""
    turns = asked.turns
    given, wanted = turns.progress(person)
    note = f"{given} answered, {wanted} to go."
    if place is None or not turns.has(person, place):
        return words("Nothing is left for you. Thank you!"), note, len(turns.order(person))
    if (said := turns.said(person, place)) is not None:
        told = next(text for text, answer in asked.answers.values() if answer == said)
        note += f" You have said of this one: **{told}**."
    return asked.show(turns.order(person)[place]), note, place
