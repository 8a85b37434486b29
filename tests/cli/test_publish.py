"""`ggt-hub publish`, as a maintainer runs it, and what `ggt-hub info` says of revisions."""

import json

import pytest
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.errors import HubError, PublishError
from ggt_hub.hub import resolve
from ggt_hub.revisions import pinned
from tests.publishing.conftest import api  # noqa: F401 - a fixture
from tests.publishing.trees import card, manifest, write


@pytest.fixture
def tree(tmp_path):
    write(tmp_path / "net.md", card("model"))
    return manifest(tmp_path, net={"kind": "model", "card": "net.md"})


def run(*arguments):
    return CliRunner().invoke(app, ["publish", *map(str, arguments)])


def test_dry_run_lists_repositories_files_sizes_and_hashes_and_contacts_nothing(tree, hub):
    result = run("--manifest", tree, "--dry-run")
    first, second = result.stdout.splitlines()
    size = len(card("model").replace("{{ namespace }}", "org").replace("{{ tag }}", "v1.0.0"))
    assert (result.exit_code, first) == (0, f"model org/net v1.0.0: 1 files, {size} bytes")
    sha256, listed_size, path = second.split()
    assert (len(sha256), int(listed_size), path) == (64, size, "README.md")
    assert not hub.requests


def test_dry_run_lists_what_it_can_and_then_what_is_wrong(tree):
    write(
        tree,
        f'{tree.read_text()}\n[[repository]]\nkind="model"\nname="b"\nversion="1.0.0"\nfolder="absent"\n',
    )
    result = run("--manifest", tree, "--dry-run")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("model org/net v1.0.0: 1 files")
    assert lines[-1].startswith("cannot be published: b: the folder ")


@pytest.mark.usefixtures("api")
def test_publish_check_publish(tree, hub):
    before = run("--manifest", tree, "--check")
    assert before.exit_code == 1
    assert before.stdout == "org/net v1.0.0: differs\n  there is no such repository yet\n"
    published = run("--manifest", tree)
    assert published.stdout == f"published: {hub.url}/org/net/tree/v1.0.0\n  1 files as sent\n"
    assert run("--manifest", tree, "--check").stdout == "org/net v1.0.0: is as here\n"
    assert run("--manifest", tree).stdout.startswith("unchanged: ")
    write(tree.parent / "net.md", card("model", "# Other\n"))
    after = run("--manifest", tree, "--check")
    assert (after.exit_code, after.stdout) == (1, "org/net v1.0.0: differs\n  other: README.md\n")


def test_in_an_empty_folder_the_manifest_of_the_package_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("compact", "niqe", "restorer", "--dry-run")
    assert result.exit_code == 0
    assert "model ggt-hub/compact v" in result.stdout
    assert "restorer/diffusion_pytorch_model.safetensors" in result.stdout
    what_is_not_made = run("ggt-100k", "--dry-run")
    assert what_is_not_made.exit_code == 1
    assert "out/hub/ggt-100k does not exist: make it with `python " in what_is_not_made.stdout


def test_a_manifest_that_is_not_there_and_options_that_contradict_are_refused(tmp_path):
    assert isinstance(run("--dry-run", "--manifest", tmp_path / "absent.toml").exception, PublishError)
    assert run("--dry-run", "--check").exit_code == 2


def test_unknown_names_are_refused(tree):
    assert "there is no 'nothing' in the manifest: it has net" in str(
        run("nothing", "--manifest", tree).exception
    )


def test_info_lists_revisions_and_what_is_unpinned():
    found = json.loads(CliRunner().invoke(app, ["info", "--json"]).stdout)["revisions"]
    assert found["model ggt-hub/compact"] == pinned("ggt-hub/compact", "model")
    assert found["dataset VCLab-PolyU/GGT-100K"] == "unpinned: the newest"


def test_our_own_repositories_are_loaded_at_the_tag_of_this_version(hub, tmp_path):
    write(tmp_path / "a/README.md", "first")
    write(tmp_path / "b/README.md", "second")
    sha = hub.add("model", "ggt-hub/compact", tmp_path / "a", tags=[pinned("ggt-hub/compact", "model")])
    newest = hub.add("model", "ggt-hub/compact", tmp_path / "b")
    assert resolve("ggt-hub/compact") == sha
    assert resolve("ggt-hub/compact", revision="main") == newest
    hub.add("dataset", "ggt-hub/ggt-100k", tmp_path / "a")
    with pytest.raises(HubError, match="has no revision 'v"):
        resolve("ggt-hub/ggt-100k", repo_type="dataset")
