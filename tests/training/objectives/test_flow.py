"""Flow matching of editors, against the loss written out with the pipelines' own parts, in float64."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FluxKontextPipeline,
    FluxTransformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from numpy.random import default_rng
from PIL import Image
from safetensors.torch import load_file, save_file

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError
from ggt_hub.pipelines.realrestorer import RealRestorerPipeline, instruction
from ggt_hub.pipelines.realrestorer.denoising import Guidance, Velocity
from ggt_hub.pipelines.realrestorer.geometry import pack, unpack
from ggt_hub.pipelines.realrestorer.tiles import Tiles
from ggt_hub.training.editors import KontextEditor, QwenEditor, QwenPlusEditor, RealRestorerEditor
from ggt_hub.training.objectives.flow import FlowObjective, Model, Pairs, Settings
from tests.golden import BUNDLE
from tests.photographs import photograph
from tests.pipelines.tiny_editors import tiny_qwen_edit
from tests.pipelines.tiny_realrestorer import tiny_pipeline
from tests.tiny_kontext import save_tiny_kontext, tiny_kontext

SIDE = 32
PLAIN = Settings(bfloat16=False, checkpointing=False, guidance=1.5)


def spread_out(pipe: Any) -> Any:
    """With latents that are neither centred nor of one spread, as those of the published autoencoder are."""
    channels = pipe.vae.config.z_dim
    numbers = {
        "latents_mean": np.linspace(-0.5, 0.5, channels).tolist(),
        "latents_std": np.linspace(0.5, 2, channels).tolist(),
    }
    pipe.vae.register_to_config(**numbers)
    return pipe


EDITORS: dict[str, Callable[[], Any]] = {
    "kontext": lambda: KontextEditor(tiny_kontext()),
    "qwen": lambda: QwenEditor(spread_out(tiny_qwen_edit())),
    "qwen-plus": lambda: QwenPlusEditor(QwenImageEditPlusPipeline(**spread_out(tiny_qwen_edit()).components)),
    "realrestorer": lambda: RealRestorerEditor(tiny_pipeline(reference_axis=1)),
}


def example(seed: int = 0, task: Any = "rain", lq_side: int = SIDE) -> Example:
    rng = default_rng(seed)
    gt = photograph(SIDE).astype(np.float32) / 255
    lq = rng.random((lq_side, lq_side, 3), np.float32)
    return Example(lq, gt, task, None, "g", 0, rng, "my-pairs")


def batch(objective: FlowObjective, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    items = [objective.prepare(example(0, "rain")), objective.prepare(example(1, "haze"))]
    stacked = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in stacked.items()
    }


def in_float64(kind: str, weights: Any = "lora", settings: Settings = PLAIN) -> FlowObjective:
    objective = FlowObjective(EDITORS[kind](), Model(weights, rank=2), settings)
    objective.editor.pipe.to(torch.float64)
    torch.manual_seed(3)
    with torch.no_grad():  # a LoRA begins with zeros, with which half of its gradients are zero
        for weight in objective.network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return objective


def kontext_loss(pipe: FluxKontextPipeline, held: dict[str, torch.Tensor], guidance: float) -> torch.Tensor:
    """Picture by picture, as the stock pipeline calls its parts."""
    losses = []
    for row, task in enumerate(("rain", "haze")):
        one = {name: tensor[row : row + 1] for name, tensor in held.items()}
        tokens, pooled, text_ids = pipe.encode_prompt(instruction(task))
        reference = pipe._encode_vae_image(2 * one["lq"] - 1, torch.Generator())
        found = pipe.vae.encode(2 * one["gt"] - 1).latent_dist
        good = ((found.mean + found.std * one["posterior"][:, 1]) - 0.1159) * 0.3611
        time = one["time"]
        noisy = good + time * (one["noise"] - good)
        shape = 1, *good.shape[1:]
        told = {"device": torch.device("cpu"), "dtype": torch.float64}
        _, reference, ids, reference_ids = pipe.prepare_latents(reference, 1, 4, SIDE, SIDE, **told)
        noisy = pipe._pack_latents(noisy, *shape)
        found = pipe.transformer(
            hidden_states=torch.cat([noisy, reference], 1), timestep=time, encoder_hidden_states=tokens,
            guidance=torch.tensor([guidance]), pooled_projections=pooled, txt_ids=text_ids,
            img_ids=torch.cat([ids, reference_ids]), return_dict=False,
        )[0][:, : noisy.shape[1]]  # fmt: skip
        wanted = pipe._pack_latents(one["noise"] - good, *shape)
        losses.append(((found - wanted) ** 2).mean())
    return torch.stack(losses).mean()


def realrestorer_loss(
    pipe: RealRestorerPipeline, held: dict[str, torch.Tensor], guidance: float
) -> torch.Tensor:
    """Picture by picture, by what predicts the velocity in a call."""
    losses = []
    for row, task in enumerate(("rain", "haze")):
        one = {name: tensor[row : row + 1] for name, tensor in held.items()}
        levels = np.rint(one["lq"][0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        states, mask = pipe.encode_prompt(pipe.prepare_image(levels, size_level=SIDE), [instruction(task)])
        found = pipe.vae.encode(2 * one["lq"] - 1).latent_dist
        reference = ((found.mean + found.std * one["posterior"][:, 0]) - 0.1159) * 0.3611
        found = pipe.vae.encode(2 * one["gt"] - 1).latent_dist
        good = ((found.mean + found.std * one["posterior"][:, 1]) - 0.1159) * 0.3611
        time = one["time"]
        conditions = pipe.connector(states.double(), time[None], mask)
        tiles = Tiles.of(2, 2, 2)
        predict = Velocity(pipe.transformer, conditions, 1, pack(reference), tiles, 1)
        noisy = good + time * (one["noise"] - good)
        found = predict(pack(noisy), 0, time[0], Guidance(None, model=guidance))
        losses.append(((unpack(found, 2, 2) - (one["noise"] - good)) ** 2).mean())
    return torch.stack(losses).mean()


def qwen_loss(pipe: Any, held: dict[str, torch.Tensor], _guidance: float) -> torch.Tensor:
    """Picture by picture, as the stock pipelines call their parts; Plus shows 384 x 384 to its language model."""
    is_plus = isinstance(pipe, QwenImageEditPlusPipeline)
    mean, std = (
        torch.tensor(told, dtype=torch.float64)[None, :, None, None]
        for told in (pipe.vae.config.latents_mean, pipe.vae.config.latents_std)
    )
    losses = []
    for row, task in enumerate(("rain", "haze")):
        one = {name: tensor[row : row + 1] for name, tensor in held.items()}
        shown = Image.fromarray(np.rint(one["lq"][0].permute(1, 2, 0).numpy() * 255).astype(np.uint8))
        shown = [shown.resize((384, 384), Image.Resampling.LANCZOS)] if is_plus else shown
        tokens, mask = pipe.encode_prompt(instruction(task), image=shown)
        reference = (2 * one["lq"] - 1)[:, :, None]
        told = {"dtype": torch.float64, "device": torch.device("cpu"), "generator": None}
        _, reference = pipe.prepare_latents(reference, 1, 16, SIDE, SIDE, latents=torch.zeros(1), **told)
        found = pipe.vae.encode((2 * one["gt"] - 1)[:, :, None]).latent_dist
        good = ((found.mean + found.std * one["posterior"][:, 1][:, :, None])[:, :, 0] - mean) / std
        time = one["time"]
        noisy = pipe._pack_latents(good + time * (one["noise"] - good), *good.shape)
        found = pipe.transformer(
            hidden_states=torch.cat([noisy, reference], 1), timestep=time, encoder_hidden_states=tokens,
            encoder_hidden_states_mask=mask, img_shapes=[[(1, 2, 2), (1, 2, 2)]], return_dict=False,
        )[0][:, : noisy.shape[1]]  # fmt: skip
        wanted = pipe._pack_latents(one["noise"] - good, *good.shape)
        losses.append(((found - wanted) ** 2).mean())
    return torch.stack(losses).mean()


LOSSES = {
    "kontext": kontext_loss,
    "qwen": qwen_loss,
    "qwen-plus": qwen_loss,
    "realrestorer": realrestorer_loss,
}


@pytest.mark.parametrize("weights", ["lora", "full"])
@pytest.mark.parametrize("kind", EDITORS)
def test_loss_and_gradients_are_those_of_the_pipelines_own_parts(kind: str, weights: str) -> None:
    objective = in_float64(kind, weights)
    held = batch(objective, torch.float64)
    found = objective(held)
    found.value.backward()
    learned = objective.learners()["network"]
    gradients = [weight.grad.clone() for weight in learned]
    objective.zero_grad()
    wanted = LOSSES[kind](objective.editor.pipe, held, PLAIN.guidance)
    # RealRestorer computes a velocity in float32 in the end, and Qwen-Image turns positions in it.
    close = 1e-12 if kind == "kontext" else 1e-6
    assert abs(float(found.value.detach()) / float(wanted.detach()) - 1) < close
    for weight, mine, own in zip(learned, gradients, torch.autograd.grad(wanted, learned), strict=True):
        assert weight.requires_grad and float((mine - own).norm()) <= 100 * close * float(own.norm())


def test_gradients_are_differences_of_the_loss() -> None:
    """Along one direction, by central differences, with checkpointing on; FLUX turns positions in float32."""
    objective = in_float64("kontext", settings=Settings(bfloat16=False, checkpointing=True))
    held, learned = batch(objective, torch.float64), objective.learners()["network"]
    objective(held).value.backward()
    way = [torch.randn_like(weight) for weight in learned]
    slope = sum(float((weight.grad * step).sum()) for weight, step in zip(learned, way, strict=True))
    ends = []
    with torch.no_grad():
        for sign in (1, -2):  # there, and back beyond the beginning
            for weight, step in zip(learned, way, strict=True):
                weight.add_(sign * 1e-3 * step)
            ends.append(float(objective(held).value))
    assert abs((ends[0] - ends[1]) / 2e-3 / slope - 1) < 1e-4


@pytest.mark.parametrize("kind", EDITORS)
def test_nothing_but_the_transformer_feels_a_gradient(kind: str) -> None:
    objective = in_float64(kind, "full")
    objective(batch(objective, torch.float64)).value.backward()
    for name, part in objective.editor.pipe.components.items():
        if isinstance(part, torch.nn.Module):
            felt = any(weight.grad is not None for weight in part.parameters())
            assert felt == (name == "transformer"), name


# What is written


def moved(objective: FlowObjective) -> FlowObjective:
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in objective.network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return objective


def predicted(editor: Any, held: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        condition = editor.read(held["lq"], [instruction("rain")] * 2, held["time"])
        reference = editor.encode_reference(held["lq"], held["posterior"][:, 0])
        return editor.velocity(held["noise"], reference, held["time"], condition, 1.0)


@pytest.mark.parametrize("kind", EDITORS)
def test_the_stock_call_loads_the_lora_and_predicts_what_training_did(kind: str, tmp_path: Path) -> None:
    objective = moved(FlowObjective(EDITORS[kind](), Model(rank=2), PLAIN))
    held, stock = batch(objective), EDITORS[kind]()
    plain = predicted(stock, held)
    objective.export(tmp_path)
    stock.pipe.load_lora_weights(tmp_path)
    assert torch.equal(predicted(stock, held), predicted(objective.editor, held))
    assert (predicted(stock, held) - plain).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "network"), [("kontext", FluxTransformer2DModel), ("qwen-plus", QwenImageTransformer2DModel)]
)
def test_all_of_the_transformer_is_loaded_by_stock_diffusers(kind: str, network: Any, tmp_path: Path) -> None:
    objective = moved(FlowObjective(EDITORS[kind](), Model("full"), PLAIN))
    held, stock = batch(objective), EDITORS[kind]()
    objective.export(tmp_path)
    stock.pipe.transformer = network.from_pretrained(tmp_path)
    assert torch.equal(predicted(stock, held), predicted(objective.editor, held))


def test_step1x_edit_is_a_file_in_place_of_realrestorers_denoiser(tmp_path: Path) -> None:
    """Under FLUX's names of the original release, without guidance, as it was published."""
    tensors = load_file(BUNDLE / "transformer/diffusion_pytorch_model.safetensors")
    left_out = ("guidance_in", "mask_token", "connector.scale_factor")
    bare = {name.removeprefix("inner_model."): 1.5 * tensor for name, tensor in tensors.items()}
    stored = {name: tensor for name, tensor in bare.items() if not name.startswith(left_out)}
    save_file(stored, tmp_path / "step1x-edit.safetensors")
    settings = {"base": str(BUNDLE), "weights": str(tmp_path / "step1x-edit.safetensors"), "bfloat16": False}
    objective = FlowObjective.build({"rank": 2}, settings | {"checkpointing": False})
    pipe = objective.editor.pipe
    assert not pipe.transformer.config.guidance_embeds and pipe.config.reference_axis == 1
    assert torch.equal(pipe.transformer.x_embedder.bias, bare["img_in.bias"].float())
    held = batch(moved(objective))
    objective.export(tmp_path / "lora")
    stock = RealRestorerPipeline.from_single_file(settings["weights"], config=BUNDLE, dtype=torch.float32)
    stock.load_lora_weights(tmp_path / "lora")
    assert torch.equal(predicted(RealRestorerEditor(stock), held), predicted(objective.editor, held))
    kontext = save_tiny_kontext(tmp_path / "kontext")
    with pytest.raises(TrainingError, match=r"step1x.* takes the place of .* and .*kontext is a FluxKontext"):
        FlowObjective.build({}, settings | {"base": str(kontext)})
    with pytest.raises(TrainingError, match=r"the base .* cannot be had: .*nowhere\.safetensors is no"):
        FlowObjective.build({}, settings | {"weights": "nowhere.safetensors"})


