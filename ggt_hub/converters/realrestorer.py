"""RealRestorer's published bundle into stock parts and our text connector.

The bundle (arXiv 2603.25502, repository `RealRestorer/RealRestorer`) names classes that no library has. Its
denoiser is FLUX.1's under the names of the original release, with the connector inside; its autoencoder is
FLUX.1's too. Sizes are read from the tensors, because the configuration leaves the connector's out, and
whether the weights are "v1.0" is told by a tensor of the connector, not by what the configuration says.
"""

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import nn
from transformers import AutoProcessor, Qwen2_5_VLConfig, Qwen2_5_VLModel, Qwen2_5_VLProcessor
from transformers.utils import is_torchvision_available
from transformers.utils import logging as transformers_logging

from ggt_hub.converters.checkpoint import (
    AGAIN,
    Checkpoint,
    Shapes,
    fill,
    has_variant,
    one_line,
    plan,
    read_json,
)
from ggt_hub.converters.realrestorer_names import (
    PREFIX,
    autoencoder_destinations,
    count,
    denoiser_destinations,
)
from ggt_hub.errors import RestorerError
from ggt_hub.models import TextConnector


def load_published(
    folder: Path,
    dtype: torch.dtype | None = None,
    vae_dtype: torch.dtype = torch.float32,
    without: Collection[str] = (),
    variant: str | None = None,
) -> dict[str, Any]:
    """Load the published bundle as the components of `RealRestorerPipeline`.

    Needs the memory of the networks and of at most one shard more. Names and shapes of a network are checked
    before its first tensor is copied, those of the small parts before those of the large ones.

    Args:
        folder: a snapshot of the repository.
        dtype: of transformer, connector and text encoder; None means as stored (bfloat16 in the release).
        vae_dtype: of the autoencoder. The authors' own loader uses `dtype` for it, their other code and all
            ports float32, which is the default here.
        without: components that are not to be loaded; their files need not be there.
        variant: as in diffusers.

    Returns:
        The components by name, and `reference_axis`.

    Raises:
        RestorerError: if files are missing or damaged, or tensors do not fit.
    """
    loaded: dict[str, Any] = {"scheduler": published_scheduler()}
    if "vae" not in without:
        loaded |= _load_autoencoder(folder / "vae", vae_dtype, variant)
    if not {"transformer", "connector"} <= set(without):
        stored = Checkpoint(folder / "transformer", variant)
        config = read_json(folder / "transformer" / "config.json")
        loaded |= load_denoiser(stored, config, dtype, without)
    if "processor" not in without:
        loaded["processor"] = load_processor(folder / "processor")
    if "text_encoder" not in without:
        loaded["text_encoder"] = _load_text_encoder(folder / "text_encoder", dtype, variant)
    return loaded


def load_denoiser(
    stored: Checkpoint, config: dict[str, Any], dtype: torch.dtype | None, without: Collection[str] = ()
) -> dict[str, Any]:
    """Transformer and connector from tensors of the published names, and `reference_axis`.

    Args:
        stored: the tensors.
        config: of the transformer, see `build_denoiser`.
        dtype: to compute in; None means as stored.
        without: which of the two is not to be loaded.

    Raises:
        RestorerError: if tensors do not fit, or `dtype` is None and they are stored in several precisions.
    """
    networks = build_denoiser(stored.shapes, config)
    made = plan(stored.shapes, denoiser_destinations(stored.shapes), networks)
    wanted = {name: network.eval() for name, network in networks.items() if name not in without}
    fill(stored, made, wanted, dtype or stored.dtype)
    return {**wanted, "reference_axis": reference_axis(stored.shapes)}


