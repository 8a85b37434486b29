"""A report in a real browser: keyboard, mouse and buttons, in light and dark and on a phone."""

from pathlib import Path

import pytest

from ggt_hub.reports import Comparison, Table, write_report
from tests.metrics.golden import noisy
from tests.photographs import photograph

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (extra `test`)"
    )
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}: install Chromium to see reports in it")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def report(tmp_path):
    item = Comparison(
        "Portrait", noisy(photograph(128), 30), photograph(128), photograph(128), "Noise.", {"PSNR": 20.1}
    )
    table = Table(["picture", *(f"metric {n}" for n in range(12))], [["Portrait", *range(12)]])
    return write_report(tmp_path / "report.html", title="A report", items=[item], tables=[table])


def position(page):
    return page.eval_on_selector(".compare", "element => element.style.getPropertyValue('--at')")


def test_the_divider_follows_keys_and_mouse(browser, report):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    problems = []
    page.on("pageerror", lambda error: problems.append(error))
    page.on("request", lambda request: request.url.startswith("http") and problems.append(request.url))
    page.goto(report.as_uri())
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert position(page) == "51%"
    assert slider.get_attribute("aria-valuetext") == "51 % before"
    page.keyboard.press("Home")
    assert position(page) == "0%"
    box = page.locator(".compare").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 40)
    page.mouse.up()
    assert position(page) == "75%"
    assert not problems
    page.close()


def test_buttons_show_the_reference_and_enlarge(browser, report):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(report.as_uri())
    assert not page.locator("img.reference").is_visible()
    page.get_by_role("button", name="reference").click()
    assert page.locator("img.reference").is_visible()
    assert page.locator(".tag.right").inner_text() == "reference"
    narrow = page.locator(".card").bounding_box()["width"]
    page.get_by_role("button", name="enlarge").click()
    assert page.locator(".card").bounding_box()["width"] > 1.5 * narrow
    page.close()


def test_on_a_phone_nothing_of_a_table_lies_outside_of_the_page(browser, report):
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    boxes = [cell.bounding_box() for cell in page.locator("tbody th, tbody td").all()]
    assert boxes
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)
    label = page.locator("tbody td").first.evaluate("cell => getComputedStyle(cell, '::before').content")
    assert label == '"metric 0"'
    page.close()


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_colours_follow_the_visitors_scheme(scheme, is_dark, browser, report):
    page = browser.new_page(color_scheme=scheme)
    page.goto(report.as_uri())
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in colour[4:-1].split(",")) / 3
    assert (brightness < 80) == is_dark
    page.close()
