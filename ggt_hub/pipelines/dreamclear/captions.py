"""What DreamClear is told about a picture: captions made, cleaned and encoded."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import PixArtAlphaPipeline
from diffusers.utils import is_bs4_available, is_ftfy_available
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ggt_hub.errors import RestorerError
from ggt_hub.vlm import Chat

Embeds = tuple[Tensor, Tensor]
"""States of the text encoder (pictures, length, width) and their mask (pictures, length)."""

QUESTION = "Describe this image and its style."
"""What the authors ask their captioner about the pre-cleaned picture."""

_LONGEST = 512  # tokens of an answer


def clean(caption: str) -> str:
    """The caption as PixArt's text encoder was trained to read it, without links, handles, markup and the like.

    Raises:
        RestorerError: if a library that this needs is missing.
    """
    if not (is_ftfy_available() and is_bs4_available()):
        raise RestorerError("captions are cleaned by ftfy and bs4: run `pip install ftfy beautifulsoup4`")
    cleaner = PixArtAlphaPipeline.__new__(PixArtAlphaPipeline)  # its helpers need nothing of it
    return cleaner._text_preprocessing(caption, clean_caption=True)[0]


def encode(
    captions: Sequence[str], encoder: Any, tokenizer: Any, length: int, device: torch.device, cut: bool
) -> Embeds:
    """Read captions by T5.

    Args:
        captions: one for each picture.
        encoder: a `T5EncoderModel`.
        tokenizer: its tokenizer.
        length: tokens that are read.
        device: where the encoder runs.
        cut: whether what is longer is cut, or refused.

    Raises:
        RestorerError: if there is no encoder, or a caption is too long.
    """
    if encoder is None or tokenizer is None:
        raise RestorerError(
            "this restorer has no text encoder for a prompt: load it with text_encoder and tokenizer, pass "
            "prompt_embeds, or leave the prompt out, which needs neither"
        )
    cleaned = [clean(caption) for caption in captions]
    for caption, tokens in zip(cleaned, tokenizer(cleaned)["input_ids"], strict=True):
        if len(tokens) > length and not cut:
            raise RestorerError(
                f"the prompt {caption[:40]!r}... has {len(tokens)} tokens: {length} are read, so shorten it"
            )
    found = tokenizer(cleaned, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    ids, mask = found["input_ids"].to(device), found["attention_mask"].to(device)
    return encoder(ids, attention_mask=mask)[0], mask


def rows(embeds: Embeds, number: int) -> Embeds:
    """What is told about one of the pictures."""
    states, mask = embeds
    return states[number : number + 1], mask[number : number + 1]


def describe(
    picture: NDArray[np.float32], captioner: Any, processor: Any, chat: Chat | None, device: torch.device
) -> str:
    """A caption for a picture (height, width, 3), 0..1.

    Decoded greedily, so that a picture has one caption; the authors sample at a temperature of 0.2.

    Args:
        picture: to be described.
        captioner: any image-to-text model of transformers that chats.
        processor: its processor, with a chat template.
        chat: what is asked instead: a server, or whatever else answers questions about pictures.
        device: where the captioner runs.

    Raises:
        JudgeError: if `chat` gets no answer.
    """
    image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    if chat is not None:
        png = io.BytesIO()
        image.save(png, "png")
        return _one_line(chat.ask(png.getvalue(), "", QUESTION))
    content = [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(device)
    tokens = captioner.generate(**inputs, max_new_tokens=_LONGEST, do_sample=False)
    answer = tokens[:, inputs["input_ids"].shape[1] :]
    return _one_line(processor.batch_decode(answer, skip_special_tokens=True)[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())
