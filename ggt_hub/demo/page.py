"""The page of the demo: four tabs."""

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from ggt_hub.demo import compare_tab, data_tab, degrade_tab, restore_tab
from ggt_hub.demo.examples import Examples
from ggt_hub.demo.restorers import load_restorers
from ggt_hub.demo.serving import serving_page, until_told
from ggt_hub.demo.settings import Settings
from ggt_hub.demo.visitors import Page

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


def launch(settings: Settings | None = None, **options: Any) -> None:
    """Serve the page until interrupted or told to terminate; both delete what visitors have sent.

    Args:
        settings: those of the environment if not given.
        **options: `server_name`, `server_port`, `inbrowser` and others of `gradio.Blocks.launch`.
    """
    with until_told(), serving(settings or Settings.from_environment(), **options) as page:
        page.block_thread()


def serving(settings: Settings, **options: Any) -> AbstractContextManager[Page]:
    """Serve the page within a `with`; pictures live in a folder of their own, which is deleted at the end.

    Args:
        settings: models, data sets and limits.
        **options: see `launch`.
    """
    return serving_page(partial(build_page, settings), settings, SCRIPT, **options)
