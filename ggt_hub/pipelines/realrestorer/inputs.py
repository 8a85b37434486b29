"""What a call of RealRestorer is given: checked, read and put in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture
from ggt_hub.pipelines.description import Option
from ggt_hub.pipelines.realrestorer.geometry import MULTIPLE, NATIVE, pad, resize, working_size
from ggt_hub.pipelines.realrestorer.instructions import LANGUAGES, Language, instruction
from ggt_hub.pipelines.realrestorer.tiles import Tiles

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


OPTIONS = {
    "language": Option(default="en", choices=LANGUAGES, help="of the instruction; both were trained"),
    "size_level": Option(
        default=NATIVE,
        minimum=MULTIPLE,
        help="square root of the area, in pixels, in which pictures are restored",
    ),
    "num_inference_steps": Option(
        default=28, minimum=1, slider=(4, 50, 1), help="denoising steps; more take longer"
    ),
    "guidance_scale": Option(
        default=3.0,
        optional=True,
        help="weight of the prompt against the negative prompt; None halves the time",
    ),
    "model_guidance": Option(default=3.5, help="the guidance value that the transformer itself is told"),
    "timesteps_truncate": Option(
        default=0.93, help="differences of the two prompts are damped while the time, 1 to 0, is above this"
    ),
    "process_norm_power": Option(
        default=0.4, help="differences that are damped are divided by their length to this power"
    ),
    "posterior": Option(
        default="sample", choices=get_args(Posterior), help="which encoding of the picture is denoised"
    ),
    "num_images_per_prompt": Option(default=1, minimum=1, help="results for each picture"),
}
"""The options of a call, as `RestorerDescription` has them."""


def check_tile(tile: int | None) -> None:
    """Refuse tiles that cannot be cut.

    Raises:
        RestorerError: unless they are whole tokens, and more than one.
    """
    if tile is not None and (tile % MULTIPLE or tile == MULTIPLE):
        raise RestorerError(
            f"tile is {tile}: give a multiple of {MULTIPLE} from {2 * MULTIPLE} up, or 0 for one piece"
        )


def named(embeds: Embeds, sides: int) -> dict[str, Tensor]:
    """Embeddings of the prompts, and of the negative ones after them, by the names of the call's arguments."""
    names = ("prompt_embeds", "negative_prompt_embeds")[:sides]
    return {
        name + suffix: part
        for kind, suffix in zip(embeds, ("", "_mask"), strict=True)
        for name, part in zip(names, kind.chunk(sides), strict=True)
    }


def joined(tensors: Mapping[str, Tensor], sides: int) -> Embeds:
    """Inverse of `named`; other tensors are passed over."""
    names = ("prompt_embeds", "negative_prompt_embeds")[:sides]
    return torch.cat([tensors[name] for name in names]), torch.cat(
        [tensors[f"{name}_mask"] for name in names]
    )


def check_callback(asked: Sequence[str], offered: Sequence[str], guided: bool) -> None:
    """Refuse tensors that a callback cannot be given: unknown, or of a negative prompt that is not read."""
    offered = [name for name in offered if guided or not name.startswith("negative")]
    unknown = ", ".join(name for name in asked if name not in offered)
    if unknown:
        raise RestorerError(
            f"callback_on_step_end_tensor_inputs: no {unknown} here, only {', '.join(offered)}"
        )


def check_sigmas(sigmas: Sequence[float] | None) -> None:
    """Refuse a schedule that is none.

    Raises:
        RestorerError: unless the times fall, within 1 and 0.
    """
    if sigmas is None:
        return
    times = [1.0 + 1e-6, *map(float, sigmas), 0.0]
    if len(times) == 2 or not all(later < earlier for earlier, later in pairwise(times)):
        raise RestorerError(f"sigmas {list(sigmas)}: give times that fall, from 1 at most to above 0")


def changed(shown: Mapping[str, Tensor], returned: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a callback returned of what it was shown, each of the same shape.

    Raises:
        RestorerError: if it returned something else under one of the names.
    """
    for name, tensor in shown.items():
        new = returned.get(name, tensor)
        if not isinstance(new, Tensor) or new.shape != tensor.shape:
            got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise RestorerError(
                f"callback_on_step_end returned {name} as {got}: give a tensor of shape {tuple(tensor.shape)}"
            )
    return {name: returned[name] for name in shown if name in returned}


def check_finite(values: Tensor, what: str) -> Tensor:
    """The values, unless some of them are none: what follows from them must not pass for a restored picture.

    Raises:
        RestorerError: if there are NaN or infinite values.
    """
    if not values.isfinite().all():
        raise RestorerError(
            f"{what} overflowed (NaN or infinite), so nothing is restored: load in bfloat16 or float32 rather "
            "than float16, and check the weights, LoRAs and embeddings that were given"
        )
    return values


def instructions(
    count: int, task: str | Sequence[str] | None, prompt: str | Sequence[str] | None, language: Language
) -> list[str]:
    """What the model is told about each of `count` pictures.

    Raises:
        TaskError: for an unknown task or language.
        RestorerError: if a list has not one entry for each picture, or a prompt is not text.
    """
    by_task = [instruction(name, language) for name in one_each("task", task, "general", count)]
    return by_task if prompt is None else one_each("prompt", prompt, "", count)


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


def to_tensor(rgb: Image.Image) -> Tensor:
    """A working picture as (3, height, width), 0..1."""
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).float() / 255


def noise(shape: tuple[int, ...], generator: torch.Generator | None, given: Tensor | None = None) -> Tensor:
    """Normal noise of one result: drawn on the generator's own device, or what is given.

    Raises:
        RestorerError: if what is given has another shape.
    """
    if given is None:
        return torch.randn(shape, generator=generator, device=generator.device if generator else None)
    if tuple(given.shape) != shape:
        raise RestorerError(f"latents of shape {tuple(given.shape)}: this picture needs {shape}")
    return given.float()


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
        begin, samples = [], []
        for number in range(index * results, (index + 1) * results):
            begin.append(noise(shape, generator, None if latents is None else latents[number]))
            samples.append(noise(shape, generator) if posterior == "sample" else torch.zeros(shape))
        drawn.append(Draws(torch.stack(begin), torch.stack(samples)))
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


def one_each(name: str, value: str | Sequence[str] | None, default: str, count: int) -> list[str]:
    """The texts of `count` pictures: one for all, or a list; `default` for None.

    Raises:
        RestorerError: if it is neither.
    """
    if value is None or isinstance(value, str):
        return [default if value is None else value] * count
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise RestorerError(f"{name} is {value!r}: give text, or a list of texts")
    if len(value) != count:
        raise RestorerError(
            f"{len(value)} entries in {name} for {count} pictures: give one each, or a single one"
        )
    return list(value)
