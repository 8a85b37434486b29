"""How RealRestorer reads an instruction together with the picture: Qwen2.5-VL's last hidden states.

What is odd here is what the weights were trained with, and must stay: the fixed prefix, the character-wise
tokens between quotes, the masked exclamation mark, the constant number of dropped rows.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from PIL import Image
from torch import Tensor
from transformers import Qwen2_5_VLModel

from ggt_hub.errors import RestorerError
from ggt_hub.pipelines.realrestorer.geometry import resize

VISION_END = "<|vision_end|>"
IMAGE_PAD = "<|image_pad|>"
STEEPEST = 200
"""Aspect ratio above which Qwen's image processor refuses."""

_CELL = 28  # pixels per side of one merged vision token
_FEWEST_CELLS, _MOST_CELLS = 4, 16384
_QUOTES = str.maketrans({"'": '"', "“": '"', "”": '"'})

# `get_image_features` is not `forward`, so model offloading has to be told to bring the encoder in.
_image_features = apply_forward_hook(Qwen2_5_VLModel.get_image_features)


@dataclass(frozen=True)
class Sight:
    """A picture as the vision tower saw it, to be used with several prompts.

    Attributes:
        features: the vision tower's output; its merged features are `pooler_output[0]`, (cells, width).
        grid: frames, rows and columns of patches, (1, 3).
    """

    features: Any
    grid: Tensor


@cache
def template() -> dict[str, Any]:
    """The trained prefix and constants: `template.json`, with source and SHA-256."""
    return json.loads((Path(__file__).parent / "template.json").read_text(encoding="utf-8"))


def see(text_encoder: Qwen2_5_VLModel, processor: Any, picture: Image.Image, device: torch.device) -> Sight:
    """Run the vision tower on an RGB picture of working size.

    Raises:
        RestorerError: if the picture is more than 200 times as long as wide.
    """
    size = vision_size(*picture.size)
    if max(size) > STEEPEST * min(size):
        raise RestorerError(
            f"a picture of {picture.width}x{picture.height} is too narrow: the vision encoder takes aspect "
            f"ratios up to {STEEPEST}; crop it"
        )
    prepared = resize(picture, size, Image.Resampling.BICUBIC)
    inputs = processor.image_processor(images=[prepared], return_tensors="pt").to(device)
    features = _image_features(
        text_encoder, inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
    )
    return Sight(features, inputs["image_grid_thw"])


def read(
    text_encoder: Qwen2_5_VLModel, processor: Any, prompt: str, sight: Sight | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Encode a prompt, with the picture if there is one.

    Returns:
        Hidden states (640, width), zero where there is no token, and a mask (640,) of 1 and 0.

    Raises:
        RestorerError: if the prompt holds the placeholder of a picture, or is longer than the weights read.
    """
    ids = token_ids(processor, prompt, sight).to(device)
    of_picture = ids == processor.tokenizer.convert_tokens_to_ids(IMAGE_PAD)
    if of_picture.sum() != (_cells(processor, sight) if sight else 0):
        raise RestorerError(
            f"the prompt {_shortened(prompt)} holds {IMAGE_PAD}, which stands for the picture: leave it out"
        )
    excess = ids.shape[1] - template()["drop"] - template()["max_length"]
    if excess > 0:
        raise RestorerError(
            f"the prompt {_shortened(prompt)} is {excess} tokens longer than RealRestorer reads: shorten it "
            "(between quotes every character is a token)"
        )
    mask = (ids > 0).long()  # id 0, the exclamation mark, was taken for padding in training
    positions, _ = text_encoder.get_rope_index(
        ids, of_picture.int(), image_grid_thw=sight.grid if sight else None, attention_mask=mask
    )
    states = text_encoder(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions.masked_fill(mask == 0, 1),
        mm_encoder_outputs={"image": sight.features} if sight else None,
        use_cache=False,
    ).last_hidden_state[0]
    return _fit(states)


def token_ids(processor: Any, prompt: str, sight: Sight | None) -> Tensor:
    """Token ids of the whole conversation, (1, tokens).

    Up to the picture the text is tokenised as usual, after it with quotes spelled out, see `split_quotes`.
    """
    tokenizer = processor.tokenizer
    text = render(processor, prompt, with_picture=sight is not None)
    spelled = [token for piece in split_quotes(text) for token in _piece_ids(tokenizer, piece)]
    if sight is None:
        return torch.tensor([spelled])
    head = text.partition(VISION_END)[0].replace(IMAGE_PAD, IMAGE_PAD * _cells(processor, sight)) + VISION_END
    tail = spelled[spelled.index(tokenizer.convert_tokens_to_ids(VISION_END)) + 1 :]
    return torch.tensor([tokenizer.encode(head, add_special_tokens=False) + tail])


def render(processor: Any, prompt: str, with_picture: bool) -> str:
    """The conversation as text: the model's own chat template around prefix, picture and prompt."""
    parts = [{"type": "text", "text": template()["prefix"]}]
    if with_picture:
        parts.append({"type": "image"})
    parts.append({"type": "text", "text": prompt})
    return processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True, add_vision_id=True, tokenize=False
    )


