"""Serving a page of Gradio's: one look, what is closed, and where its files lie."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ggt_hub.demo.settings import Settings
from ggt_hub.demo.visitors import Gate, Page

_STYLE = Path(__file__).parent / "style.css"

Build = Callable[[Path], Page]
"""Lays out a page; it is given a folder for files that live as long as the page."""


@contextmanager
def until_told() -> Iterator[None]:
    """Serve within this until interrupted or told to terminate; both leave it in order."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def serving_page(build: Build, settings: Settings, script: Path, **options: Any) -> Iterator[Page]:
    """Serve a page within a `with`; what visitors send lives in a folder of its own, which is deleted at the end.

    Args:
        build: see there.
        settings: hosts and limits.
        script: HTML with the scripts of the page.
        **options: `server_name`, `server_port`, `inbrowser` and others of `gradio.Blocks.launch`.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ggt-hub-app-") as folder,
        _files_below(Path(folder) / "visitors"),
    ):
        page = build(Path(folder) / "examples")
        try:
            page.launch(prevent_thread_lock=True, **_launch_options(settings, script), **options)
            yield page
        finally:
            page.close()


@contextmanager
def _files_below(folder: Path) -> Iterator[None]:
    """Gradio keeps its files in the folder that this variable names."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["GRADIO_TEMP_DIR"]
        os.environ |= {} if before is None else {"GRADIO_TEMP_DIR": before}


def _launch_options(settings: Settings, script: Path) -> dict[str, Any]:
    """The look, and what is closed."""
    return {
        "theme": _theme(),
        "css_paths": _STYLE,
        "head_paths": script,
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": f"{settings.max_megabytes}mb",
        "app_kwargs": {"middleware": [Middleware(Gate, settings=settings)]},
    }


def _theme() -> gr.themes.Base:
    """Calm, and with the fonts that the visitor's system has: nothing is fetched from elsewhere."""
    return gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(  # text has a contrast of 4.5:1 at least, in the dark as well
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        color_accent="*primary_600",
        link_text_color="*primary_600",
        link_text_color_dark="*primary_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )
