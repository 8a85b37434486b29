"""RealRestorer's denoiser from a single file: transformer and connector under one of the names in use.

* those of the published bundle, with any of the prefixes that loaders put in front: `inner_model.` as published,
  none as in the authors' ComfyUI nodes (repository `yfyang007/ComfyUI-RealRestorer`, `weight_loader.py`), and
  `model.diffusion_model.`, `diffusion_model.`, `model.` or `module.` as ComfyUI and trainers save;
* those of our own layout, which are diffusers': `transformer.` and `connector.` in front, or the transformer alone.

Weights may be in float8, with a scale each or without, see `Checkpoint`.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import nn

from ggt_hub.converters.checkpoint import AGAIN, Checkpoint, Destination, fill, one_line, plan, read_json
from ggt_hub.converters.realrestorer import build_denoiser, load_denoiser
from ggt_hub.converters.realrestorer_names import PREFIX, is_published
from ggt_hub.errors import RestorerError
from ggt_hub.models import TextConnector

_IN_FRONT = ("model.diffusion_model.", "diffusion_model.", PREFIX, "model.", "module.")
_NETWORKS = ("transformer", "connector")


def load_single_file(file: Path, base: Path, dtype: torch.dtype | None) -> dict[str, Any]:
    """Components of `RealRestorerPipeline` that a single file holds.

    Args:
        file: safetensors.
        base: a folder of either layout, for what tensors cannot tell (rotary axes, heads), or for all sizes if the
            names are diffusers'.
        dtype: to compute in; None means as stored.

    Returns:
        `transformer`, and `connector` and `reference_axis` if the file holds a connector.

    Raises:
        RestorerError: if the file is not safetensors, or does not hold this denoiser as a whole.
    """
    if not file.is_file() or file.suffix != ".safetensors":
        raise RestorerError(f"{file} is no safetensors file here: download it, or convert it to safetensors")
    names = list(Checkpoint(file).shapes)
    if any(_bare(name).startswith("double_blocks.") for name in names):
        return load_denoiser(
            Checkpoint(file, rename=lambda name: PREFIX + _bare(name)), _settings(base), dtype
        )
    if any(_ours(name).startswith("transformer.transformer_blocks.") for name in names):
        return _load_ours(Checkpoint(file, rename=_ours), base, dtype)
    raise RestorerError(
        f"{file} holds no RealRestorer denoiser under a name that is known here: neither double_blocks. as "
        f"published nor transformer_blocks. as in diffusers, but {names[0] if names else 'nothing'}"
    )


def _load_ours(stored: Checkpoint, base: Path, dtype: torch.dtype | None) -> dict[str, Any]:
    networks = _networks(base)
    if not any(name.startswith("connector.") for name in stored.shapes):
        del networks["connector"]
    table = {
        f"{key}.{name}": (Destination(key, name),)
        for key, network in networks.items()
        for name in network.state_dict()
    }
    fill(stored, plan(stored.shapes, table, networks), networks, dtype or stored.dtype)
    loaded: dict[str, Any] = {name: network.eval() for name, network in networks.items()}
    if "connector" in loaded:
        loaded["reference_axis"] = 0 if "connector.pooled_scale" in stored.shapes else 1
    return loaded


def _networks(base: Path) -> dict[str, nn.Module]:
    """Transformer and connector on `meta`, of the sizes of a folder of either layout."""
    if is_published(base):
        return build_denoiser(Checkpoint(base / "transformer").shapes, _settings(base))
    classes = (FluxTransformer2DModel, TextConnector)
    try:
        with torch.device("meta"):
            return {
                name: kind.from_config(kind.load_config(base / name, local_files_only=True))
                for name, kind in zip(_NETWORKS, classes, strict=True)
            }
    except Exception as error:  # files of strangers break loaders in every way
        raise RestorerError(f"{base} does not describe the denoiser: {one_line(error)}: {AGAIN}") from error


def _settings(base: Path) -> dict[str, Any]:
    """What tensors cannot tell, by the names that a published configuration has for it."""
    settings = read_json(base / "transformer" / "config.json")
    heads = read_json(base / "connector" / "config.json").get("num_heads")
    return settings if heads is None else {**settings, "connector_num_heads": heads}


def _bare(name: str) -> str:
    """A published name without what stands in front of it."""
    while name.startswith(_IN_FRONT):
        name = name.removeprefix(next(prefix for prefix in _IN_FRONT if name.startswith(prefix)))
    return name


def _ours(name: str) -> str:
    """A name of our own layout, with its network in front."""
    return name if name.startswith(tuple(f"{network}." for network in _NETWORKS)) else f"transformer.{name}"
