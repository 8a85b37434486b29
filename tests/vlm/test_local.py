"""A tiny Qwen3-VL with random weights, made on the spot, asked through transformers."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ggt_hub.errors import JudgeError
from ggt_hub.vlm import PROTOCOLS, Judge, Ledger, LocalChat, Question, local

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
]  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def tiny_judge(tmp_path_factory):
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL,
    )  # fmt: skip
    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(SPECIAL), strict=True))
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1], "mrope_interleaved": True
            },
            "eos_token_id": ids["<|im_end|>"], "bos_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
            "patch_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("judge")
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=16, min_pixels=32 * 32, max_pixels=64 * 64),
        tokenizer,
        Qwen3VLVideoProcessor(),
        chat_template=TEMPLATE,
    )
    processor.save_pretrained(folder)
    return folder


def test_a_local_model_is_asked_and_its_reply_stored(tiny_judge, tmp_path, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    chat = LocalChat(tiny_judge, device="cpu", max_new_tokens=4)
    (first,) = Judge(chat, PROTOCOLS["strict"], ledger).rate([picture], ["noise"])
    assert len(first.replies) == 2  # random weights answer nonsense, and are asked to repair it
    assert all(0 < len(reply) <= 4 for reply in first.replies)
    fresh = LocalChat(tiny_judge, device="cpu", max_new_tokens=4)
    monkeypatch.setattr(local, "_loaded", None)  # the stored reply is enough
    assert Judge(fresh, PROTOCOLS["strict"], ledger).rate([picture], ["noise"]) == [first]


def test_replies_depend_on_the_picture_and_not_on_chance(tiny_judge):
    chat = LocalChat(tiny_judge, device="cpu", max_new_tokens=8)
    replies = []
    for value in (0, 0, 255):
        buffer = io.BytesIO()
        Image.new("RGB", (48, 48), (value, 0, 0)).save(buffer, "PNG")
        replies.append(chat.ask(buffer.getvalue(), "system", "question"))
    assert replies[0] == replies[1] != replies[2]


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(JudgeError, match="cannot be loaded"):
        LocalChat(tmp_path / "nothing").ask(b"", "", "")
    with pytest.raises(JudgeError, match="cannot be loaded"):
        LocalChat(tmp_path / "nothing").check()


def test_a_question_may_have_no_picture_or_several(tiny_judge, monkeypatch):
    chat = LocalChat(tiny_judge, device="cpu", max_new_tokens=8)
    seen = []

    def generate(input_ids, **inputs):
        seen.append(len(inputs.get("image_grid_thw", ())))
        return input_ids

    monkeypatch.setattr(chat._load()[0], "generate", generate)
    files = []
    for value in (0, 255):
        Image.new("RGB", (48, 48), (value, 0, 0)).save(buffer := io.BytesIO(), "PNG")
        files.append(buffer.getvalue())
    for count in (0, 1, 2):
        chat.send(Question("question", pictures=tuple(files[:count])))
    assert seen == [0, 1, 2]


def test_at_a_temperature_replies_are_drawn(tiny_judge):
    chat = LocalChat(tiny_judge, device="cpu", max_new_tokens=8, temperature=1)
    assert chat.parameters == {"temperature": 1, "max_tokens": 8}
    torch.manual_seed(0)
    drawn = [chat.send(Question("question")).text for _ in range(3)]
    torch.manual_seed(0)
    assert [chat.send(Question("question")).text for _ in range(3)] == drawn
    assert len(set(drawn)) == 3
