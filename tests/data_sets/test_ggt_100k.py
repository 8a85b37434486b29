"""The GGT-100K builder over the layouts that the repository may have, on disk and through the local Hub."""

import io

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets.distributed import split_dataset_by_node
from PIL import Image

from ggt_hub.data.sources.ggt_100k import GGT100K, REPOSITORY
from ggt_hub.data.sources.index import read_summary
from ggt_hub.errors import DatasetError, HubError
from ggt_hub.revisions import pinned
from tests.data_sets.layouts import LAYOUTS, pairs, picture, write_zip


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def expected() -> dict:
    """Task and ground truth of every low-quality picture, by its pixels."""
    tasks = {"haze": "haze", "rain": "rain", "low-light": "low_light"}
    return {pixels(lq).tobytes(): (tasks[c], pixels(gt).tobytes()) for c, _, lq, gt in pairs()}


def found(rows) -> dict:
    return {np.asarray(r["lq"]).tobytes(): (r["task"], np.asarray(r["gt"]).tobytes()) for r in rows}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pairs(layout, tmp_path):
    LAYOUTS[layout](tmp_path / "copy")
    builder = GGT100K(data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    streamed = list(builder.as_streaming_dataset(split="train"))
    assert found(streamed) == expected()
    assert len({row["id"] for row in streamed}) == len(pairs())
    assert {row["source"] for row in streamed} == {"ggt-100k"}
    builder.download_and_prepare()
    assert found(builder.as_dataset(split="train")) == expected()


@pytest.mark.parametrize("layout", ["one archive per side", "one archive per category", "manifest"])
def test_the_stock_library_reads_our_rows_from_the_hub(layout, tmp_path, hub):
    LAYOUTS[layout](tmp_path / "repository")
    commit = hub.add("dataset", REPOSITORY, tmp_path / "repository")
    builder = GGT100K(cache_dir=str(tmp_path / "cache"))
    rows = builder.as_streaming_dataset(split="train")
    assert found(rows) == expected()
    row = next(iter(rows.decode(False)))
    assert row["lq"]["bytes"] is None
    assert row["lq"]["path"].startswith("zip://")
    assert f"::hf://datasets/{REPOSITORY}@{commit}/GGT-100K/train/" in row["lq"]["path"]


def test_describing_and_indexing_reads_directories_only(tmp_path, hub):
    LAYOUTS["one archive per side"](tmp_path / "repository")
    big = {f"LQ/haze/{n}.bin": np.random.default_rng(n).bytes(1 << 20) for n in range(4)}
    write_zip(tmp_path / "repository/GGT-100K/train/more.zip", big)
    hub.add("dataset", REPOSITORY, tmp_path / "repository")
    GGT100K(cache_dir=str(tmp_path / "cache"))._split_generators(None)
    ranges = [request.range for request in hub.asked("Signature")]
    assert len(ranges) == 3
    first, last = map(int, ranges[-1].removeprefix("bytes=").split("-"))
    assert last - first < 1 << 16


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_no_pixel_is_copied_into_what_is_prepared(file_format, tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    builder = GGT100K(data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare(str(tmp_path / "out"), file_format=file_format, num_proc=2)
    rows = datasets.load_dataset(file_format, data_files=f"{tmp_path}/out/*.{file_format}", split="train")
    assert len(rows) == len(pairs())
    table = rows.with_format("arrow")[:]
    for side in ("lq", "gt"):
        assert table[side].combine_chunks().field("bytes").null_count == len(pairs())
    assert {"lq_archive", "lq_offset", "lq_stored_size", "lq_size", "lq_method", "lq_crc32"} <= set(
        table.column_names
    )


def test_configs_choose_a_category_and_say_what_there_is(tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    where = {"data_dir": str(tmp_path / "copy"), "cache_dir": str(tmp_path / "cache")}
    rows = list(GGT100K(config_name="rain", **where).as_streaming_dataset(split="train"))
    assert [row["task"] for row in rows] == ["rain"] * 3
    with pytest.raises(DatasetError, match=r"has no pairs of 'snow'; it has haze, low_light, rain"):
        GGT100K(config_name="snow", **where).as_streaming_dataset()


@pytest.mark.parametrize("option", [{"max_pairs": 0}, {"validation": 1.0}, {"validation": -0.1}], ids=str)
def test_numbers_that_mean_nothing_are_refused(option, tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    builder = GGT100K(data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"), **option)
    with pytest.raises(DatasetError, match=f"{next(iter(option))}={next(iter(option.values()))} .*give "):
        builder.as_streaming_dataset()


def test_max_pairs_is_spread_over_the_categories(tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    builder = GGT100K(data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"), max_pairs=5)
    tasks = [row["task"] for row in builder.as_streaming_dataset(split="train").decode(False)]
    assert sorted(tasks.count(task) for task in set(tasks)) == [1, 2, 2]


def test_validation_is_split_off_by_id_alone(tmp_path):
    members = {f"{s}/haze/{n:03d}.png": picture(n) for s in ("LQ", "GT") for n in range(200)}
    write_zip(tmp_path / "copy/GGT-100K/train/all.zip", members)
    splits = {}
    for share in (0.1, 0.3):
        builder = GGT100K(
            data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"), validation=share
        )
        rows = builder.as_streaming_dataset()
        splits[share] = {name: {row["id"] for row in part.decode(False)} for name, part in rows.items()}
        assert list(rows) == ["train", "validation"]
        assert len(splits[share]["train"] | splits[share]["validation"]) == 200
        assert not splits[share]["train"] & splits[share]["validation"]
        assert len(splits[share]["validation"]) == pytest.approx(200 * share, abs=25)
    assert splits[0.1]["validation"] < splits[0.3]["validation"]


def test_splits_and_existing_data_are_kept_apart(tmp_path):
    write_zip(tmp_path / "GGT-100K/train/a.zip", {"LQ/rain/1.png": picture(1), "GT/rain/1.png": picture(2)})
    write_zip(tmp_path / "GGT-100K/test.zip", {"LQ/1.png": picture(3), "GT/1.png": picture(4)})
    write_zip(tmp_path / "Existing-dataset/old.zip", {"LQ/1.png": picture(5), "GT/1.png": picture(6)})
    where = {"data_dir": str(tmp_path), "cache_dir": str(tmp_path / ".cache")}
    splits = GGT100K(**where).as_streaming_dataset()
    assert {name: [row["task"] for row in rows] for name, rows in splits.items()} == {
        "train": ["rain"],
        "test": [None],
    }
    (row,) = GGT100K(config_name="existing", **where).as_streaming_dataset(split="train")
    assert np.array_equal(row["lq"], pixels(picture(5)))


def test_index_is_built_once_for_a_commit(tmp_path, hub):
    LAYOUTS["one archive per side"](tmp_path / "repository")
    first = hub.add("dataset", REPOSITORY, tmp_path / "repository", tags=["v1"])
    write_zip(tmp_path / "repository/GGT-100K/train/x.zip", {"LQ/snow/1.png": b"", "GT/snow/1.png": b""})
    second = hub.add("dataset", REPOSITORY, tmp_path / "repository")
    counts = {}
    for revision in ("main", "v1", first, second, None):
        builder = GGT100K(revision=revision, cache_dir=str(tmp_path / "cache"))
        asked = len(hub.asked("Signature"))
        rows = builder.as_streaming_dataset(split="train").decode(False)
        counts[revision] = (builder.config.revision, len(list(rows)), len(hub.asked("Signature")) - asked)
    assert counts == {
        "main": (second, 10, 3),
        "v1": (first, 9, 2),
        first: (first, 9, 0),
        second: (second, 10, 0),
        None: (second, 10, 0),
    }


def test_a_wrong_revision_is_an_error(tmp_path, hub):
    LAYOUTS["one archive per side"](tmp_path / "repository")
    hub.add("dataset", REPOSITORY, tmp_path / "repository")
    with pytest.raises(HubError, match="has no revision 'v9'"):
        GGT100K(revision="v9", cache_dir=str(tmp_path / "cache"))


def test_a_change_on_disk_is_seen(tmp_path):
    write_zip(tmp_path / "copy/a.zip", {"LQ/1.png": picture(1), "GT/1.png": picture(2)})
    where = {"data_dir": str(tmp_path / "copy"), "cache_dir": str(tmp_path / "cache")}
    for number in (1, 2):
        write_zip(tmp_path / f"copy/{number}.zip", {"LQ/1.png": picture(1), "GT/1.png": picture(2)})
        builder = GGT100K(**where)
        builder.download_and_prepare()
        assert len(builder.as_dataset(split="train")) == number + 1


def test_resuming_and_sharing_out_give_every_row_once(tmp_path):
    members = {f"{s}/haze/{n:03d}.png": picture(n) for s in ("LQ", "GT") for n in range(300)}
    write_zip(tmp_path / "copy/GGT-100K/train/all.zip", members)
    builder = GGT100K(data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    rows = builder.as_streaming_dataset(split="train").decode(False)
    every = [row["id"] for row in rows]
    assert rows.num_shards == 5
    iterator = iter(rows)
    start = [next(iterator)["id"] for _ in range(100)]
    state = rows.state_dict()
    resumed = builder.as_streaming_dataset(split="train").decode(False)
    resumed.load_state_dict(state)
    assert start + [row["id"] for row in resumed] == every
    parts = [split_dataset_by_node(rows, rank, 2) for rank in range(2)]
    assert sorted(row["id"] for part in parts for row in part) == sorted(every)
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(rows.select_columns(["id"]), batch_size=None, num_workers=2)
    assert sorted(row["id"] for row in loader) == sorted(every)


def test_a_published_index_of_the_same_commit_is_used(tmp_path, hub):
    LAYOUTS["one archive per side"](tmp_path / "repository")
    commit = hub.add("dataset", REPOSITORY, tmp_path / "repository")
    own = GGT100K(cache_dir=str(tmp_path / "cache"))
    tag = pinned("ggt-hub/ggt-100k", "dataset")
    hub.add("dataset", "ggt-hub/ggt-100k", own.index(), tags=[tag])
    asked = len(hub.asked("Signature"))
    rows = GGT100K(cache_dir=str(tmp_path / "other")).as_streaming_dataset(split="train")
    assert not [r for r in hub.asked("Signature")[asked:] if r.range]
    assert found(rows) == expected()
    write_zip(tmp_path / "repository/GGT-100K/train/x.zip", {"LQ/snow/1.png": b"", "GT/snow/1.png": b""})
    assert hub.add("dataset", REPOSITORY, tmp_path / "repository") != commit
    newer = GGT100K(cache_dir=str(tmp_path / "other")).as_streaming_dataset(split="train")
    assert len(list(newer.decode(False))) == len(pairs()) + 1


def test_many_small_row_groups_of_rows_that_hold_nothing(tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    index = GGT100K(data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache")).index()
    files = sorted(path.relative_to(index).as_posix() for path in index.rglob("*.parquet"))
    assert files == [f"data/{task}/train.parquet" for task in ("haze", "low_light", "rain")]
    assert max(path.stat().st_size for path in index.rglob("*.parquet")) < 20_000
    assert pq.read_metadata(index / files[0]).row_group(0).num_rows == 3


@pytest.mark.parametrize(("name", "way_out"), [("more.7z", "unpack it"), ("more.z01", "join them")])
def test_parts_that_cannot_be_read_in_place_are_refused_with_the_way_out(name, way_out, tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    (tmp_path / "copy/GGT-100K/train" / name).write_bytes(b"x")
    builder = GGT100K(data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(DatasetError, match=rf"GGT-100K/train/{name}: .*{way_out}"):
        builder.as_streaming_dataset()


@pytest.mark.parametrize("name", ["snow.zip.001", "snow_GT.zipaa", "snow.7z"])
def test_a_category_in_volumes_costs_the_others_nothing(name, tmp_path, caplog):
    train = tmp_path / "copy/GGT-100K/train"
    LAYOUTS["one archive per category"](tmp_path / "copy")
    write_zip(train / "snow_LQ.zip", {f"LQ/{n}.png": picture(n) for n in range(5)})
    (train / name).write_bytes(b"x")

    def load(config):
        folders = {"data_dir": str(tmp_path / "copy"), "cache_dir": str(tmp_path / "cache")}
        builder = GGT100K(config_name=config, **folders)
        return builder.as_streaming_dataset(split="train").decode(False)

    assert [row["task"] for row in load("haze")] == ["haze"] * 3
    assert f"GGT-100K/train/{name}: " in caplog.text
    for config in ("snow", "all"):
        with pytest.raises(
            DatasetError, match=rf"{name}: .*\nConfigs that can be loaded: rain, haze, low_light$"
        ):
            load(config)


def test_an_archive_inside_an_archive_is_refused_by_name(tmp_path):
    LAYOUTS["one archive per category"](tmp_path / "copy")
    write_zip(tmp_path / "copy/GGT-100K/train/more.zip", {"inner/rest.zip": b"x"})
    builder = GGT100K(data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(
        DatasetError, match=r"more\.zip::inner/rest\.zip: an archive inside an archive .*unpack it"
    ):
        builder.as_streaming_dataset()


def test_unpaired_and_unsafe_members_are_told_by_name(tmp_path, caplog):
    members = {f"{s}/haze/{n:03d}.png": picture(n) for s in ("LQ", "GT") for n in range(300)}
    members |= {"LQ/haze/alone.png": picture(1), "../evil.png": picture(2)}
    write_zip(tmp_path / "copy/GGT-100K/train/all.zip", members)
    builder = GGT100K(data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    assert len(list(builder.as_streaming_dataset(split="train").decode(False))) == 300
    assert "1 unpaired:\nGGT-100K/train/all/LQ/haze/alone.png" in caplog.text
    assert "GGT-100K/train/all.zip::../evil.png: the name points outside the archive" in caplog.text
    summary = read_summary(builder.index())
    assert summary["unpaired"] == ["GGT-100K/train/all/LQ/haze/alone.png"]
    assert len(summary["problems"]) == 1
