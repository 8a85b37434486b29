"""Instruction editors of diffusers as restorers: Qwen-Image-Edit, FLUX Kontext, InstructPix2Pix and their like.

Which classes these are is in `layouts.EDITORS`. An editor is shown the picture at about the area that it was
trained on, and what it draws is brought back to the picture's size.
"""

import inspect
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

from ggt_hub.converters.checkpoint import one_line
from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture
from ggt_hub.pipelines.description import Option, RestorerDescription, SizeRule
from ggt_hub.pipelines.findings import Finding
from ggt_hub.pipelines.peers import PeerPipeline
from ggt_hub.pipelines.picture_by_picture import Call
from ggt_hub.pipelines.realrestorer.geometry import MULTIPLE, NATIVE, resize, resize_pixels, working_size
from ggt_hub.pipelines.realrestorer.instructions import instruction
from ggt_hub.tasks import TASKS

_DESCRIPTION = RestorerDescription(
    tasks=TASKS,
    options={
        "num_inference_steps": Option(default=28, minimum=1, slider=(4, 50, 1), help="denoising steps"),
        "guidance_scale": Option(
            default=None,
            optional=True,
            minimum=0,
            help="weight of the instruction; None is the editor's own default",
        ),
        "size_level": Option(
            default=NATIVE, minimum=32, help="square root of the area in pixels that the editor works at"
        ),
    },
    sizes=SizeRule(native=NATIVE, multiple=MULTIPLE),
    takes_prompt=True,
    memory="that of its pipeline in diffusers; offload that one (`pipe.editor`)",
)


class EditorPipeline(PeerPipeline):
    """A stock pipeline of diffusers that edits by instruction, under the contract of restorers.

    Attributes:
        editor: the pipeline itself: for offloading, schedulers, and what else only diffusers has.
    """

    description = _DESCRIPTION

    def __init__(self, editor: Any = None, name: str = "") -> None:
        super().__init__()
        self.editor = editor
        self.register_to_config(_name_or_path=name)

    @classmethod
    def from_editor(cls, folder: Path, **kwargs: Any) -> Self:
        """Load from a folder that diffusers wrote.

        Args:
            folder: of the pipeline.
            **kwargs: as for `DiffusionPipeline.from_pretrained`: `dtype`, components, quantisation.

        Raises:
            RestorerError: if a file is missing, damaged or does not fit; weights must be safetensors.
        """
        if "torch_dtype" in kwargs:  # its older name
            kwargs["dtype"] = kwargs.pop("torch_dtype")
        try:
            editor = DiffusionPipeline.from_pretrained(str(folder), use_safetensors=True, **kwargs)
        except Exception as error:  # files of strangers break loaders in every way
            raise RestorerError(f"the editor in {folder} cannot be loaded: {one_line(error)}") from error
        return cls(editor, str(folder))

    @property
    def components(self) -> dict[str, Any]:
        """Those of the editor."""
        return self.editor.components

    @property
    def device(self) -> torch.device:
        """Where the editor is."""
        return self.editor.device

    @property
    def dtype(self) -> torch.dtype:
        """What the editor computes in."""
        return self.editor.dtype

    def load_lora_weights(self, *args: Any, **kwargs: Any) -> None:
        """Of the editor, as in diffusers."""
        self.editor.load_lora_weights(*args, **kwargs)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the editor."""
        self.editor.to(*args, **kwargs)
        return self

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """Of the pictures, and of the editor's steps."""
        super().set_progress_bar_config(**kwargs)
        if self.editor is not None:
            self.editor.set_progress_bar_config(**kwargs)

    def split_generators(
        self, generator: torch.Generator | list[torch.Generator] | None, count: int
    ) -> list[torch.Generator | None]:
        """As every restorer; a single picture draws from the generator itself, as in diffusers."""
        if isinstance(generator, torch.Generator) and count == 1:
            return [generator]
        return super().split_generators(generator, count)

    def restore(self, picture: Picture, call: Call) -> tuple[NDArray[np.float32], list[Finding]]:
        """Edited as `call.prompt` says or, without one, by the instruction of its task."""
        rgb = picture.rgb()
        height, width = rgb.shape[:2]
        size = working_size(width, height, int(call.options["size_level"]))
        shown = resize(Image.fromarray(np.rint(rgb * 255).astype(np.uint8)), size, Image.Resampling.BICUBIC)
        drawn = self.editor(
            image=shown,
            prompt=call.prompt or instruction(call.task or "general"),
            num_inference_steps=call.options["num_inference_steps"],
            generator=call.generator,
            output_type="np",
            **self._further(size, call.options["guidance_scale"]),
        ).images[0]
        return resize_pixels(np.clip(drawn, 0, 1).astype(np.float32), (width, height)), []

    def _further(self, size: tuple[int, int], guidance: float | None) -> dict[str, Any]:
        """What only some editors take: the size, and guidance under the name that it has there."""
        takes = inspect.signature(type(self.editor).__call__).parameters
        told: dict[str, Any] = {"width": size[0], "height": size[1]} if "width" in takes else {}
        told |= {"max_area": size[0] * size[1], "_auto_resize": False} if "max_area" in takes else {}
        if "true_cfg_scale" in takes and takes["guidance_scale"].default is None:
            # Without a negative prompt Qwen-Image-Edit leaves guidance out.
            told["negative_prompt"] = " "
            return told if guidance is None else told | {"true_cfg_scale": guidance}
        return told if guidance is None else told | {"guidance_scale": guidance}
