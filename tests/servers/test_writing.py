"""The local Hub, written to by the real clients."""

import hashlib
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
)
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

BIG = bytes(range(256)) * 8192


@pytest.fixture
def api(hub, monkeypatch):
    hub.members.add("hf_member")
    hub.namespaces.add("org")
    hasty = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", hasty)
    return HfApi(token="hf_member")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Pairs\n")
    (tmp_path / "data" / "pairs.zip").write_bytes(BIG)
    return tmp_path


def files(api, **where):
    return set(api.list_repo_files("org/pairs", repo_type="dataset", **where))


def test_a_folder_goes_up_and_comes_down_the_same(api, folder, hub):
    api.create_repo("org/pairs", repo_type="dataset")
    sha = api.upload_folder(repo_id="org/pairs", folder_path=folder, repo_type="dataset").oid
    assert api.dataset_info("org/pairs").sha == sha
    assert files(api) == {".gitattributes", "README.md", "data/pairs.zip"}
    path = hf_hub_download("org/pairs", "data/pairs.zip", repo_type="dataset")
    assert Path(path).read_bytes() == BIG
    assert len(hub.asked("Upload=", "PUT")) == 1


def test_what_is_there_is_neither_sent_nor_committed_again(api, folder, hub):
    api.create_repo("org/pairs", repo_type="dataset")
    first = api.upload_folder(repo_id="org/pairs", folder_path=folder, repo_type="dataset").oid
    again = api.upload_folder(repo_id="org/pairs", folder_path=folder, repo_type="dataset").oid
    api.create_repo("org/copy", repo_type="dataset")
    api.upload_folder(repo_id="org/copy", folder_path=folder, repo_type="dataset")
    assert again == first
    assert len(hub.asked("Upload=", "PUT")) == 1
    titles = [commit.title for commit in api.list_repo_commits("org/pairs", repo_type="dataset")]
    assert titles == ["Upload folder using huggingface_hub", "initial commit"]


def test_large_files_go_up_in_parts(api, folder, hub):
    hub.uploads.part_size = 800_000
    api.create_repo("org/pairs", repo_type="dataset")
    api.upload_folder(repo_id="org/pairs", folder_path=folder, repo_type="dataset")
    assert len(hub.asked("Upload=", "PUT")) == 3
    (found,) = api.get_paths_info("org/pairs", ["data/pairs.zip"], repo_type="dataset")
    assert found.lfs.sha256 == hashlib.sha256(BIG).hexdigest()


def test_one_commit_adds_copies_and_deletes(api, folder):
    api.create_repo("org/pairs", repo_type="dataset")
    api.upload_folder(repo_id="org/pairs", folder_path=folder, repo_type="dataset")
    operations = [
        CommitOperationAdd("new.txt", b"new"),
        CommitOperationCopy("data/pairs.zip", "copy.zip"),
        CommitOperationDelete("data/"),
    ]
    api.create_commit("org/pairs", operations, commit_message="Move", repo_type="dataset")
    assert files(api) == {".gitattributes", "README.md", "new.txt", "copy.zip"}


def test_a_commit_on_a_stale_parent_changes_nothing(api, folder):
    api.create_repo("org/net")
    stale = api.model_info("org/net").sha
    now = api.upload_folder(repo_id="org/net", folder_path=folder).oid
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit(
            "org/net", [CommitOperationAdd("a", b"a")], commit_message="Late", parent_commit=stale
        )
    assert api.model_info("org/net").sha == now


def test_a_commit_that_fails_in_one_line_fails_as_a_whole(api):
    api.create_repo("org/net")
    before = api.model_info("org/net").sha
    operations = [CommitOperationAdd("a", b"a"), CommitOperationDelete("absent")]
    with pytest.raises(HfHubHTTPError):
        api.create_commit("org/net", operations, commit_message="Half")
    assert api.model_info("org/net").sha == before


def test_tags_stay_where_branches_move(api, folder):
    api.create_repo("org/pairs", repo_type="dataset")
    first = api.dataset_info("org/pairs").sha
    api.create_tag("org/pairs", tag="v1.0", repo_type="dataset")
    api.create_branch("org/pairs", branch="next/step", repo_type="dataset")
    api.upload_folder(repo_id="org/pairs", folder_path=folder, repo_type="dataset", revision="next/step")
    assert files(api, revision="v1.0") == {".gitattributes"}
    assert "README.md" in files(api, revision="next/step")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag("org/pairs", tag="v1.0", revision="next/step", repo_type="dataset")
    refs = api.list_repo_refs("org/pairs", repo_type="dataset")
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1.0": first}
    api.delete_tag("org/pairs", tag="v1.0", repo_type="dataset")
    api.delete_branch("org/pairs", branch="next/step", repo_type="dataset")
    refs = api.list_repo_refs("org/pairs", repo_type="dataset")
    assert ([ref.name for ref in refs.tags], [ref.name for ref in refs.branches]) == ([], ["main"])


def test_only_members_write_and_only_in_their_namespaces(api):
    assert [org["name"] for org in api.whoami()["orgs"]] == ["org"]
    for token, repo_id, status in (("hf_stranger", "org/net", "401"), ("hf_member", "other/net", "403")):
        with pytest.raises(HfHubHTTPError, match=status):
            HfApi(token=token).create_repo(repo_id)
    api.create_repo("org/net")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("org/net")


def test_settings_gate_and_hide_and_deleting_removes(api, folder):
    api.create_repo("org/net")
    api.update_repo_settings("org/net", gated="auto", private=True)
    assert (api.model_info("org/net").gated, api.model_info("org/net").private) == ("auto", True)
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token="hf_stranger").model_info("org/net")
    api.delete_repo("org/net")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/net")


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("title: Demo\nsdk: gradio\ncolorFrom: mauve\ncolorTo: red\n", "colorFrom"),
        ("title: Demo\ncolorFrom: blue\ncolorTo: red\n", '"sdk" is required'),
        (f"title: Demo\nsdk: gradio\ncolorFrom: blue\ncolorTo: red\nshort_description: {'x' * 61}\n", "60"),
        ("title: [\n", "expected"),
    ],
)
def test_cards_that_the_hub_would_refuse_are_refused(api, header, problem):
    api.create_repo("org/demo", repo_type="space", space_sdk="gradio")
    card = CommitOperationAdd("README.md", f"---\n{header}---\n# Demo\n".encode())
    with pytest.raises(ValueError, match=problem):
        api.create_commit("org/demo", [card], commit_message="Card", repo_type="space")


def test_a_cut_line_is_cut_where_asked_until_it_is_mended(api, hub):
    api.create_repo("org/net")
    for when, titles in (("before", 1), ("during", 1), ("after", 2)):
        # A small file takes two calls: how to send it, which gets through, and the commit.
        hub.cut_after(1, when)
        with pytest.raises(Exception, match=r"(?i)disconnect|reset|closed|read"):
            api.create_commit("org/net", [CommitOperationAdd(when, b"a")], commit_message="Cut")
        hub.mend()
        assert len(api.list_repo_commits("org/net")) == titles
