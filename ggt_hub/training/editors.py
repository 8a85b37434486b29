"""Instruction editors as training sees them: how pictures and instructions are read, and what velocity is told.

An editor is a pipeline whose FLUX denoises a picture's tokens beside those of the picture that is edited.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import FluxKontextPipeline
from PIL import Image
from torch import Tensor

from ggt_hub.converters.checkpoint import read_json
from ggt_hub.errors import GGTHubError, TrainingError
from ggt_hub.pipelines.layouts import locate
from ggt_hub.pipelines.realrestorer import RealRestorerPipeline
from ggt_hub.pipelines.realrestorer.geometry import pack, position_ids, unpack

Condition = tuple[Tensor, Tensor]
"""What FLUX is told of instructions: tokens (B, length, width) and the pooled vector (B, width)."""


class Editor(ABC):
    """A pipeline whose transformer is trained, and whose other networks are frozen.

    Attributes:
        pipe: the pipeline.
        axis: first position axis of the tokens of the picture that is edited.
    """

    def __init__(self, pipe: Any, axis: int) -> None:
        self.pipe, self.axis = pipe, axis
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.requires_grad_(False).eval()

    @classmethod
    @abstractmethod
    def load(cls, place: Path, dtype: torch.dtype) -> Self:
        """The editor in a folder, from safetensors alone."""

    @abstractmethod
    def read(self, lq: Tensor, instructions: Sequence[str], time: Tensor) -> Condition:
        """What the transformer is told of an instruction for each picture.

        Args:
            lq: the pictures that are edited, (B, 3, H, W), 0..1, of 8 bits.
            instructions: one for each.
            time: 0..1, (B,).
        """

    @abstractmethod
    def encode_reference(self, lq: Tensor, posterior: Tensor) -> Tensor:
        """Latents of the pictures that are edited, as the pipeline encodes them; see `encode`."""

    def encode(self, pictures: Tensor, posterior: Tensor) -> Tensor:
        """Latents of pictures (B, 3, H, W), 0..1.

        Args:
            pictures: see above.
            posterior: normal noise to sample them with, (B, C, H / 8, W / 8); zeros give the mode.
        """
        vae = self.pipe.vae
        found = vae.encode((pictures * 2 - 1).to(vae.dtype)).latent_dist
        sampled = found.mean + found.std * posterior.to(found.mean)
        return (sampled - vae.config.shift_factor) * vae.config.scaling_factor

    def velocity(
        self, noisy: Tensor, reference: Tensor, time: Tensor, condition: Condition, guidance: float
    ) -> Tensor:
        """What the transformer predicts, (B, C, h, w).

        Args:
            noisy: latents at their times, (B, C, h, w).
            reference: latents of the pictures that are edited, alike.
            time: 1 (noise) to 0, (B,).
            condition: see `read`.
            guidance: the value that the transformer is told, if it has an input for that.
        """
        transformer, (rows, columns) = self.pipe.transformer, (side // 2 for side in noisy.shape[2:])
        tokens, pooled = (part.to(transformer.dtype) for part in condition)
        positions = [position_ids(rows, columns, axis, noisy.device) for axis in (0, self.axis)]
        predicted = transformer(
            hidden_states=torch.cat([pack(noisy), pack(reference)], dim=1).to(transformer.dtype),
            encoder_hidden_states=tokens,
            pooled_projections=pooled,
            timestep=time,
            guidance=torch.full_like(time, guidance) if transformer.config.guidance_embeds else None,
            img_ids=torch.cat(positions),
            txt_ids=torch.zeros(tokens.shape[1], 3, device=noisy.device),
            return_dict=False,
        )[0]
        return unpack(predicted[:, : rows * columns], rows, columns).to(noisy.dtype)


class KontextEditor(Editor):
    """FLUX.1 Kontext, the stock pipeline of diffusers; an instruction is read once, whatever the picture."""

    def __init__(self, pipe: FluxKontextPipeline) -> None:
        super().__init__(pipe, axis=1)
        self._read: dict[str, Condition] = {}

    @classmethod
    def load(cls, place: Path, dtype: torch.dtype) -> Self:
        """See `Editor.load`."""
        return cls(FluxKontextPipeline.from_pretrained(place, dtype=dtype, use_safetensors=True))

    def read(self, lq: Tensor, instructions: Sequence[str], time: Tensor) -> Condition:
        """See `Editor.read`."""
        for text in instructions:
            if text not in self._read:
                self._read[text] = self.pipe.encode_prompt(text, device=lq.device)[:2]
        tokens, pooled = zip(*(self._read[text] for text in instructions), strict=True)
        return torch.cat(tokens).to(lq.device), torch.cat(pooled).to(lq.device)

    def encode_reference(self, lq: Tensor, posterior: Tensor) -> Tensor:
        """See `Editor.encode_reference`."""
        return self.encode(lq, torch.zeros_like(posterior))


class RealRestorerEditor(Editor):
    """RealRestorer: the language model reads an instruction together with the picture."""

    def __init__(self, pipe: RealRestorerPipeline) -> None:
        if pipe.text_encoder is None:
            raise TrainingError("this RealRestorer has no text encoder, so no instructions can be read")
        super().__init__(pipe, axis=pipe.config.reference_axis)

    @classmethod
    def load(cls, place: Path, dtype: torch.dtype) -> Self:
        """See `Editor.load`."""
        return cls(RealRestorerPipeline.from_pretrained(place, dtype=dtype))

    def read(self, lq: Tensor, instructions: Sequence[str], time: Tensor) -> Condition:
        """See `Editor.read`."""
        connector = self.pipe.connector
        states, mask = self.pipe.encode_prompt([_picture(one) for one in lq], instructions)
        told = connector(states.to(connector.dtype), time, mask)
        return told.tokens, told.pooled

    def encode_reference(self, lq: Tensor, posterior: Tensor) -> Tensor:
        """See `Editor.encode_reference`."""
        return self.encode(lq, posterior)


EDITORS: dict[str, type[Editor]] = {
    "FluxKontextPipeline": KontextEditor,
    "RealRestorerPipeline": RealRestorerEditor,
}
"""Class that a pipeline's `model_index.json` names -> what training sees."""


def open_editor(base: str, dtype: torch.dtype) -> Editor:
    """The editor in a folder or on the Hub (ID@REVISION); its autoencoder is in float32, whatever the others are.

    Raises:
        TrainingError: if it is missing, gated or damaged, or no editor that can be trained here.
    """
    name, _, revision = base.partition("@") if not Path(base).exists() else (base, "", "")
    try:
        place = locate(name, {"revision": revision} if revision else {})
        kind = read_json(place / "model_index.json").get("_class_name")
        if kind not in EDITORS:
            found = f"a {kind}" if kind else "no pipeline of diffusers"
            raise TrainingError(f"{base} is {found}: choose a base that is one of {', '.join(EDITORS)}")
        editor = EDITORS[kind].load(place, dtype)
    except TrainingError:
        raise
    except GGTHubError as error:
        raise TrainingError(f"the base {base} cannot be had: {error}") from error
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TrainingError(f"the base {base} cannot be loaded: {reason}") from error
    editor.pipe.vae.to(torch.float32)
    return editor


def _picture(pixels: Tensor) -> Image.Image:
    """(3, H, W), 0..1, as the language model is shown it."""
    levels = (pixels.float() * 255).round().byte()
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).cpu()))
