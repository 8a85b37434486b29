"""The base of restorers that work on one picture after another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ggt_hub.images import Picture
from ggt_hub.pipelines.base import RestorerPipeline, RestorerPipelineOutput
from ggt_hub.pipelines.findings import Finding


@dataclass(frozen=True)
class Call:
    """What a call asks for one of its pictures, checked.

    Attributes:
        task: what is wrong with it, if that was told.
        prompt: the same in words.
        upscale: the factor by which the result is larger.
        tile: the side of tiles as it was asked for, see `RestorerPipeline.tile_and_overlap`.
        generator: of the picture's own random numbers, if one was given.
        options: all that the description names, those that were not given by their defaults; `quality` is that of
            the picture.
    """

    task: str | None
    prompt: str | None
    upscale: int
    tile: int | None
    generator: torch.Generator | None
    options: Mapping[str, Any]


class PictureByPicture(RestorerPipeline):
    """A restorer that works on one picture after another: a subclass sets `description` and writes `restore`."""

    def restore(self, picture: Picture, call: Call) -> tuple[NDArray[np.float32], list[Finding]]:
        """Restore one picture.

        Returns:
            Pixels (height, width, 3), 0..1, `call.upscale` times as many each way as the picture has; and what
            was found in it.
        """
        raise NotImplementedError

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        *,
        task: str | None = None,
        prompt: str | None = None,
        upscale: int | None = None,
        tile: int | None = None,
        quality: float | Sequence[float] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        **options: Any,
    ) -> RestorerPipelineOutput | tuple[list[Any]]:
        """Restore one picture or a list of them.

        Args:
            image: anything that `ggt_hub.read_image` takes, a list of such, or a batch (4-D); any size.
            task: what is wrong, if it is known; one of `description.tasks`.
            prompt: the same in words, where `description.takes_prompt`.
            upscale: one of `description.upscales`; None is the first of them.
            tile: side of the tiles in pixels; None means `description.tile`, 0 one piece.
            quality: how good the result should be, 0..1, or one for each picture, where the restorer is told it or
                has a quality prior; None is what `set_quality` said.
            generator: one, or one for each picture; makes a difference where the restorer draws random numbers.
            output_type: `pil`, `np` or `pt`, see `RestorerPipelineOutput`.
            return_dict: False returns a tuple, as in diffusers.
            **options: the restorer's own, as `description.options` says.

        Raises:
            TaskError, RestorerError: for what is not supported.
            ImageError: if a picture cannot be read.
        """
        self.check_inputs(
            task=task,
            prompt=prompt,
            upscale=upscale,
            output_type=output_type,
            tile=tile,
            quality=quality,
            **options,
        )
        pictures = self.read_images(image)
        generators = self.split_generators(generator, len(pictures))
        qualities = self.qualities(quality, len(pictures))
        defaults = {name: option.default for name, option in self.description.options.items()}
        factor = self.description.upscales[0] if upscale is None else upscale
        images, findings = [], []
        for picture, own, good in zip(self.progress_bar(pictures), generators, qualities, strict=True):
            asked = {} if good is None else {"quality": good}
            call = Call(task, prompt, factor, tile, own, defaults | options | asked)
            restored, found = self.restore(picture, call)
            images.append(self.postprocess(picture, restored, output_type))
            findings.append(found)
        if not return_dict:
            return (images,)
        return RestorerPipelineOutput(images=images, findings=findings if any(findings) else None)
