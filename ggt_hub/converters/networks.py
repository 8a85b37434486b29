"""Published networks that come as one file of weights, into folders that `from_pretrained` loads.

Their authors publish pickles. A pickle can run code when it is read; here it is read without that (`weights_only`),
once, and what is written is safetensors.
"""

import math
from collections import defaultdict
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
from ggt_hub.converters.pickles import explained, weights_in
from ggt_hub.errors import RestorerError
from ggt_hub.models import CodeFormer, MoireRefiner, PatchDiscriminator, SwinIR, SynNet, VQAutoencoder

Settings = Callable[[Shapes], dict[str, Any]]
"""What a class is built with, from the published shapes; a KeyError if they are another's."""

_COUNTS = ("num_batches_tracked",)


@dataclass(frozen=True)
class PublishedNetwork:
    """What there is to know of a network before its file is opened.

    Attributes:
        kinds: our classes, whose modules have the published names, each with its settings; the first that a file's
            shapes do for is taken.
        title: what it is, in one line.
        origin: whose it is.
        licence: what is known of its terms.
        prefixes: what may stand in front of the names.
        apart: beginnings of names that belong to other parts of the authors' program, and are not needed.
        computed: endings of names of tables that are computed here, and are not needed either.
        header: lines of the card's header that state the licence.
    """

    kinds: Mapping[type[ModelMixin], Settings]
    title: str
    origin: str
    licence: str
    prefixes: tuple[str, ...] = ("module.",)
    apart: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    header: str = "license: unknown"


def _synnet_settings(shapes: Shapes) -> dict[str, Any]:
    blocks = {name.split(".")[1] for name in shapes if ".conv_block." in name}
    return {"width": shapes["model.1.weight"][0], "blocks": len(blocks)}


def _refiner_settings(shapes: Shapes) -> dict[str, Any]:
    stages = [f"encoderlayer_{i}" for i in range(4)] + ["conv"] + [f"decoderlayer_{i}" for i in range(4)]
    heads = [shapes[f"{stage}.blocks.0.attn.relative_position_bias_table"][1] for stage in stages]
    return {"width": shapes["input_proj.proj.0.weight"][0], "heads": heads}


