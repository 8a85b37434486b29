"""The steps of a call of RealRestorer, in the order in which it takes them; each can be taken alone.

`RealRestorerPipeline` takes all of them, `modular.py` makes a block of each.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from PIL import Image
from torch import Tensor

from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture
from ggt_hub.pipelines.base import RestorerPipeline
from ggt_hub.pipelines.realrestorer import inputs, prompts
from ggt_hub.pipelines.realrestorer.denoising import Guidance, Velocity
from ggt_hub.pipelines.realrestorer.geometry import NATIVE, pack, resize_pixels, unpack
from ggt_hub.pipelines.realrestorer.inputs import Draws, Embeds
from ggt_hub.pipelines.realrestorer.tiles import Tiles

OnStep = Callable[[int, Tensor, Tensor, Embeds], tuple[Tensor, Embeds]]


class RealRestorerSteps(RestorerPipeline):
    """What is done with the networks, and how far the call is that runs."""

    _guidance_scale: float | None = None
    _joint_attention_kwargs: dict[str, Any] | None = None
    _current_timestep: Tensor | None = None
    _interrupt = False

    @property
    def guidance_scale(self) -> float | None:
        """Weight of the prompt against the negative prompt in the call that runs; None for one pass per step."""
        return self._guidance_scale

    @property
    def joint_attention_kwargs(self) -> dict[str, Any] | None:
        """What the transformer's attention is told in the call that runs, such as the `scale` of LoRAs."""
        return self._joint_attention_kwargs

    @property
    def current_timestep(self) -> Tensor | None:
        """Time (1000 to 0) of the step that runs; None between calls. Some caches of diffusers ask for it."""
        return self._current_timestep

    @property
    def num_timesteps(self) -> int:
        """Steps of the schedule in use."""
        return len(self.scheduler.timesteps)

    @property
    def interrupt(self) -> bool:
        """Set by a callback (`pipe._interrupt = True`) to end the call; what is not finished by then is None."""
        return self._interrupt

    def split_generators(
        self, generator: torch.Generator | list[torch.Generator] | None, count: int
    ) -> list[torch.Generator | None]:
        """One generator per picture; a single one serves all pictures, one after the other.

        So its first draw is the first picture's noise, as published, and a list of pictures draws what its
        pictures would draw in calls of their own.
        """
        if isinstance(generator, torch.Generator):
            return [generator] * count
        return super().split_generators(generator, count)

    def prepare_image(
        self, image: Any, size_level: int = NATIVE, tile: int | None = None
    ) -> list[Image.Image]:
        """The pictures of a call as its networks see them, for `encode_prompt`.

        Args:
            image: as in a call.
            size_level: as in a call.
            tile: as in a call.

        Returns:
            RGB pictures of working size.
        """
        return [inputs.working_rgb(picture, size_level, tile) for picture in self.read_images(image)]

    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
    ) -> Tensor:
        """Noise to start from, as the call's `latents` takes it.

        For one picture it is what a call would draw with this generator. (A call also draws the posterior of
        each picture, after its noise.)

        Args:
            batch_size: how many pictures.
            num_channels_latents: 16 with the published weights.
            height: of the working size, in pixels.
            width: of the working size, in pixels.
            dtype: of the noise; None means float32.
            device: of the noise; None means that of the generator.
            generator: one for all, or a list with one for each.
            latents: noise to be checked and brought there, instead of drawn.

        Returns:
            (batch_size, num_channels_latents, height / 8, width / 8).

        Raises:
            RestorerError: if `latents` has another shape, or the list of generators another length.
        """
        shape = (num_channels_latents, height // 8, width // 8)
        given = [None] * batch_size if latents is None else latents
        if len(given) != batch_size:
            raise RestorerError(f"{len(given)} latents: give one for each of {batch_size} pictures")
        generators = self.split_generators(generator, batch_size)
        noise = [inputs.noise(shape, *pair) for pair in zip(generators, given, strict=True)]
        return torch.stack(noise).to(device=device, dtype=dtype)

    @torch.no_grad()
    def encode_prompt(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Embeds:
        """Read each text together with its picture; equal pairs once, and each picture is looked at once.

        Needs no network but the text encoder, so prompts can be read by a pipeline that has no other
        (`from_pretrained(..., transformer=None, connector=None, vae=None)`).

        Args:
            pictures: RGB, of working size, as `prepare_image` gives them.
            texts: one for each.

        Returns:
            Hidden states (pairs, 640, width) and their mask (pairs, 640).

        Raises:
            RestorerError: if there is no text encoder, a text is too long, or the states overflow.
        """
        if self.text_encoder is None or self.processor is None:
            raise RestorerError("this pipeline has no text encoder: pass prompt_embeds, or load it with one")
        device, sights, read = self._execution_device, {}, {}
        keys = [(picture.size, picture.tobytes()) for picture in pictures]
        for key, picture, text in zip(keys, pictures, texts, strict=True):
            if key not in sights:
                sights[key] = prompts.see(self.text_encoder, self.processor, picture, device)
            if (key, text) not in read:
                read[key, text] = prompts.read(self.text_encoder, self.processor, text, sights[key], device)
        states, masks = zip(*(read[pair] for pair in zip(keys, texts, strict=True)), strict=True)
        return inputs.check_finite(torch.stack(states), "the text encoder"), torch.stack(masks)

    def encode_pictures(self, pixels: Tensor, posterior: Sequence[Tensor]) -> Tensor:
        """Encode pictures, each sampled with the given normal noise, once or several times.

        Args:
            pixels: (B, 3, H, W), 0..1.
            posterior: for each picture (samples, 16, H / 8, W / 8); zeros give the mode.

        Returns:
            Latents as the transformer knows them, (all samples, 16, H / 8, W / 8), float32.
        """
        vae, latents = self.vae, []
        for picture, noise in zip(pixels, posterior, strict=True):
            scaled = (picture[None] * 2 - 1).to(self._execution_device, vae.dtype)
            found = vae.encode(scaled).latent_dist
            latents.append(found.mean.float() + found.std.float() * noise.to(found.mean.device))
        encoded = (torch.cat(latents) - vae.config.shift_factor) * vae.config.scaling_factor
        return inputs.check_finite(encoded, "encoding the picture")

    def set_schedule(
        self, num_inference_steps: int, tokens: int, sigmas: Sequence[float] | None = None
    ) -> None:
        """Times from 1 towards 0, shifted the more the more tokens there are (in a tile, if there are tiles).

        Args:
            num_inference_steps: how many, equally spaced before the shift.
            tokens: how many.
            sigmas: times before the shift instead, falling.
        """
        options = self.scheduler.config
        shift = calculate_shift(
            tokens,
            options.base_image_seq_len,
            options.max_image_seq_len,
            options.base_shift,
            options.max_shift,
        )
        even = np.linspace(1, 1 / num_inference_steps, num_inference_steps)
        times = even if sigmas is None else np.asarray(sigmas, np.float64)
        self.scheduler.set_timesteps(sigmas=times, mu=shift, device=self._execution_device)
        self.scheduler.set_begin_index(0)

    def denoise(
        self,
        latents: Tensor,
        reference: Tensor | None,
        embeds: Embeds,
        tiles: Tiles,
        guidance: Guidance,
        on_step: OnStep,
    ) -> Tensor:
        """Denoise along the schedule that `set_schedule` made.

        Args:
            latents: noise as tokens, (B, tiles.rows * tiles.columns, 64), float32.
            reference: the encoded pictures as tokens of the same shape; None without pictures.
            embeds: states and mask of the prompts and, with guidance, those of the negative prompts after them.
                Each prompt serves an equal share of the latents, which follow each other.
            tiles: how the grid of tokens is cut.
            guidance: how the velocities of prompt and negative prompt are joined.
            on_step: called with step, time, latents and embeddings after each step; returns the latents and
                embeddings to go on with. It may also set `_guidance_scale`.

        Returns:
            The restored tokens; unfinished ones if `_interrupt` was set.

        Raises:
            RestorerError: if they overflow, or guidance is turned on without a negative prompt.
        """
        # What caches remember is of other pictures, or of a call that failed.
        self.transformer._reset_stateful_cache()
        self._guidance_scale, sides = guidance.scale, guidance.sides
        times = self.scheduler.sigmas[:-1]
        velocity = self._velocity(embeds, reference, tiles, sides)
        for step, time in enumerate(self.scheduler.timesteps):
            if self.interrupt:
                return latents
            self._current_timestep = time
            predicted = velocity(latents, step, times[step], replace(guidance, scale=self._guidance_scale))
            latents = self.scheduler.step(predicted, time, latents, return_dict=False)[0]
            latents, kept = on_step(step, time, latents, embeds)
            if kept is not embeds:
                embeds, velocity = kept, self._velocity(kept, reference, tiles, sides)
        return inputs.check_finite(latents, "denoising")

    def _velocity(self, embeds: Embeds, reference: Tensor | None, tiles: Tiles, sides: int) -> Velocity:
        """What predicts the velocities of all steps: the connector runs now, the transformer later.

        So with offloading, the connector is gone before the transformer comes.
        """
        states, mask = (part.to(self._execution_device) for part in embeds)
        times = self.scheduler.sigmas[:-1, None].expand(-1, len(states))
        conditions = self.connector(states.to(self.connector.dtype), times, mask)
        axis, attention = self.config.reference_axis, self._joint_attention_kwargs
        conditions.tokens = conditions.tokens.to(self.transformer.dtype)
        conditions.pooled = conditions.pooled.to(self.transformer.dtype)
        return Velocity(self.transformer, conditions, sides, reference, tiles, axis, attention)

    def restore_latents(
        self,
        working: Sequence[Image.Image],
        draws: Sequence[Draws],
        embeds: Embeds,
        tiles: Tiles,
        guidance: Guidance,
        on_step: OnStep,
    ) -> Tensor:
        """Restore pictures of one working size; returns latents (results, 16, H / 8, W / 8), picture by picture.

        Args:
            working: RGB pictures as the networks see them.
            draws: the random numbers of each.
            embeds: as in `denoise`.
            tiles: as in `denoise`.
            guidance: as in `denoise`.
            on_step: as in `denoise`.
        """
        pixels = torch.stack([inputs.to_tensor(rgb) for rgb in working])
        encoded = self.encode_pictures(pixels, [drawn.posterior for drawn in draws])
        noise = torch.cat([drawn.noise for drawn in draws]).to(encoded)
        tokens = self.denoise(pack(noise), pack(encoded), embeds, tiles, guidance, on_step)
        return unpack(tokens, tiles.rows, tiles.columns)

    def decode(self, latents: Tensor) -> Tensor:
        """Inverse of `encode_pictures`: latents (B, 16, H / 8, W / 8) to pixels (B, 3, H, W), 0..1, on the CPU.

        Raises:
            RestorerError: if the autoencoder overflows.
        """
        vae = self.vae
        raw = latents.to(self._execution_device).float() / vae.config.scaling_factor + vae.config.shift_factor
        decoded = [vae.decode(one.to(vae.dtype), return_dict=False)[0].float().cpu() for one in raw.split(1)]
        pixels = inputs.check_finite(torch.cat(decoded), "decoding the picture")
        return (pixels / 2 + 0.5).clamp(0, 1)

    def finish(self, picture: Picture, latents: Tensor, tile: int | None, output_type: str) -> Any:
        """Latents (16, H / 8, W / 8) as what was asked for, at the size of the picture that was given."""
        if output_type == "latent":
            return latents
        pixels = self.decode(latents[None])[0].permute(1, 2, 0).numpy()
        if tile is None:
            pixels = resize_pixels(pixels, picture.size)
        width, height = picture.size
        return self.postprocess(picture, np.ascontiguousarray(pixels[:height, :width]), output_type)
