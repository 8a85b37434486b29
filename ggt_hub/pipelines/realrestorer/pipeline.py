"""RealRestorer (arXiv 2603.25502) as a restorer of ours, made of stock diffusers parts.

An image-editing FLUX: Qwen2.5-VL reads the picture and an instruction, the text connector turns what it read
into FLUX's two text inputs, and FLUX denoises the picture's tokens beside the encoded picture's.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.image_processor import VaeImageProcessor
from diffusers.loaders import FluxLoraLoaderMixin
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor
from transformers import Qwen2_5_VLModel, Qwen2_5_VLProcessor

from ggt_hub.converters.checkpoint import Checkpoint
from ggt_hub.converters.realrestorer import is_published, load_published
from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture
from ggt_hub.models import TextConnector
from ggt_hub.pipelines.base import RestorerPipeline, RestorerPipelineOutput
from ggt_hub.pipelines.description import RestorerDescription
from ggt_hub.pipelines.realrestorer import prompts
from ggt_hub.pipelines.realrestorer.geometry import MULTIPLE, pack, position_ids, resize, unpack, working_size
from ggt_hub.pipelines.realrestorer.guidance import guide
from ggt_hub.pipelines.realrestorer.tiles import Tiles
from ggt_hub.tasks import TASKS, Language, Task, instruction

Posterior = Literal["sample", "mode"]


@dataclass
class Draws:
    """The random numbers of one result, in the order in which they are drawn.

    Attributes:
        noise: where denoising starts, (16, height / 8, width / 8).
        posterior: what the encoded picture is sampled with, of the same shape; None takes the mode.
    """

    noise: Tensor
    posterior: Tensor | None


class RealRestorerPipeline(RestorerPipeline, FluxLoraLoaderMixin):
    """Restores real photographs, told by a task or a prompt what is wrong with them.

    Args:
        transformer: FLUX.1's transformer.
        connector: from the text encoder's states to the transformer's text inputs.
        vae: FLUX.1's autoencoder.
        scheduler: flow matching with a shift that grows with the number of tokens.
        text_encoder: Qwen2.5-VL without its language head; not needed with `prompt_embeds`.
        processor: its tokenizer, chat template and image processor.
        reference_axis: first position axis of the reference tokens. The configuration of the published weights
            says "v1.0", which is 0; the authors' own loader forgets that and runs with 1. Which of them the
            paper's numbers used is not known.
    """

    description = RestorerDescription(
        tasks=TASKS,
        upscales=(1,),
        native_size=1024,
        multiple=MULTIPLE,
        tiling="internal",
        tile=None,
        overlap=128,
        takes_prompt=True,
        memory="bfloat16: 46 GB, 28 GB with model offload, 6 GB with group offload; see plan_memory",
    )
    model_cpu_offload_seq = "text_encoder->connector->transformer->vae"
    _optional_components = ["text_encoder", "processor"]  # noqa: RUF012 (diffusers' name and type, as below)
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
        self._interrupt = False

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        dtype: torch.dtype | None = None,
        vae_dtype: torch.dtype = torch.float32,
        **kwargs: Any,
    ) -> Self:
        """Load the published bundle, converted on the fly, or our own layout.

        Args:
            folder: either of the two.
            dtype: of all networks but the autoencoder; None means as stored (bfloat16 in the release).
            vae_dtype: of the autoencoder. The authors' own loader uses `dtype` for it, their other code and all
                ports float32.
            **kwargs: components, and for our own layout whatever diffusers takes (quantisation, `device_map`).

        Raises:
            RestorerError: if files are missing or damaged, tensors do not fit, or the published bundle is asked
                for in a way that only our own layout supports.
        """
        dtype = kwargs.pop("torch_dtype", dtype)
        if not is_published(folder):
            return cls._from_own_layout(folder, dtype, vae_dtype, kwargs)
        unknown = sorted(set(kwargs) - set(cls._init_names()))
        if unknown:
            raise RestorerError(
                f"{', '.join(unknown)}: not for the published bundle; write it in our own layout with "
                "`ggt-hub convert realrestorer SRC DST` and load that"
            )
        return cls(**{**load_published(folder, dtype, vae_dtype, without=kwargs), **kwargs})

    @classmethod
    def _from_own_layout(
        cls, folder: Path, dtype: torch.dtype | None, vae_dtype: torch.dtype, kwargs: dict[str, Any]
    ) -> Self:
        stored = {
            name: Checkpoint(folder / name)
            for name in ("connector", "transformer", "vae", "text_encoder")
            if name not in kwargs and (folder / name).is_dir()
        }
        if dtype is None and "connector" in stored:
            dtype = stored["connector"].dtype
        try:
            return super().from_folder(folder, dtype={"default": dtype, "vae": vae_dtype}, **kwargs)
        except (OSError, RuntimeError, ValueError) as error:
            raise RestorerError(f"{folder} cannot be loaded: {error}") from error

    @classmethod
    def _init_names(cls) -> list[str]:
        modules, options = cls._get_signature_keys(cls)
        return sorted({*modules, *options})

    @property
    def guidance_scale(self) -> float | None:
        """How far the prompt's velocity is followed beyond the negative prompt's; None for one pass per step."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether each step takes two passes. -1 is the authors' word for None."""
        return self._guidance_scale is not None and self._guidance_scale != -1

    @property
    def num_timesteps(self) -> int:
        """Steps of the schedule in use."""
        return len(self.scheduler.timesteps)

    @property
    def interrupt(self) -> bool:
        """Set by a callback (`pipe._interrupt = True`) to leave out the remaining steps."""
        return self._interrupt
