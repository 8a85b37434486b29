"""The page: four tabs, one look, and the limits within which it is served."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ggt_hub.demo import compare_tab, data_tab, degrade_tab, restore_tab
from ggt_hub.demo.examples import Examples
from ggt_hub.demo.restorers import load_restorers
from ggt_hub.demo.settings import Settings
from ggt_hub.demo.visitors import Gate, Page

STYLE = Path(__file__).parent / "style.css"
SCRIPT = Path(__file__).parent / "page.html"

HEADER = """# Photo restoration
Noise, compression, blur, low light: drop a poor photograph, drag the slider.
Your pictures stay on this server for {minutes} minutes at most; nobody else can see them."""


def build_page(settings: Settings, folder: Path) -> Page:
    """Load the models and lay out the page.

    Args:
        settings: models, data sets and limits.
        folder: for the files of the examples; it must live as long as the page.
    """
    restorers, examples = load_restorers(settings), Examples(folder)
    limit, age = settings.max_megapixels, settings.keep_seconds
    with Page(title="ggt-hub", analytics_enabled=False, delete_cache=(max(1, age // 10), age)) as page:
        gr.Markdown(HEADER.format(minutes=max(1, round(age / 60))), elem_id="header")
        with gr.Tabs() as tabs:
            with gr.Tab("Restore", id="restore"):
                entry = restore_tab.build(restorers, examples, limit)
            with gr.Tab("Degrade", id="degrade"):
                degrade_tab.build(examples, limit, tabs, entry)
            with gr.Tab("Compare", id="compare"):
                compare_tab.build(restorers, examples, limit)
            with gr.Tab("Data", id="data") as tab:
                data_tab.build(settings.datasets, tab)
    return page.queue(max_size=settings.queue_size, default_concurrency_limit=4)


def theme() -> gr.themes.Base:
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


def launch(settings: Settings | None = None, **options: Any) -> None:
    """Serve the page until interrupted or told to terminate; both delete what visitors have sent.

    Args:
        settings: those of the environment if not given.
        **options: `server_name`, `server_port`, `inbrowser` and others of `gradio.Blocks.launch`.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with serving(settings or Settings.from_environment(), **options) as page:
            page.block_thread()
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def serving(settings: Settings, **options: Any) -> Iterator[Page]:
    """Serve the page within a `with`; pictures live in a folder of their own, which is deleted at the end.

    Args:
        settings: models, data sets and limits.
        **options: see `launch`.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ggt-hub-app-") as folder,
        _files_below(Path(folder) / "visitors"),
    ):
        page = build_page(settings, Path(folder) / "examples")
        try:
            page.launch(prevent_thread_lock=True, **_launch_options(settings), **options)
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


def _launch_options(settings: Settings) -> dict[str, Any]:
    """The look, and what is closed."""
    return {
        "theme": theme(),
        "css_paths": STYLE,
        "head_paths": SCRIPT,
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": f"{settings.max_megabytes}mb",
        "app_kwargs": {"middleware": [Middleware(Gate, settings=settings)]},
    }
