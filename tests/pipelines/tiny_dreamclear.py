"""A DreamClear of the true architecture, small and random, with a text encoder that reads bytes."""

import torch
from diffusers import AutoencoderKL
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from ggt_hub.models import DreamClearTransformer2DModel, SwinIR
from ggt_hub.pipelines.dreamclear import DreamClearPipeline, published_scheduler

LENGTH = 24  # tokens of a caption


def tiny_pipeline(seed: int = 0, text: bool = True, minimum_size: int = 64) -> DreamClearPipeline:
    """Ready to run; with `text`, captions are read."""
    torch.manual_seed(seed)
    reading = {"text_encoder": tiny_text_encoder(), "tokenizer": tiny_tokenizer()} if text else {}
    pipe = DreamClearPipeline(
        transformer=tiny_transformer(),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            layers_per_block=1,
        ).eval(),
        scheduler=published_scheduler(),
        pre_cleaner=SwinIR(8, (2,), (2,), num_feat=8).eval(),
        minimum_size=minimum_size,
        **reading,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_transformer() -> DreamClearTransformer2DModel:
    """What begins at zero in it is not zero."""
    network = DreamClearTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        num_layers=2,
        control_layers=2,
        sample_size=8,
        caption_channels=16,
        caption_length=LENGTH,
    ).eval()
    for tensor in network.state_dict().values():
        tensor.copy_(0.1 * torch.randn_like(tensor))
    with torch.no_grad():
        network.proj_out.weight.mul_(0.1)  # variances are exponentials of what comes out
    return network


def tiny_text_encoder() -> T5EncoderModel:
    config = T5Config(
        vocab_size=260, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config).eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, and the end."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "</s>": 1, **{letter: number + 2 for number, letter in enumerate(letters)}}
    words = Tokenizer(models.BPE(vocabulary, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="<pad>")
