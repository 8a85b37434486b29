"""Flow matching of instruction editors: the transformer alone learns which way from noise to the good picture.

What RealRestorer (arXiv 2603.25502) trains with is not published: times and guidance are those of the public
LoRA recipe of its base, Step1X-Edit (arXiv 2504.17761), the instructions the published ones, fixed for each task.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from annotated_types import Ge, Gt
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError
from ggt_hub.models import TrainedPart
from ggt_hub.pipelines import RestorerPipeline
from ggt_hub.pipelines.realrestorer import instruction
from ggt_hub.pipelines.realrestorer.geometry import MULTIPLE
from ggt_hub.settings import checked
from ggt_hub.tasks import TASKS
from ggt_hub.training.editors import Editor, open_editor, shapes_of
from ggt_hub.training.memory import Training
from ggt_hub.training.objectives.base import Loss, Objective
from ggt_hub.training.objectives.compact import to_tensor
from ggt_hub.training.sharding import Role, gather, led, shard

_ATTENTION = ("to_k", "to_q", "to_v", "to_out.0", "add_k_proj", "add_q_proj", "add_v_proj", "to_add_out")


@dataclass(frozen=True)
class Settings:
    """Of the objective.

    Attributes:
        base: folder or id on the Hub (ID@REVISION) of the editor, see `editors.EDITORS`.
        weights: a safetensors file whose denoiser takes the place of RealRestorer's, such as Step1X-Edit's.
        cache: folder in which is kept what the frozen networks make of pictures and instructions. Only what is seen
            again to the bit is found there: pairs in buckets, or of the size of a crop, without damage on the fly.
        shift: of the times: 1 draws the middle most, more draws noisier ones.
        guidance: the value that the transformer is told.
        eight_bits: keep the base in 8 bits, which only changes of low rank can learn on.
        bfloat16: keep frozen networks (but the autoencoder) in bfloat16, and compute the transformer in it.
        checkpointing: compute blocks again in the backward pass rather than keep what they gave.
    """

    base: str | None = None
    weights: str | None = None
    cache: str | None = None
    shift: Annotated[float, Gt(0)] = 3.1582
    guidance: float = 1.0
    eight_bits: bool = False
    bfloat16: bool = True
    checkpointing: bool = True


@dataclass(frozen=True)
class Model:
    """What is learned.

    Attributes:
        weights: changes of low rank of the transformer's attention, or all of the transformer.
        rank: of these changes.
    """

    weights: Literal["lora", "full"] = "lora"
    rank: Annotated[int, Ge(1)] = 32


@dataclass(frozen=True)
class Pairs:
    """What a batch holds of an example.

    Pictures `lq` (of 8 bits) and `gt`, (3, height, width), 0..1; the `task`, a place in `TASKS`; and all that is
    drawn: the `time` 0..1, `noise` (channels, height / 8, width / 8), the `posterior` of both pictures, (2, ...).

    Attributes:
        shift: see `Settings`.
        channels: of latents.
    """

    shift: float
    channels: int

    def __call__(self, example: Example) -> dict[str, Tensor]:
        """Make it.

        Raises:
            TrainingError: if the two differ in size, or a side is no whole number of tokens.
        """
        lq, gt = example.cut()
        height, width = lq.shape[:2]
        if lq.shape != gt.shape or height % MULTIPLE or width % MULTIPLE:
            raise TrainingError(
                f"{example.source}: an editor learns from pairs of one size, with sides of multiples of {MULTIPLE} "
                f"pixels, and here lq has {width}x{height}, and gt {gt.shape[1]}x{gt.shape[0]}: choose another "
                "crop or other buckets, or other pairs"
            )
        draws = example.rng
        normal = draws.standard_normal((3, self.channels, height // 8, width // 8), np.float32)
        even = 1 / (1 + np.exp(-draws.standard_normal()))
        return {
            "lq": to_tensor(np.rint(lq * 255) / np.float32(255)),
            "gt": to_tensor(gt),
            "task": torch.tensor(TASKS.index(example.task)),
            "time": torch.tensor(self.shift * even / (1 + (self.shift - 1) * even), dtype=torch.float32),
            "noise": torch.from_numpy(normal[0]),
            "posterior": torch.from_numpy(normal[1:]),
        }


class FlowObjective(Objective):
    """The squared error of the velocity, noise less latents, at times of a shifted logit-normal distribution."""

    in_bfloat16 = False  # `Settings.bfloat16` says it of the transformer alone

    def __init__(self, editor: Editor, model: Model, settings: Settings) -> None:
        super().__init__()
        # The pipeline is no part of this module, so that checkpoints hold what is learned alone.
        self._editor, self.model, self.settings = [editor], model, settings
        transformer = editor.pipe.transformer
        self.prepare = Pairs(settings.shift, editor.channels)
        if settings.checkpointing:
            transformer.train()
            transformer.enable_gradient_checkpointing()
        if model.weights == "lora":
            _add_lora(transformer, model.rank)
            self.network: ModelMixin = _lora_of(transformer)
        else:
            self.network = transformer.float().requires_grad_(True)
        for name, weight in transformer.named_parameters():
            if name.startswith(editor.idle):  # several processes would wait for their gradients
                weight.requires_grad_(False)

    @property
    def editor(self) -> Editor:
        """The pipeline, which uses what is learned."""
        return self._editor[0]

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From what is learned, and the editor that learns it."""
        shape, told, base = _checked(model, settings)
        if told.eight_bits and shape.weights == "full":
            raise TrainingError(
                "all of a transformer cannot be learned in 8 bits: choose `weights: lora` for its model"
            )
        dtype = torch.bfloat16 if told.bfloat16 else torch.float32
        editor = open_editor(base, dtype, told.weights)
        if told.eight_bits:
            editor.in_eight_bits()
        if told.cache is not None:
            editor.keep(Path(told.cache).expanduser())
        return cls(editor, shape, told)

    @classmethod
    def memory(
        cls, model: dict[str, Any], settings: dict[str, Any], crop: int, at_once: int, *, download: bool
    ) -> Training:
        """See `Objective.memory`; of `weights` the shapes are taken to be those of the base."""
        shape, told, base = _checked(model, settings)
        kind, parts = shapes_of(base, download)
        how = {name: getattr(told, name) for name in ("bfloat16", "eight_bits", "checkpointing")}
        return Training(
            parts, _ATTENTION, kind.text, shape.weights == "full", shape.rank, crop, at_once, **how
        )

    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch, see `Pairs`; the gain is how far the velocity is above its error."""
        self._move_to(batch["lq"].device)
        instructions = [instruction(TASKS[place]) for place in batch["task"].tolist()]
        posterior = batch["posterior"].unbind(1)
        with torch.no_grad():
            condition = self.editor.read(batch["lq"], instructions, batch["time"])
            reference = self.editor.encode_reference(batch["lq"], posterior[0])
            latents = self.editor.encode(batch["gt"], posterior[1])
        noise = batch["noise"].to(latents.dtype)
        time = batch["time"].to(latents.dtype)[:, None, None, None]
        noisy, target = (1 - time) * latents + time * noise, noise - latents
        # Nothing is cached of weights: each is used once, and copies of all would stay that are divided.
        with torch.autocast(
            noisy.device.type, torch.bfloat16, enabled=self.settings.bfloat16, cache_enabled=False
        ):
            found = self.editor.velocity(noisy, reference, batch["time"], condition, self.settings.guidance)
        error = (found - target).square().mean((1, 2, 3))
        gain = 10 * (target.square().mean((1, 2, 3)) / (error.detach() + 1e-12)).log10()
        return Loss(error.mean(), gain, {"velocity": error.detach().mean()})

    @contextmanager
    def restoring(self) -> Iterator[RestorerPipeline]:
        """The editor as a restorer; what is learned is in float32, whatever the rest."""
        self._move_to(next(self.network.parameters()).device)
        pipe = self.editor.restorer()
        with torch.autocast(pipe.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            yield pipe

    def keep(self) -> None:
        """Write what is new in the cache, if there is one."""
        if self.editor.cache is not None:
            self.editor.cache.flush()

    def first_blocks(self, share: float) -> list[nn.Parameter]:
        """What is trained of the first of `Editor.late_blocks`."""
        blocks = self.editor.late_blocks
        chosen = blocks[: int(share * len(blocks))]
        return [weight for weight in chosen.parameters() if weight.requires_grad]

    def shard(self, device: torch.device) -> None:
        """See `Objective.shard`; frozen weights of the transformer are divided, too, other networks are not."""
        if self.settings.eight_bits:
            raise TrainingError("a base in 8 bits is not divided among processes: train without --shard")
        transformer = self.editor.pipe.transformer
        shard(transformer, device)
        if self.model.weights == "lora":
            self.network = _lora_of(transformer)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """See `Objective.gathered`."""
        if not isinstance(self.editor.pipe.transformer, FSDPModule):
            yield
            return
        divided, self.network = self.network, gather(self.network)
        try:
            yield
        finally:
            self.network = divided

    def led(self) -> AbstractContextManager[Role]:
        """See `Objective.led`."""
        transformer: nn.Module = self.editor.pipe.transformer
        is_divided = isinstance(transformer, FSDPModule)
        return led(transformer) if is_divided else super().led()

    def export(self, folder: Path) -> None:
        """Write the transformer, or the LoRA for `load_lora_weights` beside the form that training reads."""
        super().export(folder)
        if isinstance(self.network, TrainedPart):
            from peft.utils import get_peft_model_state_dict

            pipe = self.editor.pipe
            layers = get_peft_model_state_dict(pipe.transformer, self.network.by_name())
            pipe.save_lora_weights(folder, transformer_lora_layers=layers)

    def _move_to(self, device: torch.device) -> None:
        pipe = self.editor.pipe
        if pipe.vae.device == device:
            return
        for part in pipe.components.values():
            if isinstance(part, nn.Module) and not isinstance(part, FSDPModule):  # which is where it belongs
                part.to(device)


def _checked(model: dict[str, Any], settings: dict[str, Any]) -> tuple[Model, Settings, str]:
    """The fields of a recipe, and the base among them."""
    told = Settings(**checked(Settings, settings, "settings of the flow objective", TrainingError))
    shape = Model(**checked(Model, model, "model of the flow objective", TrainingError))
    if told.base is None:
        raise TrainingError("an editor is needed to begin with: name its folder or id with --base")
    return shape, told, told.base


def _add_lora(transformer: nn.Module, rank: int) -> None:
    """Give the attention changes of low rank, in float32."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise TrainingError(
            "weights of low rank need peft: pip install 'ggt-hub[curation]', or weights: full"
        ) from error
    transformer.add_adapter(  # type: ignore[operator]
        LoraConfig(r=rank, lora_alpha=rank, target_modules=[*_ATTENTION])
    )
    for name, weight in transformer.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()


def _lora_of(transformer: nn.Module) -> TrainedPart:
    return TrainedPart.of(
        {name: weight for name, weight in transformer.named_parameters() if "lora_" in name}
    )
