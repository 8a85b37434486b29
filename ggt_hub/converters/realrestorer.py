"""RealRestorer's published bundle into stock parts and our text connector.

The bundle (arXiv 2603.25502, repository `RealRestorer/RealRestorer`) names classes that no library has. Its
denoiser is FLUX.1's under the names of the original release, with the connector inside; its autoencoder is
FLUX.1's too. Sizes are read from the tensors, because the configuration leaves the connector's out, and
whether the weights are "v1.0" is told by a tensor of the connector, not by what the configuration says.
"""

from collections.abc import Container
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from safetensors import SafetensorError
from torch import nn
from transformers import AutoProcessor, Qwen2_5_VLModel
from transformers.utils import is_torchvision_available
from transformers.utils import logging as transformers_logging

from ggt_hub.converters.checkpoint import Checkpoint, Shapes, fill, plan, read_json
from ggt_hub.converters.realrestorer_names import (
    PREFIX,
    autoencoder_destinations,
    count,
    denoiser_destinations,
)
from ggt_hub.errors import RestorerError
from ggt_hub.models import TextConnector

_PUBLISHED_TRANSFORMER = "RealRestorerTransformer2DModel"


def is_published(folder: Path) -> bool:
    """Whether `folder` holds the bundle as its authors publish it, rather than our own layout."""
    return read_json(folder / "model_index.json").get("transformer", [None])[-1] == _PUBLISHED_TRANSFORMER


def load_published(
    folder: Path,
    dtype: torch.dtype | None = None,
    vae_dtype: torch.dtype = torch.float32,
    without: Container[str] = (),
) -> dict[str, Any]:
    """Load the published bundle as the components of `RealRestorerPipeline`.

    Needs the memory of the networks and of at most one shard more. Names and shapes are checked before the
    first tensor is copied, so a broken bundle costs seconds.

    Args:
        folder: a snapshot of the repository.
        dtype: of transformer, connector and text encoder; None means as stored (bfloat16 in the release).
        vae_dtype: of the autoencoder. The authors' own loader uses `dtype` for it, their other code and all
            ports float32, which is the default here.
        without: components that are not to be loaded.

    Returns:
        The components by name, and `reference_axis`.

    Raises:
        RestorerError: if files are missing or damaged, or tensors do not fit.
    """
    transformer, vae = Checkpoint(folder / "transformer"), Checkpoint(folder / "vae")
    denoiser = build_denoiser(transformer.shapes, read_json(folder / "transformer" / "config.json"))
    autoencoder = build_autoencoder(vae.shapes, read_json(folder / "vae" / "config.json"))
    denoiser_plan = plan(transformer.shapes, denoiser_destinations(transformer.shapes), denoiser)
    autoencoder_plan = plan(vae.shapes, autoencoder_destinations(vae.shapes), autoencoder)
    dtype = dtype or transformer.dtype

    loaded: dict[str, Any] = {"scheduler": published_scheduler()}
    if "processor" not in without:
        loaded["processor"] = _load_processor(folder / "processor")
    if "text_encoder" not in without:
        loaded["text_encoder"] = _load_text_encoder(folder / "text_encoder", dtype)
    networks = {name: net.eval() for name, net in (denoiser | autoencoder).items() if name not in without}
    fill(transformer, denoiser_plan, networks, dtype)
    fill(vae, autoencoder_plan, networks, vae_dtype)
    return {**loaded, **networks, "reference_axis": reference_axis(transformer.shapes)}


