"""Jobs end with their visitors, and nothing of one picture stays for the next."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ggt_hub.demo import restorers
from ggt_hub.demo.jobs import Job
from ggt_hub.errors import DemoError
from ggt_hub.images import read_image
from ggt_hub.samples import load_samples
from tests.demo.test_browser import DONE, EXAMPLE, WAIT, restore, upload
from tests.photographs import photograph


class Gated:
    """Holds each restoration at its first tile until it is let go, and counts how they end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go, self.ended = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)
        original = restorers.Job

        class Held(original):
            def tell(job, done: int, total: int) -> None:
                self.begun.release()
                while not self.go.wait(0.05):
                    try:
                        job.check()
                    except DemoError:
                        self.ended.release()
                        raise
                original.tell(job, done, total)

        monkeypatch.setattr(restorers, "Job", Held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gated:
    return Gated(monkeypatch)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.png"
    Image.fromarray(photograph(96)).save(path)
    return path


def test_a_closed_page_ends_its_job_and_the_next_visitor_is_served(
    visit: Callable, gate: Gated, noisy
) -> None:
    first = visit()
    upload(first, noisy)
    first.click("#restore-button")
    assert gate.begun.acquire(timeout=30)
    second = visit()
    upload(second, noisy)
    second.click("#restore-button")
    first.close()
    assert gate.ended.acquire(timeout=10), "the job of the closed page goes on"
    assert gate.begun.acquire(timeout=10), "the next visitor waits"
    gate.go.set()
    second.wait_for_selector(DONE, timeout=WAIT)


def test_stop_ends_the_job_and_shows_nothing(visit: Callable, gate: Gated, noisy: Path) -> None:
    page = visit()
    upload(page, noisy)
    page.click("#restore-button")
    assert gate.begun.acquire(timeout=30)
    page.click("#restore-stop")
    assert gate.ended.acquire(timeout=10)
    gate.go.set()
    page.wait_for_timeout(500)
    assert page.locator(DONE).count() == 0
    restore(page)
    assert "160 x 128 pixels" in page.inner_text("#restore-note")


def test_a_result_never_appears_beside_another_picture(
    visit: Callable, gate: Gated, noisy: Path, other: Path
) -> None:
    page = visit()
    upload(page, noisy)
    page.click("#restore-button")
    assert gate.begun.acquire(timeout=30)
    page.get_by_label("Remove Image").locator("visible=true").click()
    upload(page, other)
    assert gate.ended.acquire(timeout=10)
    gate.go.set()
    page.wait_for_timeout(1000)
    assert page.locator(DONE).count() == 0
    restore(page)
    assert "96 x 96 pixels" in page.inner_text("#restore-note")


def test_the_second_of_two_examples_is_the_one_that_is_shown(visit: Callable, gate: Gated) -> None:
    page = visit()
    page.locator(EXAMPLE).nth(0).click()
    assert gate.begun.acquire(timeout=30)
    page.locator(EXAMPLE).nth(1).click()
    assert gate.begun.acquire(timeout=30)
    gate.go.set()
    page.wait_for_selector(DONE, timeout=WAIT)
    page.wait_for_function(
        "document.querySelector('#restore-slider img').naturalWidth ==="
        " document.querySelector('#restore-photo img').naturalWidth &&"
        " document.querySelector('#restore-slider img').naturalHeight ==="
        " document.querySelector('#restore-photo img').naturalHeight"
    )


def low_light_example(page: Any) -> None:
    title = next(sample.title for sample in load_samples() if sample.task == "low_light")
    page.locator(f'.examples button[aria-label="{title}"] >> visible=true').click()


def test_the_task_of_an_example_is_not_applied_to_the_next_photograph(visit: Callable, noisy: Path) -> None:
    page = visit()
    low_light_example(page)
    page.wait_for_selector(DONE, timeout=WAIT)
    assert page.locator("#restore-task input").input_value() == "Low light"
    page.get_by_label("Remove Image").locator("visible=true").click()
    upload(page, noisy)
    assert page.locator("#restore-task input").input_value() == "Automatic"


def test_a_task_that_the_visitor_chose_is_kept(visit: Callable, noisy: Path) -> None:
    page = visit()
    page.locator("#restore-task input").click()
    page.get_by_role("option", name="Noise").click()
    upload(page, noisy)
    page.wait_for_timeout(300)
    assert page.locator("#restore-task input").input_value() == "Noise"


def compare_page(visit: Callable) -> Any:
    page = visit()
    page.get_by_role("tab", name="Compare").click()
    return page


def test_the_clean_picture_of_one_photograph_is_not_scored_against_the_next(visit: Callable, noisy) -> None:
    page = compare_page(visit)
    page.locator(EXAMPLE).first.click()
    page.wait_for_selector("#compare-gallery .caption-label", timeout=WAIT)
    page.locator("#compare-photo").get_by_label("Remove Image").click()
    page.wait_for_selector("#compare-clean img", state="detached", timeout=WAIT)
    page.wait_for_selector("#compare-gallery .caption-label", state="detached", timeout=WAIT)
    assert "18.96" not in page.inner_text("#compare-table")
    upload(page, noisy, "#compare-photo")
    page.click("#compare-button")
    page.wait_for_selector("#compare-gallery .caption-label", timeout=WAIT)
    assert page.locator("#compare-clean img").count() == 0


def test_a_clean_picture_that_comes_first_waits_for_its_photograph(
    visit: Callable, noisy: Path, tmp_path: Path
) -> None:
    page = compare_page(visit)
    clean = tmp_path / "clean.png"
    Image.fromarray(photograph(160)[:128]).save(clean)
    upload(page, clean, "#compare-clean")
    upload(page, noisy, "#compare-photo")
    page.wait_for_timeout(300)
    assert page.locator("#compare-clean img").count() == 1


def test_what_is_left_behind_of_an_animation_is_said(visit: Callable, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(photograph(64), n, axis=1)) for n in range(3)]
    frames[0].save(tmp_path / "waving.gif", save_all=True, append_images=frames[1:])
    page = visit()
    upload(page, tmp_path / "waving.gif")
    toast = page.wait_for_selector(".toast-body", timeout=WAIT)
    assert "3 frames; only the first is used" in toast.inner_text()
    restore(page)
    assert "holds 3 frames; only the first is used" in page.inner_text("#restore-note")


def test_a_job_tells_its_share_and_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("ggt_hub.demo.jobs.time.monotonic", lambda: now[0])
    told: list[tuple[float, str]] = []
    job = Job(60.0, lambda share, desc: told.append((share, desc)), started=now[0])
    job.tell(0, 4)
    now[0] += 5
    job.tell(1, 4)
    assert told == [(0.0, "0 of 4 parts done"), (0.25, "1 of 4 parts done, about 15 s left")]
    now[0] += 56
    with pytest.raises(DemoError, match="longer than 60 seconds"):
        job.tell(2, 4)


def test_tiles_are_told_of() -> None:
    from ggt_hub.demo import Settings

    told: list[float] = []
    restorer = restorers.Restorer("compact", Settings())
    picture = read_image(np.zeros((1100, 1900, 3), np.uint8))
    restorer.restore(picture, restorers.Request(), lambda share, desc: told.append(round(share, 3)))
    assert told == [0.0, 0.25, 0.5, 0.75]