def split_quotes(text: str) -> list[str]:
    """Cut a text into pieces to be tokenised apart: each character between quotes is one, in curly quotes.

    Straight single and curly double quotes count as double quotes, so an apostrophe opens a quotation too.
    Quotes within the first 156 characters, where the prefix has its own, open nothing.
    """
    pieces, quoted = [""], False
    for index, character in enumerate(text.translate(_QUOTES)):
        if character == '"' and index >= template()["first_quote"]:
            if quoted:
                pieces.append("")
            pieces[-1] += character
            quoted = not quoted
        elif quoted:
            pieces.append(f"“{character}”")
        else:
            pieces[-1] += character
    return pieces


def vision_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) at which the vision encoder is given a picture: multiples of 28, 4 to 16384 cells."""
    sides = max(_CELL, round(width / _CELL) * _CELL), max(_CELL, round(height / _CELL) * _CELL)
    cells = sides[0] * sides[1] / _CELL**2
    if cells < _FEWEST_CELLS:
        scale = math.sqrt(_FEWEST_CELLS * _CELL**2 / (width * height))
        return math.ceil(width * scale / _CELL) * _CELL, math.ceil(height * scale / _CELL) * _CELL
    if cells > _MOST_CELLS:
        scale = math.sqrt(width * height / (_MOST_CELLS * _CELL**2))
        shrunk = (math.floor(side / scale / _CELL) * _CELL for side in (width, height))
        return max(_CELL, next(shrunk)), max(_CELL, next(shrunk))
    return sides


def _cells(processor: Any, sight: Sight) -> int:
    """How many tokens stand for the picture."""
    return int(sight.grid.prod()) // processor.image_processor.merge_size**2


def _piece_ids(tokenizer: Any, piece: str) -> list[int]:
    """Tokens of a piece; the curly quotes around a spelled-out character are dropped again."""
    tokens = tokenizer.encode(piece, add_special_tokens=False)
    if len(piece) == 3 and piece[0] == "“" and piece[-1] == "”":
        left, right = (tokenizer.encode(quote, add_special_tokens=False) for quote in "“”")
        if tokens[: len(left)] == left and tokens[-len(right) :] == right:
            return tokens[len(left) : -len(right)]
    return tokens


def _shortened(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 60 else f"{prompt[:57]}...")


def _fit(states: Tensor) -> tuple[Tensor, Tensor]:
    """Drop the rows of system text and prefix, and pad with zeros to the trained length."""
    length, kept = template()["max_length"], states[template()["drop"] :]
    embeds = states.new_zeros(length, states.shape[-1])
    embeds[: len(kept)] = kept
    mask = torch.zeros(length, dtype=torch.long, device=states.device)
    mask[: len(kept)] = 1
    return embeds, mask
