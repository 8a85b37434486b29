"""What holds for every objective."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ggt_hub.data.reading.mixture import Mixture
from ggt_hub.data.reading.picture_sources import open_source
from ggt_hub.errors import TrainingError
from ggt_hub.models import Detector
from ggt_hub.training import Recipe, run, train
from ggt_hub.training.objectives import Objective, load_objective
from tests.photographs import photograph
from tests.training.objectives.tiny import every_objective, scored, tiny_recipe


@pytest.fixture(params=every_objective())
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> Recipe:
    scored(tmp_path / "clean", photograph(96))
    return tiny_recipe(request.param, tmp_path / "clean", tmp_path)


def built(recipe: Recipe) -> Objective:
    torch.manual_seed(0)
    return load_objective(recipe.objective).build(recipe.model, recipe.settings)


def mixture_of(recipe: Recipe) -> Mixture:
    stage = recipe.stages[0]
    sources = [(open_source(name), share) for name, share in stage.data.items()]
    how = {"crop": stage.crop, "aligned": stage.aligned, "seed": recipe.seed, "needs_quality": True}
    return Mixture(sources, stage.groups, **how)


def batch(recipe: Recipe, objective: Objective, numbers: range) -> dict[str, torch.Tensor]:
    mixture = mixture_of(recipe)
    items = [objective.prepare(mixture[number]) for number in numbers]
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def test_the_loss_is_of_the_batch_alone_and_its_gradient_reaches_the_network(recipe: Recipe) -> None:
    objective = built(recipe)
    held = batch(recipe, objective, range(4))
    loss = objective(held)
    assert loss.value.shape == () and loss.gain.shape == (4,)
    assert not loss.gain.requires_grad
    loss.value.backward()
    gradients = [weight.grad for weight in objective.network.parameters() if weight.grad is not None]
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
    assert torch.equal(objective(held).value, loss.value)
    alone = objective(batch(recipe, objective, range(2))).gain
    assert torch.allclose(
        alone, loss.gain[:2], atol=1e-4
    )  # float32: other batches are summed up in other orders


def test_what_is_exported_loads_and_is_the_network(recipe: Recipe, tmp_path: Path) -> None:
    objective = built(recipe)
    objective.export(tmp_path / "model")
    loaded = type(objective.network).from_pretrained(tmp_path / "model")
    state = objective.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in loaded.state_dict().items())
    other = load_objective(recipe.objective).build(recipe.model, recipe.settings)
    other.start_from(tmp_path / "model/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(state[name], tensor) for name, tensor in other.network.state_dict().items())
    other = load_objective(recipe.objective).build(recipe.model, recipe.settings)
    other.start_from(tmp_path / "model")
    assert all(torch.equal(state[name], tensor) for name, tensor in other.network.state_dict().items())
    with pytest.raises(TrainingError, match="cannot start from"):
        other.start_from(tmp_path / "missing.safetensors")
    with pytest.raises(
        TrainingError, match=f"it holds a Detector, and here belongs a {type(other.network).__name__}"
    ):
        Detector(width=8).save_pretrained(tmp_path / "another")
        other.start_from(tmp_path / "another")


def test_each_learner_moves_in_its_turn_alone(recipe: Recipe) -> None:
    """And all of them have one in the end, with an optimiser for what is theirs."""
    objective, learners = built(recipe), built(recipe).learners()
    assert objective.turns(10**6).keys() == learners.keys()
    held = batch(recipe, objective, range(2))
    for learner, told in objective.turns(10**6).items():
        objective.zero_grad()
        objective(held, **told).value.backward()
        felt = {name for name, weight in objective.named_parameters() if weight.grad is not None}
        own = {id(weight) for weight in objective.learners()[learner]}
        assert felt and felt <= {name for name, weight in objective.named_parameters() if id(weight) in own}


def test_what_prepares_examples_goes_to_processes_of_its_own(recipe: Recipe) -> None:
    """They are started anew, and not forked."""
    objective = built(recipe)
    mixture = mixture_of(recipe)
    wanted = objective.prepare(mixture[0])
    mixture, prepare = pickle.loads(pickle.dumps((mixture, objective.prepare)))
    found = prepare(mixture[0])
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_stopped_run_continues_exactly(recipe: Recipe, tmp_path: Path, monkeypatch: Any) -> None:
    whole = load_file(train(recipe, tmp_path / "whole", cpu=True) / "diffusion_pytorch_model.safetensors")
    update = run._Run._update

    def stopping(this: run._Run, *arguments: Any) -> None:
        if this.step == 2:
            this.save()
            raise KeyboardInterrupt
        update(this, *arguments)

    monkeypatch.setattr(run._Run, "_update", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", cpu=True)
    monkeypatch.setattr(run._Run, "_update", update)
    parts = load_file(train(recipe, tmp_path / "parts", cpu=True) / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_a_run_changes_the_weights_and_writes_them(recipe: Recipe, tmp_path: Path) -> None:
    folder = train(recipe, tmp_path / "run", cpu=True)
    trained = load_file(folder / "diffusion_pytorch_model.safetensors")
    torch.manual_seed(recipe.seed)
    assert trained.keys() == built(recipe).network.state_dict().keys()
    assert all(tensor.isfinite().all() for tensor in trained.values())


@pytest.mark.parametrize("field", ["model", "settings"])
def test_fields_that_do_not_fit_are_refused(recipe: Recipe, field: str) -> None:
    arguments = {"model": recipe.model, "settings": recipe.settings} | {field: {"nonsense": 1}}
    with pytest.raises(TrainingError, match="nonsense"):
        load_objective(recipe.objective).build(**arguments)


def test_an_unknown_objective_is_named() -> None:
    with pytest.raises(TrainingError, match=r"no objective 'compat': there are codebooks.*did you mean"):
        load_objective("compat")
