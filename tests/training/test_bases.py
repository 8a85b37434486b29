"""A base on the Hub that cannot be had, as the real client sees it: one error before anything is written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.errors import TrainingError
from ggt_hub.training import Recipe, load_recipe, train
from ggt_hub.training import run as module
from tests.documents import lay_out_desk
from tests.tiny_kontext import save_tiny_kontext


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setattr(module.Reading, "batches", lambda *_: pytest.fail("a step was begun"))
    pairs = {str(lay_out_desk(tmp_path / "desk") / "my-pairs"): 1.0}
    recipe = load_recipe("realrestorer", "tiny").with_data(pairs)
    return replace(recipe, stages=(replace(recipe.stages[0], synthetic=None),))


def refused(recipe: Recipe, base: str, tmp_path: Path) -> str:
    with pytest.raises(TrainingError) as found:
        train(recipe.with_settings({"base": base}), tmp_path / "run", cpu=True)
    assert not (tmp_path / "run").exists()
    return str(found.value)


@pytest.mark.parametrize("token", [None, "hf_stranger"])
def test_a_gated_base_says_where_its_terms_are(
    token: str | None, recipe: Recipe, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub answers 401 to nobody, and 403 to somebody who has not accepted them."""
    hub.add("model", "me/kontext", save_tiny_kontext(tmp_path / "kontext"), gated=True)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    told = refused(recipe, "me/kontext", tmp_path)
    assert told.startswith(
        "the base me/kontext cannot be had: model 'me/kontext' is gated: accept its terms at "
    )
    assert f"{hub.url}/me/kontext, then run `hf auth login`" in told


def test_a_member_gets_the_gated_base(
    recipe: Recipe, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("model", "me/kontext", save_tiny_kontext(tmp_path / "kontext"), gated=True)
    hub.members.add("hf_member")
    monkeypatch.setenv("HF_TOKEN", "hf_member")
    with pytest.raises(pytest.fail.Exception, match="a step was begun"):
        train(recipe.with_settings({"base": "me/kontext"}), tmp_path / "run", cpu=True)


def test_a_base_that_is_not_there(recipe: Recipe, hub: Any, tmp_path: Path) -> None:
    """By a slip in its name, at another revision, in a folder, or with a network missing."""
    whole = save_tiny_kontext(tmp_path / "kontext")
    hub.add("model", "me/kontext", whole)
    missing = "the base me/kontxt cannot be had: model 'me/kontxt' does not exist at "
    assert refused(recipe, "me/kontxt", tmp_path).startswith(missing)
    assert "model 'me/kontext' has no revision 'v2': choose" in refused(recipe, "me/kontext@v2", tmp_path)
    nowhere = str(tmp_path / "nowhere")
    assert refused(recipe, nowhere, tmp_path).startswith(f"the base {nowhere} cannot be had: ")
    (weights,) = (whole / "vae").glob("*.safetensors")
    weights.unlink()
    assert "vae" in refused(recipe, str(whole), tmp_path)


def test_the_command_says_it_in_one_line(hub: Any, tmp_path: Path) -> None:
    hub.add("model", "me/kontext", save_tiny_kontext(tmp_path / "kontext"), gated=True)
    pairs = lay_out_desk(tmp_path / "desk") / "my-pairs"
    command = ["train", "realrestorer", "--as", "pairs", "--base", "me/kontext", "--data", str(pairs)]
    done = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "run"), "--cpu"])
    assert isinstance(done.exception, TrainingError) and "is gated: accept its terms" in str(done.exception)
