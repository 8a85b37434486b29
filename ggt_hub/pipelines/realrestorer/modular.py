"""RealRestorer as blocks that may be taken out, replaced or joined with others: diffusers' modular pipelines.

The steps are those of `RealRestorerPipeline`, one picture at a time; how prompt and negative prompt are joined is a
guider, which may be another of diffusers that knows the two.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, ModularPipeline
from diffusers.configuration_utils import FrozenDict, register_to_config
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.guiders.guider_utils import BaseGuidance, GuiderOutput
from diffusers.modular_pipelines import ModularPipelineBlocks, PipelineState, SequentialPipelineBlocks
from diffusers.modular_pipelines.modular_pipeline_utils import (
    ComponentSpec,
    ConfigSpec,
    InputParam,
    OutputParam,
)
from torch import Tensor
from transformers import Qwen2_5_VLModel, Qwen2_5_VLProcessor

from ggt_hub.converters.realrestorer import refuse_code
from ggt_hub.converters.realrestorer_names import is_published
from ggt_hub.errors import RestorerError
from ggt_hub.models import QualityPrior, TextConnector
from ggt_hub.pipelines.layouts import WHERE, locate
from ggt_hub.pipelines.quality import check_quality
from ggt_hub.pipelines.realrestorer import inputs
from ggt_hub.pipelines.realrestorer.denoising import Guidance
from ggt_hub.pipelines.realrestorer.geometry import NATIVE, pack, unpack
from ggt_hub.pipelines.realrestorer.pipeline import RealRestorerPipeline
from ggt_hub.pipelines.realrestorer.tiles import tiled_autoencoder

_CLASSES = {
    "transformer": FluxTransformer2DModel,
    "connector": TextConnector,
    "vae": AutoencoderKL,
    "scheduler": FlowMatchEulerDiscreteScheduler,
    "text_encoder": Qwen2_5_VLModel,
    "processor": Qwen2_5_VLProcessor,
    "quality_prior": QualityPrior,
}


class DampedGuidance(ClassifierFreeGuidance):
    """RealRestorer's guidance: large differences between prompt and negative prompt are damped at first.

    Args:
        guidance_scale: weight of the prompt against the negative prompt.
        truncate: differences are damped while the time (1 to 0) is above this ...
        power: ... by their length to this power.
        start: fraction of the steps after which there is guidance.
        stop: fraction of the steps after which there is none.
        enabled: whether there is any.
    """

    @register_to_config
    def __init__(
        self,
        guidance_scale: float = 3.0,
        truncate: float = 0.93,
        power: float = 0.4,
        start: float = 0.0,
        stop: float = 1.0,
        enabled: bool = True,
    ) -> None:
        super().__init__(guidance_scale, start=start, stop=stop, enabled=enabled)
        self.truncate, self.power = truncate, power

    def forward(self, pred_cond: Tensor, pred_uncond: Tensor | None = None) -> GuiderOutput:
        """Velocities of tokens (..., tokens, features) joined."""
        joined = pred_cond
        if pred_uncond is not None:
            rule = Guidance(self.guidance_scale, truncate=self.truncate, power=self.power)
            joined = rule.join(pred_cond, pred_uncond, float(self._timestep) / 1000)
        return GuiderOutput(pred=joined, pred_cond=pred_cond, pred_uncond=pred_uncond)

    def _is_cfg_enabled(self) -> bool:
        # Stock guidance takes one pass at scale 1; the authors take two, and damping makes them differ.
        began, ends = (int(part * (self._num_inference_steps or 0)) for part in (self._start, self._stop))
        return self._enabled and (self._num_inference_steps is None or began <= self._step < ends)


@dataclass(frozen=True)
class Guided(Guidance):
    """Joins velocities as a guider says."""

    guider: BaseGuidance | None = None

    @property
    def on(self) -> bool:
        """Whether this step takes two passes."""
        return self.guider is not None and self.guider.num_conditions == 2

    @property
    def sides(self) -> int:
        """2 if a later step may take two passes."""
        return 2 if self.guider is not None and self.guider._enabled else 1

    def join(self, conditional: Tensor, unconditional: Tensor, time: float) -> Tensor:
        """The guided velocity."""
        if self.guider is None:
            return conditional
        return self.guider.forward(conditional, unconditional).pred


class _Block(ModularPipelineBlocks):
    """A step of the pipeline, run on those of its parts that it asks for."""

    model_name = "realrestorer"
    parts: tuple[str, ...] = ()

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """What the step runs."""
        return [ComponentSpec(name, _CLASSES[name]) for name in self.parts]

    @property
    def expected_configs(self) -> list[ConfigSpec]:
        """What the pipeline is told about its weights."""
        return [ConfigSpec("reference_axis", 0, "first position axis of the reference tokens")]

    @torch.no_grad()
    def __call__(self, components: Any, state: PipelineState) -> tuple[Any, PipelineState]:
        block = self.get_block_state(state)
        parts: dict[str, Any] = {
            name: getattr(components, name) if name in self.parts else None for name in _CLASSES
        }
        pipe = RealRestorerPipeline(**parts, reference_axis=components.config.reference_axis)
        self.run(pipe, block, components)
        self.set_block_state(state, block)
        return components, state

    def run(self, pipe: RealRestorerPipeline, block: Any, components: Any) -> None:
        """Read and write the fields of `block`."""
        raise NotImplementedError


class PrepareStep(_Block):
    """The picture as the networks see it."""

    description = "Brings the picture to its working size"

    @property
    def inputs(self) -> list[InputParam]:
        """What the step reads."""
        return [
            InputParam("image", required=True, description="anything that ggt_hub.read_image takes"),
            InputParam("size_level", int, NATIVE, description="square root of the working area in pixels"),
            InputParam("tile", int, None, description="side of tiles in pixels, at the picture's own size"),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What the step gives."""
        return [OutputParam("picture"), OutputParam("working")]

    def run(self, pipe: RealRestorerPipeline, block: Any, components: Any) -> None:
        """Run the step; see `_Block.run`."""
        (block.picture,) = pipe.read_images(block.image)
        block.working = inputs.working_rgb(block.picture, block.size_level, block.tile)


