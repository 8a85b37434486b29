"""What comes from elsewhere is looked at: rows of others, indexes, copies, caches; and tokens reach every read."""

import os
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import snapshot_download
from torch.utils.data import DataLoader

import ggt_hub
from ggt_hub import hub as hub_module
from ggt_hub import iter_pairs, load_dataset
from ggt_hub.data.guard import check_shareable
from ggt_hub.data.reading.opening import open_parts, open_splits
from ggt_hub.data.sources.ggt_100k import GGT100K, INDEX_REPOSITORY, REPOSITORY
from ggt_hub.data.work.export import export
from ggt_hub.data.work.indexing import make_index
from ggt_hub.data.work.preview import preview
from ggt_hub.data.work.verify import verify
from ggt_hub.errors import DatasetError, HubError
from tests.data_sets.layouts import LAYOUTS, pairs, picture, write_zip


def table_of(folder, *paths):
    """A table whose second low-quality picture is named by a path."""
    column = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    lq = [{"bytes": picture(1), "path": None}, *({"bytes": None, "path": str(path)} for path in paths)]
    gt = [{"bytes": picture(n + 100), "path": None} for n in range(len(lq))]
    rows = {"id": [str(n) for n in range(len(lq))], "lq": pa.array(lq, column), "gt": pa.array(gt, column)}
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.table(rows | {"source": ["x"] * len(lq)}), folder / "data/train.parquet")


