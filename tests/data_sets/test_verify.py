"""Verify: every changed byte is found and its picture named, and nothing is read twice."""

import random

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ggt_hub import load_dataset
from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.reading.parts import dataset_parts, parquet_parts
from ggt_hub.data.work.export import export
from ggt_hub.data.work.verify import verify
from tests.data_sets.layouts import LAYOUTS, picture


@pytest.fixture
def exported(tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    rows = load_dataset("pairs", data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    export(rows, tmp_path / "out")
    return tmp_path / "out"


def test_good_data_is_good(exported, tmp_path):
    found = verify(parquet_parts(exported)["train"], tmp_path / "verified")
    assert found.is_good
    assert (found.rows, found.unhashed) == (9, 0)


def test_200_of_200_flipped_bytes_are_found_and_the_picture_named(exported, tmp_path):
    (path,) = exported.rglob("*.parquet")
    table = pq.read_table(path).to_pylist()
    choose = random.Random(0)
    for trial in range(200):
        row, side = choose.choice(table), choose.choice(["lq", "gt"])
        data = bytearray(row[side]["bytes"])
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        changed = row | {side: {"bytes": bytes(data), "path": None}}
        rows = datasets.Dataset.from_list([changed], PAIR_FEATURES)
        found = verify(dataset_parts(rows, 1 << 30), tmp_path / str(trial))
        assert found.problems[0].startswith(f"{side} of {row['id']!r}: SHA-256 is")


def test_a_flipped_byte_in_the_file_is_found(exported, tmp_path):
    (path,) = exported.rglob("*.parquet")
    data = bytearray(path.read_bytes())
    victim = pq.read_table(path).to_pylist()[4]
    data[data.index(victim["gt"]["bytes"]) + 300] ^= 4
    path.write_bytes(data)
    found = verify(parquet_parts(exported)["train"], tmp_path / "verified")
    assert [problem.partition(": ")[0] for problem in found.problems][:1] == [f"gt of {victim['id']!r}"]


def png(width: int, height: int, path) -> dict:
    Image.fromarray(np.full((height, width, 3), width, np.uint8)).save(path)
    return {"bytes": path.read_bytes(), "path": None}


def test_sizes_missing_pictures_and_duplicates(tmp_path):
    small, double, odd = (png(*size, tmp_path / f"{size}.png") for size in ((4, 6), (8, 12), (8, 11)))
    (tmp_path / "gone.png").write_bytes(picture(3))
    rows = [
        pair_row("fits", small, double, source="t"),
        pair_row("odd", small, odd, source="t"),
        pair_row("smaller", double, small, source="t"),
        pair_row("alone", {"bytes": picture(1), "path": None}, None, source="t"),
        pair_row("broken", {"bytes": picture(2)[:100], "path": None}, None, source="t"),
        pair_row("gone", {"bytes": None, "path": str(tmp_path / "gone.png")}, None, source="t"),
    ]
    parts = dataset_parts(datasets.Dataset.from_list(rows, PAIR_FEATURES), 1000)
    (tmp_path / "gone.png").unlink()
    found = verify(parts, tmp_path / "verified")
    odd_sizes, smaller, broken, gone = found.problems
    assert odd_sizes == "'odd': gt is 8x11, no multiple of lq, which is 4x6"
    assert smaller == "'smaller': gt is 4x6, no multiple of lq, which is 8x12"
    assert "lq of 'broken'" in broken
    assert gone.startswith("lq of 'gone': ")
    assert "gone.png cannot be read: No such file" in gone
    assert found.duplicates == [["fits", "odd"]]
    assert found.unhashed == 9


def test_archives_are_checked_by_their_crc(tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    archive = tmp_path / "copy/GGT-100K/train/GT.zip"
    data = bytearray(archive.read_bytes())
    data[data.index(picture(50)) + 200] ^= 1
    archive.write_bytes(data)
    rows = load_dataset("pairs", data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    found = verify(dataset_parts(rows["train"], 1 << 30), tmp_path / "verified")
    assert len(found.problems) == 1
    assert found.problems[0].startswith("gt of 'GGT-100K/train/haze/0000': ")
    assert "CRC-32" in found.problems[0]


def test_what_was_verified_is_not_read_again(exported, tmp_path, monkeypatch):
    parts = parquet_parts(exported)["train"]
    first = verify(parts, tmp_path / "verified")
    monkeypatch.setattr("ggt_hub.data.work.verify.verify_part", None)
    assert verify(parts, tmp_path / "verified") == first


def test_a_clean_picture_is_no_problem_and_a_row_without_pictures_is(tmp_path):
    clean = {"bytes": picture(1), "path": None}
    rows = [
        pair_row("clean", None, clean, source="t"),
        pair_row("again", None, clean, source="t"),
        pair_row("nothing", None, None, source="t"),
    ]
    found = verify(
        dataset_parts(datasets.Dataset.from_list(rows, PAIR_FEATURES), 1000), tmp_path / "verified"
    )
    assert found.problems == ["'nothing': there is no picture"]
    assert (found.rows, found.clean) == (3, 2)
    assert found.duplicates == [["clean", "again"]]
