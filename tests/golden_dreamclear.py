"""Numeric reference data of DreamClear: the complete set beside the checkout, or the part that is in it."""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.schedulers import scheduling_ddpm
from safetensors.torch import load_file
from torch import Tensor, nn

from ggt_hub.converters.checkpoint import Checkpoint, fill, plan
from ggt_hub.converters.dreamclear_names import settings_of, transformer_destinations
from ggt_hub.models import DreamClearTransformer2DModel, SwinIR
from ggt_hub.pipelines.dreamclear import DreamClearPipeline, published_scheduler

COMPLETE = Path(__file__).resolve().parents[1] / "../shared/golden/dreamclear"
SHIPPED = Path(__file__).parent / "data/dreamclear"
DREAMCLEAR = COMPLETE if COMPLETE.is_dir() else SHIPPED


def place(name: str) -> Path:
    """A file or folder of the golden data; the test skips where it is not there."""
    if not (DREAMCLEAR / name).exists():
        pytest.skip(f"{name} is not in tests/data/dreamclear, and there is no complete set at {COMPLETE}")
    return DREAMCLEAR / name


class Held(dict[str, Any]):
    """Tensors by name; the test skips where one is not in the part that ships."""

    def __missing__(self, name: str) -> Any:
        pytest.skip(f"{name} is not in tests/data/dreamclear, and there is no complete set at {COMPLETE}")


def tensors(name: str) -> dict[str, Tensor]:
    return Held(load_file(place(name)))


Network = TypeVar("Network", bound=nn.Module)


def filled(network: Network) -> Network:
    """The network with weights that follow from the names of its tensors."""
    for name, tensor in network.state_dict().items():
        drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tensor.shape)
        tensor.copy_(torch.from_numpy(0.2 * drawn))
    return network.eval()


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


def document(name: str) -> Any:
    return json.loads(place(name).read_text(encoding="utf-8"))


@cache
def transformer() -> DreamClearTransformer2DModel:
    """The network with the weights of the set."""
    config = document("transformer/config.json")
    stored = Checkpoint(place("transformer/weights.safetensors"))
    with torch.device("meta"):
        network = DreamClearTransformer2DModel(**settings_of(stored.shapes, config["num_heads"]))
    networks = {"transformer": network}
    fill(
        stored,
        plan(stored.shapes, transformer_destinations(stored.shapes), networks),
        networks,
        torch.float32,
    )
    return network.eval()


@cache
def pre_cleaner() -> SwinIR:
    config, weights = document("swinir/config.json"), tensors("swinir/weights.safetensors")
    network = SwinIR(config["embed_dim"], tuple(config["depths"]), tuple(config["num_heads"]))
    names = set(network.state_dict())
    network.load_state_dict({name: value for name, value in weights.items() if name in names})
    return network.eval()


def case(name: str) -> dict[str, Tensor]:
    """Inputs of a case of the transformer, as it takes them."""
    found = tensors("transformer/inputs.safetensors")
    given = {key.partition(".")[2]: value for key, value in found.items() if key.startswith(f"{name}.")}
    return given_as(given)


def given_as(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the set under the names of the transformer's arguments."""
    names = {
        "latent": "hidden_states",
        "timestep": "timestep",
        "caption": "encoder_hidden_states",
        "caption_mask": "encoder_attention_mask",
        "cond_lq": "condition_lq",
        "cond_ref": "condition_reference",
    }
    return {names[key]: value for key, value in given.items() if key in names}


def difference(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference; infinite if the shapes differ."""
    return float((found - wanted).abs().max()) if found.shape == wanted.shape else float("inf")


def pipeline(minimum_size: int = 64) -> DreamClearPipeline:
    """The whole restorer with the weights of the set."""
    pipe = DreamClearPipeline(
        transformer(),
        AutoencoderKL.from_pretrained(place("pipeline/vae")).eval(),
        published_scheduler(),
        pre_cleaner(),
        minimum_size=minimum_size,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def drawn(noise: Tensor) -> Iterator[None]:
    """Have the sampler's steps add this noise, (steps, 1, 4, H, W), instead of what they would draw."""
    rows = iter(noise)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: next(rows))
        yield
