"""`ggt-hub data`, as a person calls it."""

import json
import zipfile

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub import iter_pairs
from ggt_hub.cli.data import app
from ggt_hub.data.sources.ggt_100k import REPOSITORY
from ggt_hub.errors import DatasetError
from tests.data_sets.layouts import LAYOUTS, pairs, picture, write_zip


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def repository(hub, tmp_path):
    folder = tmp_path / "repository"
    LAYOUTS["one archive per side"](folder)
    write_zip(folder / "Existing-dataset/train/rain.zip", {"LQ/1.png": picture(1), "GT/1.png": picture(2)})
    (folder / "pretrained-model").mkdir()
    (folder / "pretrained-model/model.pth").write_bytes(b"weights")
    hub.add("dataset", REPOSITORY, folder, tags=["v1"])
    return hub


def test_list_names_what_loads():
    assert "ggt-100k       103,707 real photographs" in run("list")
    assert json.loads(run("list", "--json"))["genir"]["is_released"] is False


def test_describe_tells_archives_weights_and_pairs_of_a_repository(repository):
    text = run("describe", "ggt-100k", "--revision", "v1")
    assert "GGT-100K/train/LQ.zip: 9 members" in text
    assert "weights: pretrained-model/model.pth, 7 bytes" in text
    assert "10 pairs, by folders, whole path" in text
    assert "low_light: train 3" in text
    assert len(repository.asked("Signature")) == 3
    found = json.loads(run("describe", REPOSITORY, "--json"))
    assert found["archives"][1]["folders"] == {"GT/haze": 3, "GT/rain": 3, "GT/low-light": 3}
    assert found["weights"] == [{"path": "pretrained-model/model.pth", "bytes": 7}]


def test_describe_names_what_cannot_be_read_and_why(tmp_path):
    LAYOUTS["one archive per side"](tmp_path)
    (tmp_path / "more.z01").write_bytes(b"x")
    (tmp_path / "lone.zip").write_bytes(b"not a zip")
    write_zip(tmp_path / "x.zip", {"LQ/1.png": b"", "../evil.png": b""})
    text = run("describe", tmp_path)
    assert "refused: more.z01: a volume of a split archive" in text
    assert "refused: lone.zip: not a readable zip archive" in text
    assert "problems: x.zip::../evil.png: the name points outside the archive" in text
    assert "x/LQ/1.png" in text


def test_index_is_published_as_it_is_and_holds_no_bytes(repository, tmp_path):
    assert "9 pairs of VCLab-PolyU/GGT-100K" in run("index", "ggt-100k", "--output", tmp_path / "ggt-100k")
    for path in (tmp_path / "ggt-100k").rglob("*.parquet"):
        table = pq.read_table(path)
        for side in ("lq", "gt"):
            assert table[side].combine_chunks().field("bytes").null_count == len(table)
    repository.add("dataset", "me/ggt-100k", tmp_path / "ggt-100k")
    assert datasets.get_dataset_config_names("me/ggt-100k") == ["all", "haze", "low_light", "rain"]
    stock = datasets.load_dataset("me/ggt-100k", split="train")
    assert len(stock) == 9
    assert {np.asarray(row["lq"]).tobytes() for row in stock} == {
        pair["lq"].tobytes() for pair in iter_pairs(stock)
    }
    rain = datasets.load_dataset("me/ggt-100k", "rain", split="train", streaming=True)
    assert [row["task"] for row in rain.decode(False)] == ["rain"] * 3
    card = (tmp_path / "ggt-100k/README.md").read_text()
    assert "license: cc-by-nc-nd-4.0" in card
    assert "To have a picture removed" in card
    run("index", "ggt-100k", "--output", tmp_path / "ggt-100k")


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_index_replaces_nothing_but_an_index(repository, tmp_path):
    clone = tmp_path / "clone"
    run("index", "ggt-100k", "--output", clone)
    first = content(clone)
    theirs = {
        ".git/config": b"[core]",
        "LICENSE": b"L",
        "data/rain/notes.txt": b"n",
        "data/mine.parquet": b"m",
    }
    for name, data in theirs.items():
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_bytes(data)
    run("index", "ggt-100k", "--output", clone)
    assert content(clone) == first | theirs


@pytest.mark.parametrize("state", ["somebody else's", "changed since"])
def test_index_stops_before_a_file_of_its_user(repository, tmp_path, state):
    clone = tmp_path / "clone"
    if state == "changed since":
        run("index", "ggt-100k", "--output", clone)
    (clone / "data/rain").mkdir(parents=True, exist_ok=True)
    (clone / "data/rain/train.parquet").write_bytes(b"mine")
    before = content(clone)
    with pytest.raises(
        DatasetError, match=r"rain/train\.parquet is not part of an index, or was changed since"
    ):
        run("index", "ggt-100k", "--output", clone)
    assert content(clone) == before