@pytest.mark.parametrize("weights", ["lora", "full"])
def test_the_first_blocks_are_a_share_of_the_single_ones(weights: Any) -> None:
    objective = FlowObjective(EDITORS["kontext"](), Model(weights, rank=2), PLAIN)
    transformer = objective.editor.pipe.transformer
    first = {id(weight) for weight in objective.first_blocks(0.25)}
    names = {name for name, weight in transformer.named_parameters() if id(weight) in first}
    wanted = {
        name
        for name, weight in transformer.named_parameters()
        if name.startswith("single_transformer_blocks.0.") and weight.requires_grad
    }
    assert names == wanted and names


# What a batch holds


def test_times_are_logit_normal_and_shifted() -> None:
    """The quantiles of 2,000 draws: the middle of a logit-normal is 1/2, which the shift takes to s / (s + 1)."""
    for shift in (1.0, 3.0):
        times = torch.stack([Pairs(shift, 4)(example(seed))["time"] for seed in range(2000)])
        for normal, share in ((-1.0, 0.1587), (0.0, 0.5), (1.0, 0.8413)):
            odds = shift * np.exp(normal)
            below = float((times < odds / (1 + odds)).float().mean())
            assert abs(below - share) < 3 * np.sqrt(share * (1 - share) / 2000)


