"""DreamClear (arXiv 2410.18666) as a restorer of ours.

PixArt's text-to-image transformer, steered by the picture and by what a simple restorer makes of it. It enlarges
by 4 unless told otherwise, and takes a caption, or the empty one that it has learned.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, SchedulerMixin
from diffusers.loaders import SanaLoraLoaderMixin
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin, T5EncoderModel

from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture
from ggt_hub.models import DreamClearTransformer2DModel, QualityPrior, SwinIR
from ggt_hub.pipelines.base import RestorerPipelineOutput
from ggt_hub.pipelines.description import RestorerDescription, SizeRule
from ggt_hub.pipelines.dreamclear import captions, inputs, loading
from ggt_hub.pipelines.dreamclear.captions import Embeds
from ggt_hub.pipelines.dreamclear.colour import with_colours_of
from ggt_hub.pipelines.dreamclear.denoising import Prediction, sampler_of
from ggt_hub.pipelines.dreamclear.memory import PHASES, MemoryConfig, plan_memory
from ggt_hub.pipelines.dreamclear.sizes import MULTIPLE, NATIVE, brought_back, network_size, result_size
from ggt_hub.pipelines.dreamclear.steps import DreamClearSteps, Floats
from ggt_hub.pipelines.dreamclear.tiles import Tiles
from ggt_hub.pipelines.parts import check_parts
from ggt_hub.pipelines.placement import Plan


class DreamClearPipeline(DreamClearSteps, SanaLoraLoaderMixin):
    """Restores and enlarges real photographs.

    Args:
        transformer: predicts noise from a latent, the picture, its reference and a caption.
        vae: Stable Diffusion's autoencoder, fine-tuned (`sd-vae-ft-ema`).
        scheduler: improved DDPM with a learned range of variance; see also the call's `scheduler`.
        pre_cleaner: makes the reference; not needed where `reference` is given.
        text_encoder: T5 1.1 XXL; only needed for captions.
        tokenizer: its tokenizer; likewise.
        captioner: any image-to-text model that chats; makes captions where none is given. See also
            `use_captioner`.
        captioner_processor: its processor.
        quality_prior: how good the result should be, for the transformer; see `load_quality_prior`.
        minimum_size: shorter side in pixels at which pictures are restored at least.
    """

    description = RestorerDescription(
        upscales=(4, 1, 2, 3),
        between_upscales=True,
        options=inputs.OPTIONS,
        sizes=SizeRule(native=NATIVE, multiple=MULTIPLE),
        tiling="internal",
        takes_prompt=True,
        prior_host="transformer.adaln_single.emb",
        phases=PHASES,
        memory="16 bits: 4.8 GB for the networks without text encoder; see plan_memory",
    )
    model_cpu_offload_seq = "pre_cleaner->captioner->text_encoder->transformer->vae"
    _optional_components = [  # noqa: RUF012 (names and types are diffusers')
        "pre_cleaner",
        "text_encoder",
        "tokenizer",
        "captioner",
        "captioner_processor",
        "quality_prior",
    ]
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012
    _lora_loadable_modules = ["transformer"]  # noqa: RUF012

    def __init__(
        self,
        transformer: DreamClearTransformer2DModel,
        vae: AutoencoderKL,
        scheduler: SchedulerMixin,
        pre_cleaner: SwinIR | None = None,
        text_encoder: T5EncoderModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        captioner: PreTrainedModel | None = None,
        captioner_processor: ProcessorMixin | None = None,
        quality_prior: QualityPrior | None = None,
        minimum_size: int = NATIVE,
    ) -> None:
        super().__init__()
        self.register_modules(
            transformer=transformer,
            vae=vae,
            scheduler=scheduler,
            pre_cleaner=pre_cleaner,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            captioner=captioner,
            captioner_processor=captioner_processor,
            quality_prior=quality_prior,
        )
        self.register_to_config(minimum_size=minimum_size)
        check_parts(loading.meetings(self.components))

    def register_modules(self, **components: Any) -> None:
        """As every restorer does; and the phases of a call are those whose networks are there."""
        super().register_modules(**components)
        here = {phase: name for phase, name in PHASES.items() if getattr(self, name, None) is not None}
        self.description = replace(self.description, phases=here)  # type: ignore[misc]

    @property
    def components(self) -> dict[str, Any]:
        """What another pipeline over the same networks is made of."""
        return {**super().components, "minimum_size": self.config.minimum_size}

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        vae_dtype: torch.dtype = torch.float32,
        **kwargs: Any,
    ) -> Self:
        """Load our own layout.

        Args:
            folder: of it.
            dtype: of transformer and text encoder, or of each network, as in diffusers; None means as stored. In
                16 bits what is small or delicate in the transformer stays in float32.
            vae_dtype: of autoencoder and pre-cleaner, which the authors run in float32.
            **kwargs: components, `minimum_size`, `variant`, and whatever diffusers takes.

        Raises:
            RestorerError: if files are missing or damaged, or tensors do not fit.
        """
        dtype, variant = kwargs.pop("torch_dtype", dtype), kwargs.pop("variant", None)
        dtypes = loading.dtypes(folder, dtype, vae_dtype, variant, kwargs)
        return super().from_folder(folder, dtype=dtypes, variant=variant, **kwargs)

    @classmethod
    def from_published(cls, folder: Path, **_: Any) -> Self:
        """Say how the published files are loaded: reading pickles of 9 GB each time would be a waste.

        Raises:
            RestorerError: always.
        """
        raise RestorerError(
            f"{folder} holds DreamClear as its authors publish it: write it once with `ggt-hub convert dreamclear "
            f"{folder} DST`, and load DST"
        )

    def plan_memory(
        self,
        budget: int,
        *,
        tile: int | None = None,
        picture: tuple[int, int] | None = None,
        upscale: float | None = None,
        prompt: str | Sequence[str] | None = None,
        prompt_embeds: Tensor | None = None,
        **_: Any,
    ) -> Plan:
        """How to run a call with these arguments within `budget` bytes of device memory.

        Other arguments make no difference: pictures run one after another, and whole ones are never on the device.

        Args:
            budget: bytes.
            tile: as in a call; with 0 the memory of the whole picture is needed.
            picture: width and height of the largest picture; must be told with `tile=0`.
            upscale: as in a call; makes a difference with `tile=0`.
            prompt: as in a call: with a caption, each step takes twice the memory.
            prompt_embeds: likewise.

        Raises:
            RestorerError: if it cannot fit; the message names the smallest budget that would.
        """
        side = inputs.TILE if tile is None else tile
        pixels = side**2
        if not side:
            wide, high = network_size(*loading.told(picture), upscale or 4, self.config.minimum_size)
            pixels = wide * high
        told = (
            prompt is not None
            or prompt_embeds is not None
            or self.captioner is not None
            or self._chat is not None
        )
        config = MemoryConfig.of(self, pixels=pixels, guided=told)
        return plan_memory(config, self.description.phases, budget)

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        *,
        task: str | None = None,
        prompt: str | list[str] | None = None,
        upscale: float | None = None,
        tile: int | None = None,
        tile_overlap: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 4.5,
        start_timestep: int = 999,
        start_from_reference: bool = True,
        color_fix: str | None = "wavelet",
        scheduler: str | None = None,
        quality: float | Sequence[float] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Sequence[Tensor] | Tensor | None = None,
        reference: Any = None,
        prompt_embeds: Tensor | None = None,
        prompt_attention_mask: Tensor | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> RestorerPipelineOutput | tuple[list[Any]]:
        """Restore one picture, or a list of them one after another.

        What is told about a picture is the prompt; else `prompt_embeds`; else what a captioner says of it, if
        there is one; else the empty caption that the transformer has learned, which needs neither text encoder
        nor captioner and half the time, for guidance has nothing to weigh then.

        Args:
            image: anything that `ggt_hub.read_image` takes, a list of such, or a batch (4-D); any size.
            task: makes no difference: any damage is restored.
            prompt: what the picture shows, in words; or one for each picture.
            upscale: any number from 1 to 4; None is 4. Small pictures are restored at `minimum_size` and brought
                back.
            tile: side in pixels of the tiles in which a latent is denoised, a multiple of 16; None is 1024, 0 one
                piece. Autoencoder and pre-cleaner have tiles of their own.
            tile_overlap: pixels that tiles share, a multiple of 8; None is a quarter of the tile, 256 of 1024.
            num_inference_steps: denoising steps.
            guidance_scale: weight of the caption against the empty one.
            start_timestep: how much noise the reference, with which denoising starts, is given; the steps are the
                same.
            start_from_reference: whether it starts with the reference, as the authors recommend, or with noise
                alone.
            color_fix: `wavelet` or `adain`: how the result gets the colours of the reference; `none` or None
                leaves it as it is.
            scheduler: `dpmsolver` samples by DPM-Solver++ instead of the pipeline's scheduler; 20 steps are
                enough.
            quality: how good the result should be, 0..1, or one for each picture, where there is a quality prior;
                None is what `set_quality` said.
            generator: of the noise; one, or one for each picture.
            latents: noise to start with instead, (4, height / 8, width / 8) of the working size for each picture.
            reference: a simple restoration of each picture, instead of the pre-cleaner's; any size.
            prompt_embeds: what `encode_prompt` returned, one for each picture, instead of a prompt.
            prompt_attention_mask: its mask; None reads all of it.
            attention_kwargs: passed to the transformer; `{"scale": 0.5}` halves LoRAs.
            output_type: `pil`, `np` or `pt`, see `RestorerPipelineOutput`; `latent` gives tensors
                (4, height / 8, width / 8) for `decode`.
            return_dict: False returns a tuple, as in diffusers.
            callback_on_step_end: called with pipeline, step, time and tensors, as in diffusers; returns a
                dictionary, with other `latents` where it wants to change them. It may set
                `pipe._guidance_scale` for the steps to come, or `pipe._interrupt = True`.
            callback_on_step_end_tensor_inputs: what it is given: `latents`, (1, 4, height / 8, width / 8).

        Returns:
            The results in order, their values truncated to the levels of the picture's depth, as published. A
            picture that was interrupted, or not begun by then, is None.

        Raises:
            TaskError, RestorerError: for what is not supported, or does not fit together, and if numbers overflow.
            ImageError: if a picture cannot be read.
        """
        self.check_inputs(
            task=task,
            prompt=None,
            upscale=upscale,
            output_type="pt" if output_type == "latent" else output_type,
            tile=tile,
            quality=quality,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            start_timestep=start_timestep,
            color_fix=color_fix,
            scheduler=scheduler,
            tile_overlap=tile_overlap,
        )
        side, shared = inputs.tile_and_overlap(tile, tile_overlap)
        inputs.check_callback(callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        self._interrupt, self._guidance_scale, self._num_timesteps = (
            False,
            guidance_scale,
            num_inference_steps,
        )

        pictures = self.read_images(image)
        count, factor = len(pictures), upscale or self.description.upscales[0]
        sizes = [network_size(*picture.size, factor, self.config.minimum_size) for picture in pictures]
        qualities, generators = self.qualities(quality, count), self.split_generators(generator, count)
        noises = inputs.one_each("latents", latents, count) or [None] * count
        references_given = inputs.one_each("reference", reference, count)
        written = inputs.prompts(prompt, count)
        encoded = inputs.given_embeds(
            prompt_embeds, prompt_attention_mask, count, self.transformer.config.caption_length
        )

        working = [self.prepare_image(picture, size) for picture, size in zip(pictures, sizes, strict=True)]
        references = self.prepare_references(working, references_given)
        embeds = self._captions(written, encoded, references)
        images: list[Any] = [None] * count
        with self.progress_bar(total=num_inference_steps * count) as bar:

            def on_step(step: int, time: Tensor, latent: Tensor) -> Tensor:
                bar.update()
                if callback_on_step_end is None:
                    return latent
                shown = {"latents": latent}
                return (callback_on_step_end(self, step, time, shown) or shown).get("latents", latent)

            for number, picture in enumerate(pictures):
                sampler = sampler_of(self.scheduler, scheduler)
                sampler.set_timesteps(num_inference_steps, device=self._execution_device)
                encodings = self.encode(working[number]), self.encode(references[number])
                noise = self.draw(encodings[1], generators[number], noises[number])
                told = None if embeds is None else captions.rows(embeds, number)
                height, width = encodings[0].shape[-2:]
                tiles = Tiles.of(height, width, side and side // 8, shared // 8)
                predict = Prediction.of(self.transformer, encodings, told, tiles, attention_kwargs)
                begin = encodings[1] if start_from_reference else None
                with self.at_quality([qualities[number]]):
                    latent = self.denoise(
                        noise, begin, predict, sampler, start_timestep, generators[number], on_step
                    )
                if self.interrupt:  # this one is noise still
                    break
                images[number] = self._finish(
                    picture, latent, references[number], factor, color_fix, output_type
                )
        self._current_timestep = None
        self.maybe_free_model_hooks()
        return RestorerPipelineOutput(images=images) if return_dict else (images,)

    def _captions(
        self, written: list[str] | None, encoded: Embeds | None, references: list[Floats]
    ) -> Embeds | None:
        """What is told about each picture; None is the learned empty caption."""
        if written is not None:
            return self.encode_prompt(written)
        if encoded is not None:
            return encoded
        described = self.describe_pictures(references)
        return None if described is None else self.encode_prompt(described, cut=True)

    def _finish(
        self,
        picture: Picture,
        latent: Tensor,
        reference: Floats,
        factor: float,
        color_fix: str | None,
        output_type: str,
    ) -> Any:
        """A restored latent as what was asked for."""
        if output_type == "latent":
            return latent[0]
        pixels = with_colours_of(self.decode(latent), reference, color_fix)
        back = brought_back(pixels, result_size(*picture.size, factor), picture.levels)
        return self.postprocess(picture, back, output_type)