def _autoencoder_settings(shapes: Shapes) -> dict[str, Any]:
    """From the encoder, whose mirror image the generator is, and the books."""
    blocks: defaultdict[int, set[str]] = defaultdict(set)
    for name in shapes:
        if name.startswith("encoder.blocks."):
            _, _, number, part, *_ = name.split(".")
            blocks[int(number)].add(part)
    residual: list[list[int]] = [[]]  # blocks of each level
    attention = set()
    for block in sorted(blocks)[1:-5]:  # without the first convolution, and the part in the middle
        if "conv1" in blocks[block]:
            residual[-1].append(block)
        elif "q" in blocks[block]:
            attention.add(len(residual) - 1)
        else:
            residual.append([])
    channels = shapes["encoder.blocks.0.weight"][0]
    widths = [shapes[f"encoder.blocks.{level[0]}.conv1.weight"][0] for level in residual]
    return {
        "channels": channels,
        "multipliers": tuple(width // channels for width in widths),
        "blocks": len(residual[0]),
        "attention_levels": tuple(sorted(attention)),
        "codes": shapes["quantize.embedding.weight"][0],
        "hq_codes": shapes.get("quantize_aesthetic.embedding.weight", (None,))[0],
        "code_width": shapes["quantize.embedding.weight"][1],
    }


def _code_former_settings(shapes: Shapes) -> dict[str, Any]:
    tokens, width = shapes["position_emb"]
    whole, latent = _autoencoder_settings(shapes), math.isqrt(tokens)
    native = latent << (len(whole["multipliers"]) - 1)
    sides = {int(name.split(".")[1]) for name in shapes if name.startswith("fuse_convs_dict.")}
    return whole | {
        "bins": shapes.get("score_embed.weight", (None,))[0],
        "latent": latent,
        "width": width,
        "layers": len({name.split(".")[1] for name in shapes if name.startswith("ft_layers.")}),
        "fusion_levels": tuple((native // side).bit_length() - 1 for side in sorted(sides)),
    }


def _iqpir_settings(shapes: Shapes) -> dict[str, Any]:
    settings = _code_former_settings(shapes)
    if settings["bins"] is None and settings["hq_codes"] is None:
        raise RestorerError("a CodeFormer, told no quality and with one book: convert it as codeformer")
    return settings


def _without_quality(settings: Settings) -> Settings:
    """The settings of a network that has none of what IQPIR adds."""

    def own(shapes: Shapes) -> dict[str, Any]:
        if there := {"score_embed.weight", "quantize_aesthetic.embedding.weight"} & shapes.keys():
            raise RestorerError(f"CodeFormer has no {min(there)}, as IQPIR has: convert it as iqpir")
        return settings(shapes)

    return own


def _discriminator_settings(shapes: Shapes) -> dict[str, Any]:
    convolutions = [name for name in shapes if len(shapes[name]) == 4]
    return {"channels": shapes["main.0.weight"][0], "layers": len(convolutions) - 2}


def _swinir_settings(shapes: Shapes) -> dict[str, Any]:
    groups = range(len({name.split(".")[1] for name in shapes if name.startswith("layers.")}))
    inside = [f"layers.{group}.residual_group.blocks." for group in groups]
    places, _ = shapes[f"{inside[0]}0.attn.relative_position_bias_table"]
    hidden, width = shapes[f"{inside[0]}0.mlp.fc1.weight"]
    return {
        "embed_dim": width,
        "depths": tuple(
            len({name.split(".")[4] for name in shapes if name.startswith(own)}) for own in inside
        ),
        "num_heads": tuple(shapes[f"{own}0.attn.relative_position_bias_table"][1] for own in inside),
        "window": (math.isqrt(places) + 1) // 2,
        "mlp_ratio": hidden / width,
        "num_feat": shapes["conv_last.weight"][1],
    }


_FACES: dict[type[ModelMixin], Settings] = {
    CodeFormer: _code_former_settings,
    VQAutoencoder: _autoencoder_settings,
    PatchDiscriminator: _discriminator_settings,
}
_S_LAB = "S-Lab License 1.0, for non-commercial purposes only; it covers these weights in their converted form, too"
_S_LAB_HEADER = "license: other\nlicense_name: s-lab-license-1.0"

NETWORKS: dict[str, PublishedNetwork] = {
    "synnet": PublishedNetwork(
        kinds={SynNet: _synnet_settings},
        prefixes=("module.", "netG."),
        title="SynNet: blends a reflection into a picture",
        origin=(
            "Qiang Wen et al., Single Image Reflection Removal Beyond Linearity, CVPR 2019; "
            "https://github.com/csqiangwen/Single-Image-Reflection-Removal-Beyond-Linearity"
        ),
        licence="the authors' code is under the MIT licence; for the weights themselves no licence is stated",
    ),
    "unidemoire": PublishedNetwork(
        kinds={MoireRefiner: _refiner_settings},
        prefixes=("module.", "refine_net."),
        apart=("init_blend.",),
        title="UniDemoire's refinement of a blended moire",
        origin=(
            "Zemin Yang et al., UniDemoiré: Towards Universal Image Demoiréing with Data Generation and Synthesis, "
            "AAAI 2025, arXiv 2502.06324; https://github.com/4DVLab/UniDemoire"
        ),
        licence="no licence is stated, neither for the authors' code nor for the weights",
    ),
    "swinir": PublishedNetwork(
        kinds={SwinIR: _swinir_settings},
        computed=(".relative_position_index", ".attn_mask"),
        title="SwinIR for any damage, as DiffBIR trained it and DreamClear looks through it",
        origin=(
            "Xinqi Lin et al., DiffBIR: Towards Blind Image Restoration with Generative Diffusion Prior, ECCV "
            "2024, arXiv 2308.15070; https://github.com/XPixelGroup/DiffBIR"
        ),
        licence="the authors' project is under Apache-2.0; for these weights themselves no licence is stated",
    ),
    "iqpir": PublishedNetwork(
        kinds=_FACES | {CodeFormer: _iqpir_settings},
        title="IQPIR: faces, as good as they are asked to be",
        origin=(
            "Fengyang Xiao, Peng Hu et al., Beyond Ground-Truth: Leveraging Image Quality Priors for Real-World "
            "Image Restoration, CVPR 2026, arXiv 2603.29773; https://github.com/fengyang1399-pixel/IQPIR"
        ),
        licence=_S_LAB,
        header=_S_LAB_HEADER,
    ),
    "codeformer": PublishedNetwork(
        kinds={kind: _without_quality(settings) for kind, settings in _FACES.items()},
        title="CodeFormer: faces from a book of codes",
        origin=(
            "Shangchen Zhou et al., Towards Robust Blind Face Restoration with Codebook Lookup Transformer, "
            "NeurIPS 2022, arXiv 2206.11253; https://github.com/sczhou/CodeFormer"
        ),
        licence=_S_LAB,
        header=_S_LAB_HEADER,
    ),
}
"""Networks by the name that `ggt-hub convert` knows them by."""


def convert_network(
    name: str, source: Path, target: Path, told: Mapping[str, Any] | None = None
) -> type[ModelMixin]:
    """Write a published network as `config.json` and safetensors, with a card that states origin and licence.

    Args:
        name: one of `NETWORKS`.
        source: the published file: a pickle (.pth, .ckpt), or safetensors of the same names.
        target: a folder that is written whole or not at all.
        told: settings of the class that shapes do not tell, where they are not its defaults.

    Returns:
        The class that loads it.

    Raises:
        RestorerError: if the file cannot be read, holds anything besides tensors, or is not exactly this network.
        WriteError: if `target` cannot be written.
    """
    published = NETWORKS[name]
    network = _filled(published, source, dict(told or {}))
    with committed_folder(target) as unfinished:
        network.save_pretrained(unfinished)
        card = _card(published, type(network).__name__, source)
        (unfinished / "README.md").write_text(card, encoding="utf-8")
    return type(network)


def published_network(name: str, source: Path) -> ModelMixin:
    """A published network, loaded.

    Raises:
        RestorerError: as `convert_network`.
    """
    return _filled(NETWORKS[name], source, {})


def _filled(published: PublishedNetwork, source: Path, told: dict[str, Any]) -> ModelMixin:
    tensors = _bare(published, source, _read(source))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    kind, settings = _recognised(published, source, shapes)
    settings, who = settings | told, kind.__name__
    try:
        with torch.device("meta"):
            expected = {who: kind(**settings)}
        plan(shapes, {name: (Destination(who, name),) for name in expected[who].state_dict()}, expected)
    except RestorerError as error:
        raise RestorerError(f"{source} is not a whole {who}: {error}") from error
    except Exception as error:  # sizes that belong to no network break its classes in every way
        raise RestorerError(f"{source} is not a {who} ({one_line(error)}): {AGAIN}") from error
    network = kind(**settings)
    for name, made in network.state_dict().items():
        known = (
            not made.is_floating_point()
        )  # a table that follows from the sizes, or a count of training steps
        ours = tensors[name].is_floating_point() == made.is_floating_point()
        if not ours or (known and name.rpartition(".")[2] not in _COUNTS and not made.equal(tensors[name])):
            raise RestorerError(f"{source}: {name} is not what a {who} has there: {AGAIN}")
    network.load_state_dict(tensors)
    return network


def _recognised(
    published: PublishedNetwork, source: Path, shapes: Shapes
) -> tuple[type[ModelMixin], dict[str, Any]]:
    """The class that a file's shapes do for, and what it is built with."""
    reasons = []
    for kind, settings in published.kinds.items():
        try:
            return kind, settings(shapes)
        except RestorerError as error:
            raise RestorerError(f"{source}: {error}") from error
        except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
            reasons.append(f"{source} is not a {kind.__name__} ({one_line(error)}): {AGAIN}")
    raise RestorerError(reasons[0])


def _read(source: Path) -> Any:
    """What is in the file; nothing in it is run."""
    with explained(source):
        if source.suffix == ".safetensors":
            return load_file(source)
        return torch.load(source, map_location="cpu", weights_only=True)


def _bare(published: PublishedNetwork, source: Path, content: Any) -> dict[str, Tensor]:
    """The tensors by the names that the network itself has for them."""
    tensors: dict[str, Tensor] = {}
    for key, tensor in weights_in(source, content).items():
        name = str(key)
        if name.startswith(published.apart) or name.endswith(published.computed):
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
        and (tensor.ndim > 0 or tensor.dtype == torch.int64)  # a count
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.int64)
        and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.itemsize
    )


def _card(published: PublishedNetwork, kind: str, source: Path) -> str:
    return f"""---
library_name: diffusers
{published.header}
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