def test_an_index_loses_what_the_next_one_does_not_have(tmp_path):
    for task in ("rain", "haze"):
        write_zip(tmp_path / f"copy/{task}.zip", {"LQ/1.png": picture(1), "GT/1.png": picture(2)})
    run("index", tmp_path / "copy", "--output", tmp_path / "index")
    (tmp_path / "copy/haze.zip").unlink()
    run("index", tmp_path / "copy", "--output", tmp_path / "index")
    assert [path.parent.name for path in (tmp_path / "index").rglob("*.parquet")] == ["rain"]


@pytest.mark.parametrize("command", ["export", "index", "preview"])
@pytest.mark.parametrize("output", [".", "data", "data/default", "data/default/out"])
def test_a_source_is_no_place_for_what_is_made_of_it(tmp_path, monkeypatch, command, output):
    for n in range(3):
        for side, k in (("lq", 0), ("gt", 1000)):
            path = tmp_path / f"data/default/{n}_{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(n + k))
    before = content(tmp_path)
    monkeypatch.chdir(tmp_path)
    for source in (["data/default"], ["pairs", "--data-dir", "data/default"]):
        with pytest.raises(DatasetError, match="overlap"):
            run(command, *source, "--output", output)
    assert content(tmp_path) == before


def test_any_repository_of_pairs_can_be_indexed_exported_and_verified(hub, tmp_path):
    LAYOUTS["names tell"](tmp_path / "repository")
    hub.add("dataset", "org/pairs", tmp_path / "repository")
    assert "9 pairs of org/pairs" in run("index", "org/pairs", "-o", tmp_path / "index")
    assert "9 pairs in 1 files" in run("export", "org/pairs", "-o", tmp_path / "out")
    hub.add("dataset", "me/pairs", tmp_path / "out")
    assert len(datasets.load_dataset("me/pairs", split="train")) == 9
    text = run("verify", "me/pairs", "-o", tmp_path / "verified")
    assert text.splitlines()[-1] == "all is well"


def test_export_then_verify_then_damage(tmp_path):
    LAYOUTS["one archive per category"](tmp_path / "copy")
    run("export", tmp_path / "copy", "--output", tmp_path / "out")
    run("verify", tmp_path / "out", "--output", tmp_path / "verified")
    (path,) = (tmp_path / "out").rglob("*.parquet")
    data = bytearray(path.read_bytes())
    victim = next(lq for category, number, lq, _ in pairs() if (category, number) == ("rain", 1))
    data[data.index(victim) + 200] ^= 1
    path.write_bytes(data)
    text = run("verify", tmp_path / "out", "--output", tmp_path / "verified", code=1)
    assert "lq of 'GGT-100K/train/rain/rain/0001': SHA-256 is" in text
    assert "data/default/train-00000-of-00001.parquet: its SHA-256 differs" in text
    report = json.loads(run("verify", tmp_path / "out", "-o", tmp_path / "verified", "--json", code=1))
    assert len(report["changed_files"]) == 1


def test_preview_shows_pairs_and_makes_a_small_config(tmp_path):
    LAYOUTS["loose files"](tmp_path / "copy")
    text = run("preview", tmp_path / "copy", "--output", tmp_path / "out", "--count", 4)
    sheet = Image.open(text.strip())
    assert sheet.size[0] > 6 * 16
    rows = datasets.load_dataset(str(tmp_path / "out"), "preview", split="train")
    assert len(rows) == 4
    assert rows[0]["lq"].size == (16, 16)
    with pytest.raises(DatasetError, match="has no split 'test'; it has train"):
        run("preview", tmp_path / "copy", "--output", tmp_path / "out", "--split", "test")


def test_unknown_sources_say_so(hub, tmp_path):
    with pytest.raises(Exception, match="does not exist at"):
        run("describe", "org/absent")


def test_the_output_says_whether_a_word_was_a_folder_or_a_repository(hub, tmp_path, monkeypatch):
    LAYOUTS["names tell"](tmp_path / "here")
    hub.add("dataset", "org/there", tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    assert "source: the folder here" in CliRunner().invoke(app, ["describe", "here"]).stderr
    assert (
        "source: the dataset repository org/there"
        in CliRunner().invoke(app, ["describe", "org/there"]).stderr
    )


def test_members_that_cannot_be_read_are_named_as_the_cause(tmp_path):
    members = {f"{side}/{n}.png": picture(n) for side in ("lq", "gt") for n in range(30)}
    write_zip(tmp_path / "d/x.zip", members, zipfile.ZIP_BZIP2)
    with pytest.raises(
        DatasetError, match=r"no pictures that can be read, among which .*\n.*and 55 more: .* bzip2"
    ):
        run("export", tmp_path / "d", "-o", tmp_path / "o")
    text = run("describe", tmp_path / "d")
    assert text.count("bzip2") == 1
