"""A RealRestorer of the true architecture, small and random, with a tokenizer trained on its own prompts."""

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLModel,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from ggt_hub.converters.realrestorer import published_scheduler
from ggt_hub.models import TextConnector
from ggt_hub.pipelines.realrestorer import LANGUAGES, RealRestorerPipeline, instruction
from ggt_hub.pipelines.realrestorer.prompts import template
from ggt_hub.tasks import TASKS

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{% if add_vision_id %}Picture 1: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def tiny_pipeline(seed: int = 0, **options: int) -> RealRestorerPipeline:
    """Ready to run; 4 steps of a 64x48 picture take well under a second."""
    torch.manual_seed(seed)
    processor = tiny_processor()
    pipe = RealRestorerPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,
            pooled_projection_dim=24,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ).eval(),
        connector=TextConnector(in_channels=32, hidden_size=48, num_heads=4, depth=2, pooled_dim=24).eval(),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            layers_per_block=1,
            latent_channels=16,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ).eval(),
        scheduler=published_scheduler(),
        text_encoder=tiny_text_encoder(processor),
        processor=processor,
        **options,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_processor() -> Qwen2_5_VLProcessor:
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    texts = [template()["prefix"], *(instruction(task, language) for task in TASKS for language in LANGUAGES)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet))
    words.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL,
    )
    cells = {"min_pixels": 4 * 784, "max_pixels": 16 * 784}
    return Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**cells), tokenizer, Qwen2VLVideoProcessor(**cells), chat_template=CHAT
    )


def tiny_text_encoder(processor: Qwen2_5_VLProcessor) -> Qwen2_5_VLModel:
    ids = {
        name: processor.tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad")
    }
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": len(processor.tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
    )
    return Qwen2_5_VLModel(config).eval()
