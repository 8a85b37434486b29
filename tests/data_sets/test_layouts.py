"""Layouts of other code bases: byte for byte, read back by everything that reads pairs, never over others."""

import json
import tarfile

import numpy as np
import pytest

from ggt_hub import iter_pairs
from ggt_hub.data.reading.opening import open_splits
from ggt_hub.data.work.layouts import LAYOUTS, write_layout
from ggt_hub.errors import DatasetError
from tests.data_sets.layouts import picture
from tests.data_sets.test_export import contents

COUNT = 5


@pytest.fixture
def splits(tmp_path):
    for split, first in (("train", 0), ("test", 500)):
        for n in range(COUNT):
            for side, k in (("lq", 0), ("gt", 1000)):
                path = tmp_path / "set" / split / "rain" / side / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(picture(first + n + k))
    return open_splits(str(tmp_path / "set"))


def pixels(rows):
    return sorted((pair["lq"].tobytes(), pair["gt"].tobytes()) for pair in iter_pairs(rows))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_is_read_back(layout, splits, tmp_path):
    out = tmp_path / "out"
    assert write_layout(splits, out, layout, shard_bytes=4000) == 2 * COUNT
    again = open_splits(str(out))
    assert {split: pixels(rows) for split, rows in again.items()} == {s: pixels(r) for s, r in splits.items()}
    before = contents(out)
    write_layout(splits, out, layout, shard_bytes=4000)
    assert contents(out) == before
    assert write_layout(splits, tmp_path / "again", layout, shard_bytes=4000) == 2 * COUNT
    if layout != "lmdb":  # whose pages hold the time of nothing, but the order of writing
        assert contents(tmp_path / "again") == before


def test_webdataset_archives_hold_what_is_known_of_a_pair(splits, tmp_path):
    write_layout(splits, tmp_path / "out", "webdataset")
    with tarfile.open(tmp_path / "out/test-000000.tar") as archive:
        assert archive.getnames()[:3] == ["00000000.lq.png", "00000000.gt.png", "00000000.json"]
        assert json.load(archive.extractfile("00000000.json"))["id"] == "test/rain/0"
    rows = open_splits(str(tmp_path / "out"))["test"]
    assert rows["task"][:] == ["rain"] * COUNT


def test_basicsr_reads_its_layouts_by_its_own_rules(splits, tmp_path):
    import cv2
    import lmdb

    write_layout(splits, tmp_path / "folders", "basicsr")
    names = sorted(path.name for path in (tmp_path / "folders/train/lq").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "folders/train/gt").iterdir())
    lines = (tmp_path / "folders/train/meta_info_0000.txt").read_text().splitlines()
    assert sorted(line.split(" (")[0] for line in lines) == names
    write_layout(splits, tmp_path / "lmdb", "lmdb")
    for line in (tmp_path / "lmdb/train_lq.lmdb/meta_info.txt").read_text().splitlines():
        name, shape, _ = line.split(" ")
        with (
            lmdb.open(str(tmp_path / "lmdb/train_lq.lmdb"), readonly=True, lock=False) as environment,
            environment.begin() as all_,
        ):
            data = all_.get(name.rpartition(".")[0].encode())
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert f"({decoded.shape[0]},{decoded.shape[1]},3)" == shape


MINE = {
    "webdataset": "train-000000.tar",
    "basicsr": "train/lq/train_rain_0.png",
    "lmdb": "train_lq.lmdb/data.mdb",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_the_user_stay(layout, splits, tmp_path):
    path = tmp_path / "out" / MINE[layout]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(Exception, match=r"was not made by|is there and is another picture"):
        write_layout(splits, tmp_path / "out", layout)
    assert path.read_bytes() == b"mine"


def test_an_unknown_layout_and_rows_without_ground_truth_are_named(splits, tmp_path):
    with pytest.raises(DatasetError, match="no layout 'hdf5', only parquet, webdataset, lmdb, basicsr"):
        write_layout(splits, tmp_path / "a", "hdf5")
    rows = splits["train"].map(lambda row: {"gt": None, "gt_archive": None})
    for layout in ("basicsr", "lmdb"):
        with pytest.raises(DatasetError, match=r"has no (ground truth|gt), which this layout needs"):
            write_layout({"train": rows}, tmp_path / layout, layout)
