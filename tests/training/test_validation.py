"""Validation while a run goes on: what is scored, what the tracker is told, and that the run does not feel it."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ggt_hub.errors import EvaluationError, TrainingError
from ggt_hub.evaluation import load_suite, run_suite
from ggt_hub.images import read_image
from ggt_hub.models import CompactRestorer
from ggt_hub.pipelines import CompactRestorerPipeline
from ggt_hub.training import Recipe, load_recipe, train
from ggt_hub.training import run as module
from ggt_hub.training.objectives import load_objective
from ggt_hub.training.tracking import begin_tracking, track
from ggt_hub.training.validation import Validated, Validation, validate
from tests.photographs import photograph
from tests.training.objectives.tiny import scored, tiny_recipe


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Recipe]:
    scored(tmp_path / "clean", photograph(96))
    for side in ("lq", "gt"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        gt = np.ascontiguousarray(np.rot90(photograph(64), ord(name)))
        lq = np.clip(gt + rng.normal(0, 20, gt.shape), 0, 255).astype(np.uint8)
        Image.fromarray(gt).save(tmp_path / f"pairs/gt/{name}.png")
        Image.fromarray(lq).save(tmp_path / f"pairs/lq/{name}.png")
    return lambda name: tiny_recipe(name, tmp_path / "clean", tmp_path)


def looked_at(recipe: Recipe, tmp_path: Path, every: int = 2, **told: Any) -> Recipe:
    validation = Validation(suite=str(tmp_path / "pairs"), every=every, **told)
    stages = tuple(replace(stage, steps=4) for stage in recipe.stages)
    return replace(recipe, validation=validation, tracker="tensorboard", stages=stages)


def events(run: Path) -> EventAccumulator:
    found = EventAccumulator(str(run / "tracker" / run.name))
    found.Reload()
    return found


def test_scores_and_pictures_of_the_averaged_weights_reach_the_tracker(make: Any, tmp_path: Path) -> None:
    recipe = looked_at(make("compact"), tmp_path, shown=1)
    train(recipe, tmp_path / "run", cpu=True)
    found = events(tmp_path / "run")
    told = {event.step: event.value for event in found.Scalars("validation/psnr")}
    wanted = {
        step: json.loads((tmp_path / f"run/validation/{step:06d}/results.json").read_text())
        for step in (0, 2, 4)
    }
    assert told == pytest.approx({step: about["overall"]["psnr"]["mean"] for step, about in wanted.items()})
    assert len({*told.values()}) == 3
    trained = CompactRestorerPipeline(CompactRestorer.from_pretrained(tmp_path / "run/model"))
    (tmp_path / "again").mkdir()
    again = run_suite(load_suite(str(tmp_path / "pairs")), trained, tmp_path / "again")
    assert again["overall"]["psnr"] == wanted[4]["overall"]["psnr"]
    (tag,) = found.Tags()["images"]
    assert tag == "validation/a"
    last = found.Images(tag)[-1]
    shown = np.asarray(Image.open(io.BytesIO(last.encoded_image_string)))
    files = ("pairs/lq/a.png", "again/restored/a.png", "pairs/gt/a.png")
    beside = np.concatenate([read_image(tmp_path / name).pixels for name in files], axis=1)
    assert last.step == 4 and np.array_equal(shown, beside)


def test_the_run_does_not_feel_that_it_is_looked_at(make: Any, tmp_path: Path) -> None:
    recipe = looked_at(make("compact"), tmp_path)
    alone = replace(recipe, validation=None, tracker=None)
    seen, unseen = (
        load_file(train(one, tmp_path / name, cpu=True) / "diffusion_pytorch_model.safetensors")
        for name, one in (("seen", recipe), ("unseen", alone))
    )
    assert all(torch.equal(seen[name], tensor) for name, tensor in unseen.items())


def test_a_resumed_run_tells_each_step_once(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the validation of step 2, of which its state knows nothing."""
    recipe = looked_at(make("compact"), tmp_path, every=1)
    update = module._Run._update

    def stopping(run: module._Run, *arguments: Any) -> None:
        if run.step == 1:
            run.save()
        if run.step == 3:
            raise KeyboardInterrupt
        update(run, *arguments)

    monkeypatch.setattr(module._Run, "_update", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", cpu=True)
    monkeypatch.setattr(module._Run, "_update", update)
    train(recipe, tmp_path / "run", cpu=True)
    assert [event.step for event in events(tmp_path / "run").Scalars("validation/psnr")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("flow", {"num_inference_steps": 1, "size_level": 32, "task": "rain"}),
        ("told", {"task": "rain"}),
        ("dial", {"quality": 0.9}),
    ],
)
def test_what_is_learned_is_what_restores(
    name: str, arguments: dict[str, Any], make: Any, tmp_path: Path
) -> None:
    """With other weights the scores are others; and what was training still is."""
    objective = load_objective(name).build((recipe := make(name)).model, recipe.settings)
    objective.network.train()
    told = Validation(suite=str(tmp_path / "pairs"), pictures=1, arguments=arguments)
    before = validate(told, objective, tmp_path / "before")
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in objective.network.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    state = torch.random.get_rng_state()
    after = validate(told, objective, tmp_path / "after")
    assert before and after and before.scores["psnr"] != after.scores["psnr"]
    assert objective.network.training and torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_validated_is_said_before_the_first_step(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._Run, "_update", lambda *_: pytest.fail("a step was made"))
    compact = make("compact")
    nowhere = replace(compact, validation=Validation(suite="nowhere"))
    with pytest.raises(EvaluationError, match="no suite or folder 'nowhere'"):
        train(nowhere, tmp_path / "a", cpu=True)
    wrong = looked_at(compact, tmp_path, arguments={"strenght": 1})
    with pytest.raises(
        TrainingError, match=r"none of the 2 pictures of pairs could be validated: a: .*strenght"
    ):
        train(wrong, tmp_path / "b", cpu=True)
    with pytest.raises(TrainingError, match=r"a VQAutoencoder in training makes no restorer: leave"):
        train(looked_at(make("codebooks"), tmp_path), tmp_path / "c", cpu=True)
    with pytest.raises(TrainingError, match=r"the tracker wandb is not installed: .* take .*tensorboard"):
        train(replace(compact, tracker="wandb"), tmp_path / "d", cpu=True)
    assert not (tmp_path / "d").exists()


