"""The stages that draw: photographs spoilt on purpose, and pictures of prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Gt, Le, MultipleOf
from PIL import Image

from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Outcome, Row
from ggt_hub.curation.words import words
from ggt_hub.data.work.duplicates import perceptual_hash
from ggt_hub.files import seed_of
from ggt_hub.images.shown import png, shown_rgb

_Side = Annotated[int, Ge(8), MultipleOf(8)]


@dataclass(frozen=True)
class Spoil(Deciding):
    """Photographs spoilt by the pipeline itself: image-to-image (SDEdit) with a prompt that asks for what is bad.

    Attributes:
        side: of the squares that are cut from the middle of the photographs, in pixels.
        strength: 0..1, how much of the picture is drawn anew.
        steps: of the schedule; so many times `strength` are done.
        guidance: towards the prompt.
    """

    side: _Side = 1024
    strength: Annotated[float, Gt(0), Le(1)] = 0.6
    steps: Annotated[int, Ge(2)] = 50
    guidance: Annotated[float, Ge(1)] = 7.5

    name: ClassVar[str] = "spoil"
    needs: ClassVar[tuple[str, ...]] = ("photograph",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {
        "positive": pa.large_binary(),
        "negative": pa.large_binary(),
        "spoilt_by": pa.string(),
    }
    draws: ClassVar[bool] = True
    words: ClassVar[tuple[str, ...]] = ("spoiling",)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep all, with the square and what became of it."""
        from diffusers import AutoPipelineForImage2Image

        pipe = AutoPipelineForImage2Image.from_pipe(opened(context.pictures)[0])
        pipe.set_progress_bar_config(disable=True)
        return [self._decide(pipe, row, context) for row in rows]

    def _decide(self, pipe: Any, row: Row, context: Context) -> Outcome:
        import torch

        seed = seed_of(row["id"], context.seed)
        prompt = str(np.random.default_rng(seed).choice(words("spoiling")["prompts"]))
        square = _square(row["photograph"], self.side)
        spoilt = pipe(
            prompt,
            image=square,
            strength=self.strength,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        return Kept({"positive": png(square), "negative": png(spoilt), "spoilt_by": prompt})


@dataclass(frozen=True)
class Generate(Deciding):
    """Pictures of prompts, between the tuned ones: w times the positive's noise plus (1 - w) times the negative's.

    Attributes:
        width, height: in pixels.
        guidance: w; the paper does not state it.
        steps: of the sampler.
    """

    width: _Side = 1024
    height: _Side = 1024
    guidance: Annotated[float, Gt(1)] = 5.0
    steps: Annotated[int, Ge(1)] = 50

    name: ClassVar[str] = "generate"
    needs: ClassVar[tuple[str, ...]] = ("prompt",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {
        "picture": pa.large_binary(),
        "seed": pa.int64(),
        "hash": pa.uint64(),
    }
    uses: ClassVar[tuple[str, ...]] = ("tune",)
    draws: ClassVar[bool] = True

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep all that the encoders read whole; one by one, so that none depends on its neighbours."""
        import torch

        from ggt_hub.pipelines.text_to_image import is_read_whole

        pipe, tuned = opened(context.pictures, context.learned["tune"])
        outcomes: list[Outcome] = []
        for row in rows:
            seed = seed_of(row["id"], context.seed)
            positive, negative = tuned.prompts(row["prompt"])
            if not (is_read_whole(pipe, positive) and is_read_whole(pipe, negative)):
                outcomes.append(Dropped("a prompt longer than the encoder reads", row["prompt"]))
                continue
            drawn = pipe(
                positive,
                negative_prompt=negative,
                width=self.width,
                height=self.height,
                guidance_scale=self.guidance,
                num_inference_steps=self.steps,
                generator=torch.Generator().manual_seed(seed),
            ).images[0]
            told = {"seed": seed, "hash": perceptual_hash(np.asarray(drawn))}
            outcomes.append(Kept({"picture": png(drawn), **told}))
        return outcomes


@lru_cache(1)  # a folder's name tells what it was learned of
def opened(source: str, tuned: Path | None = None) -> tuple[Any, Any]:
    """The pipeline, on the device, with what was tuned; one in a process.

    Raises:
        RestorerError, HubError: if it cannot be had.
    """
    import torch

    from ggt_hub.pipelines.text_to_image import Tuned, load_tuned, open_text_to_image

    is_accelerated = torch.accelerator.is_available()
    pipe = open_text_to_image(source, dtype=torch.bfloat16 if is_accelerated else torch.float32)
    found: Tuned | None = load_tuned(pipe, tuned) if tuned is not None else None
    if is_accelerated:
        pipe.to(torch.accelerator.current_accelerator())
    return pipe, found


def _square(photograph: bytes, side: int) -> Image.Image:
    """The middle of a photograph, shrunk or enlarged so that its shorter side fits."""
    whole = Image.fromarray(shown_rgb(photograph))
    scale = side / min(whole.size)
    size = max(side, round(whole.width * scale)), max(side, round(whole.height * scale))
    whole = whole.resize(size, Image.Resampling.LANCZOS)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    return whole.crop((left, top, left + side, top + side))
