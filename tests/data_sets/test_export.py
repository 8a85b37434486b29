"""Export: what the stock library loads alone, byte for byte, resumable to the byte."""

import hashlib

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from ggt_hub import load_dataset
from ggt_hub.data.guard import check_shareable
from ggt_hub.data.reading.opening import open_splits
from ggt_hub.data.reading.parts import dataset_parts, picture_sizes
from ggt_hub.data.work.export import check_sums, export
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
    monkeypatch.setattr("ggt_hub.data.work.export.GROUP_BYTES", 8_000)
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


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_repeat_replaces_what_export_wrote_and_nothing_else(rows, tmp_path):
    export(rows, tmp_path / "out", shard_bytes=20_000)
    first = contents(tmp_path / "out")
    theirs = {
        "data/default/0001.png": b"p",
        "data/default/notes.txt": b"n",
        "data/x.parquet": b"x",
        ".git/HEAD": b"h",
    }
    for name, data in theirs.items():
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_bytes(data)
    (report,) = export(rows, tmp_path / "out")  # one file instead of several
    now = contents(tmp_path / "out")
    assert [name for name in now if name.endswith(".parquet")] == ["data/x.parquet", report["name"]]
    assert {name: now[name] for name in theirs} == theirs
    assert len(first) > len(now) - len(theirs)


@pytest.mark.parametrize("name", ["mine.parquet", "train-00000-of-00001.parquet"])
@pytest.mark.parametrize("exported_before", [False, True])
def test_a_config_with_tables_of_the_users_own_is_refused(rows, tmp_path, name, exported_before):
    if exported_before:
        export(rows, tmp_path / "out")
    path = tmp_path / "out/data/default" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")
    before = contents(tmp_path / "out")
    with pytest.raises(DatasetError, match=f"holds files that no export wrote, such as {name}"):
        export({"train": rows["train"].select(range(3))}, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_a_file_of_sums_that_is_somebody_elses_stays(rows, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/SHA256SUMS").write_text(f"{'0' * 64}  thesis.pdf\n")
    with pytest.raises(DatasetError, match="SHA256SUMS is somebody else's"):
        export(rows, tmp_path / "out")
    assert (tmp_path / "out/SHA256SUMS").read_text() == f"{'0' * 64}  thesis.pdf\n"


def test_a_completed_card_stays_and_is_no_changed_file(rows, tmp_path):
    card = tmp_path / "out/README.md"
    export(rows, tmp_path / "out")
    completed = card.read_text().replace("license: unknown", "license: cc-by-4.0\n# agreed with A. B.")
    completed = completed.replace("state their licence here", "they are under CC BY 4.0")
    card.write_text(completed + "\n## Thanks\n\nTo C. D.\n")
    assert check_sums(tmp_path / "out") == []
    export({"train": rows["train"].select(range(5))}, tmp_path / "out")
    now = card.read_text()
    for line in ("license: cc-by-4.0", "# agreed with A. B.", "they are under CC BY 4.0", "To C. D."):
        assert line in now
    assert "| `default` | train | 5 |" in now
    assert f"| `default` | train | {COUNT} |" not in now
    assert DatasetCard.load(card).data.to_dict()["dataset_info"]["splits"][0]["num_examples"] == 5


def test_a_generated_part_that_was_changed_is_the_users(rows, tmp_path, caplog):
    card = tmp_path / "out/README.md"
    export(rows, tmp_path / "out")
    card.write_text(card.read_text().replace("Pairs of a low-quality picture", "My pairs"))
    text = card.read_text().partition("\n---\n")[2]
    export({"train": rows["train"].select(range(5))}, tmp_path / "out")
    assert card.read_text().partition("\n---\n")[2] == text
    assert "README.md was written by hand" in caplog.text


def test_a_card_of_ones_own_gets_numbers_and_keeps_every_line(rows, tmp_path):
    (tmp_path / "out/other").mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "out/other/a.parquet")
    mine = (
        "---\npretty_name: Mine  # for short\nlanguage:\n- de\nconfigs:\n- config_name: notes\n"
        "  data_files:\n  - split: train\n    path: other/*.parquet\n"
        "- config_name: gone\n  data_files: gone/*.parquet\n"
        "---\n# Mine\n\nText.\n"
    )
    (tmp_path / "out/README.md").write_text(mine)
    export(rows, tmp_path / "out")
    now = (tmp_path / "out/README.md").read_text()
    assert "pretty_name: Mine  # for short\nlanguage:\n- de\n" in now
    assert now.endswith("---\n# Mine\n\nText.\n")
    header = DatasetCard.load(tmp_path / "out/README.md").data.to_dict()
    assert [config["config_name"] for config in header["configs"]] == ["default", "notes"]
    assert datasets.load_dataset(str(tmp_path / "out"), "notes", split="train")["a"][:] == [1]
    assert len(datasets.load_dataset(str(tmp_path / "out"), "default", split="train")) == COUNT


def test_a_card_whose_header_is_no_yaml_is_named(rows, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/README.md").write_text("---\na: [1\n---\nText\n")
    with pytest.raises(DatasetError, match=r"the header of .*README\.md is no YAML"):
        export(rows, tmp_path / "out")
    assert (tmp_path / "out/README.md").read_text() == "---\na: [1\n---\nText\n"


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


KINDS = {"view": (pa.string_view(), pa.binary_view()), "large": (pa.large_string(), pa.large_binary())}


@pytest.mark.parametrize("kind", KINDS)
def test_tables_with_arrows_other_kinds_of_text_and_bytes_are_exported(kind, tmp_path):
    text, data = KINDS[kind]
    column = pa.struct([("bytes", data), ("path", text)])
    pictures = {
        side: pa.array([{"bytes": picture(n + k), "path": None} for n in range(5)], column)
        for side, k in (("lq", 0), ("gt", 1000))
    }
    words = {name: pa.array([f"{name}{n}" for n in range(5)], text) for name in ("id", "source", "note")}
    (tmp_path / "there").mkdir()
    pq.write_table(pa.table({**words, **pictures}), tmp_path / "there/train.parquet")
    export(open_splits(str(tmp_path / "there")), tmp_path / "out")
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    raw = rows.cast_column("lq", datasets.Image(decode=False))
    assert [row["lq"]["bytes"] for row in raw] == [picture(n) for n in range(5)]
    assert rows["note"][:] == [f"note{n}" for n in range(5)]


def gigabytes(chunks: int) -> datasets.Dataset:
    """Rows of 64 MiB, 16 in a chunk, which all share the memory of one gibibyte that nobody ever touches."""
    offsets = pa.py_buffer(np.arange(0, 2**30 + 1, 2**26, dtype=np.int32))
    data = pa.Array.from_buffers(pa.binary(), 16, [None, offsets, pa.py_buffer(np.zeros(2**30, np.uint8))])
    column = pa.StructArray.from_arrays([data, pa.nulls(16, pa.string())], ["bytes", "path"])
    ids = pa.chunked_array([pa.array([f"{16 * k + n}" for n in range(16)]) for k in range(chunks)])
    table = pa.table({"id": ids, "lq": pa.chunked_array([column] * chunks)})
    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint="gigabytes")


def test_more_than_two_gibibytes_of_one_side_are_cut_into_windows_that_arrow_can_hold():
    rows = gigabytes(chunks=4)
    assert picture_sizes(rows).tolist() == [2**26] * 64
    parts = dataset_parts(rows, 2**31)
    assert [part.rows for part in parts] == [32, 32]
    assert [len(table) for table in parts[1].tables()] == [4] * 8
    assert next(parts[1].tables())["id"].to_pylist() == ["32", "33", "34", "35"]
