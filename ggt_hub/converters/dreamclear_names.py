"""What DreamClear's published tensors are called, and where each belongs in our parts.

The backbone carries PixArt-alpha's names of the original release; the rest is DreamClear's. Here are only names and
sizes: nothing is loaded.
"""

import math
from pathlib import Path
from typing import Any

from ggt_hub.converters.checkpoint import Destination, Shapes
from ggt_hub.converters.realrestorer_names import count

WEIGHTS, PRE_CLEANER = "DreamClear-1024.pth", "general_swinir_v1.ckpt"
AUTOENCODER, TEXT_ENCODER = "sd-vae-ft-ema", "t5-v1_1-xxl"
"""What the published repository calls its files and folders."""

BASE = "base_model."
HEAD = 72
"""Width of a head in all sizes of PixArt; no tensor tells it."""

Places = dict[str, tuple[Destination, ...]]

# Published name of a layer -> ours. Where one layer feeds several, each takes some of its rows.
_BACKBONE = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "adaln_single.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "adaln_single.emb.timestep_embedder.linear_2",
    "csize_embedder.mlp.0": "adaln_single.emb.resolution_embedder.linear_1",
    "csize_embedder.mlp.2": "adaln_single.emb.resolution_embedder.linear_2",
    "ar_embedder.mlp.0": "adaln_single.emb.aspect_ratio_embedder.linear_1",
    "ar_embedder.mlp.2": "adaln_single.emb.aspect_ratio_embedder.linear_2",
    "t_block.1": "adaln_single.linear",
    "y_embedder.y_proj.fc1": "caption_projection.linear_1",
    "y_embedder.y_proj.fc2": "caption_projection.linear_2",
    "final_layer.linear": "proj_out",
}
_BLOCK = {
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.proj": ("attn1.to_out.0",),
    "cross_attn.q_linear": ("attn2.to_q",),
    "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
    "cross_attn.proj": ("attn2.to_out.0",),
    "mlp.fc1": ("ff.net.0.proj",),
    "mlp.fc2": ("ff.net.2",),
}
_CROSS = {
    "q_linear": ("to_q",),
    "kv_linear": ("to_k", "to_v"),
    "proj": ("to_out",),
    "de_proj": ("to_degradation",),
    "norm1": ("norm1",),
    "norm2": ("norm2",),
}
_MODULATOR = ("shared_proj", "proj_mul", "proj_add")
_TABLES = ("pos_embed", "base_model.pos_embed", "model.pos_embed")
"""Positions, which are computed for the grid at hand: not needed."""


def is_published_dreamclear(folder: Path) -> bool:
    """Whether `folder` holds the files as their authors publish them, rather than our own layout."""
    return (folder / WEIGHTS).is_file()


def settings_of(shapes: Shapes, heads: int | None = None) -> dict[str, Any]:
    """What the transformer is built with.

    Args:
        shapes: of the published tensors.
        heads: of its attention; None means heads of 72, as in all sizes of PixArt.

    Raises:
        KeyError, ValueError: if the shapes are another's.
    """
    width, channels, patch, _ = shapes[f"{BASE}x_embedder.proj.weight"]
    length, caption = shapes[f"{BASE}y_embedder.y_embedding"]
    hidden, _ = shapes[f"{BASE}blocks.0.mlp.fc1.weight"]
    out, _ = shapes[f"{BASE}final_layer.linear.weight"]
    tables = [shapes[name][1] for name in _TABLES if name in shapes]
    heads = heads or max(width // HEAD, 1)
    return {
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "in_channels": channels,
        "out_channels": out // patch**2,
        "num_layers": count(shapes, f"{BASE}blocks."),
        "control_layers": count(shapes, "cross_de."),
        "num_experts": count(shapes, "am_lq.0.experts."),
        "mlp_ratio": hidden / width,
        "sample_size": math.isqrt(tables[0]) * patch if tables else 128,
        "patch_size": patch,
        "caption_channels": caption,
        "caption_length": length,
    }


def transformer_destinations(shapes: Shapes) -> Places:
    """Where each tensor goes; tables of positions go nowhere."""
    table: Places = dict.fromkeys(_TABLES, ())
    table[f"{BASE}y_embedder.y_embedding"] = (Destination("transformer", "y_embedding"),)
    table |= _tensor(f"{BASE}final_layer.scale_shift_table", "scale_shift_table")
    for source, target in _BACKBONE.items():
        table |= _layer(BASE + source, (target,))
    for number in range(count(shapes, f"{BASE}blocks.")):
        table |= _block(f"{BASE}blocks.{number}.", f"transformer_blocks.{number}.")
    for side in ("lq", "pre"):
        for embedder in (f"x_embedder_{side}.proj", f"c_embedder_{side}.proj"):
            table |= _layer(embedder, (embedder,))
    for number in range(count(shapes, "cross_de.")):
        table |= _control(number, count(shapes, f"am_lq.{number}.experts."))
    return table


def _control(number: int, experts: int) -> Places:
    """What belongs to the layer of that number in the two stacks and between them and the backbone."""
    table: Places = {}
    for stack in ("controlnet_lq", "controlnet_pre"):
        table |= _block(f"{stack}.{number}.copied_block.", f"{stack}.{number}.")
    for source, targets in _CROSS.items():
        table |= _layer(f"cross_de.{number}.{source}", [f"cross_de.{number}.{name}" for name in targets])
    modulators = [f"am_pre.{number}", *(f"am_lq.{number}.experts.{expert}" for expert in range(experts))]
    layers = [f"{modulator}.{layer}" for modulator in modulators for layer in _MODULATOR]
    for layer in (*layers, f"am_lq.{number}.gate.0", f"am_lq.{number}.gate.2"):
        table |= _layer(layer, (layer,))
    return table


def _block(source: str, target: str) -> Places:
    table = _tensor(f"{source}scale_shift_table", f"{target}scale_shift_table")
    for name, targets in _BLOCK.items():
        table |= _layer(source + name, [target + one for one in targets])
    return table


def _layer(source: str, targets: tuple[str, ...] | list[str]) -> Places:
    """Weight and bias of a layer, whose rows several may share equally."""
    return {
        f"{source}.{kind}": tuple(
            Destination("transformer", f"{target}.{kind}", cut=len(targets), keep=(part,))
            for part, target in enumerate(targets)
        )
        for kind in ("weight", "bias")
    }


def _tensor(source: str, target: str) -> Places:
    return {source: (Destination("transformer", target),)}
