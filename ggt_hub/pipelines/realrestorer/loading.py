"""Loading RealRestorer from a folder of either layout."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2_5_VLModel

from ggt_hub.converters.checkpoint import Checkpoint, check_depth, has_variant, read_json
from ggt_hub.converters.realrestorer import check_text_encoder_config, load_processor, load_published
from ggt_hub.errors import RestorerError
from ggt_hub.pipelines.parts import Meeting
from ggt_hub.pipelines.realrestorer.prompts import IMAGE_PAD

Dtypes = torch.dtype | dict[str, torch.dtype] | None
_WEIGHTS = ("connector", "transformer", "vae", "text_encoder")


def published(
    folder: Path,
    dtype: Dtypes,
    vae_dtype: torch.dtype,
    variant: str | None,
    given: Mapping[str, Any],
    known: Collection[str],
) -> dict[str, Any]:
    """Components of the published bundle, those that are given taken instead of loaded.

    Raises:
        RestorerError: if the bundle is broken, or `given` holds what is not among the `known` components: the
            options of diffusers' own loader.
    """
    unknown = [name for name in given if name not in known]
    if isinstance(dtype, dict):
        unknown.append("a dtype for each network")
    if unknown or isinstance(dtype, dict):
        raise RestorerError(
            f"{', '.join(unknown)}: not for the published bundle, only for our own layout; write that once with "
            "`ggt-hub convert realrestorer SRC DST` and load DST"
        )
    return {**load_published(folder, dtype, vae_dtype, without=given, variant=variant), **given}


def own_dtypes(
    folder: Path, dtype: Dtypes, vae_dtype: torch.dtype, variant: str | None, given: Mapping[str, Any]
) -> dict[str, torch.dtype]:
    """Dtypes for diffusers' loader, after a look at the files that it would only stumble over.

    Raises:
        RestorerError: if weights are missing, damaged, pickles or not what their configuration says, or are
            stored in a precision that nothing computes in.
    """
    index = read_json(folder / "model_index.json")
    stored = {
        name: Checkpoint(folder / name, variant)
        for name in _WEIGHTS
        if name not in given and isinstance(entry := index.get(name), list) and entry and entry[0]
    }
    for name, checkpoint in stored.items():
        check_depth(folder / name / "config.json", len(checkpoint.shapes))
    if "text_encoder" in stored:
        check_text_encoder_config(folder / "text_encoder", variant)
    if isinstance(dtype, dict):
        return {"vae": vae_dtype, **dtype}
    if dtype is not None:
        return {"default": dtype, "vae": vae_dtype}
    quantised = {name for name in stored if "quantization_config" in read_json(folder / name / "config.json")}
    each = {name: stored[name].dtype for name in stored if name != "vae" and name not in quantised}
    return {"default": each.get("connector", torch.float32), **each, "vae": vae_dtype}


def own_processor(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The processor of our own layout, if there is one to load: diffusers' loader might run its code."""
    named = read_json(folder / "model_index.json").get("processor")
    wanted = "processor" not in given and isinstance(named, list) and bool(named) and named[0] is not None
    return {"processor": load_processor(folder / "processor")} if wanted else {}


def check_dtype(dtype: Dtypes) -> None:
    """Refuse what networks cannot compute in.

    Raises:
        RestorerError: saying what does what was probably wanted.
    """
    for one in dtype.values() if isinstance(dtype, dict) else [dtype]:
        if one is not None and not (
            isinstance(one, torch.dtype) and one.is_floating_point and one.itemsize > 1
        ):
            raise RestorerError(
                f"dtype {one}: networks compute in torch.bfloat16, float16 or float32; for weights in 8 bits use "
                "plan_memory(budget, float8=True), or a quantiser of diffusers"
            )


def check_asked(folder: Path, dtype: Dtypes, vae_dtype: torch.dtype, variant: str | None) -> None:
    """Refuse dtypes that networks cannot compute in, and a variant that no part has.

    Raises:
        RestorerError: naming it.
    """
    check_dtype(dtype)
    check_dtype(vae_dtype)
    if variant is not None and not any(has_variant(folder / name, variant) for name in _WEIGHTS):
        raise RestorerError(
            f"{folder} has no variant {variant!r}: leave out variant for the weights that it has"
        )


def check_text_encoder(encoder: Qwen2_5_VLModel | None, folder: Path, variant: str | None) -> None:
    """Refuse an encoder some of whose tensors were not in its files: transformers leaves them random.

    Raises:
        RestorerError: naming one that is missing.
    """
    if encoder is None or getattr(encoder, "hf_quantizer", None) is not None:  # quantised, it has other names
        return
    missing = sorted(set(encoder.state_dict()) - set(Checkpoint(folder, variant).shapes))
    if missing:
        raise RestorerError(
            f"{folder} lacks {len(missing)} tensors, among them {missing[0]}: write the layout again"
        )


def meetings(parts: Mapping[str, Any]) -> Iterator[Meeting]:
    """Where two parts meet: what the one gives, and what the other takes."""
    networks = ("transformer", "connector", "vae", "text_encoder")
    transformer, connector, vae, encoder = (getattr(parts.get(name), "config", None) for name in networks)
    processor = parts.get("processor")
    if transformer:
        axes, head = transformer.axes_dims_rope, transformer.attention_head_dim
        yield "the sum of the transformer's rotary axes", sum(axes), "its heads are", head
    if connector:
        rest = connector.hidden_size % connector.num_heads
        yield "what the connector's heads leave of its width", rest, "it should be", 0
    if transformer and connector:
        width, pooled = transformer.joint_attention_dim, transformer.pooled_projection_dim
        yield "the connector's width", connector.hidden_size, "the transformer reads", width
        yield "the connector's pooled width", connector.pooled_dim, "the transformer reads", pooled
    if transformer and vae:
        packed = 4 * vae.latent_channels
        out = transformer.out_channels or transformer.in_channels
        yield (
            "the width of the autoencoder's packed latents",
            packed,
            "the transformer reads",
            transformer.in_channels,
        )
        yield "the width of the autoencoder's packed latents", packed, "the transformer writes", out
    if vae:
        yield "the number of the autoencoder's levels", len(vae.block_out_channels), "RealRestorer needs", 4
    if encoder:
        vision = encoder.vision_config.out_hidden_size
        yield "the vision tower's width", vision, "the language model reads", encoder.text_config.hidden_size
    if encoder and connector:
        states = encoder.text_config.hidden_size
        yield "the text encoder's width", states, "the connector reads", connector.in_channels
    if encoder and processor is not None:
        yield from _readings(encoder, processor)


def _readings(encoder: Any, processor: Any) -> Iterator[Meeting]:
    """Where processor and text encoder meet."""
    vision, pixels, words = encoder.vision_config, processor.image_processor, processor.tokenizer
    yield "the processor's patch size", pixels.patch_size, "the text encoder's", vision.patch_size
    yield "the processor's merge size", pixels.merge_size, "the text encoder's", vision.spatial_merge_size
    frames = vision.temporal_patch_size
    yield "the processor's temporal patch size", pixels.temporal_patch_size, "the text encoder's", frames
    picture = words.convert_tokens_to_ids(IMAGE_PAD)
    yield f"the tokenizer's id of {IMAGE_PAD}", picture, "the text encoder's", encoder.image_token_id
    known = encoder.text_config.vocab_size
    yield "the tokenizer's vocabulary", min(len(words), known), "which exceeds the text encoder's", len(words)
