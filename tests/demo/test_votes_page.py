"""The votes page in a real browser: keys, three pictures under one zoom, and nothing that says whose they are."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ggt_hub.demo import Settings
from ggt_hub.demo.votes_page import serving_votes
from ggt_hub.evaluation.votes import Results, Voting, read_votes
from tests.curation.planted import damaged, graded, sample
from tests.demo.conftest import WINDOWS

WAIT = 60_000


@pytest.fixture
def place(tmp_path: Path) -> tuple[Voting, Path]:
    pictures = {}
    for name in ("china", "flower"):
        clean = sample(name)
        for who, pixels in (
            ("input", damaged(clean, "noise")),
            ("secret-a", clean),
            ("secret-b", graded(clean)),
        ):
            Image.fromarray(pixels).save(tmp_path / f"{who}-{name}.png")
        files = {who: (tmp_path / f"{who}-{name}.png").read_bytes for who in ("secret-a", "secret-b")}
        pictures[name] = Results(partial(Image.open, tmp_path / f"input-{name}.png"), files)
    return Voting(pictures, tmp_path / "votes.jsonl"), tmp_path / "votes.jsonl"


@pytest.fixture
def sit(browser: Any, place: Any) -> Iterator[Callable]:
    contexts = []
    with serving_votes(place[0], Settings.on_own_machine(), quiet=True) as served:

        def seated(window: str) -> Any:
            contexts.append(browser.new_context(**WINDOWS[window]))
            page = contexts[-1].new_page()
            page.goto(served.local_url)
            page.fill("#person input, #person textarea", "anna")
            page.click("#start")
            page.wait_for_selector(".looker img", timeout=WAIT)
            return page

        yield seated
        for context in contexts:
            context.close()


@pytest.mark.parametrize("window", ["light", "phone"])
def test_keys_vote_and_names_are_not_shown(
    sit: Callable, place: Any, screenshot: Callable, window: str
) -> None:
    page = sit(window)
    page.wait_for_timeout(300)
    screenshot(page, f"votes-{window}")
    assert "secret" not in page.content()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("z")
    widths = page.evaluate(
        "[...document.querySelectorAll('.looker img')].map(i => i.getBoundingClientRect().width)"
    )
    assert len({round(width) for width in widths}) == 1 and len(widths) == 3
    screenshot(page, f"votes-zoomed-{window}")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("text=1 answered, 1 to go", timeout=WAIT)
    page.wait_for_function("!looker.isBusy")
    page.keyboard.press("t")
    page.wait_for_selector("text=Nothing is left for you", timeout=WAIT)
    first, second = place[0].order("anna")
    votes = {vote.picture: vote for vote in read_votes(place[1])}
    assert (votes[first.picture].vote, votes[second.picture].vote) == ("right", "tie")
    assert (votes[first.picture].left, votes[first.picture].right) == (first.left, first.right)
