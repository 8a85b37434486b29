"""What a call of RealRestorer is given: checked, read and put in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture
from ggt_hub.pipelines.realrestorer.geometry import MULTIPLE, pad, resize, working_size
from ggt_hub.pipelines.realrestorer.tiles import Tiles
from ggt_hub.tasks import Language, instruction

Posterior = Literal["sample", "mode"]
Embeds = tuple[Tensor, Tensor]
"""Hidden states (N, 640, width) and their mask (N, 640)."""


@dataclass(frozen=True)
class Draws:
    """The random numbers of one picture, each (results, channels, height / 8, width / 8).

    Attributes:
        noise: where denoising starts.
        posterior: what the encoded picture is sampled with; zeros give the mode.
    """

    noise: Tensor
    posterior: Tensor


def check_options(
    num_inference_steps: int, size_level: int, num_images_per_prompt: int, tile: int | None, posterior: str
) -> None:
    """Refuse numbers that cannot work.

    Raises:
        RestorerError: naming the option, its value and what it may be.
    """
    least = {"num_inference_steps": 1, "num_images_per_prompt": 1, "size_level": MULTIPLE}
    for name, value in zip(least, (num_inference_steps, num_images_per_prompt, size_level), strict=True):
        if isinstance(value, bool) or not isinstance(value, int) or value < least[name]:
            raise RestorerError(f"{name} is {value!r}: give a whole number from {least[name]} up")
    if tile is not None and (tile % MULTIPLE or tile == MULTIPLE):
        raise RestorerError(
            f"tile is {tile}: give a multiple of {MULTIPLE} from {2 * MULTIPLE} up, or 0 for one piece"
        )
    if posterior not in get_args(Posterior):
        raise RestorerError(f"posterior is {posterior!r}: choose one of {', '.join(get_args(Posterior))}")


def check_callback(asked: Sequence[str], offered: Sequence[str]) -> None:
    """Refuse tensors that a callback cannot be given."""
    unknown = ", ".join(name for name in asked if name not in offered)
    if unknown:
        raise RestorerError(
            f"callback_on_step_end_tensor_inputs: no {unknown} here, only {', '.join(offered)}"
        )


def instructions(
    count: int, task: str | Sequence[str] | None, prompt: str | Sequence[str] | None, language: Language
) -> list[str]:
    """What the model is told about each of `count` pictures.

    Raises:
        TaskError: for an unknown task or language.
        RestorerError: if a list has not one entry for each picture, or a prompt is not text.
    """
    by_task = [instruction(name, language) for name in _one_each("task", task, "general", count)]
    return by_task if prompt is None else _one_each("prompt", prompt, "", count)


def given_embeds(name: str, states: Tensor | None, mask: Tensor | None, count: int) -> Embeds | None:
    """Prompt embeddings that the caller passes, one row for each picture; None if they are not passed.

    Raises:
        RestorerError: if one of the two is missing, or their sizes do not fit.
    """
    if states is None and mask is None:
        return None
    if states is None or mask is None:
        raise RestorerError(
            f"{name} and {name}_mask belong together: pass both, as encode_prompt returns them"
        )
    if states.ndim != 3 or mask.shape != states.shape[:2] or len(states) != count:
        raise RestorerError(
            f"{name} has shape {tuple(states.shape)} and its mask {tuple(mask.shape)}: "
            f"{count} pictures need ({count}, tokens, width) and ({count}, tokens)"
        )
    return states, mask


def working_rgb(picture: Picture, size_level: int, tile: int | None) -> Image.Image:
    """The picture as the networks see it: 8-bit RGB, sides multiples of 16.

    Resized to about `size_level` squared pixels, or, to be restored in tiles, padded at right and bottom.
    """
    rgb = Image.fromarray(np.rint(picture.rgb() * 255).astype(np.uint8))
    if tile is not None:
        return pad(rgb)
    return resize(rgb, working_size(*rgb.size, size_level), Image.Resampling.LANCZOS)


def draw(
    working: Sequence[Image.Image],
    generators: Sequence[torch.Generator | None],
    results: int,
    channels: int,
    latents: Sequence[Tensor] | Tensor | None,
    posterior: Posterior,
) -> list[Draws]:
    """All random numbers of a call: for each result noise, then posterior, in the order of the pictures.

    Drawn before anything runs, so how pictures are grouped later changes nothing.

    Raises:
        RestorerError: if `latents` does not hold noise of the right shape for each result.
    """
    if latents is not None and len(latents) != len(working) * results:
        raise RestorerError(f"{len(latents)} latents: give one for each of {len(working) * results} results")
    drawn = []
    for index, (rgb, generator) in enumerate(zip(working, generators, strict=True)):
        shape = (channels, rgb.height // 8, rgb.width // 8)
        noise, samples = [], []
        for number in range(index * results, (index + 1) * results):
            noise.append(_normal(shape, generator) if latents is None else _checked(latents[number], shape))
            samples.append(_normal(shape, generator) if posterior == "sample" else torch.zeros(shape))
        drawn.append(Draws(torch.stack(noise), torch.stack(samples)))
    return drawn


def by_size(working: Sequence[Image.Image]) -> list[list[int]]:
    """Indices of pictures that run together, because their working sizes are equal."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, rgb in enumerate(working):
        groups.setdefault(rgb.size, []).append(index)
    return list(groups.values())


def rows_of(embeds: Sequence[Embeds], members: list[int]) -> Embeds:
    """The rows of some pictures: those of the prompts, then those of the negative prompts if there are any."""
    return (
        torch.cat([states[members] for states, _ in embeds]),
        torch.cat([mask[members] for _, mask in embeds]),
    )


def tiles_of(rgb: Image.Image, tile: int | None) -> Tiles:
    """How a working picture is cut for tiles of `tile` pixels; None and 0 leave it whole."""
    rows, columns = rgb.height // MULTIPLE, rgb.width // MULTIPLE
    return Tiles.of(rows, columns, tile // MULTIPLE if tile else max(rows, columns))


def _one_each(name: str, value: str | Sequence[str] | None, default: str, count: int) -> list[str]:
    if value is None or isinstance(value, str):
        return [default if value is None else value] * count
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise RestorerError(f"{name} is {value!r}: give text, or a list of texts")
    if len(value) != count:
        raise RestorerError(
            f"{len(value)} entries in {name} for {count} pictures: give one each, or a single one"
        )
    return list(value)


def _normal(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device if generator else None)


def _checked(noise: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(noise.shape) != shape:
        raise RestorerError(f"latents of shape {tuple(noise.shape)}: this picture needs {shape}")
    return noise.float()
