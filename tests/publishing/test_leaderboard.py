"""The leaderboard of the checkout: it is published as a static Space, holds no picture, and docs quote it."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from benchmarks.leaderboard import LIMITS, RUNS
from ggt_hub.commit import check_results
from ggt_hub.publishing.plan import pack, publish

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "spaces/leaderboard"


def test_it_is_published_as_a_static_space_and_comes_back_whole(api, monkeypatch, tmp_path):
    made = []
    create = api.create_repo
    monkeypatch.setattr(
        api, "create_repo", lambda name, **how: made.append((name, how["space_sdk"])) or create(name, **how)
    )
    ((parcel, is_new, proof),) = publish(pack(ROOT / "hub.toml", "org", ["leaderboard"]), api)
    assert made == [("org/leaderboard", "static")]
    assert (is_new, proof) == (True, f"{len(parcel.items)} files as sent")
    snapshot_download("org/leaderboard", repo_type="space", revision="v0.1.0", local_dir=tmp_path)
    for link in re.findall(r'(?:href|src)="([^"]+)"', (tmp_path / "index.html").read_text()):
        assert (tmp_path / link).read_bytes() == (SPACE / link).read_bytes()


@pytest.mark.parametrize("suite", LIMITS)
def test_a_board_has_all_rows_over_all_pictures_and_none_of_the_pictures(suite):
    files = [path for path in (SPACE / suite).rglob("*") if path.is_file()]
    receipt = SPACE / suite / ".ggt-hub/results"  # is not published; the next build knows its own files by it
    assert {path.suffix for path in files if path != receipt} == {".html", ".json", ".md", ".csv", ".tex"}
    check_results(SPACE / suite, [path.name for path in files if path != receipt])  # nobody has edited them
    page = (SPACE / suite / "index.html").read_text()
    assert "data:image" not in page
    board = json.loads((SPACE / suite / "leaderboard.json").read_text())
    assert len(board["rows"]) == len(RUNS)
    assert {len(row["pictures_sha256"]) for row in board["rows"]} == {board["pictures"]} == {LIMITS[suite]}
    assert len({(row["device"], json.dumps(row["versions"])) for row in board["rows"]}) == 1
    for row in board["rows"]:
        assert f'scope="row">{row["label"]}<' in page


@pytest.mark.parametrize("suite", LIMITS)
def test_the_documentation_shows_the_table_as_it_is_published(suite):
    assert (SPACE / suite / "table.md").read_text() in (ROOT / "docs/commands/leaderboard.md").read_text()
