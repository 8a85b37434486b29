"""The review page in a real browser: keys, zoom, two people at once, and coming back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ggt_hub.curation.labels import read_labels
from ggt_hub.curation.review import Review, Shares
from ggt_hub.demo import Settings
from ggt_hub.demo.review_page import serving_review
from tests.curation.reviewing import write_run
from tests.demo.conftest import WINDOWS
from tests.demo.test_browser import READABLE

WAIT = 60_000


@pytest.fixture
def sit(browser: Any, tmp_path: Path) -> Iterator[Callable]:
    """Sit down at the page under a name, in a window of one's own."""
    run, contexts = write_run(tmp_path), []
    with serving_review(Review(run, Shares(0, 0)), Settings.on_own_machine(), quiet=True) as served:

        def seated(name: str, window: str = "light") -> Any:
            contexts.append(browser.new_context(**WINDOWS[window]))
            page = contexts[-1].new_page()
            page.goto(served.local_url)
            page.fill("#person input, #person textarea", name)
            page.click("#start")
            return page

        seated.run = run  # type: ignore[attr-defined]
        yield seated
        for context in contexts:
            context.close()


def wait_for_note(page: Any, text: str) -> None:
    page.wait_for_function(
        "text => document.querySelector('#note')?.innerText.includes(text) && !looker.isBusy",
        arg=text,
        timeout=WAIT,
    )


def test_keys_label_and_nothing_on_the_page_gives_a_hint(sit: Callable, screenshot: Callable) -> None:
    page = sit("anna")
    wait_for_note(page, "0 answered, 5 to go")
    page.wait_for_timeout(300)
    screenshot(page, "review")
    for key, note in (("k", "1 answered"), ("f", "2 answered"), ("b", "3 answered"), ("ArrowLeft", "Both")):
        assert "banana" not in page.content()
        page.keyboard.press(key)
        wait_for_note(page, note)
    page.keyboard.press("u")
    wait_for_note(page, "3 answered, 2 to go")
    order = [turn.id for turn in Review(sit.run).order("anna")]  # type: ignore[attr-defined]
    said = {label.id: (label.label, label.fault) for label in read_labels(sit.run / "labels.jsonl")}  # type: ignore[attr-defined]
    assert said == {order[0]: ("keep", ""), order[1]: ("refuse", "F"), order[2]: ("unsure", "")}


def test_a_second_press_says_nothing_of_a_picture_that_is_not_there_yet(sit: Callable) -> None:
    page = sit("anna")
    wait_for_note(page, "0 answered")
    page.evaluate("() => { for (const key of 'kkdk') document.getElementById(`key-${key}`).click(); }")
    wait_for_note(page, "1 answered, 4 to go")
    assert [label.label for label in read_labels(sit.run / "labels.jsonl")] == ["keep"]  # type: ignore[attr-defined]


def test_two_at_once_share_the_work_and_come_back_to_the_end(sit: Callable) -> None:
    pages = {name: sit(name) for name in ("anna", "ben")}
    for page in pages.values():
        wait_for_note(page, "0 answered, 5 to go")
    first = {name: page.get_attribute(".looker .after", "src") for name, page in pages.items()}
    pages["anna"].keyboard.press("k")
    wait_for_note(pages["anna"], "1 answered, 4 to go")
    pages["ben"].keyboard.press("d")
    wait_for_note(pages["ben"], "1 answered")
    who = [label.reviewer for label in read_labels(sit.run / "labels.jsonl")]  # type: ignore[attr-defined]
    assert who == ["anna", "ben"]
    again = sit("anna")
    wait_for_note(again, "1 answered")
    assert again.get_attribute(".looker .after", "src") != first["anna"]
    for key in "kkkk":
        again.wait_for_function("!looker.isBusy")
        again.keyboard.press(key)
        again.wait_for_timeout(300)
    again.wait_for_selector("text=Nothing is left for you", timeout=WAIT)


def test_what_fails_is_said_and_nothing_is_lost(sit: Callable) -> None:
    page = sit("  ")
    page.wait_for_selector("text=write your name first", timeout=WAIT)
    page.fill("#person input, #person textarea", "anna")
    page.click("#start")
    wait_for_note(page, "0 answered, 5 to go")
    labels = sit.run / "labels.jsonl"  # type: ignore[attr-defined]
    labels.mkdir()  # a place that cannot be written to
    page.keyboard.press("k")
    page.wait_for_selector("text=Is a directory. Check the folder", timeout=WAIT)
    wait_for_note(page, "0 answered, 5 to go")
    labels.rmdir()
    page.keyboard.press("k")
    wait_for_note(page, "1 answered, 4 to go")
    assert [label.label for label in read_labels(labels)] == ["keep"]


@pytest.mark.parametrize("window", ["light", "dark"])
def test_text_has_contrast_and_everything_a_name(sit: Callable, window: str) -> None:
    page = sit("anna", window)
    wait_for_note(page, "0 answered")
    page.wait_for_timeout(500)
    assert page.evaluate(READABLE) == {"faint": {}, "nameless": []}


@pytest.mark.parametrize("window", ["light", "phone"])
def test_one_pixel_is_one_pixel_at_100_percent_and_the_slider_cuts_there(
    sit: Callable, screenshot: Callable, window: str
) -> None:
    page = sit("anna", window)
    wait_for_note(page, "0 answered")
    page.keyboard.press("z")
    page.wait_for_function(
        "() => { const i = document.querySelector('.looker .after'); "
        "return Math.abs(i.getBoundingClientRect().width * devicePixelRatio - i.naturalWidth) < 0.5; }"
    )
    screenshot(page, f"review-zoomed-{window}")
    stage = page.locator(".looker .stage").bounding_box()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("z")
    page.locator(".looker .divider").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_attribute(".looker .divider", "aria-valuenow") == "55"
    divider = page.locator(".looker .divider").bounding_box()
    assert divider["x"] + divider["width"] / 2 == pytest.approx(stage["x"] + 0.55 * stage["width"], abs=1)
    assert not (sit.run / "labels.jsonl").exists()  # type: ignore[attr-defined]  # the arrow did not go on
