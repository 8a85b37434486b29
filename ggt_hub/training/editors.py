"""Instruction editors as training sees them: how pictures and instructions are read, and what velocity is told.

An editor is a pipeline whose transformer denoises a picture's tokens beside those of the picture that is edited.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers import FluxKontextPipeline, QwenImageEditPipeline, QwenImageEditPlusPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import (
    CONDITION_IMAGE_SIZE,
    calculate_dimensions,
)
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ggt_hub.converters.checkpoint import Checkpoint, Shapes, read_json
from ggt_hub.converters.realrestorer import build_denoiser
from ggt_hub.converters.realrestorer_names import is_published
from ggt_hub.errors import GGTHubError, TrainingError
from ggt_hub.pipelines import RestorerPipeline
from ggt_hub.pipelines.editor import EditorPipeline
from ggt_hub.pipelines.layouts import locate
from ggt_hub.pipelines.realrestorer import RealRestorerPipeline
from ggt_hub.pipelines.realrestorer.geometry import pack, position_ids, unpack
from ggt_hub.training.cache import Encoded, EncodingCache, key_of

Condition = tuple[Tensor, Tensor]
"""What a transformer is told of instructions: tokens (B, length, width), and besides them FLUX the pooled vector
(B, width), Qwen-Image which tokens count (B, length)."""


class Editor(ABC):
    """A pipeline whose transformer is trained, and whose other networks are frozen.

    Attributes:
        pipe: the pipeline.
        idle: beginnings of the names of those weights of the transformer that change nothing of what it predicts.
        cache: where encodings are kept; see `keep`.
        reads_pictures: whether an instruction is read with the picture.
        text: tokens of an instruction, about, for a crop of 1024 pixels.
    """

    idle: tuple[str, ...] = ()
    cache: EncodingCache | None = None
    reads_pictures: ClassVar[bool] = True
    text: ClassVar[int] = 512

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        for part in pipe.components.values():
            if isinstance(part, nn.Module):
                part.requires_grad_(False).eval()

    @classmethod
    @abstractmethod
    def load(cls, place: Path, dtype: torch.dtype) -> Self:
        """The editor in a folder, from safetensors alone."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Of latents."""

    @property
    @abstractmethod
    def late_blocks(self) -> nn.ModuleList:
        """The blocks of the transformer of whose first some a stage may leave alone."""

    def restorer(self) -> RestorerPipeline:
        """The pipeline under the contract of restorers."""
        return EditorPipeline(self.pipe)

    @abstractmethod
    def look(self, picture: Tensor, instruction: str) -> Encoded:
        """What is read of an instruction, with the picture where `reads_pictures`, whatever the time.

        Args:
            picture: (3, H, W), 0..1, of 8 bits.
            instruction: in words.
        """

    @abstractmethod
    def condition(self, read: Sequence[Encoded], time: Tensor) -> Condition:
        """What the transformer is told of what `look` gave of each picture, at times 0..1, (B,)."""

    @abstractmethod
    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread of the autoencoder's latents, (B, C, H / 8, W / 8), of pictures (B, 3, H, W), 0..1."""

    @abstractmethod
    def scale(self, latents: Tensor) -> Tensor:
        """The autoencoder's latents as the transformer knows them."""

    def read(self, lq: Tensor, instructions: Sequence[str], time: Tensor) -> Condition:
        """What the transformer is told of an instruction for each picture.

        Args:
            lq: the pictures that are edited, (B, 3, H, W), 0..1, of 8 bits.
            instructions: one for each.
            time: 0..1, (B,).
        """
        pairs = zip(lq, instructions, strict=True)
        return self.condition([self._looked(picture, text) for picture, text in pairs], time)

    def encode(self, pictures: Tensor, posterior: Tensor) -> Tensor:
        """Latents of pictures (B, 3, H, W), 0..1.

        Args:
            pictures: see above.
            posterior: normal noise to sample them with, (B, C, H / 8, W / 8); zeros give the mode.
        """
        cache = self.cache
        mean, spread = self.moments(pictures) if cache is None else self._cached_moments(cache, pictures)
        return self.scale(mean + spread * posterior.to(mean))

    def encode_reference(self, lq: Tensor, posterior: Tensor) -> Tensor:
        """Latents of the pictures that are edited, as the pipeline encodes them: the mode; see `encode`."""
        return self.encode(lq, torch.zeros_like(posterior))

    def keep(self, folder: Path) -> None:
        """Keep from now on what is made of pictures and instructions in a folder, see `EncodingCache`."""
        parts = {
            name: part
            for name, part in self.pipe.components.items()
            if name.startswith(("vae", "text_encoder"))
        }
        self.cache = EncodingCache(folder, parts)

    def in_eight_bits(self) -> None:
        """Keep weights of linear layers of transformer and text encoders in 8 bits, with a scale for each row.

        Raises:
            TrainingError: if torchao is not installed.
        """
        try:
            from torchao.quantization import (  # type: ignore[import-untyped]
                Int8WeightOnlyConfig,
                quantize_,
            )
        except ImportError as error:
            raise TrainingError("a base in 8 bits needs torchao: pip install 'ggt-hub[train]'") from error
        for name, part in self.pipe.components.items():
            if isinstance(part, nn.Module) and name.startswith(("transformer", "text_encoder")):
                quantize_(part, Int8WeightOnlyConfig())

    def _looked(self, picture: Tensor, instruction: str) -> Encoded:
        if self.cache is None:
            return self.look(picture, instruction)
        key = key_of(picture if self.reads_pictures else None, f"{type(self).__name__} reads {instruction}")
        return self.cache.get(key, partial(self.look, picture, instruction), picture.device)

    def _cached_moments(self, cache: EncodingCache, pictures: Tensor) -> tuple[Tensor, Tensor]:
        found = [
            cache.get(key_of(one, "latents"), partial(self._moments_of, one), one.device) for one in pictures
        ]
        return torch.stack([one["mean"] for one in found]), torch.stack([one["spread"] for one in found])

    def _moments_of(self, picture: Tensor) -> Encoded:
        mean, spread = self.moments(picture[None])
        return {"mean": mean[0], "spread": spread[0]}

    @abstractmethod
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


