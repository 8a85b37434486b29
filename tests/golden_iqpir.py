"""Numeric reference data of IQPIR: the complete set beside the checkout, or the part that is in it.

Weights are not stored: they follow from the names of the tensors (`filled`), as `README.md` of the set says.
"""

import json
import zlib
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ggt_hub.models import CodeFormer, VQAutoencoder

COMPLETE = Path(__file__).resolve().parents[1] / "../shared/golden/iqpir"
SHIPPED = Path(__file__).parent / "data/iqpir"
IQPIR = COMPLETE if COMPLETE.is_dir() else SHIPPED
AUTOENCODER = {
    "channels": 32,
    "multipliers": (1, 1, 2),
    "attention_levels": (2,),
    "code_width": 16,
    "codes": 24,
}
TRANSFORMER = {"width": 48, "heads": 4, "layers": 2, "fusion_levels": (1, 0)}
SEED = 20260401

Network = TypeVar("Network", bound=nn.Module)


def place(name: str) -> Path:
    """A file of the golden data; the test skips where it is not there."""
    if not (IQPIR / name).exists():
        pytest.skip(f"{name} is not in tests/data/iqpir, and there is no complete set at {COMPLETE}")
    return IQPIR / name


def tensors(case: str) -> dict[str, Tensor]:
    """Inputs and outputs of a case."""
    return load_file(place(f"{case}/io.safetensors"))


def document(name: str) -> Any:
    return json.loads(place(name).read_text(encoding="utf-8"))


def autoencoder(**settings: Any) -> VQAutoencoder:
    return filled(VQAutoencoder(**AUTOENCODER, **({"hq_codes": 24} | settings))).eval()


def code_former(**settings: Any) -> CodeFormer:
    return filled(CodeFormer(**AUTOENCODER, **TRANSFORMER, **({"hq_codes": 24} | settings))).eval()


def filled(network: Network) -> Network:
    """The network with the weights of the set."""
    network.load_state_dict({name: _weight(name, value) for name, value in network.state_dict().items()})
    return network


def _weight(name: str, like: Tensor) -> Tensor:
    if not like.is_floating_point():
        return torch.zeros_like(like)
    drawn = np.random.RandomState((zlib.crc32(name.encode()) ^ SEED) & 0xFFFFFFFF).standard_normal(like.shape)
    if "embedding" in name or name.startswith("score_embed") or name == "position_emb":
        value = 0.5 * drawn
    elif name.endswith("running_var"):
        value = 1 + 0.1 * np.abs(drawn)
    elif name.endswith("running_mean"):
        value = 0.1 * drawn
    elif like.ndim <= 1:
        value = 0.1 * drawn + (1 if name.endswith("weight") else 0)
    else:
        value = drawn / np.sqrt(np.prod(like.shape[1:]))
    return torch.from_numpy(value.astype(np.float32))
