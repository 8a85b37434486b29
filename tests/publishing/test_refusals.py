"""What must not be published is refused, by name and with the reason."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ggt_hub import __version__
from ggt_hub.data.pairs import POINTER_FEATURES
from ggt_hub.errors import PublishError
from ggt_hub.publishing import refusals
from ggt_hub.publishing.plan import pack
from tests.data_sets.layouts import picture, write_zip
from tests.publishing.trees import card, manifest, pairs, whole, write

SECRETS = {
    "a Hugging Face token": "hf_" + "aBcDeFgHiJ" * 3 + "kLmN",
    "a GitHub token": "ghp_" + "a1B2c3" * 6,
    "a key of an AI service": "sk-" + "proj-" + "a1B2c3d4" * 5,
    "an AWS key": "AKIA" + "A1B2C3D4E5F6G7H8",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
}


@pytest.fixture
def demo(tmp_path):
    """The manifest of a demo alone, whose folder a test spoils."""
    write(tmp_path / "demo/README.md", card("space"))
    write(tmp_path / "demo/app.py", "print('here')\n")
    return manifest(tmp_path, demo={"kind": "demo", "folder": "demo"})


@pytest.fixture
def index(tmp_path):
    """The manifest of an index of GGT-100K, whose folder a test spoils."""
    rows = [
        dict.fromkeys(POINTER_FEATURES)
        | {"id": "1", "lq": {"bytes": None, "path": "zip://1.png::a.zip"}, "source": "ggt-100k", "meta": "{}"}
    ]
    path = tmp_path / "index/data/all/train.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, POINTER_FEATURES.arrow_schema), path)
    write(
        tmp_path / "index/README.md", card("dataset").replace("configs: []", "configs: [{config_name: all}]")
    )
    return manifest(tmp_path, index={"kind": "dataset", "folder": "index"})


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_in_any_file_is_refused(demo, what):
    (demo.parent / "demo/weights.bin").write_bytes(b"\0" * 1000 + SECRETS[what].encode() + b"\n\xff")
    with pytest.raises(PublishError, match=rf"demo: weights\.bin holds {what}: remove it, and revoke it"):
        pack(demo)


@pytest.mark.parametrize("name", [".env", "keys/id_rsa", "server.pem"])
def test_a_file_that_is_made_for_secrets_is_refused(demo, name):
    write(demo.parent / "demo" / name, "x")
    with pytest.raises(PublishError, match="is a file for secrets"):
        pack(demo)


def test_clean_files_and_hidden_ones_pass(demo):
    write(demo.parent / "demo/.cache/x", SECRETS["an AWS key"])
    write(demo.parent / "demo/__pycache__/app.pyc", "x")
    write(demo.parent / "demo/notes.md", "hf_ is how a token begins; sk-learn is a library")
    (parcel,) = pack(demo)
    assert [item.path for item in parcel.items] == ["README.md", "app.py", "notes.md"]


def test_files_over_the_limits_are_refused(demo, monkeypatch):
    monkeypatch.setattr(refusals, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(refusals, "MAX_FILES", 5)
    monkeypatch.setattr(refusals, "MAX_FILES_IN_FOLDER", 3)
    write(demo.parent / "demo/large.txt", "x" * 1001)
    for n in range(4):
        write(demo.parent / f"demo/many/{n}.txt", "x")
    with pytest.raises(PublishError) as caught:
        pack(demo)
    assert "large.txt has 1001 bytes, more than 1000" in str(caught.value)
    assert "7 files are more than 5" in str(caught.value)
    assert "the folder many has 4 files, more than 3" in str(caught.value)


def test_pixels_of_ggt_100k_are_refused_in_the_pair_schema(tmp_path):
    pairs(tmp_path / "pairs", source="ggt-100k")
    path = manifest(tmp_path, pairs={"kind": "dataset", "folder": "pairs"})
    with pytest.raises(PublishError, match=r"holds pictures of GGT-100K, whose licence \(cc-by-nc-nd-4\.0\)"):
        pack(path)


def test_an_index_of_ggt_100k_passes(index):
    (parcel,) = pack(index)
    assert [item.path for item in parcel.items] == ["README.md", "data/all/train.parquet"]


def test_pixels_of_ggt_100k_are_refused_in_a_column_of_any_name(index):
    path = index.parent / "index/data/all/train.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("thumbnail", [[picture(1)]]), path)
    with pytest.raises(PublishError, match="column thumbnail holds bytes; ggt-100k may not be shared"):
        pack(index)


def test_rows_that_do_not_say_where_they_come_from_are_refused(index):
    path = index.parent / "index/data/all/train.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["source"]), path)
    with pytest.raises(PublishError, match=r"train\.parquet has no column source"):
        pack(index)


def test_pixels_beside_an_index_of_ggt_100k_are_refused(index):
    (index.parent / "index/sheet.webp").write_bytes(picture(1))
    with pytest.raises(PublishError, match=r"sheet\.webp is a picture in a repository of ggt-100k"):
        pack(index)


@pytest.mark.parametrize("name", ["train.zip", "train.tar", "train.arrow"])
def test_containers_whose_pictures_cannot_be_told_are_refused(index, name):
    write_zip(index.parent / "index" / name, {"LQ/1.png": picture(1)})
    with pytest.raises(PublishError, match=f"{name}: what such a file holds cannot be told"):
        pack(index)


def test_a_script_with_the_name_of_its_dataset_is_refused(index):
    write(index.parent / "index/index.py", "")
    with pytest.raises(PublishError, match="makes `datasets` refuse to load it"):
        pack(index)


def test_python_that_does_not_compile_is_refused(demo):
    write(demo.parent / "demo/app.py", "print('here'\n")
    with pytest.raises(PublishError, match=r"app\.py is not Python"):
        pack(demo)


def test_a_space_that_would_run_with_another_package_is_refused(demo):
    write(demo.parent / "demo/requirements.txt", f"spaces>=0.40\nggt-hub[demo]=={__version__}\n")
    pack(demo)
    write(demo.parent / "demo/requirements.txt", "ggt-hub[demo]\n")
    with pytest.raises(PublishError, match=r"requirements\.txt says 'ggt-hub\[demo\]': end it with =="):
        pack(demo)


def test_all_problems_are_told_at_once(tmp_path):
    path = whole(tmp_path)
    write(tmp_path / "demo/.env", "x")
    write(tmp_path / "cards/net.md", "no header")
    write(tmp_path / "pairs/pairs.py", "")
    with pytest.raises(PublishError) as caught:
        pack(path)
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "pairs",
        "net",
        "demo",
    ]


def test_what_is_not_made_yet_says_how_to_make_it(tmp_path):
    path = manifest(tmp_path, index={"kind": "dataset", "folder": "absent", "made_by": "make index"})
    with pytest.raises(PublishError, match="absent does not exist: make it with `make index`"):
        pack(path)


def test_hashes_are_those_of_sha256sum_and_git(demo):
    write(demo.parent / "demo/hello.txt", "hello\n")
    item = pack(demo)[0].items[2]
    # `sha256sum` and `git hash-object` of a file with the one line "hello".
    assert item.sha256 == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert item.git_sha1 == "ce013625030ba8dba906f756967f9e9ca394464a"
