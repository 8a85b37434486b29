"""A tiny CLIP with random weights, in stock classes, in a folder as the Hub has them."""

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from tests.tiny_sdxl import tiny_tokenizer


def write_tiny_clip(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    config = CLIPConfig(
        text_config={**shape, **words, "pad_token_id": tokenizer.eos_token_id, "vocab_size": len(tokenizer)},
        vision_config={**shape, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPProcessor(CLIPImageProcessor(**size), tokenizer).save_pretrained(folder)
    return folder
