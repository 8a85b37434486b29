"""One step of RealRestorer: which way the latents move, and how guidance bends it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from ggt_hub.errors import RestorerError
from ggt_hub.models.text_connector import TextConnectorOutput
from ggt_hub.pipelines.realrestorer.geometry import position_ids
from ggt_hub.pipelines.realrestorer.tiles import Tiles


@dataclass(frozen=True)
class Guidance:
    """How the velocities of prompt and negative prompt are joined.

    Attributes:
        scale: weight of the prompt against the negative prompt; None (or -1, as the authors have it) takes one
            pass with the prompt alone.
        model: the guidance value that the transformer itself is told.
        truncate: large differences are damped while the time (1 to 0) is above this ...
        power: ... by their length to this power.
    """

    scale: float | None = 3.0
    model: float = 3.5
    truncate: float = 0.93
    power: float = 0.4

    @property
    def on(self) -> bool:
        """Whether a step takes two passes."""
        return self.scale is not None and self.scale != -1

    @property
    def sides(self) -> int:
        """2 if the negative prompt is read too."""
        return 2 if self.on else 1

    def join(self, conditional: Tensor, unconditional: Tensor, time: float) -> Tensor:
        """The guided velocity of tokens (..., tokens, features) at a time from 1 to 0."""
        difference = conditional - unconditional
        if time > self.truncate:
            difference = difference / damping(difference.norm(dim=-1, keepdim=True), self.power)
        return unconditional + (self.scale or 0.0) * difference


@dataclass(frozen=True)
class Velocity:
    """The guided velocity of latents, in tiles if there are several.

    Attributes:
        transformer: predicts the velocity of one tile.
        conditions: text inputs of all steps; if both sides were read, rows of the negative prompts follow.
        sides: 2 if there are negative prompts, else 1.
        reference: tokens of the encoded pictures, (B, rows * columns, 64); None without pictures.
        tiles: how the grid of tokens is cut. Positions start at 0 in each tile.
        reference_axis: first position axis of the reference tokens.
        attention: `joint_attention_kwargs` of the transformer.
    """

    transformer: FluxTransformer2DModel
    conditions: TextConnectorOutput
    sides: int
    reference: Tensor | None
    tiles: Tiles
    reference_axis: int
    attention: Mapping[str, Any] | None = None

    def __call__(self, latents: Tensor, step: int, time: Tensor, guidance: Guidance) -> Tensor:
        """Velocity of tokens (B, rows * columns, 64) at a step of the schedule and its time (1 to 0).

        Raises:
            RestorerError: if guidance is on and there are no negative prompts.
        """
        passes, now = (2 if guidance.on else 1), float(time)
        if passes > self.sides:
            raise RestorerError(
                "guidance was turned on while the call ran, which began without a negative prompt: begin with a "
                "guidance_scale, and turn it off until it is wanted"
            )
        prompts = self.conditions.tokens.shape[1] // self.sides * passes
        results = len(latents) * passes // prompts
        tokens = self.conditions.tokens[step, :prompts].repeat_interleave(results, dim=0)
        pooled = self.conditions.pooled[:prompts].repeat_interleave(results, dim=0)

        def of_tile(number: int, window: tuple[slice, slice]) -> Tensor:
            parts = [latents] if self.reference is None else [latents, self.reference]
            state = torch.cat([self.tiles.cut(part, window) for part in parts], dim=1).repeat(passes, 1, 1)
            told = torch.full((len(state),), guidance.model, device=state.device)
            # The name keeps apart what caches remember of tiles.
            with self.transformer.cache_context(f"tile {number}"):
                predicted = self._predict(state.to(tokens.dtype), tokens, pooled, time, told)
            if not guidance.on:
                return predicted
            conditional, unconditional = predicted.chunk(2)
            return guidance.join(conditional, unconditional, now)

        return self.tiles.blend(of_tile, latents)

    def _predict(self, state: Tensor, tokens: Tensor, pooled: Tensor, time: Tensor, told: Tensor) -> Tensor:
        """Run the transformer on the tokens of a tile."""
        predicted = self.transformer(
            hidden_states=state,
            encoder_hidden_states=tokens,
            pooled_projections=pooled,
            timestep=time.expand(len(state)),
            guidance=told if self.transformer.config.guidance_embeds else None,
            img_ids=self._positions(state.device),
            txt_ids=torch.zeros(tokens.shape[1], 3, device=state.device),
            joint_attention_kwargs=dict(self.attention) if self.attention else None,
            return_dict=False,
        )[0]
        return predicted[:, : self.tiles.tokens].float()

    def _positions(self, device: torch.device) -> Tensor:
        axes = [0] if self.reference is None else [0, self.reference_axis]
        return torch.cat([position_ids(self.tiles.height, self.tiles.width, axis, device) for axis in axes])


def damping(norm: Tensor, power: float) -> Tensor:
    """What a difference of this length is divided by: norm^power if it exceeds 1, else 1."""
    return norm.clamp(min=1) ** power
