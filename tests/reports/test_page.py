import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ggt_hub.errors import ImageError
from ggt_hub.reports import Comparison, Table, write_report
from ggt_hub.reports.page import Sheet

PICTURE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


class Page(HTMLParser):
    """The elements and texts of a page, in order."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.texts = [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def picture_in(image):
    kind, data = image["src"].split(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_comparison_holds_its_pictures_and_a_slider_for_the_keyboard(tmp_path):
    item = Comparison("A cat", PICTURE, Image.fromarray(PICTURE), PICTURE / 255, "Asleep.", {"PSNR": 31.2345})
    page = Page(write_report(tmp_path / "r.html", title="T", items=[item]))
    assert [image["class"] for image in page.all("img")] == ["before", "after", "reference"]
    for image in page.all("img"):
        decoded = np.asarray(picture_in(image).convert("RGB"), np.float64)
        assert np.abs(decoded - PICTURE).mean() < 8  # noise is the worst case for JPEG of quality 90
    (slider,) = page.all("input")
    assert slider["type"] == "range"
    assert slider["aria-label"].startswith("A cat:")
    assert {"A cat", "Asleep.", "PSNR", "31.23", "reference"} <= set(page.texts)


def test_the_page_needs_nothing_from_outside(tmp_path):
    page = Page(write_report(tmp_path / "r.html", title="T", items=[Comparison("x", PICTURE, PICTURE)]))
    assert not page.all("link")
    assert all("src" not in attributes for attributes in page.all("script"))
    assert not re.findall(r"url\(|https?://|@import", page.source)


def test_text_is_escaped_everywhere(tmp_path):
    evil = "<script>alert('&')</script>\"onload=x"
    table = Table([evil], [[evil]], title=evil, note=evil)
    item = Comparison(evil, PICTURE, PICTURE, caption=evil, numbers={evil: evil}, group=evil)
    page = Page(write_report(tmp_path / "r.html", title=evil, summary=evil, items=[item], tables=[table]))
    assert len(page.all("script")) == 1
    assert not [attributes for _, attributes in page.elements if "onload" in attributes]
    # title and h1, summary, table's heading, column, cell and note, group, card's heading, caption, name, value
    assert page.texts.count(evil) == 12


def test_large_pictures_are_reduced_and_small_ones_left(tmp_path):
    before, after = PICTURE, np.kron(PICTURE, np.ones((2, 2, 1), np.uint8))
    page = Page(
        write_report(tmp_path / "r.html", title="T", items=[Comparison("x", before, after)], max_side=50)
    )
    sizes = [picture_in(image).size for image in page.all("img")]
    assert sizes == [(40, 30), (50, 38)]
    assert {(image["width"], image["height"]) for image in page.all("img")} == {("50", "38")}


def test_transparency_is_laid_on_white(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    page = Page(write_report(tmp_path / "r.html", title="T", items=[Comparison("x", clear, clear)]))
    assert picture_in(page.all("img")[0]).convert("RGB").getpixel((4, 4)) == (255, 255, 255)


def test_numbers_are_shown_with_the_digits_of_scores(tmp_path):
    row = ["noise", 31.2345, 0.87654, 12, float("nan"), None, float("inf")]
    page = Page(write_report(tmp_path / "r.html", title="T", tables=[Table(list("abcdefg"), [row])]))
    assert page.texts[-8:-1] == ["noise", "31.23", "0.8765", "12", "–", "–", "∞"]


def test_neighbours_of_one_group_share_a_heading(tmp_path):
    items = [Comparison(name, PICTURE, PICTURE, group=name[0]) for name in ("a1", "a2", "b1")]
    page = Page(write_report(tmp_path / "r.html", title="T", items=items))
    assert len(page.all("h2")) == 2
    assert len(page.all("article")) == 3


def test_a_picture_that_cannot_be_read_leaves_an_older_report_alone(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("older")
    with pytest.raises(ImageError):
        write_report(path, title="T", items=[Comparison("x", PICTURE, tmp_path / "none.png")])
    assert path.read_text() == "older"


def test_a_sheet_shows_both_side_by_side_at_one_height(tmp_path):
    before, after = (Image.new("RGB", (400, 200), colour) for colour in ("red", "blue"))
    path = write_report(
        tmp_path / "r.html", title="t", sheets=[Sheet("kept", [(before, after, "a <b>")], "some")]
    )
    page = path.read_text()
    assert "<h2>kept</h2>" in page and "<figcaption>a &lt;b&gt;</figcaption>" in page
    (uri,) = re.findall(r'<figure><img src="data:image/jpeg;base64,(.*?)"', page)
    pair = Image.open(io.BytesIO(base64.b64decode(uri)))
    assert pair.size == (322, 80)
    left, middle, right = (pair.getpixel((x, 40)) for x in (80, 160, 240))
    assert left[0] > 240 > 20 > left[2] and right[2] > 240 > 20 > right[0] and min(middle) > 150


def test_tables_of_a_choice_are_shown_one_at_a_time(tmp_path):
    tables = [Table(["a"], [["1"]], title="First", choice="one"), Table(["a"], [["2"]], choice="<two>")]
    page = Page(write_report(tmp_path / "page.html", title="T", tables=[*tables, Table(["a"], [["3"]])]))
    assert page.texts[page.texts.index("show") :][:3] == ["show", "one", "<two>"]
    sections = [attributes.get("data-choice") for tag, attributes in page.elements if tag == "section"]
    assert sections == ["one", "<two>", None]
    plain = Page(write_report(tmp_path / "plain.html", title="T", tables=[replace(tables[0], choice="")]))
    assert "option" not in [tag for tag, _ in plain.elements]
