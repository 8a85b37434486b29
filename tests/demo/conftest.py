"""The demo as it is served, and a real browser to visit it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ggt_hub.demo import Settings, serving
from tests.photographs import photograph

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",  # a camera that shows a green field
]
SETTINGS = Settings(datasets=("samples", "ggt-100k"), max_megapixels=0.31, max_megabytes=1)
PERMISSIONS = ["camera", "clipboard-read", "clipboard-write"]
WINDOWS = {
    "light": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}


@pytest.fixture(scope="session")
def serve() -> Callable:
    """Serve the demo within a `with`; gives its address."""
    from contextlib import contextmanager

    @contextmanager
    def started(**changes: object) -> Iterator[str]:
        with serving(replace(SETTINGS, **changes), quiet=True) as page:
            yield page.local_url

    return started


@pytest.fixture(scope="package")
def url(serve: Callable) -> Iterator[str]:
    with serve() as address:
        yield address


@pytest.fixture(scope="package")
def browser() -> Iterator[object]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: object, url: str) -> Iterator[Callable]:
    """Open the page in a window of its own; the test fails if the page's scripts do."""
    contexts, failures = [], []

    def opened(window: str = "light", address: str = url) -> object:
        contexts.append(browser.new_context(**WINDOWS[window], permissions=PERMISSIONS))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#restore-button")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not failures


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """A photograph with noise, 160 x 128, under a name that needs care."""
    noise = np.random.default_rng(0).normal(0, 25, (128, 160, 3))
    pixels = np.clip(photograph(160)[:128] + noise, 0, 255).astype(np.uint8)
    path = tmp_path / "my <b>photo & co.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def screenshot() -> Callable:
    """Keep a picture of the page where `GGT_HUB_SCREENSHOTS` names a folder, for people to look at."""
    folder = os.environ.get("GGT_HUB_SCREENSHOTS")

    def taken(page: object, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return taken
