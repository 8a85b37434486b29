"""A tiny SDXL with random weights, in stock classes, made on the spot."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

WORDS = ("photo", "highly", "detailed", "professional", "blurry", "cartoon", "image", "low", "quality")


def tiny_tokenizer(length: int = 77) -> CLIPTokenizer:
    """Letters, and a few words that are one token each."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = [parts[0] + parts[1], *parts[2:]]
            tokens.append(parts[0])
    vocabulary = {token: n for n, token in enumerate(dict.fromkeys(tokens))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=[*dict.fromkeys(merges)], model_max_length=length)


def tiny_sdxl() -> StableDiffusionXLPipeline:
    torch.manual_seed(0)
    tokenizers = tiny_tokenizer(), tiny_tokenizer()
    shape = CLIPTextConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, projection_dim=16,
        vocab_size=len(tokenizers[0]), max_position_embeddings=77,
        bos_token_id=tokenizers[0].bos_token_id, eos_token_id=tokenizers[0].eos_token_id,
        pad_token_id=tokenizers[0].eos_token_id,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + 16,
        cross_attention_dim=32,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, sample_size=16,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(shape),
        text_encoder_2=CLIPTextModelWithProjection(shape),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    )


def tiny_stable_diffusion() -> StableDiffusionPipeline:
    """Of the first generation: one text encoder, no size conditioning; it predicts the velocity, as 2.1 does."""
    parts = tiny_sdxl()
    config = {**parts.unet.config, "addition_embed_type": None, "cross_attention_dim": 16}
    for name in ("addition_time_embed_dim", "projection_class_embeddings_input_dim"):
        config[name] = None
    torch.manual_seed(1)
    return StableDiffusionPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=UNet2DConditionModel.from_config(config),
        scheduler=EulerDiscreteScheduler.from_config(parts.scheduler.config, prediction_type="v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_tiny_sdxl(folder: Path) -> Path:
    tiny_sdxl().save_pretrained(folder)
    return folder
