"""What the tabs do alike in the page."""

from typing import Any

import gradio as gr


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
