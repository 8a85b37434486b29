"""`ggt-hub data push`: checked before, nothing of others touched, compared after."""

import datasets
import pytest

from ggt_hub.data.reading.opening import open_splits
from ggt_hub.data.work.export import export
from ggt_hub.data.work.indexing import make_index
from ggt_hub.errors import PublishError
from ggt_hub.publishing.data_push import push_data
from tests.data_sets.layouts import LAYOUTS, picture, write_zip


@pytest.fixture
def folder(tmp_path):
    members = {f"{side}/{n}.png": picture(n + k) for side, k in (("lq", 0), ("gt", 1000)) for n in range(4)}
    write_zip(tmp_path / "copy/rain.zip", members)
    export(open_splits(str(tmp_path / "copy")), tmp_path / "table")
    return tmp_path / "table"


def licensed(folder):
    card = folder / "README.md"
    text = card.read_text().replace("license: unknown", "license: cc-by-4.0")
    card.write_text(text.replace("NAMESPACE/table", "org/mine"))
    return folder


def test_a_licence_is_asked_for_before_anything_is_sent(folder, api, hub):
    with pytest.raises(PublishError, match=r"README\.md states no licence"):
        push_data(folder, "org/mine", api)
    assert ("datasets", "org/mine") not in hub.repositories


def test_what_is_pushed_loads_and_what_else_is_there_stays(folder, api):
    api.create_repo("org/mine", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=b"notes", path_in_repo="NOTES.txt", repo_id="org/mine", repo_type="dataset"
    )
    commit, proven = push_data(licensed(folder), "org/mine", api)
    assert "loaded by datasets (default)" in proven
    rows = datasets.load_dataset("org/mine", split="train", revision=commit)
    assert len(rows) == 4
    assert "NOTES.txt" in api.list_repo_files("org/mine", repo_type="dataset")
    again, _ = push_data(folder, "org/mine", api)
    assert again == commit


def test_other_content_is_replaced_only_when_told(folder, api):
    push_data(licensed(folder), "org/mine", api)
    api.upload_file(
        path_or_fileobj=b"theirs", path_in_repo="SHA256SUMS", repo_id="org/mine", repo_type="dataset"
    )
    with pytest.raises(
        PublishError, match="has other content in SHA256SUMS: look at it, then give --overwrite"
    ):
        push_data(folder, "org/mine", api)
    commit, _ = push_data(folder, "org/mine", api, overwrite=True)
    assert commit


def test_pictures_that_may_not_be_shared_and_odd_ids_are_refused(hub, api, tmp_path):
    from ggt_hub.data.sources.ggt_100k import REPOSITORY

    LAYOUTS["one archive per category"](tmp_path / "repository")
    hub.add("dataset", REPOSITORY, tmp_path / "repository")
    export(open_splits(REPOSITORY), tmp_path / "out")
    with pytest.raises(PublishError, match="forbids to share"):
        push_data(tmp_path / "out", "org/copy", api)
    with pytest.raises(PublishError, match="is no id like namespace/name"):
        push_data(tmp_path / "out", "copy", api)
    with pytest.raises(PublishError, match=r"has no README\.md"):
        push_data(tmp_path, "org/copy", api)
    make_index("ggt-100k", tmp_path / "index")
    card = tmp_path / "index/README.md"
    card.write_text(card.read_text().replace("NAMESPACE/index", "org/index"))
    assert push_data(tmp_path / "index", "org/index", api)[0]
