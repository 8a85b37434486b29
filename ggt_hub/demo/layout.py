"""What the tabs do alike in the page."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

import gradio as gr
from gradio.context import get_blocks_context

from ggt_hub.samples import Sample


def show_when_done(event: Any, elem_id: str) -> None:
    """Scroll to a result once it is there: on a phone it lies below the button that was touched.

    Args:
        event: what an event listener such as `button.click` returned.
        elem_id: the `elem_id` of the result.
    """
    script = (
        f"() => document.getElementById('{elem_id}').scrollIntoView({{block: 'nearest', behavior: 'smooth'}})"
    )
    event.success(None, js=script, queue=False, api_visibility="private")


def enable_when_done(event: Any, button: gr.Button | gr.DownloadButton) -> None:
    """Enable a button that needs the result."""
    kind = type(button)
    event.success(lambda: kind(interactive=True), None, button, queue=False, api_visibility="private")


def first_of(listen: Callable[..., Any]) -> Any:
    """An event that does nothing yet, for `end_when`: it comes before those that are made after it."""
    return listen(None, queue=False, api_visibility="private")


def end_when(event: Any, runs: Sequence[Any]) -> None:
    """Let an event of the page alone end what is going on of `runs`, so that no late result appears.

    With Gradio's own `cancels=` one must name runs that exist already, and so comes after them: it would end what
    the same click has just begun.

    Args:
        event: what `first_of` gave, or a listener that calls no function of the server.
        runs: what other listeners returned.
    """
    blocks = get_blocks_context()
    assert blocks is not None  # noqa: S101 - events are made within a page
    blocks.fns[event["id"]].cancels = [run["id"] for run in runs]


def empty_when(
    listeners: Iterable[Callable[..., Any]],
    script: str,
    inputs: list[Any],
    outputs: list[Any],
    runs: Sequence[Any],
) -> None:
    """Let events take results away, within the page: an answer of the server could come late, and empty the next.

    Args:
        listeners: such as `photo.upload`.
        script: a function of `page.html` that gives the new values.
        inputs: what it is given.
        outputs: what it empties.
        runs: what is ended by it.
    """
    for listen in listeners:
        event = listen(None, inputs, outputs, js=script, queue=False, api_visibility="private")
        end_when(event, runs)


def credits_of(samples: Iterable[Sample]) -> None:
    """Say whose photographs the examples are, and under which licence."""
    lines = (
        f'<li><span data-sample="{sample.name}">{escape(sample.title)}</span>: {escape(sample.credit)}</li>'
        for sample in samples
    )
    gr.HTML(
        f"<details><summary>Whose photographs these are</summary><ul>{''.join(lines)}</ul></details>",
        elem_classes="credits",
    )
