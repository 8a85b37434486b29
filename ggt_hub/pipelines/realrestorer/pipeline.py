"""RealRestorer (arXiv 2603.25502) as a restorer of ours, made of stock diffusers parts.

An image-editing FLUX: Qwen2.5-VL reads the picture and an instruction, the text connector turns what it read
into FLUX's two text inputs, and FLUX denoises the picture's tokens beside those of the encoded picture.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.loaders import FluxLoraLoaderMixin
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from PIL import Image
from torch import Tensor
from transformers import Qwen2_5_VLModel, Qwen2_5_VLProcessor

from ggt_hub.converters.realrestorer import is_published
from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture
from ggt_hub.models import TextConnector
from ggt_hub.pipelines.base import RestorerPipeline, RestorerPipelineOutput
from ggt_hub.pipelines.description import RestorerDescription
from ggt_hub.pipelines.realrestorer import inputs, loading, prompts
from ggt_hub.pipelines.realrestorer.denoising import Guidance, Velocity
from ggt_hub.pipelines.realrestorer.geometry import MULTIPLE, NATIVE, pack, resize, unpack
from ggt_hub.pipelines.realrestorer.inputs import Draws, Embeds, Posterior
from ggt_hub.pipelines.realrestorer.memory import MemoryConfig, Plan, plan_memory
from ggt_hub.pipelines.realrestorer.tiles import Tiles, tiled_autoencoder
from ggt_hub.tasks import TASKS, Language

OnStep = Callable[[int, Tensor, Tensor], Tensor]


class RealRestorerPipeline(RestorerPipeline, FluxLoraLoaderMixin):
    """Restores real photographs, told by a task or a prompt what is wrong with them.

    Args:
        transformer: FLUX.1's transformer.
        connector: from the text encoder's states to the transformer's text inputs.
        vae: FLUX.1's autoencoder.
        scheduler: flow matching with a shift that grows with the number of tokens.
        text_encoder: Qwen2.5-VL without its language head; not needed with `prompt_embeds`.
        processor: its tokenizer, chat template and image processor; not needed either then.
        reference_axis: first position axis of the reference tokens. The configuration of the published weights
            says "v1.0", which is 0; the authors' own loader forgets that and runs with 1. Which of them the
            paper's numbers used is not known.
    """

    description = RestorerDescription(
        tasks=TASKS,
        upscales=(1,),
        native_size=NATIVE,
        multiple=MULTIPLE,
        tiling="internal",
        tile=None,
        overlap=128,
        takes_prompt=True,
        memory="computed for bfloat16: 45 GB, 28 GB with model offload, 5 GB with group offload; see plan_memory",
    )
    model_cpu_offload_seq = "text_encoder->connector->transformer->vae"
    _optional_components = ["text_encoder", "processor"]  # noqa: RUF012 (names and types are diffusers')
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012
    _lora_loadable_modules = ["transformer"]  # noqa: RUF012

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        connector: TextConnector,
        vae: AutoencoderKL,
        scheduler: FlowMatchEulerDiscreteScheduler,
        text_encoder: Qwen2_5_VLModel | None = None,
        processor: Qwen2_5_VLProcessor | None = None,
        reference_axis: int = 0,
    ) -> None:
        super().__init__()
        self.register_modules(
            transformer=transformer,
            connector=connector,
            vae=vae,
            scheduler=scheduler,
            text_encoder=text_encoder,
            processor=processor,
        )
        self.register_to_config(reference_axis=reference_axis)
        self._guidance_scale: float | None = None
        self._interrupt = False

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        vae_dtype: torch.dtype = torch.float32,
        **kwargs: Any,
    ) -> Self:
        """Load the published bundle, converted on the fly, or our own layout.

        Args:
            folder: either of the two.
            dtype: of all networks but the autoencoder; None means as stored (bfloat16 in the release). For our
                own layout also one for each network, as in diffusers.
            vae_dtype: of the autoencoder. The authors' own loader uses `dtype` for it, their other code and all
                ports float32.
            **kwargs: components, `reference_axis`, and for our own layout whatever diffusers takes
                (quantisation, `device_map`).

        Raises:
            RestorerError: if files are missing or damaged, tensors do not fit, or the published bundle is asked
                for in a way that only our own layout supports.
        """
        dtype = kwargs.pop("torch_dtype", dtype)
        if is_published(folder):
            known = {name for names in cls._get_signature_keys(cls) for name in names}
            pipe = cls(**loading.published(folder, dtype, vae_dtype, kwargs, known))
            pipe.register_to_config(_name_or_path=str(folder))
            return pipe
        dtypes = loading.own_dtypes(folder, dtype, vae_dtype, kwargs)
        pipe = super().from_folder(folder, dtype=dtypes, **kwargs)
        if "text_encoder" not in kwargs:
            loading.check_text_encoder(pipe.text_encoder, folder / "text_encoder")
        return pipe

    def plan_memory(
        self,
        budget: int,
        *,
        float8: bool = False,
        tile: int | None = None,
        size_level: int = NATIVE,
        num_inference_steps: int = 28,
        guidance_scale: float | None = 3.0,
        num_images_per_prompt: int = 1,
        **_: Any,
    ) -> Plan:
        """How to run a call with these arguments, on one picture, within `budget` bytes of device memory.

        Other arguments of a call make no difference. `Plan.apply` then brings the pipeline to the device.

        Raises:
            RestorerError: if it cannot fit; the message names the smallest budget that would.
        """
        config = MemoryConfig.of(
            self,
            pixels=(tile or size_level) ** 2,
            decoded=max(tile, NATIVE) ** 2 if tile else None,
            results=num_images_per_prompt,
            guided=Guidance(guidance_scale).on,
            steps=num_inference_steps,
            float8=float8,
        )
        return plan_memory(config, budget)

    @property
    def guidance_scale(self) -> float | None:
        """Weight of the prompt against the negative prompt in the call that runs; None for one pass per step."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """Steps of the schedule in use."""
        return len(self.scheduler.timesteps)

    @property
    def interrupt(self) -> bool:
        """Set by a callback (`pipe._interrupt = True`) to leave out the remaining steps."""
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

    def encode_prompt(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Embeds:
        """Read each text together with its picture; equal pairs once, and each picture is looked at once.

        Args:
            pictures: RGB, of working size.
            texts: one for each.

        Returns:
            Hidden states (pairs, 640, width) and their mask (pairs, 640).
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
        return torch.stack(states), torch.stack(masks)

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
        return (torch.cat(latents) - vae.config.shift_factor) * vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Inverse of `encode_pictures`: latents (B, 16, H / 8, W / 8) to pixels (B, 3, H, W), 0..1, on the CPU."""
        vae = self.vae
        raw = latents.to(self._execution_device).float() / vae.config.scaling_factor + vae.config.shift_factor
        decoded = [vae.decode(one.to(vae.dtype), return_dict=False)[0].float().cpu() for one in raw.split(1)]
        return (torch.cat(decoded) / 2 + 0.5).clamp(0, 1)

    def set_schedule(self, num_inference_steps: int, tokens: int) -> None:
        """Times from 1 towards 0, shifted the more the more tokens there are (in a tile, if there are tiles)."""
        options = self.scheduler.config
        shift = calculate_shift(
            tokens,
            options.base_image_seq_len,
            options.max_image_seq_len,
            options.base_shift,
            options.max_shift,
        )
        sigmas = np.linspace(1, 1 / num_inference_steps, num_inference_steps)
        self.scheduler.set_timesteps(sigmas=sigmas, mu=shift, device=self._execution_device)
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
            on_step: called with step, time and latents after each step; returns the latents to go on with.

        Returns:
            The restored tokens.
        """
        states, mask = (part.to(self._execution_device) for part in embeds)
        times = self.scheduler.sigmas[:-1]
        # All steps at once: with offloading, the connector is gone before the transformer comes.
        conditions = self.connector(
            states.to(self.connector.dtype), times[:, None].expand(-1, len(states)), mask
        )
        axis = self.config.reference_axis
        velocity = Velocity(self.transformer, conditions, reference, tiles, guidance, axis)
        for step, time in enumerate(self.scheduler.timesteps):
            if self.interrupt:
                break
            predicted = velocity(latents, step, times[step])
            latents = self.scheduler.step(predicted, time, latents, return_dict=False)[0]
            latents = on_step(step, time, latents)
        return latents

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
        pixels = torch.stack([_to_tensor(rgb) for rgb in working])
        encoded = self.encode_pictures(pixels, [drawn.posterior for drawn in draws])
        noise = torch.cat([drawn.noise for drawn in draws]).to(encoded)
        tokens = self.denoise(pack(noise), pack(encoded), embeds, tiles, guidance, on_step)
        return unpack(tokens, tiles.rows, tiles.columns)

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        *,
        task: str | list[str] | None = None,
        prompt: str | list[str] | None = None,
        negative_prompt: str = "",
        language: Language = "en",
        upscale: int | None = None,
        tile: int | None = None,
        size_level: int = NATIVE,
        num_inference_steps: int = 28,
        guidance_scale: float | None = 3.0,
        model_guidance: float = 3.5,
        timesteps_truncate: float = 0.93,
        process_norm_power: float = 0.4,
        posterior: Posterior = "sample",
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Sequence[Tensor] | Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        prompt_embeds_mask: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_prompt_embeds_mask: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> RestorerPipelineOutput | tuple[list[Any]]:
        """Restore one picture or a list of them.

        By default this is the published call: the picture is resized to about `size_level` squared pixels,
        restored, and resized back to its own size. With `tile` it is restored at its own size.

        Args:
            image: anything that `ggt_hub.read_image` takes, a list of such, or a batch (4-D); any size.
                Pictures of one working size run together, others after each other.
            task: what is wrong; picks the instruction that the weights were trained with (`ggt_hub.tasks`). A
                list has one for each picture. `snow`, `old_photo` and `general` use texts of ours.
            prompt: an instruction in your own words instead, or one for each picture. Neither of the two means
                `general`.
            negative_prompt: what to steer away from; the authors restore with the empty string.
            language: of the instruction, `en` or `zh`; both were trained.
            upscale: only 1 (None) is supported.
            tile: restore at the picture's own size, in tiles of this side in pixels (a multiple of 16, at least
                32); 0 in one piece; None is the published call. What the published weights make of tiles is
                not measured.
            size_level: square root of the working area in pixels.
            num_inference_steps: denoising steps.
            guidance_scale: weight of the prompt against the negative prompt; None (or -1, as the authors have
                it) leaves the negative prompt out, which halves the time.
            model_guidance: the guidance value that the transformer itself is told.
            timesteps_truncate: while the time (1 to 0) is above this, large differences between the prompt's and
                the negative prompt's velocity are damped ...
            process_norm_power: ... by their length to this power.
            posterior: whether the encoded picture is a `sample` of its posterior, as the authors have it, or
                its `mode`.
            num_images_per_prompt: results for each picture; those of one picture follow each other.
            generator: of noise and posterior sample, drawn for one result after another. A list has one for
                each picture, and then no result depends on the picture's neighbours.
            latents: noise to start from instead, one (16, height / 8, width / 8) for each result.
            prompt_embeds: what `encode_prompt` returned for the pictures, instead of task and prompt.
            prompt_embeds_mask: its mask.
            negative_prompt_embeds: the same for the negative prompt.
            negative_prompt_embeds_mask: its mask.
            output_type: `pil`, `np` or `pt`, see `RestorerPipelineOutput`; `latent` gives tensors
                (16, height / 8, width / 8) for `decode`.
            return_dict: False returns a tuple, as in diffusers.
            callback_on_step_end: called with pipeline, step, time and tensors, as in diffusers; returns a
                dictionary, with other `latents` if it wants to change them, and may set `pipe._interrupt = True`.
            callback_on_step_end_tensor_inputs: what it is given: `latents`.

        Raises:
            TaskError, RestorerError: for what is not supported, or does not fit together.
            ImageError: if a picture cannot be read.
        """
        offered = "pt" if output_type == "latent" else output_type
        self.check_inputs(task=None, prompt=None, upscale=upscale, output_type=offered, tile=tile)
        inputs.check_options(num_inference_steps, size_level, num_images_per_prompt, tile, posterior)
        inputs.check_callback(callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        guidance = Guidance(guidance_scale, model_guidance, timesteps_truncate, process_norm_power)
        self._guidance_scale, self._interrupt = guidance_scale, False

        pictures = self.read_images(image)
        count, results = len(pictures), num_images_per_prompt
        texts = inputs.instructions(count, task, prompt, language)
        given = [inputs.given_embeds("prompt_embeds", prompt_embeds, prompt_embeds_mask, count)]
        if guidance.on:
            negative = "negative_prompt_embeds", negative_prompt_embeds, negative_prompt_embeds_mask
            given.append(inputs.given_embeds(*negative, count))
        working = [inputs.working_rgb(picture, size_level, tile) for picture in pictures]
        generators = self.split_generators(generator, count)
        channels = self.vae.config.latent_channels
        draws = inputs.draw(working, generators, results, channels, latents, posterior)
        embeds = self._encode_missing(working, [texts, [negative_prompt] * count], given)

        groups = inputs.by_size(working)
        images: list[Any] = [None] * (count * results)
        with self.progress_bar(total=num_inference_steps * len(groups)) as bar:

            def on_step(step: int, time: Tensor, tokens: Tensor) -> Tensor:
                bar.update()
                if callback_on_step_end is None:
                    return tokens
                shown = dict.fromkeys(callback_on_step_end_tensor_inputs, tokens)
                return callback_on_step_end(self, step, time, shown).get("latents", tokens)

            for members in groups:
                tiles = inputs.tiles_of(working[members[0]], tile)
                self.set_schedule(num_inference_steps, tiles.tokens)
                together = [working[i] for i in members], [draws[i] for i in members]
                told = inputs.rows_of(embeds, members)
                with tiled_autoencoder(self.vae, tiles):
                    restored = self.restore_latents(*together, told, tiles, guidance, on_step)
                    for member, of_one in zip(members, restored.chunk(len(members)), strict=True):
                        finished = [self._finish(pictures[member], one, tile, output_type) for one in of_one]
                        images[member * results : (member + 1) * results] = finished
        self.maybe_free_model_hooks()
        return RestorerPipelineOutput(images=images) if return_dict else (images,)

    def _encode_missing(
        self, working: list[Image.Image], texts: list[list[str]], given: list[Embeds | None]
    ) -> list[Embeds]:
        """States of the prompts and, if `given` has a second place, of the negative ones: given or encoded."""
        missing = [side for side, embeds in zip(texts, given, strict=False) if embeds is None]
        if not missing:
            return [embeds for embeds in given if embeds is not None]
        states, masks = self.encode_prompt(
            working * len(missing), [text for side in missing for text in side]
        )
        found = zip(states.chunk(len(missing)), masks.chunk(len(missing)), strict=True)
        return [next(found) if embeds is None else embeds for embeds in given]

    def _finish(self, picture: Picture, latents: Tensor, tile: int | None, output_type: str) -> Any:
        """Latents (16, H / 8, W / 8) as what was asked for, at the size of the picture that was given."""
        if output_type == "latent":
            return latents
        rgb = _to_image(self.decode(latents[None])[0])
        if tile is None:
            rgb = resize(rgb, picture.size, Image.Resampling.BICUBIC)
        else:
            rgb = rgb.crop((0, 0, *picture.size))
        return self.postprocess(picture, np.asarray(rgb, np.float32) / np.float32(255), output_type)


def _to_tensor(rgb: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).float() / 255


def _to_image(pixels: Tensor) -> Image.Image:
    return Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
