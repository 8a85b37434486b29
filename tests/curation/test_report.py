"""The report of a run: what it counts is what happened, and it needs no other file."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.curation.report import report_run
from ggt_hub.errors import CurationError, WriteError
from ggt_hub.vlm import Budget, Ledger
from ggt_hub.vlm.ledger import Receipt
from tests.curation.pairs import Place, write_photographs
from tests.curation.reviewing import write_run


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("made")
    place = Place(folder, write_photographs(folder / "photographs"))
    place.run()
    budget = Budget(None, None, ledger=place.ledger, purse=str(place.output.resolve()))
    for cost, seconds in ((0.25, 2.0), (0.5, 4.0)):
        budget.end(budget.begin("maker-1", None), Receipt("billed", cost, seconds=seconds), None, None)
    return report_run(place.output, folder / "page.html", place.ledger).read_text()


def table(page: str, title: str) -> list[list[str]]:
    section = next(part for part in page.split("<section>") if f"<h2>{title}</h2>" in part)
    rows = re.findall(r"<tr>(.*?)</tr>", section.partition("<tbody>")[2], re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_the_funnel_is_that_of_the_run(page: str) -> None:
    rows = {row[0]: row[1:] for row in table(page, "Funnel")}
    assert rows["gather"] == ["5", "5", "0", "0"]
    assert rows["edit"] == ["5", "9", "1", "0"]
    assert rows["judge"] == ["5", "4", "1", "0"]


def test_it_begins_with_how_many_are_kept_and_wait(page: str, tmp_path: Path) -> None:
    assert "5 came in, 4 are kept after judge." in page
    run = write_run(tmp_path)
    ended = {"dropped": {}, "later": {"possibly billed": 2, "in a batch": 1}}
    (run / "funnel.json").write_text(json.dumps([{"stage": "edit", "rows": 5, "kept": 2, **ended}]))
    told = report_run(run, tmp_path / "page.html", Ledger(tmp_path / "ledger")).read_text()
    assert "5 came in, 2 are kept after edit, 3 wait for a later run." in told


def test_a_file_that_is_no_report_of_ours_or_was_changed_stays(tmp_path: Path) -> None:
    run, path, ledger = write_run(tmp_path), tmp_path / "page.html", Ledger(tmp_path / "ledger")
    path.write_text("mine")
    with pytest.raises(WriteError, match=r"page\.html is not a result of ggt-hub, or was changed since"):
        report_run(run, path, ledger)
    assert path.read_text() == "mine"
    path.unlink()
    report_run(run, path, ledger)
    (run / "funnel.json").write_text("[]")
    assert "Nothing is decided yet." in report_run(run, path, ledger).read_text()  # it replaces its own
    path.write_text(path.read_text() + "mine")
    with pytest.raises(WriteError, match="was changed since"):
        report_run(run, path, ledger)


def test_reasons_are_counted_by_category(page: str) -> None:
    rows = table(page, "Reasons")
    assert ["edit", "dropped: maker: IMAGE_SAFETY", "1", "1"] in rows
    assert ["gate", "dropped: gate: a cast", "3", "3"] in rows
    assert ["register", "dropped: register: moved too far", "1", "1"] in rows
    assert ["judge", "dropped: judge: text", "1", "1"] in rows
    assert ["judge", "kept", "4", "4"] in rows


def test_cost_and_time_are_those_of_the_ledger(page: str) -> None:
    assert table(page, "Cost and time") == [["maker-1, billed", "2", "0.7500", "0", "3.0000"]]


def test_the_judge_is_shown_as_it_was_tried(page: str) -> None:
    assert table(page, "The judge, tried") == [["unchanged", "2", "0", "0"], ["another scene", "2", "0", "0"]]


def test_what_was_decided_before_photographs_left_the_source_counts_no_more(tmp_path: Path) -> None:
    place = Place(tmp_path, write_photographs(tmp_path / "photographs"))
    place.run()
    for name in ("astronaut", "coffee"):
        (place.photographs / f"{name}.png").unlink()
    counts = place.run()
    page = report_run(place.output, tmp_path / "page.html", place.ledger).read_text()
    assert len([*(place.output / ".ggt-hub/curation/edit").glob("*.arrow")]) == 2  # of three
    assert (counts["edit"].rows, counts["judge"].kept) == (3, 2)
    assert ["judge", "kept", "2", "2"] in table(page, "Reasons")
    assert page.count("<h2>The judge, tried</h2>") == 1


def test_each_gate_has_its_histogram_with_its_limit(page: str) -> None:
    for title, limit in (("structure", "structure 0.3"), ("grid", "grid 6.5"), ("colour", "any_colour 0.25")):
        plot = next(
            svg
            for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)
            if f'aria-label="{title}, of 8' in svg
        )
        assert f">{limit}</text>" in plot
    assert 'aria-label="F, of 5 candidates"' in page and ">faithful 80</text>" in page


def test_kept_and_refused_are_shown_and_nothing_is_loaded(page: str) -> None:
    sections = {
        heading: section.count("<article")
        for section in page.split("<section>")
        for heading in re.findall(r"<h2>(.*?)</h2>", section)
    }
    assert (sections["Kept"], sections["Refused: gate: a cast"], sections["Refused: judge: text"]) == (
        4,
        3,
        1,
    )
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)


def test_contact_sheets_hold_what_was_kept_and_refused_drawn_by_chance(page: str, tmp_path: Path) -> None:
    sheets = {
        heading: re.findall(r"<figcaption>(.*?)</figcaption>", section)
        for section in page.split("<section>")
        for heading in re.findall(r"<h2>Contact sheet: (.*?)</h2>", section)
    }
    assert sheets["refused: judge: text"] == ["china.png/0/maker-0"]
    assert {*sheets["kept"]} == {
        f"{name}.png/0/maker-0" for name in ("astronaut", "chelsea", "coffee", "flower")
    }
    assert len(sheets["refused: gate: a cast"]) == 3

    run = write_run(tmp_path, count=80)
    many = report_run(run, tmp_path / "many.html", Ledger(":memory:")).read_text()
    shown = re.findall(r"<figcaption>photo(\d+)/", many)
    assert (
        len({*shown}) == 60 and len({one for one in shown if int(one) >= 60}) > 5
    )  # the first are no better
    assert many.count("<article") == 6


def test_the_page_lies_beside_the_run_that_may_be_published(tmp_path: Path, monkeypatch: Any) -> None:
    place = Place(tmp_path, write_photographs(tmp_path / "photographs"))
    place.output.mkdir()
    (place.output / "run.yaml").write_text("source: photographs\nstages: [{gather: {}}]\n")
    monkeypatch.setenv("GGT_HUB_LEDGER", str(tmp_path / "ledger"))
    done = CliRunner().invoke(app, ["curate", "report", str(place.output)])
    assert done.exit_code == 0, done.output
    assert "Nothing is decided yet." in (tmp_path / "out-report.html").read_text()


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match="is the folder of no run"):
        report_run(tmp_path, tmp_path / "page.html", Ledger(":memory:"))


def test_a_funnel_that_is_damaged_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run / "funnel.json").write_text("{")
    with pytest.raises(CurationError, match=r"funnel\.json is damaged .* run again"):
        report_run(run, tmp_path / "page.html", Ledger(":memory:"))