def test_rows_from_the_hub_never_read_files_of_this_machine(hub, tmp_path, monkeypatch):
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(9))
    monkeypatch.chdir(tmp_path)
    table_of(tmp_path / "evil", secret, "secret.png")
    hub.add("dataset", "acme/evil", tmp_path / "evil")
    with pytest.raises(DatasetError, match=r"secret\.png, a file of this machine, but comes from the Hub"):
        export(open_splits("acme/evil"), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.parquet"))
    parts, _ = open_parts("acme/evil")
    assert (
        sum("a file of this machine" in line for line in verify(parts["train"], tmp_path / "v").problems) == 2
    )
    for streaming in (False, True):
        rows = load_dataset("acme/evil", split="train", streaming=streaming)
        assert [row["id"] for row in iter_pairs(rows, skip_bad=True)] == ["0"]
    assert len(list(iter_pairs(load_dataset(str(tmp_path / "evil"), split="train")))) == 3  # one's own may


def test_offline_after_a_download_by_the_hubs_own_client(hub, tmp_path, request):
    LAYOUTS["one archive per category"](tmp_path / "repository")
    commit = hub.add("dataset", REPOSITORY, tmp_path / "repository")
    snapshot_download(REPOSITORY, repo_type="dataset")
    request.getfixturevalue("offline")
    hub.requests.clear()
    for revision in (None, commit):
        rows = load_dataset("ggt-100k", split="train", revision=revision)
        found = {row["lq"].tobytes() for row in iter_pairs(rows)}
        assert found == {np.asarray(_decoded(lq)).tobytes() for _, _, lq, _ in pairs()}
    assert not hub.requests
    with pytest.raises(HubError, match="local cache"):
        load_dataset("ggt-100k", revision="0" * 40)


def _decoded(data):
    import io

    from PIL import Image

    return Image.open(io.BytesIO(data))


def test_a_token_reaches_every_read(hub, tmp_path):
    LAYOUTS["one archive per category"](tmp_path)
    hub.add("dataset", REPOSITORY, tmp_path, gated=True)
    hub.members.add("hf_member")
    rows = load_dataset("ggt-100k", split="train", token="hf_member")
    assert len(list(iter_pairs(rows))) == len(pairs())
    hub_module.remember_token(REPOSITORY, None)


FAULTS = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "one byte changed": lambda path: path.write_bytes(
        path.read_bytes()[:300] + b"\0" + path.read_bytes()[301:]
    ),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_index_in_the_cache_is_named_and_made_anew(fault, tmp_path, caplog):
    LAYOUTS["one archive per category"](tmp_path / "copy")
    cache = str(tmp_path / "cache")

    def load(**options):
        return load_dataset(
            "pairs", data_dir=str(tmp_path / "copy"), split="train", cache_dir=cache, **options
        )

    assert len(load()) == len(pairs())
    (index,) = [path for path in (tmp_path / "cache/ggt_hub_indexes").iterdir() if path.is_dir()]
    victim = next(index.rglob("*.parquet"))
    whole = victim.read_bytes()
    FAULTS[fault](victim)
    shutil.rmtree(tmp_path / "cache/pairs", ignore_errors=True)
    assert len(load(streaming=True).decode(False)._ex_iterable.kwargs["blocks"]) > 0
    assert "is damaged and made anew" in caplog.text
    assert victim.read_bytes() == whole


def test_force_redownload_makes_the_index_anew(tmp_path, monkeypatch):
    LAYOUTS["one archive per category"](tmp_path / "copy")
    built = []
    monkeypatch.setattr(
        "ggt_hub.data.sources.indexed.IndexedPairs._build",
        lambda self, folder, real=ggt_hub.data.sources.indexed.IndexedPairs._build: (
            built.append(1) or real(self, folder)
        ),
    )
    for mode in (None, None, "force_redownload"):
        load_dataset(
            "pairs", data_dir=str(tmp_path / "copy"), cache_dir=str(tmp_path / "c"), download_mode=mode
        )
    assert len(built) == 2


def test_a_published_index_that_points_elsewhere_is_not_used(hub, tmp_path, caplog):
    LAYOUTS["one archive per category"](tmp_path / "repository")
    hub.add("dataset", REPOSITORY, tmp_path / "repository")
    make_index("ggt-100k", tmp_path / "index")
    path = tmp_path / "index/data/rain/train.parquet"
    table = pq.read_table(path)
    column = table.schema.get_field_index("lq_archive")
    moved = [value.replace(REPOSITORY, "evil/archives") for value in table["lq_archive"].to_pylist()]
    pq.write_table(table.set_column(column, "lq_archive", pa.array(moved)), path)
    summary = (tmp_path / "index/index.json").read_text()
    (tmp_path / "index/index.json").write_text(
        summary.replace('"files"', '"once"')
    )  # no hashes to compare with
    hub.add("dataset", INDEX_REPOSITORY, tmp_path / "index")
    builder = GGT100K(cache_dir=str(tmp_path / "cache"))
    rows = list(builder.as_streaming_dataset(split="train").decode(False))
    assert {row["lq_archive"].partition("@")[0] for row in rows} == {f"hf://datasets/{REPOSITORY}"}
    assert "points to hf://datasets/evil/archives" in caplog.text


def exported(tmp_path, count=6):
    members = {
        f"{side}/{n}.png": picture(n + k) for side, k in (("lq", 0), ("gt", 1000)) for n in range(count)
    }
    write_zip(tmp_path / "copy/rain.zip", members)
    export(open_splits(str(tmp_path / "copy")), tmp_path / "table")
    return tmp_path / "table"


def test_a_preview_never_counts_as_data(tmp_path):
    table = exported(tmp_path)
    preview(open_splits(str(tmp_path / "copy"))["train"], table, count=3)
    assert len(open_splits(str(table))["train"]) == 6
    assert {
        split: sum(part.rows for part in parts) for split, parts in open_parts(str(table))[0].items()
    } == {"train": 6}
    assert len(open_splits(str(table), "preview")["train"]) == 3
    assert len(open_splits(str(table), "default")["train"]) == 6
    with pytest.raises(DatasetError, match="has no config 'rain'; it has default"):
        open_splits(str(table), "rain")


def test_a_copy_is_verified_though_its_files_have_the_same_name_size_and_time(tmp_path):
    table = exported(tmp_path)
    assert verify(open_parts(str(table))[0]["train"], tmp_path / "v").is_good
    shutil.copytree(table, tmp_path / "copied")
    (path,) = (tmp_path / "copied").rglob("*.parquet")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[data.index(picture(2)) + 100] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=times)
    assert not verify(open_parts(str(tmp_path / "copied"))[0]["train"], tmp_path / "v").is_good