class FluxEditor(Editor):
    """One whose transformer and autoencoder are FLUX.1's.

    Attributes:
        axis: first position axis of the tokens of the picture that is edited.
    """

    def __init__(self, pipe: Any, axis: int) -> None:
        super().__init__(pipe)
        self.axis = axis

    @property
    def channels(self) -> int:
        """See `Editor.channels`."""
        return self.pipe.vae.config.latent_channels

    @property
    def late_blocks(self) -> nn.ModuleList:
        """The single blocks, which come after the double ones."""
        return self.pipe.transformer.single_transformer_blocks

    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See `Editor.moments`."""
        vae = self.pipe.vae
        found = vae.encode((pictures * 2 - 1).to(vae.dtype)).latent_dist
        return found.mean, found.std

    def scale(self, latents: Tensor) -> Tensor:
        """See `Editor.scale`."""
        told = self.pipe.vae.config
        return (latents - told.shift_factor) * told.scaling_factor

    def velocity(
        self, noisy: Tensor, reference: Tensor, time: Tensor, condition: Condition, guidance: float
    ) -> Tensor:
        """See `Editor.velocity`."""
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


class KontextEditor(FluxEditor):
    """FLUX.1 Kontext, the stock pipeline of diffusers; an instruction is read once, whatever the picture."""

    reads_pictures = False

    def __init__(self, pipe: FluxKontextPipeline) -> None:
        super().__init__(pipe, axis=1)
        self._read: dict[str, Encoded] = {}

    @classmethod
    def load(cls, place: Path, dtype: torch.dtype) -> Self:
        """See `Editor.load`."""
        return cls(FluxKontextPipeline.from_pretrained(place, dtype=dtype, use_safetensors=True))

    def look(self, picture: Tensor, instruction: str) -> Encoded:
        """See `Editor.look`."""
        if instruction not in self._read:
            tokens, pooled = self.pipe.encode_prompt(instruction, device=picture.device)[:2]
            self._read[instruction] = {"tokens": tokens[0], "pooled": pooled[0]}
        return self._read[instruction]

    def condition(self, read: Sequence[Encoded], time: Tensor) -> Condition:
        """See `Editor.condition`."""
        tokens, pooled = (torch.stack([one[name] for one in read]) for name in ("tokens", "pooled"))
        return tokens.to(time.device), pooled.to(time.device)


class RealRestorerEditor(FluxEditor):
    """RealRestorer: the language model reads an instruction together with the picture."""

    text = 640

    def __init__(self, pipe: RealRestorerPipeline) -> None:
        if pipe.text_encoder is None:
            raise TrainingError("this RealRestorer has no text encoder, so no instructions can be read")
        super().__init__(pipe, axis=pipe.config.reference_axis)

    @classmethod
    def load(cls, place: Path, dtype: torch.dtype) -> Self:
        """See `Editor.load`."""
        return cls(RealRestorerPipeline.from_pretrained(place, dtype=dtype))

    def look(self, picture: Tensor, instruction: str) -> Encoded:
        """See `Editor.look`."""
        states, mask = self.pipe.encode_prompt([_picture(picture)], [instruction])
        return {"states": states[0], "mask": mask[0]}

    def condition(self, read: Sequence[Encoded], time: Tensor) -> Condition:
        """See `Editor.condition`; the connector is told the time."""
        connector = self.pipe.connector
        states, mask = (torch.stack([one[name] for one in read]) for name in ("states", "mask"))
        told = connector(states.to(connector.dtype), time, mask)
        return told.tokens, told.pooled

    def encode_reference(self, lq: Tensor, posterior: Tensor) -> Tensor:
        """See `Editor.encode_reference`; it is sampled here."""
        return self.encode(lq, posterior)

    def restorer(self) -> RestorerPipeline:
        """It is one."""
        return self.pipe


class QwenEditor(Editor):
    """Qwen-Image-Edit, the stock pipeline of diffusers; its language model reads an instruction with the picture.

    The pipeline shows pictures at about 1024 x 1024 pixels, whatever their size: so should crops be of 1024.
    """

    kind: ClassVar[Any] = QwenImageEditPipeline
    text = 1450

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        last = f"transformer_blocks.{len(pipe.transformer.transformer_blocks) - 1}"  # its text goes nowhere
        parts = ("attn.add_q_proj", "attn.norm_added_q", "attn.to_add_out", "txt_mlp")
        self.idle = tuple(f"{last}.{part}." for part in parts)

    @classmethod
    def load(cls, place: Path, dtype: torch.dtype) -> Self:
        """See `Editor.load`."""
        return cls(cls.kind.from_pretrained(place, dtype=dtype, use_safetensors=True))

    @property
    def channels(self) -> int:
        """See `Editor.channels`."""
        return self.pipe.vae.config.z_dim

    @property
    def late_blocks(self) -> nn.ModuleList:
        """All blocks: there is one kind."""
        return self.pipe.transformer.transformer_blocks

    def look(self, picture: Tensor, instruction: str) -> Encoded:
        """See `Editor.look`."""
        shown = self.show(_picture(picture))
        return {"tokens": self.pipe.encode_prompt([instruction], image=shown, device=picture.device)[0][0]}

    def condition(self, read: Sequence[Encoded], time: Tensor) -> Condition:
        """See `Editor.condition`; shorter ones are filled up with zeros that do not count."""
        found = [one["tokens"] for one in read]
        mask = [torch.ones(len(tokens), dtype=torch.long, device=time.device) for tokens in found]
        return pad_sequence(found, batch_first=True), pad_sequence(mask, batch_first=True)

    def show(self, picture: Image.Image) -> Any:
        """The picture as the pipeline shows it to its language model."""
        return picture

    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See `Editor.moments`."""
        vae = self.pipe.vae
        found = vae.encode((pictures * 2 - 1).to(vae.dtype)[:, :, None]).latent_dist
        return found.mean[:, :, 0], found.std[:, :, 0]

    def scale(self, latents: Tensor) -> Tensor:
        """See `Editor.scale`."""
        told = self.pipe.vae.config
        mean, spread = (
            torch.tensor(numbers, dtype=latents.dtype, device=latents.device)[:, None, None]
            for numbers in (told.latents_mean, told.latents_std)
        )
        return (latents - mean) / spread

    def velocity(
        self, noisy: Tensor, reference: Tensor, time: Tensor, condition: Condition, guidance: float
    ) -> Tensor:
        """See `Editor.velocity`; there is no input for guidance."""
        transformer, (rows, columns) = self.pipe.transformer, (side // 2 for side in noisy.shape[2:])
        tokens, mask = condition
        predicted = transformer(
            hidden_states=torch.cat([pack(noisy), pack(reference)], dim=1).to(transformer.dtype),
            encoder_hidden_states=tokens.to(transformer.dtype),
            encoder_hidden_states_mask=None if mask.all() else mask,
            timestep=time,
            img_shapes=[[(1, rows, columns)] * 2] * len(noisy),
            return_dict=False,
        )[0]
        return unpack(predicted[:, : rows * columns], rows, columns).to(noisy.dtype)


class QwenPlusEditor(QwenEditor):
    """Qwen-Image-Edit-2509 and later, which show their language model a smaller picture."""

    kind = QwenImageEditPlusPipeline
    text = 300

    def show(self, picture: Image.Image) -> Any:
        """See `QwenEditor.show`."""
        width, height = calculate_dimensions(CONDITION_IMAGE_SIZE, picture.width / picture.height)
        return [self.pipe.image_processor.resize(picture, height, width)]


_NETWORKS = ("connector", "text_encoder", "text_encoder_2", "transformer", "vae")

EDITORS: dict[str, type[Editor]] = {
    "FluxKontextPipeline": KontextEditor,
    "QwenImageEditPipeline": QwenEditor,
    "QwenImageEditPlusPipeline": QwenPlusEditor,
    "RealRestorerPipeline": RealRestorerEditor,
}
"""Class that a pipeline's `model_index.json` names -> what training sees."""


def open_editor(base: str, dtype: torch.dtype, weights: str | None = None) -> Editor:
    """The editor in a folder or on the Hub (ID@REVISION); its autoencoder is in float32, whatever the others are.

    Args:
        base: see above.
        dtype: of all else.
        weights: a safetensors file whose denoiser takes the place of RealRestorer's, such as Step1X-Edit's.

    Raises:
        TrainingError: if it is missing, gated or damaged, or no editor that can be trained here.
    """
    place, kind = _located(base)
    try:
        editor = (
            EDITORS[kind].load(place, dtype)
            if weights is None
            else _with_weights(kind, place, dtype, weights)
        )
    except TrainingError:
        raise
    except GGTHubError as error:
        raise TrainingError(f"the base {base} cannot be had: {error}") from error
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TrainingError(f"the base {base} cannot be loaded: {reason}") from error
    editor.pipe.vae.to(torch.float32)
    return editor


def shapes_of(base: str, download: bool) -> tuple[type[Editor], dict[str, Shapes]]:
    """The class of an editor, and the shapes of its networks' tensors, by their components; nothing is loaded.

    Args:
        base: as `open_editor`.
        download: fetch it from the Hub where it is not here yet.

    Raises:
        TrainingError: as `open_editor`; also if it is not here and not to be fetched.
    """
    place, kind = _located(base, **({} if download or Path(base).exists() else {"local_files_only": True}))
    parts: dict[str, Shapes] = {}
    try:
        for folder in sorted(path for path in place.iterdir() if path.name in _NETWORKS):
            parts[folder.name] = Checkpoint(folder).shapes
        if is_published(place):
            told = read_json(place / "transformer/config.json")
            networks = build_denoiser(parts["transformer"], told)
            parts |= {
                name: {key: tuple(one.shape) for key, one in network.state_dict().items()}
                for name, network in networks.items()
            }
    except GGTHubError as error:
        raise TrainingError(f"the base {base} cannot be had: {error}") from error
    if EDITORS[kind] is RealRestorerEditor and "text_encoder" in parts:  # it needs no words back
        kept = {
            name: shape for name, shape in parts["text_encoder"].items() if not name.startswith("lm_head")
        }
        parts["text_encoder"] = kept
    return EDITORS[kind], parts


def _located(base: str, **where: Any) -> tuple[Path, str]:
    """The folder of a base, and the class that its index names."""
    name, _, revision = base.partition("@") if not Path(base).exists() else (base, "", "")
    try:
        place = locate(name, ({"revision": revision} if revision else {}) | where)
        kind = read_json(place / "model_index.json").get("_class_name")
    except GGTHubError as error:
        raise TrainingError(f"the base {base} cannot be had: {error}") from error
    if kind not in EDITORS:
        found = f"a {kind}" if kind else "no pipeline of diffusers"
        raise TrainingError(f"{base} is {found}: choose a base that is one of {', '.join(EDITORS)}")
    return place, kind


def _with_weights(kind: str, place: Path, dtype: torch.dtype, weights: str) -> Editor:
    if EDITORS[kind] is not RealRestorerEditor:
        raise TrainingError(f"{weights} takes the place of RealRestorer's denoiser, and {place} is a {kind}")
    return RealRestorerEditor(RealRestorerPipeline.from_single_file(weights, config=place, dtype=dtype))


def _picture(pixels: Tensor) -> Image.Image:
    """(3, H, W), 0..1, as the language model is shown it."""
    levels = (pixels.float() * 255).round().byte()
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).cpu()))
