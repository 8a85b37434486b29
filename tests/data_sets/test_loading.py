"""`load_dataset` through the local Hub: ours by name, all else untouched, never another revision."""

import functools
import itertools
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest

import ggt_hub
from ggt_hub.data.sources.ggt_100k import REPOSITORY
from ggt_hub.errors import DatasetError, HubError
from tests.data_sets.layouts import LAYOUTS, pairs, picture, write_zip
from tests.servers.faults import Fault


@pytest.fixture
def repository(hub, tmp_path):
    """GGT-100K in two versions: v1 with nine pairs, and main with one more."""
    folder = tmp_path / "repository"
    LAYOUTS["one archive per category"](folder)
    hub.add("dataset", REPOSITORY, folder, tags=["v1"])
    write_zip(folder / "GGT-100K/train/snow.zip", {"LQ/1.png": picture(1), "GT/1.png": picture(2)})
    hub.add("dataset", REPOSITORY, folder)
    return folder


@pytest.fixture
def registered():
    assert ggt_hub.register_datasets()
    yield datasets
    ggt_hub.unregister_datasets()


@pytest.fixture(params=["ours", "registered"])
def library(request):
    """The functions of `ggt_hub`, and those of `datasets` after `register_datasets`."""
    return ggt_hub if request.param == "ours" else request.getfixturevalue("registered")


def test_one_line_loads_the_newest_version(library, repository):
    loaded = library.load_dataset("ggt-100k")
    assert {name: len(split) for name, split in loaded.items()} == {"train": 10}
    row = library.load_dataset("ggt-100k", "rain", split="train", streaming=True).take(1)
    assert next(iter(row))["task"] == "rain"


@pytest.mark.parametrize("streaming", [False, True])
def test_any_revision_is_exact(library, repository, streaming):
    for revision, count in (("v1", 9), ("main", 10), ("v1", 9)):
        rows = library.load_dataset("ggt-100k", split="train", revision=revision, streaming=streaming)
        rows = rows.decode(False) if streaming else rows.cast_column("lq", datasets.Image(decode=False))
        assert len([row["id"] for row in rows.select_columns(["id"])]) == count


def test_wrong_unreachable_and_withdrawn_revisions_are_errors(library, repository, hub):
    library.load_dataset("ggt-100k", split="train", revision="v1")
    with pytest.raises(HubError, match="no revision 'v9'"):
        library.load_dataset("ggt-100k", split="train", revision="v9")
    hub.break_next("/api/", status=503, times=100)
    with pytest.raises(HubError, match="cannot be reached"):
        library.load_dataset("ggt-100k", split="train", revision="v1")
    hub.reset()
    with pytest.raises(HubError, match="does not exist"):
        library.load_dataset("ggt-100k", split="train", revision="v1")


def _ggt_100k(folder, number):
    LAYOUTS["manifest"](folder)
    write_zip(folder / "GGT-100K/train/notes.zip", {"notes.txt": b"%d" % number})


def _realir_bench(folder, number):
    rows = [
        {"image": {"bytes": picture(n), "path": f"{number}.png"}, "task": "rain"} for n in range(len(pairs()))
    ]
    datasets.Dataset.from_list(rows).to_parquet(folder / "train.parquet")


