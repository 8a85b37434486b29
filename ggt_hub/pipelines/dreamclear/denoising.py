"""From noise to a restored latent: what the transformer predicts, guided and in tiles, and the sampler's steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from ggt_hub.models import DreamClearTransformer2DModel
from ggt_hub.models.dreamclear_transformer import Conditions
from ggt_hub.pipelines.dreamclear.captions import Embeds
from ggt_hub.pipelines.dreamclear.tiles import Tiles

_GUIDED = 3
"""Channels of the noise that guidance changes; the fourth is as the caption has it, as published."""


@dataclass(frozen=True)
class Prediction:
    """Noise and variance of a picture's latent, guided, in tiles if there are several.

    Attributes:
        transformer: predicts those of one tile.
        conditions: of each tile. Those of several wait in main memory.
        tiles: how the latent is cut.
        told: whether there is a caption beside the empty one.
        attention: `attention_kwargs` of the transformer.
    """

    transformer: DreamClearTransformer2DModel
    conditions: Sequence[Conditions]
    tiles: Tiles
    told: bool
    attention: dict[str, Any] | None

    @classmethod
    def of(
        cls,
        transformer: DreamClearTransformer2DModel,
        latents: tuple[Tensor, Tensor],
        embeds: Embeds | None,
        tiles: Tiles,
        attention: dict[str, Any] | None = None,
    ) -> "Prediction":
        """Embed what stays the same in all steps.

        Args:
            transformer: predicts.
            latents: of the picture and of its reference, (1, 4, H, W) each, where the transformer runs.
            embeds: states and mask of the caption, (1, length, width) and (1, length); None is the learned empty
                one.
            tiles: how the latents are cut.
            attention: `attention_kwargs`.
        """
        states, mask = (None, None) if embeds is None else (one.to(latents[0].device) for one in embeds)
        found: list[Conditions] = []
        for window in tiles.windows():
            lq, reference = (latent[..., *window] for latent in latents)
            conditions = transformer.embed_conditions(lq, reference, states, mask, embeds is not None)
            if not tiles.one:  # the tables and captions are the same for all
                kept = found[0] if found else conditions
                conditions = replace(
                    kept, lq=_waiting(conditions.lq), reference=_waiting(conditions.reference)
                )
            found.append(conditions)
        return cls(transformer, found, tiles, embeds is not None, attention)

    def __call__(self, latent: Tensor, timestep: Tensor, scale: float) -> Tensor:
        """Noise and variance (1, 8, H, W).

        Args:
            latent: noisy, (1, 4, H, W).
            timestep: from 999 to 0.
            scale: weight of the caption against the empty one.
        """
        like = latent.new_zeros(1, 2 * latent.shape[1], *latent.shape[2:])
        return self.tiles.blend(
            lambda number, window: self._of_tile(latent[..., *window], timestep, number, scale), like
        )

    def _of_tile(self, tile: Tensor, timestep: Tensor, number: int, scale: float) -> Tensor:
        rows = tile.repeat(2, 1, 1, 1) if self.told else tile
        predicted = self.transformer(
            rows,
            timestep,
            conditions=self.conditions[number].to(tile.device),
            attention_kwargs=self.attention,
            return_dict=False,
        )[0]
        if not self.told:
            return predicted
        told, empty = predicted.chunk(2)
        guided = empty[:, :_GUIDED] + scale * (told[:, :_GUIDED] - empty[:, :_GUIDED])
        return torch.cat([guided, told[:, _GUIDED:]], dim=1)


def _waiting(tensor: Tensor) -> Tensor:
    """A tensor in main memory, from where it comes quickly."""
    return tensor.cpu().pin_memory() if tensor.is_cuda else tensor


def sampler_of(scheduler: Any, name: str | None) -> Any:
    """The sampler of a call: the scheduler as loaded, or another of its noise schedule.

    Only improved DDPM knows what to do with the learned variance; the others are told of none.
    """
    if isinstance(scheduler, DDPMScheduler) and name is None:
        return scheduler
    kind = type(scheduler) if name is None else DPMSolverMultistepScheduler
    return kind.from_config(scheduler.config, variance_type=None)


def taken(predicted: Tensor, sampler: Any) -> Tensor:
    """What a sampler reads of noise and variance (1, 8, H, W)."""
    learned = "learned" in str(sampler.config.get("variance_type"))
    return predicted if learned else predicted.chunk(2, dim=1)[0]


def start(noise: Tensor, reference: Tensor | None, sampler: Any, timestep: int) -> Tensor:
    """The latent that sampling begins with: noise, or the reference with the noise of a time (0..999).

    The time decides how much of the reference is in it; the steps are the same.
    """
    if reference is None:
        return noise * getattr(sampler, "init_noise_sigma", 1.0)
    kept = float(sampler.alphas_cumprod[timestep])
    return kept**0.5 * reference + (1 - kept) ** 0.5 * noise
