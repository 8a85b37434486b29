"""`ggt-hub train --data`: what is drawn from, and how often."""

from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.cli.train import _source_and_share
from tests.photographs import photograph

RECIPE = """\
model: {channels: [8, 8, 8], blocks: [1, 1, 1], condition_width: 8}
data: nowhere
crop: 32
batch: 2
steps: 3
groups:
  noise: {share: 1, task: noise, steps: [{family: noise, sigma: [2, 60]}]}
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [("a/b", ("a/b", 1.0)), ("a/b=2", ("a/b", 2.0)), ("a=b=0.5", ("a=b", 0.5)), ("here=3", ("here=3", 1.0))],
)
def test_a_source_and_its_share(
    text: str, found: tuple[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here=3").mkdir()
    assert _source_and_share(text) == found


@pytest.mark.parametrize("text", ["a=x", "a=0", "a=-1", "a=inf", "a=nan", "a="])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="the share must be a number above 0, as in a=2"):
        _source_and_share(text)


def test_pairs_and_photographs_are_learned_from_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("clean", "pairs/lq", "pairs/gt"):
        Path(folder).mkdir(parents=True)
        Image.fromarray(photograph(64)).save(f"{folder}/a.png")
    Image.fromarray(photograph(16)).save("clean/small.png")
    Path("r.yaml").write_text(RECIPE)
    command = ["train", "r.yaml", "--cpu", "--output", "run", "--data", "clean", "--data", "pairs=4"]
    done = CliRunner().invoke(app, command)
    told = "averaged weights: run/model\nskipped pictures: 1, listed in run/skipped.jsonl\n"
    assert (done.exit_code, done.stdout) == (0, told)
    words = Path("run/progress.txt").read_text().split()
    assert [word for word in words if word in ("noise", "pairs", "clean")] == ["noise", "pairs"]
