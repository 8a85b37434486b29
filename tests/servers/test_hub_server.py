"""The local Hub, read by the real clients."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import HfApi, HfFileSystem, get_hf_file_metadata, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

BIG = bytes(range(256)) * 4096


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Pairs\n")
    (tmp_path / "train" / "pairs.zip").write_bytes(BIG)
    return tmp_path


def test_information_shows_commit_files_and_card(hub, folder):
    sha = hub.add("dataset", "org/pairs", folder)
    info = HfApi().dataset_info("org/pairs")
    assert (info.sha, info.card_data.license) == (sha, "mit")
    assert [file.rfilename for file in info.siblings] == ["README.md", "train/pairs.zip"]


def test_tree_and_paths_info_give_sizes_and_hashes(hub, folder):
    hub.add("dataset", "org/pairs", folder)
    tree = list(HfApi().list_repo_tree("org/pairs", repo_type="dataset", recursive=True))
    assert [entry.path for entry in tree] == ["README.md", "train", "train/pairs.zip"]
    assert tree[2].lfs.sha256 == hashlib.sha256(BIG).hexdigest()
    top = HfApi().list_repo_tree("org/pairs", repo_type="dataset")
    assert [entry.path for entry in top] == ["README.md", "train"]
    (found,) = HfApi().get_paths_info("org/pairs", ["train/pairs.zip", "absent"], repo_type="dataset")
    assert found.size == len(BIG)


def test_each_revision_keeps_its_own_content(hub, folder):
    first = hub.add("model", "org/net", folder, tags=["v1.0"])
    (folder / "README.md").write_text("second")
    second = hub.add("model", "org/net", folder)
    hub.add("model", "org/net", folder, revision="feature/x")
    refs = HfApi().list_repo_refs("org/net")
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1.0": first}
    assert {ref.name for ref in refs.branches} == {"main", "feature/x"}
    for revision, start in (("v1.0", "---"), ("main", "second"), (second, "second"), ("feature/x", "second")):
        path = hf_hub_download("org/net", "README.md", revision=revision)
        assert Path(path).read_text().startswith(start)


def test_large_files_come_from_the_second_host(hub, folder):
    hub.add("dataset", "org/pairs", folder)
    path = hf_hub_download("org/pairs", "train/pairs.zip", repo_type="dataset")
    assert Path(path).read_bytes() == BIG
    assert [r.status for r in hub.requests if r.host == "store"] == [200]


def test_ranges_give_exactly_the_bytes_asked_for(hub, folder):
    hub.add("dataset", "org/pairs", folder)
    with HfFileSystem().open("datasets/org/pairs/train/pairs.zip", "rb", block_size=1000) as file:
        file.seek(12345)
        assert file.read(300) == BIG[12345:12645]
    assert {r.status for r in hub.asked() if r.range and r.host == "store"} == {206}


def test_a_cut_connection_is_resumed_where_it_broke(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.add("dataset", "org/pairs", folder)
    hub.break_next("Signature", drop_after=300_000)
    path = hf_hub_download("org/pairs", "train/pairs.zip", repo_type="dataset")
    assert Path(path).read_bytes() == BIG
    assert [r.range for r in hub.requests if r.host == "store"] == [None, "bytes=300000-"]


def test_wrong_bytes_have_the_right_size_and_pass_the_client(hub, folder):
    hub.add("dataset", "org/pairs", folder)
    hub.break_next("Signature", flip_byte=True)
    got = Path(hf_hub_download("org/pairs", "train/pairs.zip", repo_type="dataset")).read_bytes()
    assert len(got) == len(BIG)
    assert sum(a != b for a, b in zip(got, BIG, strict=True)) == 1


def test_links_expire(hub, folder):
    hub.add("dataset", "org/pairs", folder)
    link = get_hf_file_metadata(f"{hub.url}/datasets/org/pairs/resolve/main/train/pairs.zip").location
    hub.expire_links()
    with pytest.raises(HfHubHTTPError, match="403"):
        get_hf_file_metadata(link)


@pytest.mark.parametrize("status", [429, 500])
def test_the_next_requests_can_fail_with_a_status(hub, folder, status):
    hub.add("model", "org/net", folder)
    hub.break_next("/api/models/org/net", status=status)
    with pytest.raises(HfHubHTTPError, match=str(status)):
        HfApi().model_info("org/net")
    assert HfApi().model_info("org/net").id == "org/net"


def test_gated_repositories_ask_for_a_member(hub, folder):
    hub.add("model", "org/net", folder, gated=True)
    hub.members.add("hf_member")
    assert HfApi().model_info("org/net").gated == "auto"
    for token, status in ((False, 401), ("hf_stranger", 403)):
        with pytest.raises(GatedRepoError) as caught:
            hf_hub_download("org/net", "README.md", token=token)
        assert caught.value.response.status_code == status
    assert snapshot_download("org/net", token="hf_member")


def test_what_does_not_exist_is_told_apart(hub, folder):
    hub.add("model", "org/net", folder)
    with pytest.raises(RepositoryNotFoundError):
        HfApi().model_info("org/absent")
    with pytest.raises(RevisionNotFoundError):
        HfApi().model_info("org/net", revision="absent")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("org/net", "absent.txt")
