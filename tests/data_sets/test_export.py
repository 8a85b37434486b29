"""Export: what the stock library loads alone, byte for byte, resumable to the byte."""

import hashlib

import datasets
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from ggt_hub import load_dataset
from ggt_hub.data.export import check_sums, export
from ggt_hub.data.notes import check_shareable
from ggt_hub.errors import DatasetError
from tests.data_sets.layouts import LAYOUTS, picture, write_zip

COUNT = 40


@pytest.fixture
def rows(tmp_path):
    members = {
        f"{side}/{task}/{n:03d}.png": picture(n + k)
        for side, k in (("LQ", 0), ("GT", 1000))
        for n, task in enumerate(["haze", "rain"] * (COUNT // 2))
    }
    write_zip(tmp_path / "copy/train.zip", members)
    return load_dataset("pairs", data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))


def test_the_stock_library_loads_it_with_every_byte_unchanged(rows, tmp_path):
    reports = export(rows, tmp_path / "out", shard_bytes=20_000)
    assert len(reports) > 2
    assert sum(report["rows"] for report in reports) == COUNT
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "stock"))
    assert list(loaded.features) == [
        "id", "lq", "gt", "task", "source", "prompt", "lq_sha256", "gt_sha256", "meta",
    ]  # fmt: skip
    raw = loaded.cast_column("lq", datasets.Image(decode=False)).cast_column(
        "gt", datasets.Image(decode=False)
    )
    assert {row["lq"]["bytes"] for row in raw} == {picture(n) for n in range(COUNT)}
    for row in raw:
        number = int(row["id"].rpartition("/")[2])
        assert row["gt"]["bytes"] == picture(number + 1000)
        assert row["gt_sha256"] == hashlib.sha256(picture(number + 1000)).hexdigest()
    streamed = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    assert [row["id"] for row in streamed.decode(False)] == loaded["id"][:]


def test_row_groups_suit_the_viewer(rows, tmp_path, monkeypatch):
    monkeypatch.setattr("ggt_hub.data.export.GROUP_BYTES", 8_000)
    (report,) = export(rows, tmp_path / "out")
    metadata = pq.read_metadata(tmp_path / "out" / report["name"])
    assert metadata.num_row_groups >= COUNT * 2 * 800 / 8_000
    assert max(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)) < 12_000
    column = metadata.row_group(0).column(1)
    assert (column.path_in_schema, column.compression, column.has_offset_index) == (
        "lq.bytes",
        "UNCOMPRESSED",
        True,
    )


def test_the_card_says_what_is_there(rows, tmp_path):
    export(rows, tmp_path / "out", config="mine")
    card = DatasetCard.load(tmp_path / "out/README.md")
    header = card.data.to_dict()
    assert header["configs"][0]["config_name"] == "mine"
    assert header["dataset_info"]["splits"][0]["num_examples"] == COUNT
    assert header["task_categories"] == ["image-to-image"]
    assert f"| `mine` | train | {COUNT} |" in card.text
    assert "{{" not in card.text
    assert datasets.get_dataset_split_names(str(tmp_path / "out")) == ["train"]


def test_sums_find_a_changed_and_a_missing_file(rows, tmp_path):
    (report,) = export(rows, tmp_path / "out")
    assert check_sums(tmp_path / "out") == []
    path = tmp_path / "out" / report["name"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert check_sums(tmp_path / "out") == [f"{report['name']}: its SHA-256 differs"]
    path.unlink()
    assert check_sums(tmp_path / "out") == [f"{report['name']}: it is missing"]


def test_a_second_config_joins_the_first(rows, tmp_path):
    export(rows, tmp_path / "out", config="first")
    export({"test": rows["train"].select(range(5))}, tmp_path / "out", config="second")
    assert datasets.get_dataset_config_names(str(tmp_path / "out")) == ["first", "second"]
    assert len(datasets.load_dataset(str(tmp_path / "out"), "second", split="test")) == 5


def test_pictures_that_changed_are_not_exported(rows, tmp_path):
    (report,) = export(rows, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / report["name"]).to_pylist()
    table[7]["lq"]["bytes"] = table[7]["lq"]["bytes"][:-1] + b"X"
    changed = datasets.Dataset.from_list(table)
    with pytest.raises(DatasetError, match=rf"lq of '{table[7]['id']}' is damaged"):
        export({"train": changed}, tmp_path / "other")


def test_converted_pictures_of_ggt_100k_are_not_shareable(tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    rows = load_dataset("ggt-100k", data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "cache"))
    export(rows, tmp_path / "out")
    with pytest.raises(DatasetError, match=r"cc-by-nc-nd-4\.0.*publish an index instead"):
        check_shareable(tmp_path / "out")
    check_shareable(next((tmp_path / "cache/ggt_hub_indexes").iterdir()))
    assert "may not be shared" in (tmp_path / "out/README.md").read_text()