def _load_autoencoder(folder: Path, dtype: torch.dtype, variant: str | None) -> dict[str, Any]:
    stored = Checkpoint(folder, variant)
    networks = build_autoencoder(stored.shapes, read_json(folder / "config.json"))
    made = plan(stored.shapes, autoencoder_destinations(stored.shapes), networks)
    fill(stored, made, networks, dtype)
    return {name: network.eval() for name, network in networks.items()}


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
        (head,) = shapes[f"{PREFIX}double_blocks.0.img_attn.norm.query_norm.scale"]
        width, text_channels = shapes[f"{PREFIX}connector.S.input_embedder.weight"]
        pooled, _ = shapes[f"{PREFIX}connector.global_proj_out.weight"]
        out_channels, _ = shapes[f"{PREFIX}final_layer.linear.weight"]
        heads = hidden // head
    except KeyError as missing:
        raise RestorerError(f"{missing} is missing: these are not the weights of RealRestorer") from missing
    except (ValueError, ZeroDivisionError) as error:
        raise RestorerError(f"the shapes are not those of RealRestorer's weights: {error}") from error
    file = "transformer/config.json"
    axes = _setting(config, file, "axes_dims_rope", (16, 56, 56))
    connector_heads = _setting(config, file, "connector_num_heads", max(width // 128, 1))
    with init_empty_weights():
        transformer = FluxTransformer2DModel(
            in_channels=in_channels,
            out_channels=out_channels,
            num_layers=count(shapes, f"{PREFIX}double_blocks."),
            num_single_layers=count(shapes, f"{PREFIX}single_blocks."),
            attention_head_dim=head,
            num_attention_heads=heads,
            joint_attention_dim=width,
            pooled_projection_dim=pooled,
            guidance_embeds=f"{PREFIX}guidance_in.in_layer.weight" in shapes,
            axes_dims_rope=axes,
        )
        connector = TextConnector(
            in_channels=text_channels,
            hidden_size=width,
            num_heads=connector_heads,
            depth=count(shapes, f"{PREFIX}connector.S.individual_token_refiner.blocks."),
            pooled_dim=pooled,
            scale_pooled=f"{PREFIX}connector.scale_factor" in shapes,
        )
    return {"transformer": transformer, "connector": connector}


def build_autoencoder(shapes: Shapes, config: dict[str, Any]) -> dict[str, nn.Module]:
    """The autoencoder, on `meta`, from the published `vae/config.json` and its defaults."""

    def setting(key: str, default: Any) -> Any:
        return _setting(config, "vae/config.json", key, default)

    mult, blocks = setting("ch_mult", (1, 2, 4, 4)), setting("num_res_blocks", 2)
    if len(mult) * blocks > len(shapes):
        raise RestorerError(f"vae/config.json describes more blocks than its weights hold: {AGAIN}")
    try:
        with torch.device("meta"):
            vae = AutoencoderKL(
                in_channels=setting("in_channels", 3),
                out_channels=setting("out_ch", 3),
                down_block_types=("DownEncoderBlock2D",) * len(mult),
                up_block_types=("UpDecoderBlock2D",) * len(mult),
                block_out_channels=tuple(setting("ch", 128) * factor for factor in mult),
                layers_per_block=blocks,
                latent_channels=setting("z_channels", 16),
                norm_num_groups=32,
                sample_size=setting("resolution", 256),
                scaling_factor=setting("scale_factor", 0.3611),
                shift_factor=setting("shift_factor", 0.1159),
                use_quant_conv=f"{PREFIX}quant_conv.weight" in shapes,
                use_post_quant_conv=f"{PREFIX}post_quant_conv.weight" in shapes,
            )
    except (ValueError, RuntimeError) as error:
        raise RestorerError(
            f"vae/config.json describes no autoencoder ({one_line(error)}): {AGAIN}"
        ) from error
    return {"vae": vae}


def _setting(config: dict[str, Any], file: str, key: str, default: Any) -> Any:
    """A value of a configuration, of the kind of its default: counts, numbers or lists of counts.

    Raises:
        RestorerError: if it is something else, zero, negative or not finite.
    """
    value = config.get(key, default)
    each = value if isinstance(default, tuple) and isinstance(value, (list, tuple)) else [value]
    kinds = (int, float) if isinstance(default, float) else int
    if isinstance(default, tuple) and (each is not value or not each):
        raise RestorerError(
            f"{file} has {key} {value!r}: a list such as {list(default)} is expected: {AGAIN}"
        )
    for one in each:
        if isinstance(one, bool) or not isinstance(one, kinds) or not 0 < one < 10**6:
            raise RestorerError(f"{file} has {key} {value!r}: something like {default} is expected: {AGAIN}")
    return tuple(each) if isinstance(default, tuple) else value


def _check_variant(config: dict[str, Any]) -> None:
    """FLUX fixes what the published configuration could vary and never does."""
    fixed = {"mlp_ratio": 4.0, "theta": 10_000, "qkv_bias": True}
    for key, value in fixed.items():
        if config.get(key, value) != value:
            raise RestorerError(
                f"transformer/config.json has {key} {config[key]}: "
                f"only {value}, the published value, is supported"
            )


def refuse_code(folder: Path) -> None:
    """Refuse configurations that name code to run, which a loader would ask about, or run.

    Raises:
        RestorerError: naming the file.
    """
    for file in folder.glob("*config*.json"):
        if '"auto_map"' in json.dumps(read_json(file)):
            raise RestorerError(
                f"{file} names code to run (auto_map): RealRestorer needs none, so it is refused"
            )


def load_processor(folder: Path) -> Qwen2_5_VLProcessor:
    """Tokenizer, chat template and image processor; no code of the folder is run, and nobody is asked.

    Raises:
        RestorerError: if they cannot be loaded, or bring code.
    """
    if not is_torchvision_available():
        raise RestorerError("RealRestorer's image processor needs torchvision: run `pip install torchvision`")
    if not folder.is_dir():
        raise RestorerError(f"{folder} is missing: {AGAIN}")
    refuse_code(folder)
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # files of strangers break loaders in every way
        raise RestorerError(
            f"{folder}: the processor cannot be loaded: {one_line(error)}: {AGAIN}"
        ) from error
    if not isinstance(processor, Qwen2_5_VLProcessor):
        kind = type(processor).__name__
        raise RestorerError(f"{folder} holds a {kind}, not a Qwen2_5_VLProcessor: {AGAIN}")
    return processor


def check_text_encoder_config(folder: Path, variant: str | None = None) -> Checkpoint:
    """Refuse a configuration that does not describe the weights beside it, before anything is allocated for it.

    Returns:
        The weights.

    Raises:
        RestorerError: if it is missing, of another model, or describes a larger network than the weights fill.
    """
    stored, file = Checkpoint(folder, variant), folder / "config.json"
    described = read_json(file)
    if described.get("model_type") != "qwen2_5_vl":
        raise RestorerError(
            f"{file} is missing or not of a Qwen2.5-VL ({described.get('model_type')!r}): {AGAIN}"
        )
    if "quantization_config" in described:  # has fewer and other tensors, which transformers checks
        return stored
    try:
        config = Qwen2_5_VLConfig.from_pretrained(folder, local_files_only=True)
        layers = max(config.text_config.num_hidden_layers, config.vision_config.depth)
        if layers > len(stored.shapes):
            raise ValueError(f"{layers} layers, and {len(stored.shapes)} tensors are stored")
        with torch.device("meta"):  # nothing is allocated, whatever the sizes
            network = Qwen2_5_VLModel(config)
    except Exception as error:
        raise RestorerError(f"{file} describes no text encoder: {one_line(error)}: {AGAIN}") from error
    wanted = sum(parameter.numel() for parameter in network.parameters())
    held = sum(math.prod(shape) for shape in stored.shapes.values())
    if wanted > held:
        raise RestorerError(f"{file} describes {wanted} parameters, and {held} are stored: {AGAIN}")
    return stored


def _load_text_encoder(folder: Path, dtype: torch.dtype | None, variant: str | None) -> Qwen2_5_VLModel:
    """Qwen2.5-VL without its language head, which nothing here needs (1.09 GB in bfloat16)."""
    stored = check_text_encoder_config(folder, variant)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # the head is expected to be left over
    try:
        model, report = Qwen2_5_VLModel.from_pretrained(
            folder,
            dtype=dtype or stored.dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            variant=variant if variant and has_variant(folder, variant) else None,
        )
    except RestorerError:
        raise
    except Exception as error:
        raise RestorerError(f"{folder}: the text encoder cannot be loaded: {one_line(error)}") from error
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