class TextStep(_Block):
    """What the picture and the instruction say together."""

    description = "Reads the instruction, and the negative prompt, together with the picture"
    parts = ("text_encoder", "processor")

    @property
    def inputs(self) -> list[InputParam]:
        """What the step reads."""
        return [
            InputParam("working", required=True),
            InputParam("task", str, None, description="what is wrong with the picture"),
            InputParam("prompt", str, None, description="an instruction in your own words instead"),
            InputParam("negative_prompt", str, "", description="what to steer away from"),
            InputParam("language", str, "en", description="of the instruction, en or zh"),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What the step gives."""
        names = (
            "prompt_embeds",
            "prompt_embeds_mask",
            "negative_prompt_embeds",
            "negative_prompt_embeds_mask",
        )
        return [OutputParam(name, Tensor) for name in names]

    def run(self, pipe: RealRestorerPipeline, block: Any, components: Any) -> None:
        """Run the step; see `_Block.run`."""
        texts = inputs.instructions(1, block.task, block.prompt, block.language)
        embeds = pipe.encode_prompt([block.working] * 2, [*texts, block.negative_prompt])
        for name, tensor in inputs.named(embeds, 2).items():
            setattr(block, name, tensor)


class EncodeStep(_Block):
    """The picture as latents, and the noise to start from."""

    description = "Draws the noise, and encodes the picture"
    parts = ("vae",)

    @property
    def inputs(self) -> list[InputParam]:
        """What the step reads."""
        return [
            InputParam("working", required=True),
            InputParam("tile", int, None),
            InputParam("generator", torch.Generator, None),
            InputParam("posterior", str, "sample", description="sample, or mode"),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What the step gives."""
        return [OutputParam("latents", Tensor), OutputParam("image_latents", Tensor)]

    def run(self, pipe: RealRestorerPipeline, block: Any, components: Any) -> None:
        """Run the step; see `_Block.run`."""
        channels, working = pipe.vae.config.latent_channels, [block.working]
        (drawn,) = inputs.draw(working, [block.generator], 1, channels, None, block.posterior)
        with tiled_autoencoder(pipe.vae, inputs.tiles_of(block.working, block.tile)):
            pixels = inputs.to_tensor(block.working)[None]
            block.image_latents = pipe.encode_pictures(pixels, [drawn.posterior])
        block.latents = drawn.noise.to(block.image_latents)


class DenoiseStep(_Block):
    """From noise to the restored latents, guided."""

    description = "Denoises the latents beside those of the picture, joined by the guider"
    parts = ("transformer", "connector", "scheduler", "quality_prior")

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """What the step runs."""
        guider = ComponentSpec(
            "guider", DampedGuidance, config=FrozenDict({}), default_creation_method="from_config"
        )
        return [*super().expected_components, guider]

    @property
    def inputs(self) -> list[InputParam]:
        """What the step reads."""
        names = (
            "prompt_embeds",
            "prompt_embeds_mask",
            "negative_prompt_embeds",
            "negative_prompt_embeds_mask",
        )
        return [
            *(InputParam(name, required=True) for name in ("working", "latents", "image_latents", *names)),
            InputParam("tile", int, None),
            InputParam("num_inference_steps", int, 28),
            InputParam("sigmas", None, None, description="times of the steps instead, falling from 1"),
            InputParam("model_guidance", float, 3.5, description="what the transformer itself is told"),
            InputParam(
                "quality", float, None, description="how good it should be, 0..1, by the quality prior"
            ),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What the step gives."""
        return [OutputParam("latents", Tensor)]

    def run(self, pipe: RealRestorerPipeline, block: Any, components: Any) -> None:
        """Run the step; see `_Block.run`."""
        inputs.check_sigmas(block.sigmas)
        check_quality(block.quality, "the denoising step")
        if block.quality is not None and pipe.quality_prior is None:
            raise RestorerError(
                "a quality is asked for, and there is no quality prior: update_components(quality_prior="
                "QualityPrior.from_pretrained(...))"
            )
        guider, tiles = components.guider, inputs.tiles_of(block.working, block.tile)
        steps = block.num_inference_steps if block.sigmas is None else len(block.sigmas)
        pipe.set_schedule(steps, tiles.tokens, block.sigmas)
        times = pipe.scheduler.timesteps
        guided = Guided(model=block.model_guidance, guider=guider)
        guider.set_state(0, steps, times[0])

        def on_step(step: int, time: Tensor, latents: Tensor, embeds: Any) -> tuple[Tensor, Any]:
            guider.set_state(step + 1, steps, times[min(step + 1, steps - 1)])
            return latents, embeds

        embeds = inputs.joined(block.as_dict(), guided.sides)
        noise, reference = pack(block.latents), pack(block.image_latents)
        with pipe.at_quality(pipe.qualities(block.quality, 1)):
            tokens = pipe.denoise(noise, reference, embeds, tiles, guided, on_step)
        block.latents = unpack(tokens, tiles.rows, tiles.columns)


class DecodeStep(_Block):
    """From latents to the picture that was asked for."""

    description = "Decodes the latents, at the size of the picture that was given"
    parts = ("vae",)

    @property
    def inputs(self) -> list[InputParam]:
        """What the step reads."""
        return [
            *(InputParam(name, required=True) for name in ("picture", "working", "latents")),
            InputParam("tile", int, None),
            InputParam("output_type", str, "pil", description="pil, np or pt"),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What the step gives."""
        return [OutputParam("images", list)]

    def run(self, pipe: RealRestorerPipeline, block: Any, components: Any) -> None:
        """Run the step; see `_Block.run`."""
        with tiled_autoencoder(pipe.vae, inputs.tiles_of(block.working, block.tile)):
            block.images = [pipe.finish(block.picture, block.latents[0], block.tile, block.output_type)]


class RealRestorerBlocks(SequentialPipelineBlocks):
    """All steps, in order."""

    model_name = "realrestorer"
    block_classes = [PrepareStep, TextStep, EncodeStep, DenoiseStep, DecodeStep]  # noqa: RUF012
    block_names = ["prepare", "text", "encode", "denoise", "decode"]  # noqa: RUF012


class RealRestorerModularPipeline(ModularPipeline):
    """A modular pipeline of these blocks, or of others that are passed.

    Args:
        blocks: other blocks than `RealRestorerBlocks`.
        *args: as diffusers' class takes them.
        **kwargs: as diffusers' class takes them.
    """

    def __init__(self, blocks: ModularPipelineBlocks | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(blocks or RealRestorerBlocks(), *args, **kwargs)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, blocks: ModularPipelineBlocks | None = None, **kwargs: Any
    ) -> Self:
        """Set up for our own layout, or for what `save_pretrained` wrote; `load_components` then loads.

        The stock method looks for the classes of pipeline and blocks in diffusers alone, and so finds none that
        are somebody's own.

        Args:
            source: a folder, or an id on the Hub.
            blocks: those that were saved, if they are not `RealRestorerBlocks`.
            **kwargs: for the Hub `revision`, `token`, `cache_dir`, `local_files_only`; others as diffusers takes
                them (`components_manager`, `collection`).

        Raises:
            HubError: if it cannot be had.
            RestorerError: if it is the published bundle, or brings code.
        """
        folder = locate(source, {key: kwargs.pop(key) for key in WHERE if key in kwargs})
        if is_published(folder):
            raise RestorerError(
                f"{source} is the published bundle: write it once in our own layout with `ggt-hub convert "
                "realrestorer SRC DST`, and load DST; or pass components to update_components"
            )
        refuse_code(folder / "processor")
        return cls(blocks, pretrained_model_name_or_path=str(folder), **kwargs)
