"""Pairs made of clean photographs: the same bytes whatever the workers, each row with what replays it."""

import hashlib
import io
import json

import datasets
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub import iter_pairs
from ggt_hub.cli import app
from ggt_hub.data.reading.opening import open_parts, open_splits
from ggt_hub.data.work.export import check_sums
from ggt_hub.data.work.make import Making, make_pairs
from ggt_hub.data.work.verify import verify
from ggt_hub.degradations import replay
from ggt_hub.errors import DatasetError, DegradationError
from ggt_hub.files import find_jobs
from tests.data_sets.test_export import contents
from tests.photographs import photograph


@pytest.fixture
def clean(tmp_path):
    """Three photographs of several kinds."""
    (tmp_path / "clean/b").mkdir(parents=True)
    picture = photograph(64)
    Image.fromarray(picture).save(tmp_path / "clean/a.jpg", quality=90)
    Image.fromarray(picture[::-1]).save(tmp_path / "clean/b/a.png")
    alpha = np.dstack([picture, np.full((64, 64), 200, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "clean/b/c.webp", lossless=True)
    return tmp_path / "clean"


def jobs(folder, output):
    return find_jobs([folder], output, "png").jobs


@pytest.mark.parametrize("kind", ["png", "webp", "jpg"])
def test_each_row_replays_to_its_low_quality_picture(kind, clean, tmp_path):
    assert (
        make_pairs(jobs(clean, tmp_path / "out"), Making("mixture", seed=3, format=kind), tmp_path / "out")
        == {}
    )
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    raw = rows.cast_column("lq", datasets.Image(decode=False)).cast_column("gt", datasets.Image(decode=False))
    assert sorted(row["gt"]["bytes"] for row in raw) == sorted(p.read_bytes() for p in clean.rglob("*.*"))
    for row in raw:
        damaged = replay(row["gt"]["bytes"], json.loads(row["meta"])["record"])
        lq = Image.open(io.BytesIO(row["lq"]["bytes"]))
        assert (np.asarray(lq)[..., :3] == damaged.pixels).all() or kind == "jpg"
        assert row["task"] == "general"
    parts, folder = open_parts(str(tmp_path / "out"))
    assert verify(parts["train"], tmp_path / "v").problems == [] and check_sums(folder) == []


def test_the_bytes_do_not_depend_on_workers_or_on_a_repeat(clean, tmp_path, monkeypatch):
    monkeypatch.setattr("ggt_hub.data.work.make.PICTURES_IN_A_SHARD", 2)
    for name, workers in (("one", 1), ("two", 2)):
        make_pairs(jobs(clean, tmp_path / name), Making("noise"), tmp_path / name, workers=workers)
    tables = {
        name: {path: data for path, data in contents(tmp_path / name).items() if path.endswith(".parquet")}
        for name in ("one", "two")
    }
    assert tables["one"] == tables["two"] and len(tables["one"]) == 2
    before = contents(tmp_path / "one")
    make_pairs(jobs(clean, tmp_path / "one"), Making("noise"), tmp_path / "one")
    assert contents(tmp_path / "one") == before
    make_pairs(jobs(clean, tmp_path / "one"), Making("noise", seed=1), tmp_path / "one")
    assert contents(tmp_path / "one") != before


def test_a_bad_picture_is_listed_and_the_others_are_made(clean, tmp_path):
    (clean / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    (clean / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    outcome = CliRunner().invoke(
        app,
        ["degrade", str(clean), "-o", str(tmp_path / "out"), "--task", "noise", "--pairs"],
        env={"COLUMNS": "200"},
    )
    assert outcome.exit_code == 1
    assert "left out: bad.png: " in outcome.output
    assert "photo.heic" in outcome.output
    assert "3 pairs, 1 pictures left out" in outcome.output
    assert len(list(iter_pairs(open_splits(str(tmp_path / "out"))["train"]))) == 3


def test_damage_that_touches_the_ground_truth_says_which_file_its_record_is_for(clean, tmp_path):
    """lq is a third as wide and high, so gt is cut to a multiple; a preset of one's own."""
    step = "{family: resize, enlarge: false, scale: [0.33, 0.33], down: [area]}"
    (tmp_path / "small.yaml").write_text(f"task: general\nsteps: [{step}]\n")
    making = Making(tmp_path / "small.yaml")
    assert make_pairs(jobs(clean, tmp_path / "out"), making, tmp_path / "out") == {}
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    files = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in clean.rglob("*.*")}
    for row in rows:
        assert (row["lq"].size, row["gt"].size) == ((21, 21), (63, 63))
        meta = json.loads(row["meta"])
        source = files[meta["clean_sha256"]]
        np.testing.assert_array_equal(
            np.asarray(row["gt"])[..., :3], np.asarray(Image.open(source))[:63, :63, :3]
        )
        np.testing.assert_array_equal(
            np.asarray(row["lq"])[..., :3], replay(source.read_bytes(), meta["record"]).pixels
        )
    parts, folder = open_parts(str(tmp_path / "out"))
    assert verify(parts["train"], tmp_path / "v").problems == [] and check_sums(folder) == []


def test_a_preset_file_that_was_changed_makes_the_pairs_anew(clean, tmp_path):
    for sigma in (5, 5, 50):
        (tmp_path / "my.yaml").write_text(
            f"task: noise\nsteps: [{{family: noise, sigma: [{sigma}, {sigma}]}}]\n"
        )
        make_pairs(jobs(clean, tmp_path / "out"), Making(str(tmp_path / "my.yaml")), tmp_path / "out")
        rows = iter_pairs(open_splits(str(tmp_path / "out"))["train"])
        records = [json.loads(row["meta"])["record"] for row in rows]
        assert [record["steps"][0]["sigma"] for record in records] == [sigma] * 3


def test_nothing_to_make_is_said_before_anything_is_written(clean, tmp_path):
    with pytest.raises(DegradationError, match="no degradation named 'fogg'"):
        make_pairs(jobs(clean, tmp_path / "out"), Making("fogg"), tmp_path / "out")
    with pytest.raises(DegradationError, match="severity is 2"):
        make_pairs(jobs(clean, tmp_path / "out"), Making("noise", severity=2), tmp_path / "out")
    with pytest.raises(DatasetError, match="no pictures to make pairs of"):
        make_pairs([], Making("noise"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
