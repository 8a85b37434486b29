"""DreamClear's loss against the reference's own numbers, and what its training begins with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, PixArtTransformer2DModel
from numpy.random import default_rng

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError
from ggt_hub.models import SwinIR
from ggt_hub.training import load_recipe, train
from ggt_hub.training.objectives import load_objective
from ggt_hub.training.objectives.dreamclear import TRAINED, DreamClearObjective, Pairs, Settings
from tests.golden_dreamclear import document, tensors, transformer
from tests.photographs import photograph
from tests.pipelines.tiny_dreamclear import LENGTH, tiny_pipeline


@pytest.fixture
def objective() -> DreamClearObjective:
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)
    return DreamClearObjective(transformer(), vae, SwinIR(8, (1,), (2,), num_feat=8), Settings())


def terms(objective: DreamClearObjective, prefix: str = "") -> dict[str, torch.Tensor]:
    given = tensors("training/loss.safetensors")
    rows = len(given[f"{prefix}timestep"])
    return objective.terms(
        given[f"{prefix}latent_gt"],
        given["cond_lq"][:rows],
        given["cond_ref"][:rows],
        given[f"{prefix}timestep"],
        given[f"{prefix}noise"],
        given["caption"][:rows],
        given["caption_mask"][:rows],
    )


@pytest.mark.parametrize("prefix", ["", "t0."])
def test_both_terms_are_those_of_the_reference(objective: DreamClearObjective, prefix: str) -> None:
    given, found = tensors("training/loss.safetensors"), terms(objective, prefix)
    for name in ("mse", "vb"):
        # Reached: 2e-7.
        assert torch.allclose(found[name], given[f"{prefix}{name}"], rtol=1e-5, atol=0), name
    assert torch.allclose(found["mse"] + found["vb"], given[f"{prefix}loss"], rtol=1e-5, atol=0)


def test_gradients_are_those_of_the_reference_and_reach_no_backbone(objective: DreamClearObjective) -> None:
    given, found = tensors("training/loss.safetensors"), terms(objective)
    network = objective.network
    network.zero_grad()
    (found["mse"] + found["vb"]).mean().backward()
    wanted = {name.removeprefix("grad:"): one for name, one in given.items() if name.startswith("grad:")}
    assert len(wanted) >= 20
    parameters = dict(network.named_parameters())
    for name, gradient in wanted.items():
        own = parameters[name.replace("copied_block.", "")]  # else published names are ours here
        assert torch.allclose(own.grad, gradient, rtol=1e-3, atol=1e-5), name
    felt = [weight.grad for weight in parameters.values() if weight.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in felt]).norm()
    assert abs(float(norm) / float(given["grad_global_norm"]) - 1) < 1e-4
    trained = [name for name, weight in parameters.items() if weight.requires_grad]
    assert all(name.startswith(TRAINED) for name in trained)
    assert (
        sum(parameters[name].numel() for name in trained)
        == document("training/trainable.json")["trainable_parameters"]
    )
    network.zero_grad()


def test_the_gradient_of_the_bound_does_not_reach_the_noise(objective: DreamClearObjective) -> None:
    """With the noise's half of the last layer's bias alone, nothing is felt."""
    network = objective.network
    bias = network.proj_out.bias.requires_grad_(True)
    terms(objective)["vb"].sum().backward()
    felt = bias.grad.unflatten(0, (4, 8))
    assert not felt[:, :4].any() and felt[:, 4:].abs().sum() > 0
    network.zero_grad()
    bias.requires_grad_(False)


# What a batch holds


def example(prompt: str | None = None, scale: int = 4, seed: int = 0) -> Example:
    gt = photograph(64).astype(np.float32) / 255
    return Example(
        gt[::scale, ::scale].copy(), gt, "general", None, "g", 0, default_rng(seed), "s", prompt=prompt
    )


def test_lq_is_enlarged_and_all_that_is_drawn_is_of_the_example() -> None:
    first, again, other = (Pairs(0.5)(example(seed=seed)) for seed in (0, 0, 1))
    assert first["lq"].shape == first["gt"].shape == (3, 64, 64) and first["noise"].shape == (4, 8, 8)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["noise"], other["noise"]) and first["time"] != other["time"]
    assert not torch.equal(first["noise"], first["posterior"])
    times = {int(Pairs(0.5)(example(seed=seed))["time"]) for seed in range(40)}
    assert min(times) < 100 and max(times) > 900


def test_captions_are_dropped_by_chance_with_their_mask_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ggt_hub.training.objectives.dreamclear.clean", str.lower)
    pipe = tiny_pipeline()
    objective = DreamClearObjective(
        pipe.transformer, pipe.vae, pipe.pre_cleaner, Settings(), pipe.text_encoder, pipe.tokenizer
    )
    items = [objective.prepare(example("A cat", seed=seed)) for seed in range(40)]
    dropped = [bool(item["dropped"]) for item in items]
    assert 10 < sum(dropped) < 30
    batch = {name: torch.stack([item[name] for item in items]) for name in ("ids", "mask", "dropped")}
    states, mask = objective._captions(batch)
    assert mask.sum(1).tolist() == [6] * 40  # five letters and the end
    for row, gone in zip(states, dropped, strict=True):
        assert torch.equal(row, pipe.transformer.y_embedding) == gone
    without = objective.prepare(example(None))
    assert bool(without["dropped"]) and int(without["mask"].sum()) == LENGTH


def test_crops_that_the_networks_do_not_take_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"have 60x60 pixels: choose a crop .* multiples of 64"):
        gt = np.zeros((60, 60, 3), np.float32)
        Pairs(0.5)(Example(gt, gt, "general", None, "g", 0, default_rng(0)))


# What training begins with


def build(settings: dict[str, Any], model: dict[str, Any] | None = None) -> DreamClearObjective:
    torch.manual_seed(0)
    return load_objective("dreamclear").build(model or {}, settings)


def test_it_begins_with_the_parts_or_with_a_backbone(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path / "parts")
    begun = build({"parts": str(tmp_path / "parts")})
    state = pipe.transformer.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in begun.network.state_dict().items())
    assert (
        begun.text_encoder is not None
        and begun.prepare.tokenizer("a").input_ids == pipe.tokenizer("a").input_ids
    )

    stock = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        cross_attention_dim=24,
        sample_size=8,
        caption_channels=16,
        interpolation_scale=2,
        use_additional_conditions=True,
    )
    stock.save_pretrained(tmp_path / "stock")
    fresh = build({"backbone": str(tmp_path / "stock")}, {"control_layers": 2, "caption_length": 8}).network
    for name, value in stock.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)
    copied = fresh.controlnet_pre[1].attn1.to_q.weight
    assert torch.equal(copied, stock.transformer_blocks[1].attn1.to_q.weight) and copied.requires_grad


def test_the_shipped_recipe_runs_small(tmp_path: Path) -> None:
    """The published settings as a file, and its variant for a CPU."""
    from PIL import Image

    paper, tiny = load_recipe("dreamclear"), load_recipe("dreamclear", "tiny")
    stage = paper.stages[0]
    assert (stage.crop, stage.learning_rate, stage.last_learning_rate, stage.weight_decay) == (
        1024,
        5e-5,
        5e-5,
        0.01,
    )
    assert paper.settings == {"dropping": 0.5, "coupled": True, "checkpointing": True}
    (tmp_path / "photographs").mkdir()
    Image.fromarray(photograph(160)).save(tmp_path / "photographs/a.png")
    stages = (tiny.stages[0].__class__(**{**vars(tiny.stages[0]), "steps": 6}),)
    recipe = tiny.__class__(**{**vars(tiny), "stages": stages}).with_data({str(tmp_path / "photographs"): 1})
    folder = train(recipe, tmp_path / "run", cpu=True)
    trained = transformer().__class__.from_pretrained(folder)
    assert trained.config.num_layers == 2
    assert trained.cross_de[0].to_out.weight.abs().sum() > 0  # zero at first
