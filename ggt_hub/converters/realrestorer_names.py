"""What RealRestorer's published tensors are called, and where each belongs in our parts.

The transformer carries FLUX.1's names of the original release, with the connector's among them; the
autoencoder carries the original autoencoder's. Here are only names: nothing is loaded.
"""

from pathlib import Path

import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

from ggt_hub.converters.checkpoint import Destination, Shapes, read_json

PREFIX = "inner_model."

_TRANSFORMER = "RealRestorerTransformer2DModel"

# Published name of a layer -> ours. Where one layer feeds several, each takes some of its rows.
_OUTER = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
_DOUBLE_SCALES = {
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
_DOUBLE_QKV = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_SINGLE = {"modulation.lin": "norm.linear", "linear2": "proj_out"}
_SINGLE_SCALES = {"norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k"}
_CONNECTOR = {
    "global_proj_out": "pooled_proj",
    "S.input_embedder": "token_embedder",
    "S.t_embedder.mlp.0": "time_embedder.linear_1",
    "S.t_embedder.mlp.2": "time_embedder.linear_2",
    "S.c_embedder.linear_1": "context_embedder.linear_1",
    "S.c_embedder.linear_2": "context_embedder.linear_2",
}
_REFINER = {
    "norm1": "norm1",
    "norm2": "norm2",
    "self_attn_qkv": "to_qkv",
    "self_attn_proj": "to_out",
    "mlp.fc1": "ff_in",
    "mlp.fc2": "ff_out",
    "adaLN_modulation.1": "gates",
}


def is_published(folder: Path) -> bool:
    """Whether `folder` holds the bundle as its authors publish it, rather than our own layout.

    Raises:
        RestorerError: if its index is damaged.
    """
    named = read_json(folder / "model_index.json").get("transformer")
    return isinstance(named, list) and named[-1:] == [_TRANSFORMER]


def denoiser_destinations(shapes: Shapes) -> dict[str, tuple[Destination, ...]]:
    """Where each tensor of `transformer/` goes; `mask_token` goes nowhere: no forward pass uses it."""
    table = {"mask_token": (), "connector.scale_factor": (Destination("connector", "pooled_scale"),)}
    table |= _layers("transformer", _OUTER)
    table |= _swapped("final_layer.adaLN_modulation.1", "norm_out.linear")
    for block in range(count(shapes, f"{PREFIX}double_blocks.")):
        table |= _double_block(f"double_blocks.{block}.", f"transformer_blocks.{block}.")
    for block in range(count(shapes, f"{PREFIX}single_blocks.")):
        table |= _single_block(f"single_blocks.{block}.", f"single_transformer_blocks.{block}.")
    table |= _layers("connector", _CONNECTOR, "connector.")
    for block in range(count(shapes, f"{PREFIX}connector.S.individual_token_refiner.blocks.")):
        source = f"connector.S.individual_token_refiner.blocks.{block}."
        table |= _layers("connector", _REFINER, source, f"blocks.{block}.")
    return {PREFIX + name: places for name, places in table.items()}


def autoencoder_destinations(shapes: Shapes) -> dict[str, tuple[Destination, ...]]:
    """Where each tensor of `vae/` goes, as diffusers' own converter says.

    The converter moves tensors, not names; so it is given numbered markers, and the numbers tell the names.
    """
    names = [name.removeprefix(PREFIX) for name in shapes]
    levels = count(shapes, f"{PREFIX}encoder.down.")
    markers = {name: torch.full((1, 1, 1, 1), float(number)) for number, name in enumerate(names)}
    blocks = {"down_block_types": [""] * levels, "up_block_types": [""] * levels}
    return {
        PREFIX + names[int(marker.item())]: (
            Destination(
                "vae", target, linear=marker.ndim == 2 and len(shapes[PREFIX + names[int(marker)]]) == 4
            ),
        )
        for target, marker in convert_ldm_vae_checkpoint(markers, blocks).items()
    }


def _layers(
    network: str, names: dict[str, str], source: str = "", target: str = ""
) -> dict[str, tuple[Destination, ...]]:
    """Weight and bias of layers that keep their shape."""
    return {
        f"{source}{old}.{kind}": (Destination(network, f"{target}{new}.{kind}"),)
        for old, new in names.items()
        for kind in ("weight", "bias")
    }


def _scales(names: dict[str, str], source: str, target: str) -> dict[str, tuple[Destination, ...]]:
    """RMS norms, whose only tensor the release calls `scale`."""
    return {
        f"{source}{old}.scale": (Destination("transformer", f"{target}{new}.weight"),)
        for old, new in names.items()
    }


def _double_block(source: str, target: str) -> dict[str, tuple[Destination, ...]]:
    table = _layers("transformer", _DOUBLE, source, target) | _scales(_DOUBLE_SCALES, source, target)
    for old, parts in _DOUBLE_QKV.items():
        for kind in ("weight", "bias"):
            table[f"{source}{old}.{kind}"] = tuple(
                Destination("transformer", f"{target}{new}.{kind}", cut=3, keep=(third,))
                for third, new in enumerate(parts)
            )
    return table


def _single_block(source: str, target: str) -> dict[str, tuple[Destination, ...]]:
    """`linear1` has seven times as many rows as the model is wide: q, k, v, and four of the MLP."""
    table = _layers("transformer", _SINGLE, source, target) | _scales(_SINGLE_SCALES, source, target)
    rows = {"attn.to_q": (0,), "attn.to_k": (1,), "attn.to_v": (2,), "proj_mlp": (3, 4, 5, 6)}
    for kind in ("weight", "bias"):
        table[f"{source}linear1.{kind}"] = tuple(
            Destination("transformer", f"{target}{new}.{kind}", cut=7, keep=keep)
            for new, keep in rows.items()
        )
    return table


def _swapped(old: str, new: str) -> dict[str, tuple[Destination, ...]]:
    """The release stores (shift, scale) of the last modulation, diffusers (scale, shift)."""
    return {
        f"{old}.{kind}": (Destination("transformer", f"{new}.{kind}", cut=2, keep=(1, 0)),)
        for kind in ("weight", "bias")
    }


def count(shapes: Shapes, prefix: str) -> int:
    """How many blocks the tensors that start with `prefix` are numbered through."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})
