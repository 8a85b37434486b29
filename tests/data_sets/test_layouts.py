"""Layouts of other code bases: byte for byte, read back by everything that reads pairs, never over others."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pandas
import PIL.Image
import pytest

from ggt_hub import iter_pairs
from ggt_hub.data.reading.opening import open_splits
from ggt_hub.data.reading.parts import dataset_parts, rows_of
from ggt_hub.data.work.export import check_row
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


@pytest.mark.parametrize("layout", ["basicsr", "diffsynth", "jsonl"])
def test_what_has_left_the_source_leaves_the_pictures_of_an_export_too(layout, splits, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write_layout(splits, out, layout, shard_bytes=4000)
    (out / "train/lq/mine.png").write_bytes(b"mine")
    ids = splits["train"]["id"][:]
    names = [ids[1].replace("/", "_"), ids[4].replace("/", "_")]
    (edited,) = (out / "train/gt").glob(f"{names[1]}.*")
    edited.write_bytes(b"edited")
    fewer = {"train": splits["train"].select([0, 2, 3]), "test": splits["test"]}
    unlink = Path.unlink

    def interrupted(path, **options):
        if path.parent.name in ("lq", "gt") and names[0] in path.name and path.suffix != ".part":
            raise KeyboardInterrupt
        unlink(path, **options)

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(Path, "unlink", interrupted)
        write_layout(fewer, out, layout, shard_bytes=4000)
    assert write_layout(fewer, out, layout, shard_bytes=4000) == 3 + COUNT
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert {name.partition(".")[0] for name in left if names[0] in name} == set()
    assert {name for name in left if names[1] in name} == {edited.name}  # edited since, so it is the user's
    assert "mine.png" in left
    lists = "".join(path.read_text() for path in out.rglob("*") if path.suffix in (".txt", ".csv", ".jsonl"))
    assert names[0] not in lists and ids[0].replace("/", "_") in lists


@pytest.mark.parametrize("layout", ["basicsr", "diffsynth", "jsonl"])
def test_a_picture_that_lay_there_before_an_export_stays_though_it_is_the_same(layout, splits, tmp_path):
    write_layout(splits, tmp_path / "first", layout)
    mine, *_ = sorted((tmp_path / "first/train/gt").iterdir())
    ours = tmp_path / "out/train/gt" / mine.name
    ours.parent.mkdir(parents=True)
    ours.write_bytes(mine.read_bytes())
    write_layout(splits, tmp_path / "out", layout)
    keys = splits["train"]["id"][:]
    kept = [n for n, key in enumerate(keys) if mine.stem != key.replace("/", "_")]
    assert len(kept) == COUNT - 1
    write_layout({"train": splits["train"].select(kept), "test": splits["test"]}, tmp_path / "out", layout)
    assert len([*(tmp_path / "out/train/lq").iterdir()]) == COUNT - 1
    assert ours.read_bytes() == mine.read_bytes()


@pytest.mark.parametrize("layout", ["basicsr", "diffsynth", "jsonl"])
def test_what_a_killed_export_wrote_is_known_to_the_next(layout, splits, tmp_path, monkeypatch):
    def killed(work, shards, *_arguments, **_options):
        work(*shards[0].arguments, tmp_path / "list")  # all pictures, and the list has no report yet
        raise KeyboardInterrupt

    with monkeypatch.context() as once, pytest.raises(KeyboardInterrupt):
        once.setattr("ggt_hub.data.work.layouts.run_shards", killed)
        write_layout(splits, tmp_path / "out", layout)
    fewer = {"train": splits["train"].select([1, 2]), "test": splits["test"]}
    assert len([*(tmp_path / "out/train/lq").iterdir()]) == COUNT
    write_layout(fewer, tmp_path / "out", layout)
    assert len([*(tmp_path / "out/train/lq").iterdir()]) == 2


def test_several_layouts_in_one_folder_leave_each_other_alone(splits, tmp_path):
    fewer = {"train": splits["train"].select([0, 1]), "test": splits["test"]}
    write_layout(splits, tmp_path / "out", "basicsr")
    for rows in (splits, fewer):
        write_layout(rows, tmp_path / "out", "jsonl")
    assert (tmp_path / "out/train/meta_info_0000.txt").is_file()
    assert len([*(tmp_path / "out/train/lq").iterdir()]) == COUNT


def test_names_have_no_dots_and_tell_apart_what_would_be_called_alike(splits, tmp_path):
    ids = ["a.png/0", "a_png_0", "b b.png/0", "ü" * 250, "z"]
    rows = splits["train"].remove_columns("id").add_column("id", ids)
    for layout in ("basicsr", "lmdb"):
        assert write_layout({"train": rows}, tmp_path / layout, layout) == COUNT
    stems = sorted(path.name.split(".")[0] for path in (tmp_path / "basicsr/train/lq").iterdir())
    hashed = [hashlib.sha256(name.encode()).hexdigest()[:16] for name in (ids[0], ids[1], ids[3])]
    expected = [f"a_png_0-{hashed[0]}", f"a_png_0-{hashed[1]}", "b_b_png_0", f"{'ü' * 100}-{hashed[2]}", "z"]
    assert stems == sorted(expected)
    lines = (tmp_path / "lmdb/train_lq.lmdb/meta_info.txt").read_text().splitlines()
    assert sorted(line.split(".")[0] for line in lines) == stems  # as BasicSR has it


def told(task):
    return f"undo {task}"


@pytest.fixture
def prompted(splits):
    """The first of each split has a prompt of its own."""
    return {
        split: rows.map(lambda _row, n: {"prompt": "as new" if n == 0 else None}, with_indices=True)
        for split, rows in splits.items()
    }


def originals(rows):
    return [tuple((row[side]["bytes"]) for side in ("lq", "gt")) for row in stored(rows)]


def stored(rows):
    plain = [check_row(item) for part in dataset_parts(rows, 10**9) for item in rows_of(part)]
    return sorted(plain, key=lambda row: row["id"])


PROMPTS = ["as new"] + ["undo rain"] * (COUNT - 1)


def test_lines_of_json_name_both_pictures_the_task_and_the_prompt(prompted, tmp_path):
    out = tmp_path / "out"
    write_layout(prompted, out, "jsonl", instruct=told)
    lines = [json.loads(line) for line in (out / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [list(line) for line in lines] == [["lq", "gt", "type", "prompt"]] * COUNT
    assert [(line["type"], line["prompt"]) for line in lines] == [("rain", prompt) for prompt in PROMPTS]
    found = [((out / line["lq"]).read_bytes(), (out / line["gt"]).read_bytes()) for line in lines]
    assert found == originals(prompted["test"])
    write_layout(prompted, tmp_path / "bare", "jsonl")
    assert json.loads((tmp_path / "bare/test.jsonl").read_text().splitlines()[1])["prompt"] == ""


def test_metadata_of_diffsynth_lies_beside_its_pictures(prompted, tmp_path):
    write_layout(prompted, tmp_path / "out", "diffsynth", instruct=told)
    base = tmp_path / "out/train"
    table = pandas.read_csv(base / "metadata.csv")  # as its loader does
    assert list(table.columns) == ["image", "prompt", "edit_image"]
    assert list(table["prompt"]) == PROMPTS
    found = [
        ((base / lq).read_bytes(), (base / gt).read_bytes())
        for gt, lq in zip(table["image"], table["edit_image"], strict=True)
    ]
    assert found == originals(prompted["train"])


def test_stock_datasets_loads_the_columns_of_instructpix2pix(prompted, tmp_path):
    write_layout(prompted, tmp_path / "out", "instructpix2pix", shard_bytes=4000, instruct=told)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "test"}
    rows = loaded["train"]
    assert rows.column_names == ["input_image", "edit_prompt", "edited_image"]
    assert list(rows["edit_prompt"]) == PROMPTS
    found = [[np.asarray(row[side]) for side in ("input_image", "edited_image")] for row in rows]
    for pair, files in zip(found, originals(prompted["train"]), strict=True):
        for side, data in zip(pair, files, strict=True):
            np.testing.assert_array_equal(side, np.asarray(PIL.Image.open(io.BytesIO(data))))


MINE = {
    "webdataset": "train-000000.tar",
    "basicsr": "train/lq/train_rain_0.png",
    "lmdb": "train_lq.lmdb/data.mdb",
    "jsonl": "train.jsonl",
    "diffsynth": "train/metadata.csv",
    "instructpix2pix": "data/instructpix2pix/train-00000-of-00001.parquet",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_the_user_stay(layout, splits, tmp_path):
    path = tmp_path / "out" / MINE[layout]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(Exception, match=r"not made by|no export wrote|is there and is another picture"):
        write_layout(splits, tmp_path / "out", layout)
    assert path.read_bytes() == b"mine"


def test_an_unknown_layout_and_rows_without_ground_truth_are_named(splits, tmp_path):
    with pytest.raises(
        DatasetError, match="no layout 'hdf5', only parquet, webdataset, lmdb, basicsr, jsonl, "
    ):
        write_layout(splits, tmp_path / "a", "hdf5")
    rows = splits["train"].map(lambda row: {"gt": None, "gt_archive": None})
    for layout in sorted(set(LAYOUTS) - {"webdataset"}):
        with pytest.raises(DatasetError, match="has no ground truth, which this layout needs"):
            write_layout({"train": rows}, tmp_path / layout, layout)
