"""What a call of DreamClear is given: its options, checked and put in order."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ggt_hub.errors import RestorerError
from ggt_hub.pipelines.description import Option
from ggt_hub.pipelines.dreamclear.captions import Embeds

OPTIONS: Mapping[str, Option] = {
    "num_inference_steps": Option(
        default=50, minimum=1, slider=(4, 50, 1), help="denoising steps; more take longer"
    ),
    "guidance_scale": Option(
        default=4.5, help="weight of the caption against the empty one; without a caption it changes nothing"
    ),
    "color_fix": Option(
        default="wavelet",
        choices=("wavelet", "adain", "none"),
        optional=True,
        help="how the result gets the colours of the pre-cleaned picture; none, or None, leaves them",
    ),
    "scheduler": Option(
        default=None,
        choices=("dpmsolver",),
        optional=True,
        help="another sampler than the one loaded; dpmsolver needs 20 steps",
    ),
    "start_timestep": Option(
        default=999,
        minimum=0,
        maximum=999,
        help="how much noise the pre-cleaned picture, with which sampling starts, is given",
    ),
    "tile_overlap": Option(
        default=None,
        minimum=0,
        optional=True,
        help="pixels that neighbouring tiles share, a multiple of 8 and less than tile; None is a quarter of it",
    ),
}
"""The options of a call, as `RestorerDescription` has them."""

TILE = 1024
"""Default side of tiles, in pixels: the size that the weights were trained on."""


def tile_and_overlap(tile: int | None, overlap: int | None) -> tuple[int | None, int]:
    """Side and overlap of the tiles, in pixels; None and 0 for one piece.

    Raises:
        RestorerError: unless tiles are whole tokens, and overlap by less than all.
    """
    side = TILE if tile is None else tile
    shared = side // 32 * 8 if overlap is None else overlap
    if side % 16 or shared % 8:
        raise RestorerError(
            f"tile is {tile}, tile_overlap {overlap}: give multiples of 16 and 8, or tile=0 for one piece"
        )
    if side and shared >= side:
        raise RestorerError(f"tile_overlap is {overlap}: it is less than tile, which is {side}")
    return (side, int(shared)) if side else (None, 0)


def check_callback(asked: Sequence[str], offered: Sequence[str]) -> None:
    """Refuse tensors that a callback cannot be given."""
    if unknown := ", ".join(name for name in asked if name not in offered):
        raise RestorerError(
            f"callback_on_step_end_tensor_inputs: no {unknown} here, only {', '.join(offered)}"
        )


def prompts(prompt: str | Sequence[str] | None, count: int) -> list[str] | None:
    """The caption of each of `count` pictures; None if there is none.

    Raises:
        RestorerError: if it is neither text, nor a list with one for each.
    """
    if prompt is None:
        return None
    given = [prompt] * count if isinstance(prompt, str) else list(prompt)
    if len(given) != count or not all(isinstance(one, str) for one in given):
        raise RestorerError(f"prompt is {prompt!r}: give text, or a list with one for each picture ({count})")
    return given


def given_embeds(states: Tensor | None, mask: Tensor | None, count: int, length: int) -> Embeds | None:
    """Captions that the caller passes encoded, one for each picture; None if they are not passed.

    Raises:
        RestorerError: if the mask comes alone, or sizes do not fit.
    """
    if states is None and mask is None:
        return None
    if states is None:
        raise RestorerError("prompt_attention_mask comes without prompt_embeds: pass both")
    if (
        states.ndim > 3
    ):  # captions that were stored for training have a dimension more, and so have their masks
        states = states.flatten(1, -2)
    mask = states.new_ones(states.shape[:2]) if mask is None else mask
    mask = mask.flatten(1) if mask.ndim > 2 else mask
    if states.ndim != 3 or mask.shape != states.shape[:2] or states.shape[:2] != (count, length):
        raise RestorerError(
            f"prompt_embeds has shape {tuple(states.shape)} and its mask {tuple(mask.shape)}: {count} pictures "
            f"need ({count}, {length}, width) and ({count}, {length})"
        )
    return states, mask


def one_each(name: str, given: Any, count: int) -> list[Any] | None:
    """What is given for each of `count` pictures: a list or batch, or a single thing for a single picture.

    Raises:
        RestorerError: if it is not one for each.
    """
    if given is None:
        return None
    batched = isinstance(given, (list, tuple)) or getattr(given, "ndim", 0) == 4
    each = list(given) if batched else [given]
    if len(each) != count:
        raise RestorerError(f"{len(each)} entries in {name} for {count} pictures: give one each")
    return each
