"""Snapshots from the local Hub: exactly the revision asked for, or an error that helps."""

import pytest

from ggt_hub.errors import HubError
from ggt_hub.hub import check_hashes, resolve, snapshot


@pytest.fixture
def commits(hub, tmp_path):
    """Two commits of one model: the first tagged v1.0, the second the head of main."""
    ids = []
    for number, tags in ((1, ["v1.0"]), (2, [])):
        (tmp_path / "config.json").write_text(f'{{"number": {number}}}')
        (tmp_path / "model.safetensors").write_bytes(bytes([number]) * 1000)
        ids.append(hub.add("model", "org/net", tmp_path, tags=tags))
    return ids


@pytest.mark.parametrize(("revision", "number"), [(None, 2), ("main", 2), ("v1.0", 1)])
def test_snapshot_holds_the_revision_asked_for(commits, revision, number):
    folder = snapshot("org/net", revision=revision)
    assert folder.name == commits[number - 1] == resolve("org/net", revision=revision)
    assert (folder / "config.json").read_text() == f'{{"number": {number}}}'
    assert (folder / "model.safetensors").read_bytes() == bytes([number]) * 1000


def test_a_commit_is_a_revision(commits):
    assert snapshot("org/net", revision=commits[0]).name == commits[0]


def test_patterns_limit_what_is_downloaded(hub, commits):
    folder = snapshot("org/net", allow_patterns=["*.json"])
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert not hub.asked("model.safetensors")


def test_offline_gives_the_cached_revision_and_no_other(commits):
    snapshot("org/net", revision="v1.0")
    assert snapshot("org/net", revision="v1.0", local_files_only=True).name == commits[0]
    for revision in ("main", "v2.0", commits[1]):
        with pytest.raises(HubError, match=r"not, or not completely, in the local cache: load it once"):
            snapshot("org/net", revision=revision, local_files_only=True)


def test_offline_mode_is_honoured(commits, request, hub):
    snapshot("org/net")
    request.getfixturevalue("offline")
    asked = len(hub.requests)
    assert snapshot("org/net").name == commits[1]
    with pytest.raises(HubError, match=r"revision 'v1.0' is not"):
        snapshot("org/net", revision="v1.0")
    assert len(hub.requests) == asked


def test_a_partial_snapshot_does_not_pass_for_a_whole_one(commits):
    snapshot("org/net", allow_patterns=["*.json"])
    with pytest.raises(HubError, match="not completely"):
        snapshot("org/net", local_files_only=True)


def test_a_silent_hub_is_an_error_even_with_a_cached_copy(hub, commits):
    snapshot("org/net")
    hub.break_next("/api/", status=503, times=100)
    with pytest.raises(HubError, match=r"cannot be reached or refuses to answer.*local_files_only=True"):
        snapshot("org/net")


def test_access_withdrawn_is_an_error_even_with_a_cached_copy(hub, commits):
    snapshot("org/net")
    del hub.repositories["models", "org/net"]
    with pytest.raises(HubError, match=r"does not exist at http.*or is private"):
        snapshot("org/net")


@pytest.mark.parametrize("status", [429, 500])
def test_a_busy_hub_is_asked_again(hub, commits, status):
    hub.break_next("/api/models/org/net", status=status, times=2)
    assert resolve("org/net") == commits[1]


def test_the_newest_commit_is_asked_for_once(hub, commits):
    resolve("org/net")
    assert len(hub.requests) == 1


def test_unknown_revision_and_repository_and_id_are_told_apart(commits):
    with pytest.raises(HubError, match=r"model 'org/net' has no revision 'v9': choose .*/org/net/tree/main"):
        snapshot("org/net", revision="v9")
    with pytest.raises(HubError, match=r"dataset 'org/net' does not exist"):
        snapshot("org/net", repo_type="dataset")
    with pytest.raises(HubError, match=r"neither a folder nor an id"):
        snapshot("not/an/id")


def test_gated_says_where_to_accept_the_terms(hub, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    hub.add("model", "org/gated", tmp_path, gated=True)
    hub.members.add("hf_member")
    with pytest.raises(HubError, match=r"gated: accept its terms at http.*/org/gated, then"):
        snapshot("org/gated", token="hf_stranger")
    assert (snapshot("org/gated", token="hf_member") / "config.json").exists()


def test_wrong_bytes_of_the_right_size_are_found_and_fetched_again(hub, commits):
    hub.break_next("Signature", flip_byte=True)
    folder = snapshot("org/net")
    with pytest.raises(HubError, match=r"model\.safetensors came with wrong bytes .*: try again"):
        check_hashes(folder)
    folder = snapshot("org/net")
    check_hashes(folder)
    assert (folder / "model.safetensors").read_bytes() == bytes([2]) * 1000
