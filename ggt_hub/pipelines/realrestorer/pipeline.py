"""RealRestorer (arXiv 2603.25502) as a restorer of ours, made of stock diffusers parts.

An image-editing FLUX: Qwen2.5-VL reads the picture and an instruction, the text connector turns what it read
into FLUX's two text inputs, and FLUX denoises the picture's tokens beside those of the encoded picture.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.loaders import FluxLoraLoaderMixin
from PIL import Image
from torch import Tensor
from transformers import Qwen2_5_VLModel, Qwen2_5_VLProcessor

from ggt_hub.converters.realrestorer_file import load_single_file
from ggt_hub.models import QualityPrior, TextConnector
from ggt_hub.pipelines.base import RestorerPipelineOutput
from ggt_hub.pipelines.description import RestorerDescription, SizeRule
from ggt_hub.pipelines.layouts import WHERE, locate
from ggt_hub.pipelines.parts import check_parts
from ggt_hub.pipelines.realrestorer import inputs, loading, prompts
from ggt_hub.pipelines.realrestorer.denoising import Guidance
from ggt_hub.pipelines.realrestorer.geometry import MULTIPLE, NATIVE
from ggt_hub.pipelines.realrestorer.inputs import OPTIONS, Embeds, Posterior
from ggt_hub.pipelines.realrestorer.instructions import Language
from ggt_hub.pipelines.realrestorer.memory import PHASES, MemoryConfig, Plan, pixels_of, plan_memory
from ggt_hub.pipelines.realrestorer.steps import RealRestorerSteps
from ggt_hub.pipelines.realrestorer.tiles import set_tile_size, tiled_autoencoder
from ggt_hub.tasks import TASKS


class RealRestorerPipeline(RealRestorerSteps, FluxLoraLoaderMixin):
    """Restores real photographs, told by a task or a prompt what is wrong with them.

    Args:
        transformer: FLUX.1's transformer.
        connector: from the text encoder's states to the transformer's text inputs.
        vae: FLUX.1's autoencoder.
        scheduler: flow matching with a shift that grows with the number of tokens.
        text_encoder: Qwen2.5-VL without its language head; not needed with `prompt_embeds`.
        quality_prior: how good the result should be, for the transformer; see `load_quality_prior`.
        processor: its tokenizer, chat template and image processor; not needed either then.
        reference_axis: first position axis of the reference tokens. The configuration of the published weights
            says "v1.0", which is 0; the authors' own loader forgets that and runs with 1. Which of them the
            paper's numbers used is not known.
    """

    description = RestorerDescription(
        tasks=TASKS,
        options=OPTIONS,
        sizes=SizeRule(native=NATIVE, multiple=MULTIPLE, aspect=prompts.STEEPEST),
        tiling="internal",
        takes_prompt=True,
        prior_host="transformer.time_text_embed",
        phases=PHASES,
        memory="bfloat16 at 1024x1024: 51 GB, 31 GB one network at a time, 13 GB streamed; see plan_memory",
    )
    model_cpu_offload_seq = "text_encoder->connector->transformer->vae"
    _optional_components = ["text_encoder", "processor", "quality_prior"]  # noqa: RUF012 (names and types are diffusers')
    _callback_tensor_inputs = [  # noqa: RUF012
        "latents",
        "prompt_embeds",
        "prompt_embeds_mask",
        "negative_prompt_embeds",
        "negative_prompt_embeds_mask",
    ]
    _lora_loadable_modules = ["transformer"]  # noqa: RUF012

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        connector: TextConnector,
        vae: AutoencoderKL,
        scheduler: FlowMatchEulerDiscreteScheduler,
        text_encoder: Qwen2_5_VLModel | None = None,
        processor: Qwen2_5_VLProcessor | None = None,
        quality_prior: QualityPrior | None = None,
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
            quality_prior=quality_prior,
        )
        self.register_to_config(reference_axis=reference_axis)
        check_parts(loading.meetings(self.components))
        if vae is not None:  # a pipeline that only encodes prompts needs none
            set_tile_size(vae)

    @property
    def components(self) -> dict[str, Any]:
        """What another pipeline over the same networks is made of: they, and the axis they were trained with."""
        return {**super().components, "reference_axis": self.config.reference_axis}

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
            dtype: of all networks but the autoencoder, or of each, as in diffusers; None means as stored.
            vae_dtype: of the autoencoder. The authors' own loader uses `dtype` for it, their other code and all
                ports float32.
            **kwargs: components, `reference_axis`, `variant`, and whatever diffusers takes (quantisation,
                `device_map`).

        Raises:
            RestorerError: if files are missing or damaged, or tensors do not fit.
        """
        dtype, variant = kwargs.pop("torch_dtype", dtype), kwargs.pop("variant", None)
        loading.check_asked(folder, dtype, vae_dtype, variant)
        dtypes = loading.own_dtypes(folder, dtype, vae_dtype, variant, kwargs)
        loaded = loading.own_processor(folder, kwargs)
        pipe = super().from_folder(folder, dtype=dtypes, variant=variant, **loaded, **kwargs)
        if "text_encoder" not in kwargs:
            loading.check_text_encoder(pipe.text_encoder, folder / "text_encoder", variant)
        return pipe

    @classmethod
    def from_published(
        cls,
        folder: Path,
        *,
        dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        vae_dtype: torch.dtype = torch.float32,
        **kwargs: Any,
    ) -> Self:
        """Load the published bundle, converted on the fly.

        Args:
            folder: of it.
            dtype: of all networks but the autoencoder; None means as stored (bfloat16 in the release).
            vae_dtype: as in `from_folder`.
            **kwargs: components, `reference_axis` and `variant`.

        Raises:
            RestorerError: if files are missing or damaged, tensors do not fit, or it is asked for in a way that
                only our own layout supports.
        """
        dtype, variant = kwargs.pop("torch_dtype", dtype), kwargs.pop("variant", None)
        loading.check_asked(folder, dtype, vae_dtype, variant)
        known = {name for names in cls._get_signature_keys(cls) for name in names}
        pipe = cls(**loading.published(folder, dtype, vae_dtype, variant, kwargs, known))
        pipe.register_to_config(_name_or_path=str(folder))
        return pipe

    @classmethod
    def from_single_file(
        cls,
        file: str | Path,
        *,
        config: str | Path,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load transformer and connector from one file, and all else from `config`.

        Args:
            file: safetensors, under the names of the published bundle or of diffusers, also in float8.
            config: a folder, or an id on the Hub, of the published bundle or of our own layout.
            dtype: of all networks but the autoencoder; None means as stored, which float8 cannot be.
            **kwargs: as in `from_pretrained`.

        Raises:
            RestorerError: if the file does not hold RealRestorer's denoiser, or does not fit `config`.
            HubError: if `config` cannot be had.
        """
        dtype = kwargs.pop("torch_dtype", dtype)
        loading.check_dtype(dtype)
        where = {key: kwargs.pop(key) for key in WHERE if key in kwargs}
        base = locate(config, where)
        loaded = load_single_file(Path(file).expanduser(), base, dtype)
        return cls.from_pretrained(base, dtype=dtype, **{**loaded, **kwargs})

    def plan_memory(
        self,
        budget: int,
        *,
        float8: bool = False,
        compile: bool = False,
        picture: tuple[int, int] | None = None,
        pictures: int = 1,
        tile: int | None = None,
        size_level: int = NATIVE,
        num_inference_steps: int = 28,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = 3.0,
        num_images_per_prompt: int = 1,
        **_: Any,
    ) -> Plan:
        """How to run a call with these arguments within `budget` bytes of device memory.

        Other arguments of a call make no difference. `Plan.apply` then brings the pipeline to the device.

        Args:
            budget: bytes.
            float8: keep the weights of transformer and text encoder in 8 bits, which is an approximation.
            compile: compile the transformer's blocks; the plan says what that costs. Not while it is streamed.
            picture: width and height of the largest picture; counts where it is restored at its own size, and
                must be told where that is in one piece (`tile=0`). 4096 x 4096 in tiles, unless told.
            pictures: how many of one size are restored together.
            tile: as in a call, and so the rest.
            size_level: as in a call.
            num_inference_steps: as in a call.
            sigmas: as in a call.
            guidance_scale: as in a call.
            num_images_per_prompt: as in a call.

        Raises:
            RestorerError: if it cannot fit; the message names the smallest budget that would.
        """
        config = MemoryConfig.of(
            self,
            **pixels_of(tile, size_level, picture),
            results=num_images_per_prompt * pictures,
            guided=Guidance(guidance_scale).on,
            steps=num_inference_steps if sigmas is None else len(sigmas),
            float8=float8,
            compile=compile,
        )
        return plan_memory(config, budget)

    def check_inputs(self, *, tile: int | None, **arguments: Any) -> None:
        """As every restorer does, and refuse tiles that are no whole tokens."""
        super().check_inputs(tile=tile, **arguments)
        inputs.check_tile(tile)

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        *,
        task: str | list[str] | None = None,
        prompt: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = None,
        language: Language = "en",
        upscale: int | None = None,
        tile: int | None = None,
        size_level: int = NATIVE,
        num_inference_steps: int = 28,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = 3.0,
        model_guidance: float = 3.5,
        timesteps_truncate: float = 0.93,
        process_norm_power: float = 0.4,
        quality: float | Sequence[float] | None = None,
        posterior: Posterior = "sample",
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Sequence[Tensor] | Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        prompt_embeds_mask: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_prompt_embeds_mask: Tensor | None = None,
        joint_attention_kwargs: dict[str, Any] | None = None,
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
            task: what is wrong; picks the instruction that the weights were trained with (`instructions.py`). A
                list has one for each picture. `snow`, `old_photo` and `general` use texts of ours.
            prompt: an instruction in your own words instead, or one for each picture. Neither of the two means
                `general`.
            negative_prompt: what to steer away from, or one for each picture; None means the empty string, with
                which the authors restore.
            language: of the instruction, `en` or `zh`; both were trained.
            upscale: only 1 (None) is supported.
            tile: restore at the picture's own size, in tiles of this side in pixels (a multiple of 16, at least
                32); 0 in one piece; None is the published call. What the published weights make of tiles is
                not measured.
            size_level: square root of the working area in pixels.
            num_inference_steps: denoising steps.
            sigmas: times of the steps instead, falling from 1 towards 0, before the shift.
            guidance_scale: weight of the prompt against the negative prompt; None (or -1, as the authors have
                it) leaves the negative prompt out, which halves the time.
            model_guidance: the guidance value that the transformer itself is told.
            timesteps_truncate: while the time (1 to 0) is above this, large differences between the prompt's and
                the negative prompt's velocity are damped ...
            process_norm_power: ... by their length to this power.
            quality: how good the result should be, 0..1, or one for each picture, where there is a quality prior;
                None is what `set_quality` said. Prompt and negative prompt are told the same.
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
            joint_attention_kwargs: passed to the transformer's attention; `{"scale": 0.5}` halves LoRAs.
            output_type: `pil`, `np` or `pt`, see `RestorerPipelineOutput`; `latent` gives tensors
                (16, height / 8, width / 8) for `decode`.
            return_dict: False returns a tuple, as in diffusers.
            callback_on_step_end: called with pipeline, step, time and tensors, as in diffusers; returns a
                dictionary, with other tensors where it wants to change them. It may set `pipe._guidance_scale`
                for the steps to come (None leaves the negative prompt out), or `pipe._interrupt = True`.
            callback_on_step_end_tensor_inputs: what it is given, of the pictures that run together: `latents`
                (tokens), `prompt_embeds`, `negative_prompt_embeds` and their masks.

        Returns:
            The results in order. A picture that was interrupted, or not begun by then, is None.

        Raises:
            TaskError, RestorerError: for what is not supported, or does not fit together, and if numbers overflow.
            ImageError: if a picture cannot be read.
        """
        offered = "pt" if output_type == "latent" else output_type
        self.check_inputs(
            task=None,
            prompt=None,
            upscale=upscale,
            output_type=offered,
            tile=tile,
            language=language,
            size_level=size_level,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            model_guidance=model_guidance,
            timesteps_truncate=timesteps_truncate,
            process_norm_power=process_norm_power,
            quality=quality,
            posterior=posterior,
            num_images_per_prompt=num_images_per_prompt,
        )
        inputs.check_sigmas(sigmas)
        guidance = Guidance(guidance_scale, model_guidance, timesteps_truncate, process_norm_power)
        steps, sides = len(sigmas) if sigmas is not None else num_inference_steps, guidance.sides
        inputs.check_callback(
            callback_on_step_end_tensor_inputs, self._callback_tensor_inputs, guided=guidance.on
        )
        self._joint_attention_kwargs, self._interrupt = joint_attention_kwargs, False

        pictures = self.read_images(image)
        count, results = len(pictures), num_images_per_prompt
        qualities = self.qualities(quality, count)
        texts = inputs.instructions(count, task, prompt, language)
        negatives = inputs.one_each("negative_prompt", negative_prompt, "", count)
        given = [inputs.given_embeds("prompt_embeds", prompt_embeds, prompt_embeds_mask, count)]
        if guidance.on:
            negative = "negative_prompt_embeds", negative_prompt_embeds, negative_prompt_embeds_mask
            given.append(inputs.given_embeds(*negative, count))
        working = [inputs.working_rgb(picture, size_level, tile) for picture in pictures]
        generators = self.split_generators(generator, count)
        channels = self.vae.config.latent_channels
        draws = inputs.draw(working, generators, results, channels, latents, posterior)
        embeds = self._encode_missing(working, [texts, negatives], given)

        groups = inputs.by_size(working)
        images: list[Any] = [None] * (count * results)
        done = 0
        with self.progress_bar(total=steps * len(groups)) as bar:

            def on_step(step: int, time: Tensor, tokens: Tensor, told: Embeds) -> tuple[Tensor, Embeds]:
                nonlocal done
                done += 1
                bar.update()
                if callback_on_step_end is None:
                    return tokens, told
                tensors = {"latents": tokens, **inputs.named(told, sides)}
                shown = {name: tensors[name] for name in callback_on_step_end_tensor_inputs}
                new = inputs.changed(shown, callback_on_step_end(self, step, time, shown) or {})
                tensors |= new
                return tensors["latents"], told if new.keys() <= {"latents"} else inputs.joined(
                    tensors, sides
                )

            for begun, members in enumerate(groups):
                tiles = inputs.tiles_of(working[members[0]], tile)
                self.set_schedule(steps, tiles.tokens, sigmas)
                together = [working[i] for i in members], [draws[i] for i in members]
                told = inputs.rows_of(embeds, members)
                good = self.at_quality([qualities[i] for i in members], results)
                with good, tiled_autoencoder(self.vae, tiles):
                    restored = self.restore_latents(*together, told, tiles, guidance, on_step)
                    if done < steps * (begun + 1):  # interrupted: these are noise still
                        break
                    for member, of_one in zip(members, restored.chunk(len(members)), strict=True):
                        finished = [self.finish(pictures[member], one, tile, output_type) for one in of_one]
                        images[member * results : (member + 1) * results] = finished
                if self.interrupt:
                    break
        self._current_timestep = None
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
