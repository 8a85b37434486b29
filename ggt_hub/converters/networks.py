"""Published networks that come as one file of weights, into folders that `from_pretrained` loads.

Their authors publish pickles. A pickle can run code when it is read; here it is read without that (`weights_only`),
once, and what is written is safetensors.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors.torch import load_file
from torch import Tensor

from ggt_hub.commit import committed_folder, file_sha256
from ggt_hub.converters.checkpoint import AGAIN, Destination, Shapes, one_line, plan
from ggt_hub.errors import RestorerError
from ggt_hub.models import MoireRefiner, SynNet


@dataclass(frozen=True)
class PublishedNetwork:
    """What there is to know of a network before its file is opened.

    Attributes:
        kind: our class; its modules have the published names.
        settings: what `kind` is built with, from the published shapes; a KeyError if they are another's.
        prefixes: what may stand in front of the names.
        apart: beginnings of names that belong to other parts of the authors' program, and are not needed.
        title: what it is, in one line.
        origin: whose it is.
        licence: what is known of its terms.
    """

    kind: type[ModelMixin]
    settings: Callable[[Shapes], dict[str, Any]]
    prefixes: tuple[str, ...]
    apart: tuple[str, ...]
    title: str
    origin: str
    licence: str


def _synnet_settings(shapes: Shapes) -> dict[str, Any]:
    blocks = {name.split(".")[1] for name in shapes if ".conv_block." in name}
    return {"width": shapes["model.1.weight"][0], "blocks": len(blocks)}


def _refiner_settings(shapes: Shapes) -> dict[str, Any]:
    stages = [f"encoderlayer_{i}" for i in range(4)] + ["conv"] + [f"decoderlayer_{i}" for i in range(4)]
    heads = [shapes[f"{stage}.blocks.0.attn.relative_position_bias_table"][1] for stage in stages]
    return {"width": shapes["input_proj.proj.0.weight"][0], "heads": heads}


NETWORKS: dict[str, PublishedNetwork] = {
    "synnet": PublishedNetwork(
        kind=SynNet,
        settings=_synnet_settings,
        prefixes=("module.", "netG."),
        apart=(),
        title="SynNet: blends a reflection into a picture",
        origin=(
            "Qiang Wen et al., Single Image Reflection Removal Beyond Linearity, CVPR 2019; "
            "https://github.com/csqiangwen/Single-Image-Reflection-Removal-Beyond-Linearity"
        ),
        licence="the authors' code is under the MIT licence; for the weights themselves no licence is stated",
    ),
    "unidemoire": PublishedNetwork(
        kind=MoireRefiner,
        settings=_refiner_settings,
        prefixes=("module.", "refine_net."),
        apart=("init_blend.",),
        title="UniDemoire's refinement of a blended moire",
        origin=(
            "Zemin Yang et al., UniDemoiré: Towards Universal Image Demoiréing with Data Generation and Synthesis, "
            "AAAI 2025, arXiv 2502.06324; https://github.com/4DVLab/UniDemoire"
        ),
        licence="no licence is stated, neither for the authors' code nor for the weights",
    ),
}
"""Networks by the name that `ggt-hub convert` knows them by."""


def convert_network(name: str, source: Path, target: Path) -> None:
    """Write a published network as `config.json` and safetensors, with a card that states origin and licence.

    Args:
        name: one of `NETWORKS`.
        source: the published file: a pickle (.pth, .ckpt), or safetensors of the same names.
        target: a folder that is written whole or not at all.

    Raises:
        RestorerError: if the file cannot be read, holds anything besides tensors, or is not exactly this network.
        WriteError: if `target` cannot be written.
    """
    published = NETWORKS[name]
    network = _filled(published, source)
    with committed_folder(target) as unfinished:
        network.save_pretrained(unfinished)
        (unfinished / "README.md").write_text(_card(published, source), encoding="utf-8")


def _filled(published: PublishedNetwork, source: Path) -> ModelMixin:
    tensors = _bare(published, source, _read(source))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    kind = published.kind.__name__
    try:
        settings = published.settings(shapes)
    except (KeyError, IndexError) as error:
        raise RestorerError(f"{source} is not a {kind} ({one_line(error)}): {AGAIN}") from error
    with torch.device("meta"):
        expected = {kind: published.kind(**settings)}
    try:
        plan(shapes, {name: (Destination(kind, name),) for name in expected[kind].state_dict()}, expected)
    except RestorerError as error:
        raise RestorerError(f"{source} is not a whole {kind}: {error}") from error
    network = published.kind(**settings)
    for name, made in network.state_dict().items():
        known = not made.is_floating_point()  # a table that follows from the sizes
        if known != (not tensors[name].is_floating_point()) or (known and not made.equal(tensors[name])):
            raise RestorerError(f"{source}: {name} is not what a {kind} has there: {AGAIN}")
    network.load_state_dict(tensors)
    return network


def _read(source: Path) -> Any:
    """What is in the file; nothing in it is run."""
    if not source.is_file():
        raise RestorerError(f"{source} is no file: download the published weights, and name the file itself")
    try:
        if source.suffix == ".safetensors":
            return load_file(source)
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # files of strangers break loaders in every way
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise RestorerError(
                f"{source} holds {found[1]} besides tensors, which could run code and is not loaded: if you trust "
                f"it, save its weights alone as safetensors elsewhere, or {AGAIN}"
            ) from error
        # What torch says of pickles advises to run what is in them.
        reason = "no pickle of tensors" if isinstance(error, pickle.UnpicklingError) else one_line(error)
        raise RestorerError(f"{source} is damaged, cut off or no weights ({reason}): {AGAIN}") from error


def _bare(published: PublishedNetwork, source: Path, content: Any) -> dict[str, Tensor]:
    """The tensors by the names that the network itself has for them."""
    stored = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(stored, Mapping) or not stored:
        raise RestorerError(f"{source} holds no weights by name: {AGAIN}")
    tensors: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        name = str(key)
        if name.startswith(published.apart):
            continue
        while name.startswith(published.prefixes):
            name = name.removeprefix(next(front for front in published.prefixes if name.startswith(front)))
        if name in tensors or not _holds_numbers(tensor):
            reason = "is there twice" if name in tensors else "holds no plain numbers"
            raise RestorerError(f"{source}: {name} {reason}: {AGAIN}")
        tensors[name] = tensor
    return tensors


def _holds_numbers(tensor: Any) -> bool:
    """Whether it is a tensor whose numbers are all in the file, so that a small file describes no large network."""
    return (
        isinstance(tensor, Tensor)
        and tensor.ndim > 0
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.int64)
        and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.itemsize
    )


def _card(published: PublishedNetwork, source: Path) -> str:
    kind = published.kind.__name__
    return f"""---
library_name: diffusers
license: unknown
---

# {published.title}

Converted by ggt-hub from `{source.name}`, SHA-256 `{file_sha256(source)}`; the numbers are unchanged.

```python
from ggt_hub.models import {kind}

network = {kind}.from_pretrained("this folder")
```

Origin: {published.origin}.

Licence: {published.licence}. Ask the authors before you pass the weights on or use them commercially.
"""
