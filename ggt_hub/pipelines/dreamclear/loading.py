"""Loading DreamClear from a folder: precisions, and whether the parts belong together."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ggt_hub.converters.checkpoint import Checkpoint, check_depth, read_json
from ggt_hub.errors import RestorerError
from ggt_hub.pipelines.parts import Meeting

Dtypes = torch.dtype | dict[str, torch.dtype] | None
_OURS = ("transformer", "vae", "pre_cleaner", "text_encoder")


def dtypes(
    folder: Path, dtype: Dtypes, vae_dtype: torch.dtype, variant: str | None, given: Mapping[str, Any]
) -> dict[str, torch.dtype]:
    """Precisions for diffusers' loader, after a look at the files that it would only stumble over.

    Raises:
        RestorerError: if weights are missing, damaged, pickles, or not what their configuration says.
    """
    index = read_json(folder / "model_index.json")
    stored = {
        name: Checkpoint(folder / name, variant)
        for name in _OURS
        if name not in given and isinstance(entry := index.get(name), list) and entry and entry[0]
    }
    for name, checkpoint in stored.items():
        check_depth(folder / name / "config.json", len(checkpoint.shapes))
    small = {"vae": vae_dtype, "pre_cleaner": vae_dtype}
    if isinstance(dtype, dict):
        return {**small, **dtype}
    if dtype is not None:  # T5's states exceed what float16 holds
        reading = torch.bfloat16 if dtype == torch.float16 else dtype
        return {"default": dtype, "text_encoder": reading, **small}
    large = [name for name in ("transformer", "text_encoder") if name in stored]
    each: dict[str, torch.dtype] = {name: stored[name].narrowest for name in large}
    return {"default": each.get("transformer", torch.float32), **each, **small}


def told(picture: tuple[int, int] | None) -> tuple[int, int]:
    """The size of a picture whose memory is to be planned as a whole.

    Raises:
        RestorerError: if it is not told.
    """
    if picture is None:
        raise RestorerError("tile=0 takes the memory of the whole picture: plan with picture=(width, height)")
    return picture


def meetings(parts: Mapping[str, Any]) -> Iterator[Meeting]:
    """Where two parts meet: what the one gives, and what the other takes."""
    transformer, vae, encoder = (
        getattr(parts.get(name), "config", None) for name in ("transformer", "vae", "text_encoder")
    )
    if transformer and vae:
        channels = vae.latent_channels
        yield (
            "the number of the autoencoder's channels",
            channels,
            "the transformer reads",
            transformer.in_channels,
        )
        yield (
            "twice the number of the autoencoder's channels",
            2 * channels,
            "the transformer writes",
            transformer.out_channels,
        )
    if vae:
        yield "the number of the autoencoder's levels", len(vae.block_out_channels), "DreamClear needs", 4
    if transformer and encoder:
        yield (
            "the text encoder's width",
            encoder.d_model,
            "the transformer reads",
            transformer.caption_channels,
        )