def test_pairs_are_iterated_twice_and_by_a_data_loader(tmp_path):
    table = exported(tmp_path)
    rows = load_dataset(str(table), split="train")
    found = iter_pairs(rows)
    first = [row["id"] for row in found]
    assert [row["id"] for row in found] == first == [row["id"] for row in rows]
    loader = DataLoader(iter_pairs(rows), batch_size=2, collate_fn=list)
    assert [row["id"] for batch in loader for row in batch] == first
    split = DataLoader(iter_pairs(rows), batch_size=None, num_workers=2, collate_fn=lambda row: row["id"])
    assert sorted(split) == sorted(first)
    assert isinstance(iter_pairs(rows), torch.utils.data.IterableDataset)


def test_an_interrupted_pass_goes_on_where_it_stopped_not_at_the_beginning(tmp_path):
    rows = datasets.load_dataset(str(exported(tmp_path)), split="train", cache_dir=str(tmp_path / "c"))
    found = iter_pairs(rows)
    begun = [next(found)["id"], next(found)["id"]]
    assert begun + [row["id"] for row in found] == rows["id"][:]


def forbidden(tmp_path):
    """Ways in which pictures of GGT-100K come back to `push_to_hub` under another name."""
    rows = load_dataset("ggt-100k", "rain", split="train")
    make_index("ggt-100k", tmp_path / "index")
    export({"train": rows}, tmp_path / "out")
    rows.save_to_disk(str(tmp_path / "saved"))
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    LAYOUTS["one archive per category"](tmp_path / "mine")
    features = datasets.Features(lq=datasets.Image())
    other = datasets.Dataset.from_list([{"lq": {"bytes": picture(1), "path": None}}], features)
    return {
        "an index in a folder": load_dataset(str(tmp_path / "index"), "rain", split="train"),
        "an exported folder": load_dataset(str(tmp_path / "out"), split="train"),
        "a stream of it": load_dataset(str(tmp_path / "out"), split="train", streaming=True),
        "what was saved to disk": datasets.load_from_disk(str(tmp_path / "saved")),
        "a table of the rows": datasets.Dataset.from_parquet(str(tmp_path / "rows.parquet")),
        "a copy of one's own": load_dataset("pairs", data_dir=str(tmp_path / "mine"), split="train"),
        "a renamed column": rows.select_columns(["lq"]).rename_column("lq", "image"),
        "joined to others": datasets.concatenate_datasets([other, rows.select_columns(["lq"])]),
    }


def test_pictures_that_may_not_be_shared_are_known_by_their_rows(hub, tmp_path):
    LAYOUTS["one archive per category"](tmp_path / "repository")
    hub.add("dataset", REPOSITORY, tmp_path / "repository")
    for way, rows in forbidden(tmp_path).items():
        with pytest.raises(DatasetError, match=r"cc-by-nc-nd-4\.0: its pictures may not be uploaded again"):
            rows.push_to_hub("me/copy")
            pytest.fail(way)


def test_an_export_by_the_authors_id_has_their_terms(hub, tmp_path):
    LAYOUTS["one archive per category"](tmp_path / "repository")
    hub.add("dataset", REPOSITORY, tmp_path / "repository")
    export(open_splits(REPOSITORY), tmp_path / "out")
    assert "license: cc-by-nc-nd-4.0" in (tmp_path / "out/README.md").read_text()
    with pytest.raises(DatasetError, match="forbids to share"):
        check_shareable(tmp_path / "out")
