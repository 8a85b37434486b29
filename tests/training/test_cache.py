"""Encodings that are kept: what is kept is what would be computed, by whom, and what is left after a kill."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from ggt_hub.errors import TrainingError
from ggt_hub.training import Recipe, load_recipe, train
from ggt_hub.training.cache import EncodingCache, identity_of, key_of
from ggt_hub.training.objectives.flow import FlowObjective
from tests.photographs import photograph
from tests.pipelines.tiny_editors import tiny_qwen_edit
from tests.tiny_kontext import tiny_kontext

CPU = torch.device("cpu")
BASES = {"kontext": tiny_kontext, "qwen": tiny_qwen_edit}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(100, 100)


def test_what_is_kept_comes_back_to_the_bit_also_from_other_runs(tmp_path: Path) -> None:
    asked: list[str] = []

    def encode(name: str) -> dict[str, torch.Tensor]:
        asked.append(name)
        return {"a": torch.tensor([float(ord(name))]), "b": torch.arange(3).bfloat16()}

    first, second = (EncodingCache(tmp_path / "kept", {"vae": network()}) for _ in range(2))
    first.get("x", lambda: encode("x"), CPU)
    assert first.get("x", lambda: encode("x"), CPU)["a"] == ord("x")
    first.flush()
    second.get("y", lambda: encode("y"), CPU)
    second.flush()
    second.flush()
    third = EncodingCache(tmp_path / "kept", {"vae": network()})
    found = {key: third.get(key, lambda: pytest.fail("it was kept"), CPU) for key in ("x", "y")}
    assert asked == ["x", "y"] and len(third) == 2
    assert found["y"]["a"] == ord("y") and found["x"]["b"].dtype == torch.bfloat16
    assert len([*(tmp_path / "kept").glob("*.safetensors")]) == 2


def test_keys_are_of_all_that_an_encoding_is_made_of() -> None:
    pixels = torch.rand(3, 4, 8)
    others = pixels, pixels.mT.contiguous(), pixels.reshape(3, 8, 4), pixels + 1e-6, pixels.double()
    keys = [*(key_of(one, "latents") for one in others), key_of(pixels, "rain"), key_of(None, "rain")]
    assert len({*keys}) == len(keys) and key_of(pixels.clone(), "latents") == keys[0]
    assert key_of(pixels.mT.contiguous().mT, "latents") == keys[0]


def test_what_other_networks_made_is_refused(tmp_path: Path) -> None:
    EncodingCache(tmp_path / "kept", {"vae": network(), "text_encoder": network(1)})
    with pytest.raises(TrainingError, match=r"kept holds what another text_encoder made of pictures: name"):
        EncodingCache(tmp_path / "kept", {"vae": network(), "text_encoder": network(2)})
    assert identity_of(network()) != identity_of(network().bfloat16()) != identity_of(network(1).bfloat16())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    with pytest.raises(TrainingError, match="mine is no cache of encodings, and holds files"):
        EncodingCache(tmp_path / "mine", {"vae": network()})


def test_a_damaged_shard_is_told_and_made_anew(tmp_path: Path) -> None:
    cache = EncodingCache(tmp_path, {"vae": network()})
    cache.get("x", lambda: {"a": torch.zeros(1)}, CPU)
    cache.flush()
    (shard,) = tmp_path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.warns(UserWarning, match="is damaged, and left out of the cache"):
        again = EncodingCache(tmp_path, {"vae": network()})
    assert again.get("x", lambda: {"a": torch.ones(1)}, CPU)["a"] == 1


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A pair of the size of a bucket and one of none: each comes plain and mirrored."""
    for side in ("lq", "gt"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for number in range(2):
            whole = photograph(100)[:64, :64] if number else photograph(100)[:60]
            pixels = np.roll(whole, 7 * number + len(side) + ord(side[0]), 1)
            Image.fromarray(pixels).save(tmp_path / f"pairs/{side}/{number}.png")
    recipe = load_recipe("realrestorer", "tiny").with_data({str(tmp_path / "pairs"): 1.0})
    stage = replace(recipe.stages[0], synthetic=None, augmentation=None, steps=8, batch=2, at_once=1)
    return replace(recipe, stages=(stage,))


@pytest.mark.parametrize("kind", BASES)
def test_a_run_with_a_cache_is_the_run_without_and_the_next_one_encodes_nothing(
    kind: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BASES[kind]().save_pretrained(tmp_path / "base")
    recipe = recipe.with_settings({"base": str(tmp_path / "base")})
    kept = recipe.with_settings({"cache": str(tmp_path / "kept")})
    weights = [
        load_file(train(one, tmp_path / name, cpu=True) / "diffusion_pytorch_model.safetensors")
        for name, one in (("without", recipe), ("with", kept))
    ]
    build = FlowObjective.build

    def without_encoders(*arguments: Any) -> FlowObjective:
        objective = build(*arguments)
        objective.editor.moments = lambda *_: pytest.fail("the autoencoder was asked")  # type: ignore[method-assign]
        objective.editor.look = lambda *_: pytest.fail("the text encoder was asked")  # type: ignore[method-assign]
        return objective

    monkeypatch.setattr(FlowObjective, "build", without_encoders)
    weights.append(
        load_file(train(kept, tmp_path / "again", cpu=True) / "diffusion_pytorch_model.safetensors")
    )
    for name, tensor in weights[0].items():
        assert torch.equal(weights[1][name], tensor) and torch.equal(weights[2][name], tensor), name
