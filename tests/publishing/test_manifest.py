"""The manifest, and that the one in the checkout agrees with the table inside the package."""

from pathlib import Path

import pytest

from ggt_hub.errors import PublishError
from ggt_hub.publishing.manifest import find_manifest, read_manifest
from ggt_hub.revisions import NAMESPACE, OURS, THIRD_PARTY, pinned
from tests.publishing.trees import manifest, write

ROOT = Path(__file__).resolve().parents[2]


def test_the_manifest_of_the_checkout_publishes_exactly_what_the_package_loads():
    listings = read_manifest(ROOT / "hub.toml").listings
    assert {(e.repo_type, f"{NAMESPACE}/{e.name}"): e.tag for e in listings} == OURS


def test_the_cards_and_folders_of_the_checkout_are_there():
    for listing in read_manifest(ROOT / "hub.toml").listings:
        assert listing.card is None or listing.card.is_file()
        assert listing.folder is None or listing.made_by or listing.folder.is_dir()


def test_a_version_that_the_table_does_not_have_is_refused(tmp_path):
    text = (ROOT / "hub.toml").read_text().replace('version = "0.1.0"', 'version = "9.9.9"', 1)
    with pytest.raises(
        PublishError, match=r"publishes ggt-100k v9\.9\.9, but ggt_hub/revisions\.py loads v0\.1\.0"
    ):
        read_manifest(write(tmp_path / "hub.toml", text))


@pytest.mark.parametrize(
    ("listing", "problem"),
    [
        (
            {"kind": "paper", "folder": "x"},
            "'net' is of kind 'paper'; there is dataset, model, metric, demo, leaderboard",
        ),
        ({"kind": "model"}, "'net' has neither folder nor card"),
        ({"kind": "model", "folder": "x", "version": "one"}, "'net' has version 'one'; write it like 1.0.0"),
        ({"kind": "model", "folder": "x", "colour": "red"}, "'net' has unknown colour"),
        ({"folder": "x"}, "'net' has no kind"),
    ],
)
def test_what_is_wrong_in_the_manifest_is_named(tmp_path, listing, problem):
    with pytest.raises(PublishError, match=problem):
        read_manifest(manifest(tmp_path, net=listing))


def test_a_folder_may_be_in_the_package_in_the_tree_or_made_here(tmp_path):
    path = manifest(
        tmp_path,
        net={"kind": "model", "folder": "{package}/pipelines"},
        space={"kind": "demo", "folder": "space"},
        index={"kind": "dataset", "folder": "out/index", "made_by": "python {here}/build.py"},
    )
    net, space, index = read_manifest(path).listings
    assert net.folder == ROOT / "ggt_hub/pipelines"
    assert space.folder == tmp_path / "space"
    assert index.folder == Path("out/index")
    assert index.made_by == f"python {tmp_path}/build.py"


def test_the_manifest_here_comes_before_the_one_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_manifest() == ROOT / "hub.toml"
    manifest(tmp_path, net={"kind": "model", "folder": "x"})
    assert find_manifest() == Path("hub.toml")


def test_a_missing_empty_or_broken_manifest_is_an_error(tmp_path):
    with pytest.raises(PublishError, match="does not exist: name the manifest with --manifest"):
        read_manifest(tmp_path / "absent.toml")
    with pytest.raises(PublishError, match="names nothing to publish"):
        read_manifest(write(tmp_path / "hub.toml", ""))
    with pytest.raises(PublishError, match="cannot be read"):
        read_manifest(write(tmp_path / "hub.toml", "namespace = "))


def test_repositories_of_the_same_kind_and_name_are_refused(tmp_path):
    path = manifest(tmp_path, net={"kind": "model", "folder": "x"})
    table = path.read_text().partition("[[")[2]
    write(path, f"{path.read_text()}\n[[{table}")
    with pytest.raises(PublishError, match="names the model 'net' twice"):
        read_manifest(path)


def test_pins_are_looked_up_by_id_and_kind():
    assert pinned("ggt-hub/compact", "model") == OURS["model", "ggt-hub/compact"]
    assert pinned("ggt-hub/compact", "dataset") is None
    assert pinned("somebody/else", "model") is None
    assert all(commit is None or len(commit) == 40 for commit in THIRD_PARTY.values())
