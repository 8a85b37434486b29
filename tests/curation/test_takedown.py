"""What leaves a run leaves it everywhere, and nothing else changes."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.commit import file_sha256
from ggt_hub.curation.decided import read_run
from ggt_hub.curation.labels import read_labels
from ggt_hub.curation.report import report_run
from ggt_hub.curation.takedown import take_down
from ggt_hub.data.reading.opening import open_splits
from ggt_hub.data.work.export import check_sums
from ggt_hub.errors import CurationError, DatasetError, NothingLeftError
from ggt_hub.vlm import Ledger
from tests.curation.pairs import NAMES, Place, write_photographs


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("source") / "photographs")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Path:
    place = Place(folder := tmp_path_factory.mktemp("made"), photographs)
    place.run()
    return folder


@pytest.fixture
def place(made: Path, photographs: Path, tmp_path: Path) -> Place:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path, photographs)


def packed(place: Place) -> list[dict[str, Any]]:
    paths = sorted((place.output / "data").glob("*/*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def listed(folder: Path, *lines: str) -> Path:
    (folder / "gone.txt").write_text("\n".join(lines))
    return folder / "gone.txt"


def name_of(place: Place, photographs: Path, kind: str) -> str:
    row = next(row for row in packed(place) if row["id"] == "chelsea.png/0/maker-0")
    names = {"photograph": "chelsea.png", "pair": row["id"], "crop": "chelsea.png/0"}
    hashes = {
        "sha256": file_sha256(photographs / "chelsea.png"),
        "SHA256": file_sha256(photographs / "chelsea.png").upper(),
        "lq": row["lq_sha256"],
        "gt": row["gt_sha256"],
    }
    return (names | hashes)[kind]


@pytest.mark.parametrize("kind", ["photograph", "crop", "pair", "sha256", "SHA256", "lq", "gt"])
def test_a_photograph_leaves_by_any_of_its_names(
    kind: str, place: Place, photographs: Path, tmp_path: Path
) -> None:
    before = packed(place)
    (place.output / "labels.jsonl").write_text(
        '{"id": "chelsea.png/0/maker-0", "label": "keep"}\n{"id": "coffee.png/0/maker-0", "label": "keep"}\n'
    )
    (alike,) = (place.output / "learned").glob("unlike-*/alike.json")
    alike.write_text('{"chelsea.png": "china.png", "copy.png": "chelsea.png"}')
    pictures = [
        row[side]["bytes"] for row in before if row["id"].startswith("chelsea") for side in ("lq", "gt")
    ]
    pictures.append((photographs / "chelsea.png").read_bytes())
    gone = take_down(
        place.output, listed(tmp_path, "# by request", f"{name_of(place, photographs, kind)}  # mine")
    )
    assert (gone.ids, gone.pairs, gone.unknown) == ({"chelsea.png"}, 2, ())
    assert packed(place) == [row for row in before if not row["id"].startswith("chelsea")]
    assert check_sums(place.output) == []
    assert json.loads(alike.read_text()) == {"copy.png": "taken down"}
    assert [label.id for label in read_labels(place.output / "labels.jsonl")] == ["coffee.png/0/maker-0"]
    assert "| `default` | train | 3 |" in (place.output / "README.md").read_text()
    names = [b"chelsea", *(file_sha256(path).encode() for path in photographs.glob("chelsea*"))]
    left = [path for path in place.output.rglob("*") if path.is_file() and path.name != "takedown.json"]
    assert not [path for path in left for told in (*pictures, *names) if told in path.read_bytes()]
    assert b"chelsea" not in (place.output / "takedown.json").read_bytes()


def test_the_next_run_decides_nothing_anew_and_takes_nothing_in_again(
    place: Place, photographs: Path, tmp_path: Path
) -> None:
    take_down(place.output, listed(tmp_path, "chelsea.png"))
    after, funnel = packed(place), read_run(place.output).funnel
    counts = place.run()
    assert (place.maker.asked, place.eyes.asked) == (0, 0)
    assert packed(place) == after
    assert counts["gather"].dropped == {"taken down": 1}
    assert (counts["gather"].kept, counts["unlike"].rows, counts["unlike"].dropped) == (4, 4, {})
    assert read_run(place.output).funnel == funnel
    assert (counts["edit"].rows, counts["judge"].kept) == (4, 3)
    shutil.rmtree(place.output / ".ggt-hub/curation/gather")  # all slices are gathered again
    counts = place.run()
    assert counts["gather"].dropped == {"taken down": 1}
    assert not [row for row in packed(place) if row["id"].startswith("chelsea")]
    assert b"chelsea" not in b"".join(path.read_bytes() for path in place.output.rglob("*.arrow"))


@pytest.mark.parametrize("written", [1, 4, 9])
def test_who_is_killed_after_remembering_finds_the_same_again(
    written: int, place: Place, tmp_path: Path, monkeypatch: Any
) -> None:
    row = next(row for row in packed(place) if row["id"] == "flower.png/0/maker-0")
    names = listed(tmp_path, row["gt_sha256"])
    with monkeypatch.context() as patched:
        patched.setattr("ggt_hub.curation.takedown.replace_result", _fails_after(written))
        with pytest.raises(KeyboardInterrupt):
            take_down(place.output, names)
    take_down(place.output, names)
    assert not [path for path in place.output.rglob("*") if path.is_file() and b"flower" in path.read_bytes()]
    assert place.run()["gather"].dropped == {"taken down": 1}
    assert (place.maker.asked, place.eyes.asked) == (0, 0)


def _fails_after(count: int) -> Any:
    from ggt_hub.shards import replace_result

    done = []

    def replaced(*arguments: Any) -> None:
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(replace_result(*arguments))

    return replaced


def test_the_command_says_what_it_does_not_know(place: Place, tmp_path: Path) -> None:
    names = listed(tmp_path, "chelsea.png", "dog.png")
    call = ["curate", "run", "genir", str(tmp_path), "--output", str(place.output), "--takedown", str(names)]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 1
    assert (
        "dog.png: nothing of this run" in done.output and "1 photographs and 2 pairs have left" in done.output
    )
    remembered = {file_sha256(place.photographs / "chelsea.png")}
    remembered |= {hashlib.sha256(name.encode()).hexdigest() for name in ("chelsea.png", "dog.png")}
    assert {*json.loads((place.output / "takedown.json").read_text())} == remembered


def test_the_report_beside_a_run_is_written_again_and_the_ledger_is_named(
    place: Place, tmp_path: Path
) -> None:
    ledger, report = tmp_path / "own.sqlite", tmp_path / "out-report.html"
    report_run(place.output, report, Ledger(ledger))
    assert "chelsea.png/0/maker-0" in report.read_text()
    names = listed(tmp_path, "chelsea.png")
    call = ["curate", "run", "ggt", str(tmp_path), "--output", str(place.output), "--takedown", str(names)]
    done = CliRunner().invoke(app, [*call, "--ledger", str(ledger)])
    assert done.exit_code == 0
    assert f"{report}: written again" in done.output and f"the ledger, {ledger}" in done.output
    assert "chelsea" not in report.read_text() and "coffee.png/0/maker-0" in report.read_text()


def test_all_photographs_may_leave(place: Place, tmp_path: Path) -> None:
    gone = take_down(place.output, listed(tmp_path, *(f"{name}.png" for name in NAMES)))
    assert len(gone.photographs) == 5 and packed(place) == [] and check_sums(place.output) == []
    with pytest.raises(DatasetError, match="holds no pairs: there are no rows"):
        open_splits(str(place.output))
    with pytest.raises(NothingLeftError):
        place.run()


def test_what_stages_decided_may_be_gone_by_then(place: Place, tmp_path: Path) -> None:
    shutil.rmtree(place.output / ".ggt-hub/curation")
    funnel = read_run(place.output).funnel
    (audit,) = (place.output / "learned").glob("judge-*/audit.json")
    audit.write_text('{"pairs": [{"id": "chelsea.png/0/maker-0"}, {"id": "coffee.png/0/maker-0"}]}')
    gone = take_down(place.output, listed(tmp_path, "chelsea.png/0/maker-0"))
    assert (gone.ids, gone.pairs, gone.unknown) == ({"chelsea.png"}, 2, ())
    told = json.loads(audit.read_text())
    assert told == {"pairs": [{"id": "taken down"}, {"id": "coffee.png/0/maker-0"}]}
    assert read_run(place.output).funnel == funnel


def test_a_label_that_is_none_is_named_before_anything_leaves(place: Place, tmp_path: Path) -> None:
    (place.output / "labels.jsonl").write_text('{"label": "keep"}\n')
    before = packed(place)
    with pytest.raises(CurationError, match=r"labels.jsonl, line 1: .*id"):
        take_down(place.output, listed(tmp_path, "chelsea.png"))
    assert packed(place) == before and not (place.output / "takedown.json").exists()


def test_a_photograph_leaves_a_run_that_has_packed_nothing_yet(place: Place, tmp_path: Path) -> None:
    shutil.rmtree(place.output / "data")
    gone = take_down(place.output, listed(tmp_path, "chelsea.png"))
    assert (gone.ids, gone.pairs) == ({"chelsea.png"}, 0)
    assert not any(row["id"].startswith("chelsea") for row in (place.run() and packed(place)))


def test_a_name_may_have_the_sign_of_remarks_and_a_list_the_mark_of_windows(
    place: Place, tmp_path: Path
) -> None:
    names = listed(tmp_path, "\ufeffchelsea.png\t# mine", "dog#2.png # theirs", "# nobody's")
    gone = take_down(place.output, names)
    assert (gone.ids, gone.unknown) == ({"chelsea.png"}, ("dog#2.png",))


def test_what_is_no_list_or_no_run_is_named(place: Place, tmp_path: Path) -> None:
    with pytest.raises(CurationError, match="lists nothing"):
        take_down(place.output, listed(tmp_path, "# nobody"))
    with pytest.raises(CurationError, match="cannot be read"):
        take_down(place.output, tmp_path / "missing.txt")
    with pytest.raises(CurationError, match="is the folder of no run"):
        take_down(tmp_path, listed(tmp_path, "a"))
