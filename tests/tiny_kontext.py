"""A tiny FLUX.1 Kontext with random weights, in stock classes, made on the spot."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from tests.tiny_sdxl import tiny_tokenizer


def tiny_kontext() -> FluxKontextPipeline:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    return FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            layers_per_block=1,
            latent_channels=4,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ).eval(),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                vocab_size=len(tokenizer), max_position_embeddings=77, **ids,
            )
        ).eval(),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(
            T5Config(d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=len(tokenizer), **ids)
        ).eval(),
        tokenizer_2=tiny_tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=4,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ).eval(),
    )  # fmt: skip


def save_tiny_kontext(folder: Path) -> Path:
    tiny_kontext().save_pretrained(folder)
    return folder
