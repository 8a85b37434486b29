"""The steps of a call of DreamClear, in the order in which it takes them; each can be taken alone."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from inspect import signature
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture, read_image, run_tiled
from ggt_hub.pipelines.base import RestorerPipeline
from ggt_hub.pipelines.dreamclear import captions, denoising
from ggt_hub.pipelines.dreamclear.captions import Embeds
from ggt_hub.pipelines.dreamclear.denoising import Prediction
from ggt_hub.pipelines.dreamclear.memory import PIECE
from ggt_hub.pipelines.dreamclear.sizes import MULTIPLE, enlarged
from ggt_hub.vlm import Chat

Floats = NDArray[np.float32]
OnStep = Callable[[int, Tensor, Tensor], Tensor]

_LATENT = 8  # pixels to a side of the latent
_SHARED = 128  # pixels over which neighbouring pieces of autoencoder and pre-cleaner fade into each other


class DreamClearSteps(RestorerPipeline):
    """What is done with the networks, and how far the call is that runs."""

    _guidance_scale = 4.5
    _current_timestep: Tensor | None = None
    _num_timesteps = 0
    _interrupt = False
    _chat: Chat | None = None

    @property
    def guidance_scale(self) -> float:
        """Weight of the caption against the empty one in the call that runs; a callback may change it."""
        return self._guidance_scale

    @property
    def current_timestep(self) -> Tensor | None:
        """Time (999 to 0) of the step that runs; None between calls."""
        return self._current_timestep

    @property
    def num_timesteps(self) -> int:
        """Steps of the call that runs."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Set by a callback (`pipe._interrupt = True`) to end the call; what is not finished by then is None."""
        return self._interrupt

    def use_captioner(self, chat: Chat | None) -> None:
        """Have pictures described by something that answers questions about them, such as a server.

        Args:
            chat: `ggt_hub.vlm.ServerChat` or the like; None goes back to the captioner among the components.
        """
        self._chat = chat

    def split_generators(
        self, generator: torch.Generator | list[torch.Generator] | None, count: int
    ) -> list[torch.Generator | None]:
        """One generator per picture; a single one serves all pictures, one after the other.

        So a list of pictures draws what its pictures would draw in calls of their own.
        """
        if isinstance(generator, torch.Generator):
            return [generator] * count
        return super().split_generators(generator, count)

    def prepare_image(self, picture: Picture, size: tuple[int, int]) -> Floats:
        """A picture as the networks see it: bicubic from 8 bits to `size`, (height, width, 3), 0..1."""
        rgb = Image.fromarray(np.rint(picture.rgb() * 255).astype(np.uint8))
        return enlarged(rgb, size)

    def prepare_references(
        self, working: Sequence[Floats], given: Sequence[Any] | None = None
    ) -> list[Floats]:
        """What the pre-cleaner makes of pictures, or what is given instead, resized.

        Args:
            working: pictures as `prepare_image` gives them.
            given: anything that `read_image` takes, for each.

        Raises:
            RestorerError: if there is neither.
            ImageError: if one that is given cannot be read.
        """
        if given is not None:
            sizes = [(pixels.shape[1], pixels.shape[0]) for pixels in working]
            return [self.prepare_image(read_image(one), size) for one, size in zip(given, sizes, strict=True)]
        if self.pre_cleaner is None:
            raise RestorerError(
                "this restorer has no pre-cleaner: load it with one, or pass a simple restoration as reference="
            )
        return [self._in_pieces(self._clean, pixels, Fraction(1)) for pixels in working]

    def describe_pictures(self, references: Sequence[Floats]) -> list[str] | None:
        """Captions of pre-cleaned pictures; None if there is no captioner."""
        if self._chat is None and (self.captioner is None or self.captioner_processor is None):
            return None
        told = self.captioner, self.captioner_processor, self._chat, self._execution_device
        return [captions.describe(pixels, *told) for pixels in references]

    @torch.no_grad()
    def encode_prompt(self, prompts: Sequence[str], cut: bool = False) -> Embeds:
        """States of captions (captions, length, width) and their mask (captions, length).

        Args:
            prompts: captions.
            cut: whether a longer one than is read is cut.

        Raises:
            RestorerError: if there is no text encoder, or a caption is too long.
        """
        length = self.transformer.config.caption_length
        return captions.encode(
            prompts, self.text_encoder, self.tokenizer, length, self._execution_device, cut
        )

    def encode(self, pixels: Floats) -> Tensor:
        """The mode of a picture's latent, (1, 4, H / 8, W / 8), float32, where the transformer runs."""
        latent = self._in_pieces(self._encode, pixels, Fraction(1, _LATENT))
        return torch.from_numpy(latent).permute(2, 0, 1)[None].to(self._execution_device)

    def decode(self, latent: Tensor) -> Floats:
        """Inverse of `encode`: pixels (H, W, 3), nominally 0..1, in main memory."""
        rows = latent[0].permute(1, 2, 0).float().cpu().numpy()
        return self._in_pieces(self._decode, rows, Fraction(_LATENT))

    def denoise(
        self,
        noise: Tensor,
        begin: Tensor | None,
        predict: Prediction,
        sampler: Any,
        start_timestep: int,
        generator: torch.Generator | None,
        on_step: OnStep,
    ) -> Tensor:
        """Denoise a latent along the sampler's times.

        Args:
            noise: (1, 4, H, W).
            begin: latent that is mixed into it at the beginning; None begins with noise alone.
            predict: noise and variance of a latent at a time.
            sampler: whose times are set.
            start_timestep: how noisy `begin` is, 0..999.
            generator: of the noise that steps add.
            on_step: called with step, time and latent after each; returns the latent to go on with.

        Returns:
            The restored latent; an unfinished one if `_interrupt` was set.

        Raises:
            RestorerError: if it overflows.
        """
        latent = denoising.start(noise, begin, sampler, start_timestep)
        draws = {"generator": generator} if "generator" in signature(sampler.step).parameters else {}
        for step, time in enumerate(sampler.timesteps):
            if self.interrupt:
                return latent
            self._current_timestep = time
            predicted = predict(sampler.scale_model_input(latent, time), time, self._guidance_scale)
            given = denoising.taken(predicted, sampler)
            latent = on_step(step, time, sampler.step(given, time, latent, return_dict=False, **draws)[0])
        if not latent.isfinite().all():
            raise RestorerError(
                "denoising overflowed (NaN or infinite), so nothing is restored: load in float32, and check "
                "the weights, LoRAs and embeddings that were given"
            )
        return latent

    def draw(self, latent: Tensor, generator: torch.Generator | None, given: Tensor | None) -> Tensor:
        """The noise that sampling of a latent begins with: drawn, or what is given.

        Raises:
            RestorerError: if what is given has another shape.
        """
        if given is None:
            return randn_tensor(latent.shape, generator=generator, device=latent.device, dtype=latent.dtype)
        if given.shape != latent.shape[1:]:
            raise RestorerError(
                f"latents of shape {tuple(given.shape)}: this picture needs {tuple(latent.shape[1:])}"
            )
        return given[None].to(latent)

    def _in_pieces(self, function: Callable[[Tensor], Tensor], whole: Floats, scale: Fraction) -> Floats:
        """Run a network over something as large as a picture, (height, width, C), in main memory."""
        unit = _LATENT if scale == _LATENT else 1  # what pieces are measured in is the input's own pixels
        return run_tiled(
            lambda piece: function(piece.to(self._execution_device)),
            whole,
            tile=PIECE // unit,
            overlap=_SHARED // unit,
            scale=scale,
            multiple=MULTIPLE // unit,
        )

    def _clean(self, pixels: Tensor) -> Tensor:
        return self.pre_cleaner(pixels.to(self.pre_cleaner.dtype)).float().clamp(0, 1)

    def _encode(self, pixels: Tensor) -> Tensor:
        found = self.vae.encode((pixels * 2 - 1).to(self.vae.dtype)).latent_dist.mode()
        return found.float() * self.vae.config.scaling_factor

    def _decode(self, latent: Tensor) -> Tensor:
        scaled = (latent / self.vae.config.scaling_factor).to(self.vae.dtype)
        return self.vae.decode(scaled, return_dict=False)[0].float() / 2 + 0.5