def published_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The scheduler that the published index names without storing it (its shift is FLUX.1's)."""
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


def reference_axis(shapes: Shapes) -> int:
    """First position axis of the reference tokens: 0 for "v1.0" weights, 1 for "v1.1"."""
    return 0 if f"{PREFIX}connector.scale_factor" in shapes else 1


def build_denoiser(shapes: Shapes, config: dict[str, Any]) -> dict[str, nn.Module]:
    """The transformer and the connector, on `meta`, of the sizes that the tensors have.

    Args:
        shapes: names and shapes of `transformer/`.
        config: its `config.json`. Only what shapes cannot tell is taken from it: `axes_dims_rope` and
            `connector_num_heads`, with the published values as defaults.

    Raises:
        RestorerError: if the tensors are not those of RealRestorer, or of a variant that FLUX has not.
    """
    _check_variant(config)
    try:
        hidden, in_channels = shapes[f"{PREFIX}img_in.weight"]
        head = shapes[f"{PREFIX}double_blocks.0.img_attn.norm.query_norm.scale"][0]
        width, text_channels = shapes[f"{PREFIX}connector.S.input_embedder.weight"]
        pooled = shapes[f"{PREFIX}connector.global_proj_out.weight"][0]
        out_channels = shapes[f"{PREFIX}final_layer.linear.weight"][0]
    except KeyError as missing:
        raise RestorerError(f"{missing} is missing: these are not the weights of RealRestorer") from missing
    with init_empty_weights():
        transformer = FluxTransformer2DModel(
            in_channels=in_channels,
            out_channels=out_channels,
            num_layers=count(shapes, f"{PREFIX}double_blocks."),
            num_single_layers=count(shapes, f"{PREFIX}single_blocks."),
            attention_head_dim=head,
            num_attention_heads=hidden // head,
            joint_attention_dim=width,
            pooled_projection_dim=pooled,
            guidance_embeds=f"{PREFIX}guidance_in.in_layer.weight" in shapes,
            axes_dims_rope=tuple(config.get("axes_dims_rope", (16, 56, 56))),
        )
        connector = TextConnector(
            in_channels=text_channels,
            hidden_size=width,
            num_heads=config.get("connector_num_heads", max(width // 128, 1)),
            depth=count(shapes, f"{PREFIX}connector.S.individual_token_refiner.blocks."),
            pooled_dim=pooled,
            scale_pooled=f"{PREFIX}connector.scale_factor" in shapes,
        )
    return {"transformer": transformer, "connector": connector}


def build_autoencoder(shapes: Shapes, config: dict[str, Any]) -> dict[str, nn.Module]:
    """The autoencoder, on `meta`, from the published `vae/config.json` and its defaults."""
    mult = config.get("ch_mult", (1, 2, 4, 4))
    with init_empty_weights():
        vae = AutoencoderKL(
            in_channels=config.get("in_channels", 3),
            out_channels=config.get("out_ch", 3),
            down_block_types=("DownEncoderBlock2D",) * len(mult),
            up_block_types=("UpDecoderBlock2D",) * len(mult),
            block_out_channels=tuple(config.get("ch", 128) * factor for factor in mult),
            layers_per_block=config.get("num_res_blocks", 2),
            latent_channels=config.get("z_channels", 16),
            norm_num_groups=32,
            sample_size=config.get("resolution", 256),
            scaling_factor=config.get("scale_factor", 0.3611),
            shift_factor=config.get("shift_factor", 0.1159),
            use_quant_conv=f"{PREFIX}quant_conv.weight" in shapes,
            use_post_quant_conv=f"{PREFIX}post_quant_conv.weight" in shapes,
        )
    return {"vae": vae}


def _check_variant(config: dict[str, Any]) -> None:
    """FLUX fixes what the published configuration could vary and never does."""
    fixed = {"mlp_ratio": 4.0, "theta": 10_000, "qkv_bias": True}
    for key, value in fixed.items():
        if config.get(key, value) != value:
            raise RestorerError(
                f"transformer/config.json has {key} {config[key]}: "
                f"only {value}, the published value, is supported"
            )


def _load_processor(folder: Path) -> Any:
    if not is_torchvision_available():
        raise RestorerError("RealRestorer's image processor needs torchvision: run `pip install torchvision`")
    try:
        return AutoProcessor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise RestorerError(f"{folder}: the processor cannot be loaded: {error}") from error


def _load_text_encoder(folder: Path, dtype: torch.dtype) -> Qwen2_5_VLModel:
    """Qwen2.5-VL without its language head, which nothing here needs (1.09 GB in bfloat16)."""
    Checkpoint(folder)  # missing, damaged and pickled files, said our way
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # the head is expected to be left over
    try:
        model, report = Qwen2_5_VLModel.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise RestorerError(f"{folder}: the text encoder cannot be loaded: {error}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    problems = [
        f"{key} {sorted(map(str, report[key]))[:5]}"
        for key in ("missing_keys", "mismatched_keys")
        if report[key]
    ]
    if problems:
        raise RestorerError(f"{folder}: the text encoder's weights do not fit: {'; '.join(problems)}")
    return model