def test_all_that_is_drawn_is_of_the_example() -> None:
    first, again, other = (Pairs(3.0, 4)(example(seed)) for seed in (0, 0, 1))
    assert first["noise"].shape == (4, 4, 4) and first["posterior"].shape == (2, 4, 4, 4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["noise"], other["noise"])
    levels = first["lq"] * 255
    assert (levels - levels.round()).abs().max() < 1e-4  # as the pipelines are given pictures


def test_pairs_of_two_sizes_and_odd_crops_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"my-pairs: .* lq has 16x16, and gt 32x32"):
        Pairs(1.0, 4)(example(lq_side=16))
    with pytest.raises(TrainingError, match="multiples of 16 pixels, and here lq has 24x24"):
        odd = example(lq_side=24)
        Pairs(1.0, 4)(replace(odd, gt=odd.lq))


# Bases


def test_bases_that_cannot_be_trained_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="with --base"):
        FlowObjective.build({}, {})
    with pytest.raises(TrainingError, match=r"the base nowhere cannot be had"):
        FlowObjective.build({}, {"base": "nowhere"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(TrainingError, match=r"other is a StableDiffusionPipeline: .*FluxKontextPipeline"):
        FlowObjective.build({}, {"base": str(tmp_path / "other")})
    broken = save_tiny_kontext(tmp_path / "broken")
    (broken / "transformer/diffusion_pytorch_model.safetensors").write_bytes(b"")
    with pytest.raises(TrainingError, match="broken cannot be loaded"):
        FlowObjective.build({}, {"base": str(broken)})


@pytest.mark.parametrize("kind", ["kontext", "qwen"])
def test_a_base_in_eight_bits_learns_nearly_what_it_learns_in_full(kind: str, tmp_path: Path) -> None:
    """A weight is at most half of one of 127 steps off: velocities are less than 1 % off, gradients 10 %."""
    EDITORS[kind]().pipe.save_pretrained(tmp_path / "base")
    settings = {"base": str(tmp_path / "base"), "bfloat16": False, "checkpointing": False}
    exact, narrow = (
        FlowObjective.build({"rank": 2}, settings | {"eight_bits": eight_bits})
        for eight_bits in (False, True)
    )
    weight = narrow.editor.pipe.transformer.transformer_blocks[0].attn.to_q.base_layer.weight
    assert type(weight).__module__.startswith("torchao") and not weight.requires_grad
    for one in (exact, narrow):
        one.network.load_state_dict(moved(exact).network.state_dict())
    held, slopes = batch(exact), []
    for one in (exact, narrow):
        one(held).value.backward()
        slopes.append(torch.cat([learned.grad.flatten() for learned in one.learners()["network"]]))
    found, wanted = (predicted(one.editor, held) for one in (narrow, exact))
    assert 0 < float((found - wanted).norm()) < 0.01 * float(wanted.norm())
    assert float((slopes[1] - slopes[0]).norm()) < 0.1 * float(slopes[0].norm())
    with pytest.raises(TrainingError, match="all of a transformer cannot be learned in 8 bits"):
        FlowObjective.build({"weights": "full"}, settings | {"eight_bits": True})


def test_a_base_in_bfloat16_keeps_what_is_learned_and_the_autoencoder_in_float32(tmp_path: Path) -> None:
    base = save_tiny_kontext(tmp_path / "base")
    objective = FlowObjective.build({"rank": 2}, {"base": str(base)})
    pipe = objective.editor.pipe
    assert (pipe.vae.dtype, pipe.text_encoder_2.dtype) == (torch.float32, torch.bfloat16)
    assert pipe.transformer.x_embedder.weight.dtype == torch.bfloat16
    assert {weight.dtype for weight in objective.network.parameters()} == {torch.float32}
    exact = FlowObjective.build({"rank": 2}, {"base": str(base), "bfloat16": False, "checkpointing": False})
    held = batch(exact)
    # Three decimal digits are what bfloat16 has.
    assert abs(float(objective(held).value) / float(exact(held).value) - 1) < 1e-2
