"""Publishing as a whole, against the local Hub."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError

from ggt_hub.errors import PublishError
from ggt_hub.publishing import plan
from ggt_hub.publishing.plan import compare, pack, publish
from tests.publishing.trees import card, manifest, whole, write

KINDS = {"pairs": "dataset", "net": "model", "mean_difference": "space", "demo": "space"}


def history(api):
    """For each repository the titles of its commits, oldest first, and its tags."""
    return {
        name: (
            [c.title for c in reversed(api.list_repo_commits(f"org/{name}", repo_type=kind))],
            [ref.name for ref in api.list_repo_refs(f"org/{name}", repo_type=kind).tags],
        )
        for name, kind in KINDS.items()
    }


ONCE = {name: (["initial commit", f"{name} 1.0.0"], ["v1.0.0"]) for name in KINDS}


def test_all_kinds_are_published_tagged_and_proven(api, tmp_path):
    results = list(publish(pack(whole(tmp_path)), api))
    assert [is_new for _, is_new, _ in results] == [True] * 4
    assert history(api) == ONCE
    proven = [proof.partition(", ")[2] for *_, proof in results]
    assert proven == [
        "loaded by datasets (default)",
        "loaded as CompactRestorerPipeline",
        "loaded by evaluate (mean_difference)",
        "",
    ]
    assert results[0][0].url.endswith("/datasets/org/pairs/tree/v1.0.0")


def test_publishing_again_changes_nothing(api, hub, tmp_path):
    list(publish(pack(whole(tmp_path)), api))
    hub.requests.clear()
    assert [is_new for _, is_new, _ in publish(pack(tmp_path / "hub.toml"), api)] == [False] * 4
    assert history(api) == ONCE
    asked = [request for request in hub.requests if request.path != "/api/validate-yaml"]
    assert {request.method for request in asked} <= {"GET", "HEAD"}


def test_a_new_version_is_one_more_commit_with_deletions(api, tmp_path):
    path = whole(tmp_path)
    list(publish(pack(path), api))
    (tmp_path / "demo/app.py").unlink()
    write(tmp_path / "demo/main.py", "print('there')\n")
    write(tmp_path / "demo/README.md", card("space").replace("app.py", "main.py"))
    path.write_text(
        path.read_text().replace('name = "demo"\nversion = "1.0.0"', 'name = "demo"\nversion = "1.1.0"')
    )
    results = {parcel.listing.name: is_new for parcel, is_new, _ in publish(pack(path), api)}
    assert results == {"pairs": False, "net": False, "mean_difference": False, "demo": True}
    assert history(api)["demo"] == (["initial commit", "demo 1.0.0", "demo 1.1.0"], ["v1.0.0", "v1.1.0"])
    new = api.list_repo_files("org/demo", repo_type="space", revision="v1.1.0")
    old = api.list_repo_files("org/demo", repo_type="space", revision="v1.0.0")
    assert set(new) == {".gitattributes", "README.md", "main.py"}
    assert set(old) == {".gitattributes", "README.md", "app.py"}


def test_other_content_under_a_published_version_is_refused_before_anything_is_changed(api, hub, tmp_path):
    path = whole(tmp_path)
    list(publish(pack(path, names=["demo"]), api))
    write(tmp_path / "demo/app.py", "print('other')\n")
    with pytest.raises(PublishError, match=r"org/demo v1\.0\.0 is published with other content \(app\.py\)"):
        list(publish(pack(path), api))
    assert set(hub.repositories) == {("spaces", "org/demo")}


def test_a_tag_that_somebody_else_set_meanwhile_is_not_moved(api, tmp_path):
    path = manifest(tmp_path, net={"kind": "model", "card": "net.md"})
    write(tmp_path / "net.md", card("model"))
    api.create_repo("org/net")
    api.create_tag("org/net", tag="v1.0.0")
    before = api.list_repo_refs("org/net").tags[0].target_commit
    with pytest.raises(PublishError, match="tags never move"):
        list(publish(pack(path), api))
    assert api.list_repo_refs("org/net").tags[0].target_commit == before


def test_check_names_each_difference_and_changes_nothing(api, hub, tmp_path):
    path = whole(tmp_path)
    list(publish(pack(path), api))
    write(tmp_path / "demo/app.py", "print('other')\n")
    write(tmp_path / "demo/new.py", "")
    (tmp_path / "net/model_index.json").unlink()
    hub.requests.clear()
    states = {parcel.listing.name: state for parcel, state in compare(pack(path), api)}
    assert (states["demo"].from_tag.missing, states["demo"].from_tag.changed) == (["new.py"], ["app.py"])
    gone = ["model_index.json", "pipeline.py", "restorer/network.py"]  # no index, so no pipeline to run it
    assert sorted(states["net"].from_tag.surplus) == gone
    assert not states["pairs"].from_tag
    assert {request.method for request in hub.requests} == {"GET"}


def test_another_namespace_is_named_in_cards_too(api, tmp_path):
    results = list(publish(pack(whole(tmp_path), "elsewhere"), api))
    assert [parcel.repo_id for parcel, *_ in results][1] == "elsewhere/net"
    text = api.hf_hub_download("elsewhere/demo", "README.md", repo_type="space", revision="v1.0.0")
    assert "(https://huggingface.co/elsewhere/net)" in Path(text).read_text()
    pairs = api.hf_hub_download("elsewhere/pairs", "README.md", repo_type="dataset", revision="v1.0.0")
    assert 'load_dataset("elsewhere/pairs"' in Path(pairs).read_text()


def test_packing_contacts_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    path = whole(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    parcels = pack(path)
    assert [len(parcel.items) for parcel in parcels] == [3, 6, 3, 2]
    assert {item.path for item in parcels[1].items} == {
        "README.md",
        "model_index.json",
        "pipeline.py",
        "restorer/network.py",
        "restorer/config.json",
        "restorer/diffusion_pytorch_model.safetensors",
    }


def test_without_login_or_rights_nothing_is_tried(api, hub, tmp_path, monkeypatch):
    parcels = pack(whole(tmp_path), "strangers")
    with pytest.raises(
        PublishError, match="tester may not publish to 'strangers': choose one of elsewhere, org"
    ):
        list(publish(parcels, api))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match="hf auth login"):
        list(publish(parcels, HfApi()))
    assert not hub.repositories


def test_bytes_that_come_back_changed_are_noticed(api, hub, tmp_path):
    hub.break_next("Signature", flip_byte=True)
    with pytest.raises(PublishError, match=r"org/net: restorer/.*safetensors differs from what was sent"):
        list(publish(pack(whole(tmp_path), names=["net"]), api))


def test_what_cannot_be_loaded_afterwards_is_an_error(api, tmp_path):
    path = whole(tmp_path)
    write(tmp_path / "mean_difference/mean_difference.py", "import a_module_that_is_nowhere\n")
    with pytest.raises(
        PublishError, match=r"org/mean_difference v1\.0\.0 is published, but cannot be loaded"
    ):
        list(publish(pack(path, names=["mean_difference"]), api))


def test_a_card_that_the_hub_refuses_stops_everything_before_a_version_is_burnt(api, hub, tmp_path):
    path = whole(tmp_path)
    write(tmp_path / "demo/README.md", card("space").replace("license: mit", "license: mit\ntags: demo"))
    with pytest.raises(
        PublishError, match=r'org/demo: the Hub refuses README\.md: .*"tags" must be an array'
    ):
        list(publish(pack(path), api))
    assert {request.method for request in hub.requests if request.path != "/api/validate-yaml"} <= {
        "GET",
        "HEAD",
    }


def raise_version(path: Path, name: str, to: str = "1.1.0") -> None:
    old = f'name = "{name}"\nversion = "1.0.0"'
    path.write_text(path.read_text().replace(old, old.replace("1.0.0", to)))


def by_others(api, *operations, repo_id="org/demo", title="A better text"):
    api.create_commit(repo_id, operations, commit_message=title, repo_type="space")


def test_what_others_changed_is_listed_and_stays_unless_told_otherwise(api, tmp_path):
    path = whole(tmp_path)
    write(tmp_path / "demo/old.txt", "old")
    list(publish(pack(path, names=["demo"]), api))
    by_others(
        api,
        CommitOperationAdd("README.md", card("space", "A better text.\n").encode()),
        CommitOperationAdd("notes/theirs.md", b"theirs"),
        CommitOperationDelete("old.txt"),
    )
    api.create_tag("org/demo", tag="v1.0.9", repo_type="space")  # a tag of theirs is no version of ours
    write(tmp_path / "demo/app.py", "print('new')\n")
    raise_version(path, "demo")
    before = api.list_repo_refs("org/demo", repo_type="space").branches[0].target_commit
    with pytest.raises(PublishError) as raised:
        list(publish(pack(path), api))
    assert str(raised.value) == (
        "org/demo was changed on the Hub after v1.0.0 was published, and publishing would undo that: README.md "
        "(changed), notes/theirs.md (added), old.txt (deleted): bring it into the working tree, or give "
        "--overwrite-others to lose it"
    )
    assert api.list_repo_refs("org/demo", repo_type="space").branches[0].target_commit == before
    assert not api.repo_exists("org/net"), "refused before anything was changed"
    list(publish(pack(path, names=["demo"]), api, overwrite_others=True))
    assert set(api.list_repo_files("org/demo", repo_type="space")) == {
        ".gitattributes", "README.md", "app.py", "old.txt",
    }  # fmt: skip


def test_what_others_changed_as_the_working_tree_has_it_is_no_obstacle(api, tmp_path):
    path = whole(tmp_path)
    list(publish(pack(path, names=["demo"]), api))
    by_others(api, CommitOperationAdd("new.py", b"new = 1\n"))
    write(tmp_path / "demo/new.py", "new = 1\n")
    write(tmp_path / "demo/app.py", "print('new')\n")
    raise_version(path, "demo")
    assert [is_new for _, is_new, _ in publish(pack(path, names=["demo"]), api)] == [True]


def test_a_repository_that_somebody_else_filled_is_not_emptied(api, tmp_path):
    path = whole(tmp_path)
    api.create_repo("org/demo", repo_type="space", space_sdk="gradio")
    by_others(api, CommitOperationAdd("theirs.py", b"theirs = 1\n"))
    with pytest.raises(PublishError, match=r"nothing is published yet, .* theirs\.py \(added\)"):
        list(publish(pack(path, names=["demo"]), api))
    assert "theirs.py" in api.list_repo_files("org/demo", repo_type="space")


def test_a_change_between_the_look_and_the_commit_is_not_overwritten(api, tmp_path, monkeypatch):
    path = whole(tmp_path)
    list(publish(pack(path, names=["demo"]), api))
    write(tmp_path / "demo/app.py", "print('new')\n")
    raise_version(path, "demo")
    look, parcels = plan.compare, pack(path, names=["demo"])

    def then_somebody_commits(*arguments):
        states = list(look(*arguments))
        by_others(api, CommitOperationAdd("app.py", b"theirs = 1\n"))
        return states

    monkeypatch.setattr(plan, "compare", then_somebody_commits)
    with pytest.raises(PublishError, match=r"refuses with 412 .*A commit has happened since"):
        list(publish(parcels, api))
    monkeypatch.setattr(plan, "compare", look)
    with pytest.raises(PublishError, match=r"app\.py \(changed\)"):
        list(publish(parcels, api))


def test_offline_nothing_is_said_to_have_begun(api, tmp_path, monkeypatch):
    parcels = pack(whole(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for call in (publish, plan.compare):
        with pytest.raises(PublishError, match="the Hub was not asked, because offline mode is on"):
            list(call(parcels, api))


def test_the_reason_of_a_refusal_is_the_hubs_own(api, hub, tmp_path, monkeypatch):
    parcels = pack(whole(tmp_path))
    answer = SimpleNamespace(status_code=403, headers={}, request=None)
    refusal = HfHubHTTPError(
        "403 Client Error\nfor url", response=answer, server_message="Storage limit\nreached"
    )

    def refuse(*_, **__):
        raise refusal

    monkeypatch.setattr(HfApi, "create_commit", refuse)
    with pytest.raises(
        PublishError, match=r"^org/pairs: the Hub refuses with 403 \(Storage limit reached\): ch"
    ):
        list(publish(parcels, api))
