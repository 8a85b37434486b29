"""Memory by arithmetic: of small networks what they really take, of the published ones what the documents say."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

from ggt_hub.errors import TrainingError
from ggt_hub.models import TextConnector
from ggt_hub.training import editors, load_recipe, memory, plan, train
from ggt_hub.training.memory import GB, Shapes, Training, describe
from ggt_hub.training.objectives.flow import _ATTENTION, FlowObjective
from tests.documents import lay_out_desk
from tests.golden import BUNDLE
from tests.pipelines.tiny_editors import tiny_qwen_edit
from tests.tiny_kontext import save_tiny_kontext

PAGE = Path(__file__).parents[2] / "docs/concepts/fine-tune.md"


def shapes(network: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.fixture
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "qwen":
        tiny_qwen_edit().save_pretrained(tmp_path / "base")
        return str(tmp_path / "base")
    return str(save_tiny_kontext(tmp_path / "base")) if request.param == "kontext" else str(BUNDLE)


@pytest.mark.parametrize("weights", ["lora", "full"])
@pytest.mark.parametrize("base", ["kontext", "qwen", "published"], indirect=True)
def test_the_shapes_in_the_files_are_what_is_loaded(base: str, weights: str) -> None:
    model = {"weights": weights, "rank": 2}
    told = FlowObjective.memory(model, {"base": base}, 64, 1, download=False)
    objective = FlowObjective.build(model, {"base": base})
    learned = [*objective.network.parameters()]
    assert told.learned == 20 * sum(weight.numel() for weight in learned)
    parts = [part for part in objective.editor.pipe.components.values() if isinstance(part, nn.Module)]
    everything = {id(weight): weight for part in parts for weight in part.parameters()}
    frozen = [weight for key, weight in everything.items() if key not in {id(one) for one in learned}]
    # CLIP keeps numbers of positions among its tensors: 77 of them, in 2 bytes each.
    assert 0 <= told.weights - sum(weight.nbytes for weight in frozen) <= 154


def test_a_plan_downloads_no_base_and_a_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, asked = save_tiny_kontext(tmp_path / "base"), []
    monkeypatch.setattr(editors, "locate", lambda name, where: asked.append((name, where)) or base)
    for download in (False, True):
        editors.shapes_of("me/editor@v1", download)
    there = {"revision": "v1"}
    assert asked == [("me/editor", there | {"local_files_only": True}), ("me/editor", there)]


def test_each_term_is_that_of_its_formula() -> None:
    parts: dict[str, Shapes] = {
        "transformer": {
            "x_embedder.weight": (8, 4),
            "transformer_blocks.0.attn.to_q.weight": (8, 8),
            "transformer_blocks.1.attn.to_q.weight": (8, 8),
            "transformer_blocks.1.attn.norm_q.weight": (4,),
            "single_transformer_blocks.0.attn.to_q.bias": (8,),
        },
        "vae": {"a": (10, 10)},
    }
    told = Training(parts, ("to_q",), 5, full=False, rank=3, crop=64, at_once=2)
    assert told.learned == 20 * 3 * (16 + 16)
    assert told.weights == 2 * (32 + 64 + 64 + 4 + 8) + 400
    assert told.kept == (2 * 16 + 5) * 2 * 8 * (2 * 3 + 34)
    assert replace(told, checkpointing=False).kept == (2 * 16 + 5) * 2 * 8 * 34 * 3
    assert replace(told, bfloat16=False).kept == 2 * told.kept
    narrow = replace(told, eight_bits=True)
    assert narrow.weights == (32 + 64 + 64) + 2 * (8 + 8 + 8) + 2 * (4 + 8) + 400
    assert replace(told, full=True).learned == 20 * (32 + 64 + 64 + 4 + 8)
    assert replace(told, full=True).weights == 400


def test_what_fits_is_said_in_the_words_of_a_recipe() -> None:
    blocks = {f"transformer_blocks.{n}.attn.to_q.weight": (1000, 1000) for n in range(9)}
    parts: dict[str, Shapes] = {"transformer": {"x_embedder.weight": (1000, 64), **blocks}, "vae": {}}
    told = Training(parts, ("to_q",), 0, full=True, rank=1, crop=1024, at_once=4, checkpointing=False)
    said = [words for words, _ in told.smaller()]
    assert said[0] == "at_once: 1" and said[1] == "at_once: 1, model: {weights: lora}"
    assert (
        said[-1].endswith("settings: {eight_bits: true}, crop: 512 or buckets as large")
        and "768" not in said[-1]
    )
    totals = [smaller.total for _, smaller in told.smaller()]
    assert totals == sorted(totals, reverse=True)
    assert told.fitting(told.total) == "" and told.fitting(told.total - 1) is not None
    assert told.fitting(totals[-1]) == said[-1] and told.fitting(totals[-1] - 1) is None


def test_a_run_that_is_too_large_ends_before_a_network_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = lay_out_desk(tmp_path / "desk")
    recipe = load_recipe("realrestorer", "tiny").with_data(
        {str(desk / "photos"): 1, str(desk / "my-pairs"): 1}
    )
    recipe = recipe.with_settings({"base": str(save_tiny_kontext(tmp_path / "base"))})
    monkeypatch.setattr(FlowObjective, "build", lambda *_: pytest.fail("it was loaded"))
    needs = FlowObjective.memory(recipe.model, recipe.settings, 64, 2, download=False)
    assert next(line for line in plan(recipe).splitlines() if line.startswith("memory")) == next(
        describe(needs)
    )
    monkeypatch.setattr(memory, "device_bytes", lambda cpu: needs.total - 1)
    with pytest.raises(TrainingError, match=r"needs about .*: it fits with at_once: 1 in the recipe; `--dry"):
        train(recipe, tmp_path / "run", cpu=True)
    monkeypatch.setattr(memory, "device_bytes", lambda cpu: 10)
    with pytest.raises(TrainingError, match="no setting makes this base small enough: choose another"):
        train(recipe, tmp_path / "run", cpu=True)
    assert not (tmp_path / "run").exists()


def published() -> dict[str, tuple[dict[str, Shapes], int]]:
    """Shapes of the published networks, of which only configurations are here."""
    halves = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    wide = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 16}
    language = {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064,
    }  # fmt: skip
    vision = {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584, "num_heads": 16
    }  # fmt: skip
    t5 = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 32128}
    clip = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    with torch.device("meta"):
        flux = shapes(FluxTransformer2DModel(guidance_embeds=True))
        vae = shapes(AutoencoderKL(**wide, **halves, use_quant_conv=False, use_post_quant_conv=False))
        t5_encoder = shapes(T5EncoderModel(T5Config(**t5, feed_forward_proj="gated-gelu")))
        clip_encoder = shapes(CLIPTextModel(CLIPTextConfig(**clip)))
        reader = shapes(
            Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=language, vision_config=vision))
        )
        connector = shapes(
            TextConnector(in_channels=3584, hidden_size=4096, num_heads=32, depth=2, pooled_dim=768)
        )
        qwen, qwen_vae = shapes(QwenImageTransformer2DModel()), shapes(AutoencoderKLQwenImage())
    inner = {name: shape for name, shape in reader.items() if not name.startswith("lm_head")}
    kontext = {"transformer": flux, "text_encoder": clip_encoder, "text_encoder_2": t5_encoder, "vae": vae}
    restorer = {"transformer": flux, "connector": connector, "text_encoder": inner, "vae": vae}
    return {
        "FLUX.1 Kontext": (kontext, 512),
        "RealRestorer": (restorer, 640),
        "Qwen-Image-Edit": ({"transformer": qwen, "text_encoder": reader, "vae": qwen_vae}, 1450),
    }


def test_the_table_of_cards_is_this_arithmetic() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, (parts, tokens) in published().items():
        told = Training(parts, _ATTENTION, tokens, full=False, rank=32, crop=1024, at_once=1)
        numbers: list[Any] = [told.weights, told.learned, told.kept, told.total]
        numbers += [replace(told, eight_bits=True).total, replace(told, full=True).total]
        numbers.append(replace(told, full=True, shares=8).total)
        (row,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", text, re.MULTILINE)
        assert [cell.strip() for cell in row.split("|")] == [f"{number / GB:.0f} GB" for number in numbers]