def test_each_tracker_is_told_in_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb and trackio are no dependencies: what they were told here, the real ones have kept."""
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(Image=lambda pixels: ("picture", pixels)))
    picture = photograph(32)
    trackers = {name: MagicMock() for name in ("wandb", "trackio", "tensorboard")}
    for name, tracker in trackers.items():
        tracker.name = name
    accelerator = MagicMock(trackers=[*trackers.values()])
    begin_tracking(accelerator, tmp_path / "run", 7)
    (name,), how = accelerator.init_trackers.call_args
    assert name == "run" and how["init_kwargs"]["tensorboard"] == {"purge_step": 7}
    assert Path(how["init_kwargs"]["wandb"]["dir"]).is_dir()
    track(accelerator, Validated({"psnr": 20.0}, {"a": picture}), 9)
    accelerator.log.assert_called_once_with({"validation/psnr": 20.0}, step=9)
    (told,), where = trackers["trackio"].log.call_args
    assert told == {"validation/a": ("picture", picture)} and where == {"step": 9}
    for name, further in {"wandb": {}, "tensorboard": {"dataformats": "NHWC"}}.items():
        (told,), where = trackers[name].log_images.call_args
        assert told["validation/a"].shape == (1, 32, 32, 3) and where == {"step": 9, **further}
    trackers["trackio"].log_images.assert_not_called()


def test_the_call_says_what_the_recipe_does_not(tmp_path: Path) -> None:
    recipe = load_recipe("compact").watched("pairs", 50, "tensorboard")
    assert recipe.validation == Validation("pairs", 50) and recipe.tracker == "tensorboard"
    assert load_recipe("compact").watched(None, 50, None) == load_recipe("compact")
    with pytest.raises(
        TrainingError, match=r"tracker.*'tensorboard', 'trackio' or 'wandb', not 'tensorbord'"
    ):
        load_recipe("compact").watched(None, 50, "tensorbord")