@pytest.mark.parametrize(
    ("name", "repo_id", "write"),
    [("ggt-100k", REPOSITORY, _ggt_100k), ("realir-bench", "RealRestorer/RealIR-Bench", _realir_bench)],
)
@pytest.mark.parametrize(
    "fault", [{"hang_up": True}, {"drop_after": 100}, {"status": 503}, {"status": 429}], ids=str
)
def test_any_one_request_may_fail(name, repo_id, write, fault, hub, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for spared in itertools.count():
        write(tmp_path, spared)  # another version each time, of which nothing is cached
        hub.add("dataset", repo_id, tmp_path)
        broken = Fault(method="", spared=spared, **fault)
        hub.faults.add(broken)
        rows = ggt_hub.load_dataset(name, split="train", streaming=name == "ggt-100k")
        assert len(list(ggt_hub.iter_pairs(rows))) == len(pairs())
        if broken.times:
            break
    assert spared >= 3


def test_offline_gives_exactly_what_was_loaded_before(library, repository, request):
    library.load_dataset("ggt-100k", split="train", revision="v1")
    request.getfixturevalue("offline")
    assert len(library.load_dataset("ggt-100k", split="train", revision="v1")) == 9
    for revision in (None, "main", "v9"):
        with pytest.raises(HubError, match="local cache"):
            library.load_dataset("ggt-100k", split="train", revision=revision)


def test_the_stock_library_does_fall_back_offline(hub, tmp_path, request):
    """Why ours looks revisions up itself: if this fails, the stock library has been mended."""
    for number, tags in ((1, ["v1"]), (2, [])):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data/train.csv").write_text("x\n" + "1\n" * number)
        hub.add("dataset", "org/table", tmp_path, tags=tags)
    datasets.load_dataset("org/table", revision="main")
    request.getfixturevalue("offline")
    assert len(datasets.load_dataset("org/table", revision="v1")["train"]) == 2


def test_gated_says_so(library, hub, tmp_path):
    LAYOUTS["one archive per side"](tmp_path)
    hub.add("dataset", REPOSITORY, tmp_path, gated=True)
    with pytest.raises((HubError, DatasetError), match=r"[Gg]ated|restricted"):
        list(library.load_dataset("ggt-100k", split="train", streaming=True))


def test_a_copy_on_disk_needs_no_network(library, tmp_path):
    LAYOUTS["one archive per side"](tmp_path / "copy")
    rows = library.load_dataset("ggt-100k", "haze", split="train", data_dir=str(tmp_path / "copy"))
    assert np.asarray(rows[0]["lq"]).shape == (16, 16, 3)
    with pytest.raises(DatasetError, match="has no revisions"):
        library.load_dataset("ggt-100k", data_dir=str(tmp_path / "copy"), revision="v1")


def test_builder_configs_and_splits(library, repository):
    names = library.get_dataset_config_names("ggt-100k")
    assert names == ["all", "general", "rain", "haze", "snow", "low_light", "old_photo", "existing"]
    assert library.get_dataset_split_names("ggt-100k", "rain") == ["train"]
    builder = library.load_dataset_builder("ggt-100k", "rain")
    assert builder.info.license == "cc-by-nc-nd-4.0"
    assert set(builder.info.features) >= {"id", "lq", "gt", "task", "source", "prompt", "meta"}
    assert builder.dataset_name == "ggt-100k"


@pytest.mark.parametrize("name", ["realrestorer", "genir"])
def test_what_is_not_released_says_so_and_loads_own_data(library, name, tmp_path):
    with pytest.raises(DatasetError, match=r"is not published: .*data_dir="):
        library.load_dataset(name)
    LAYOUTS["names tell"](tmp_path)
    rows = library.load_dataset(name, data_dir=str(tmp_path), split="train")
    assert (len(rows), rows[0]["source"]) == (len(pairs()), name)


@pytest.mark.parametrize("layout", ["loose files", "one archive per side", "manifest"])
def test_a_folder_of_pairs_is_a_name(library, layout, tmp_path):
    LAYOUTS[layout](tmp_path / "my-pairs")
    rows = library.load_dataset(str(tmp_path / "my-pairs"), split="train")
    assert (len(rows), rows[0]["source"]) == (len(pairs()), "my-pairs")
    if layout == "manifest":
        assert rows[0]["prompt"] == "Remove the haze."
        assert rows[0]["meta"] == '{"note": 0}'


def test_every_other_name_goes_to_the_stock_library(library, hub, tmp_path):
    (tmp_path / "table").mkdir()
    (tmp_path / "table/train.csv").write_text("x\n1\n2\n")
    assert len(library.load_dataset("csv", data_files=str(tmp_path / "table/train.csv"), split="train")) == 2
    assert len(library.load_dataset(str(tmp_path / "table"), split="train")) == 2
    hub.add("dataset", "org/table", tmp_path / "table")
    assert library.get_dataset_split_names("org/table") == ["train"]
    with pytest.raises(datasets.exceptions.DatasetNotFoundError):
        library.load_dataset("org/absent")


def test_single_pictures_stay_with_the_stock_library(library, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(picture(1))
    rows = library.load_dataset(str(tmp_path), split="train")
    assert list(rows.features) == ["image", "label"]


def test_registering_is_undone_and_turns_itself_off(monkeypatch, caplog):
    stock = datasets.load.dataset_module_factory
    assert ggt_hub.register_datasets() and ggt_hub.register_datasets()
    ggt_hub.unregister_datasets()
    assert datasets.load.dataset_module_factory is datasets.inspect.dataset_module_factory is stock
    monkeypatch.setattr(datasets.load, "dataset_module_factory", lambda path, other: None)
    assert not ggt_hub.register_datasets()
    assert "use ggt_hub.load_dataset" in caplog.text


def test_the_licence_is_shown_once(repository, caplog):
    from ggt_hub.data.sources import ggt_100k

    ggt_100k._show_licence.cache_clear()
    for _ in range(2):
        ggt_hub.load_dataset("ggt-100k", split="train")
    assert caplog.text.count("cc-by-nc-nd-4.0") == 1


MADE_OF_ROWS = {
    "nothing": lambda rows: rows,
    "view": lambda rows: rows.with_format("numpy").select_columns(["id", "lq"]),
    "map": lambda rows: rows.map(lambda row: {"length": len(row["id"])}),
    "filter": lambda rows: rows.filter(lambda row: True),
    "shuffle": lambda rows: rows.shuffle(seed=1),
    "take": lambda rows: rows.take(2),
    "joined": lambda rows: datasets.concatenate_datasets([rows, rows]),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("made", MADE_OF_ROWS)
def test_pictures_are_not_uploaded_again(made, streaming, library, repository):
    rows = MADE_OF_ROWS[made](library.load_dataset("ggt-100k", split="train", streaming=streaming))
    kind = datasets.IterableDatasetDict if streaming else datasets.DatasetDict
    for data in (rows, kind(train=rows)):
        with pytest.raises(DatasetError, match=r"cc-by-nc-nd-4\.0: its pictures may not be uploaded again"):
            data.push_to_hub("me/copy")


def test_data_of_ones_own_are_uploaded_as_ever(repository, hub):
    ggt_hub.load_dataset("ggt-100k", split="train")
    hub.members.add("hf_member")
    hub.namespaces.add("me")
    datasets.Dataset.from_dict({"x": [1, 2]}).push_to_hub("me/own", token="hf_member")
    assert ggt_hub.load_dataset("me/own", split="train")["x"][:] == [1, 2]


def write_pairs(folder, first, count=3):
    for n in range(count):
        for side, k in (("lq", 0), ("gt", 1000)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            (folder / side / f"{n}.png").write_bytes(picture(first + n + k))
    return folder


def pixels(rows):
    return [np.asarray(row["lq"]).tobytes() for row in rows]


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_folder_in_another_place_gives_its_own_pictures(library, how, tmp_path):
    a = write_pairs(tmp_path / "a", 0)
    before = pixels(library.load_dataset("pairs", data_dir=str(a), split="train"))
    if how == "copied":
        shutil.copytree(a, tmp_path / "b")  # with the same names, sizes and times
    else:
        a.rename(tmp_path / "b")
    other = write_pairs(tmp_path / "other", 500)
    for path in a.rglob("*.png") if how == "copied" else ():
        path.write_bytes((other / path.relative_to(a)).read_bytes())
    assert pixels(library.load_dataset("pairs", data_dir=str(tmp_path / "b"), split="train")) == before


def test_rows_of_a_folder_decode_from_any_working_directory(library, tmp_path, monkeypatch):
    write_pairs(tmp_path / "a", 0)
    monkeypatch.chdir(tmp_path)
    rows = library.load_dataset("./a", split="train")
    monkeypatch.chdir("/")
    assert np.asarray(rows[0]["lq"]).shape == (16, 16, 3)


def test_a_name_of_the_list_is_never_a_folder(library, repository, tmp_path, monkeypatch):
    write_pairs(tmp_path / "pairs", 0)
    write_pairs(tmp_path / "ggt-100k", 0)
    monkeypatch.chdir(tmp_path)
    assert len(library.load_dataset("ggt-100k", split="train", revision="v1")) == 9
    assert len(library.load_dataset("./ggt-100k", split="train")) == 3
    with pytest.raises(DatasetError, match=r"the folder here of that name is '\./pairs'"):
        library.load_dataset("pairs")
    assert len(library.load_dataset("./pairs", split="train")) == 3


def test_a_folder_has_no_revisions(tmp_path):
    write_pairs(tmp_path / "a", 0)
    with pytest.raises(DatasetError, match=r"the folder .* has no revisions"):
        ggt_hub.load_dataset(str(tmp_path / "a"), revision="v1")


def test_after_an_index_was_written_each_revision_is_still_its_own(
    library, repository, tmp_path, monkeypatch
):
    from ggt_hub.data.work.indexing import make_index

    monkeypatch.chdir(tmp_path)
    make_index("ggt-100k", Path("ggt-100k"), revision="v1")
    assert len(library.load_dataset("ggt-100k", split="train")) == 10
    with pytest.raises(HubError, match="no revision 'v9'"):
        library.load_dataset("ggt-100k", revision="v9")


def test_linked_folders_are_data_and_broken_links_are_named(tmp_path, caplog):
    write_pairs(tmp_path / "real", 0)
    for side in ("lq", "gt"):
        (tmp_path / "set" / side).mkdir(parents=True)
        (tmp_path / "set" / side / "album").symlink_to(tmp_path / "real" / side)
    (tmp_path / "set/lq/album2.png").symlink_to("/nowhere.png")
    rows = ggt_hub.load_dataset("pairs", data_dir=str(tmp_path / "set"), split="train")
    assert len(rows) == 3
    assert "album2.png" in caplog.text


def test_a_foreign_wrapper_is_left_alone(monkeypatch, caplog):
    stock = datasets.load.dataset_module_factory

    @functools.wraps(stock)
    def foreign(*args, **kwargs):
        return stock(*args, **kwargs)

    monkeypatch.setattr(datasets.load, "dataset_module_factory", foreign)
    assert not ggt_hub.register_datasets()
    assert "somebody has changed how" in caplog.text
    ggt_hub.unregister_datasets()
    assert datasets.load.dataset_module_factory is foreign
