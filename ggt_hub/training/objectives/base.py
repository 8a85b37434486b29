"""The contract of objectives: all that training knows of a restorer."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from diffusers import ModelMixin
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError
from ggt_hub.pipelines import RestorerPipeline
from ggt_hub.training.memory import Training
from ggt_hub.training.sharding import Role

Prepare = Callable[[Example], dict[str, Tensor]]
"""An example -> what a batch holds of it."""


Turns = Mapping[str, Mapping[str, Any]]
"""Who moves in a step, in order, each with what `forward` is told besides the batch."""


class Loss(NamedTuple):
    """What one batch gives.

    Attributes:
        value: scalar, what is minimised.
        gain: (B,), how much better each picture is than it came, in dB, or another measure in dB where nothing
            comes damaged; for people, without gradient. None in turns that make no picture.
        terms: scalars that tell how it comes about, by name; for people.
    """

    value: Tensor
    gain: Tensor | None
    terms: Mapping[str, Tensor] = {}


class Objective(nn.Module, ABC):
    """A network with its loss; as one module, so that gradients are shared between processes.

    Most have one turn, in which `network` learns. One that plays a game names its `learners`, each with an
    optimiser of its own, and says whose `turns` a step has.

    Attributes:
        network: what is trained, averaged and exported.
        in_bfloat16: whether it may be computed in bfloat16 where the hardware does that faster.
        needs_quality: whether examples must tell how good their ground truth is (`Example.known_quality`).
        prepare: makes of an example what `forward` reads; holds no network, for it runs in other processes.
    """

    network: ModelMixin
    prepare: Prepare
    in_bfloat16: ClassVar[bool] = True
    needs_quality: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """Build it from the fields `model` and `settings` of a recipe.

        Raises:
            TrainingError: if they do not fit.
        """

    @abstractmethod
    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch of what `prepare` makes, stacked."""

    def learners(self) -> dict[str, list[nn.Parameter]]:
        """What each optimiser moves, by name; by default all of `network` that is not frozen."""
        return {"network": [weight for weight in self.network.parameters() if weight.requires_grad]}

    def turns(self, _step: int) -> Turns:
        """Who of the learners moves in a step of the run, counted from 0; by default the network alone."""
        return {"network": {}}

    def first_blocks(self, share: float) -> list[nn.Parameter]:
        """What is trained of the network's first blocks, a share (0..1) of all, for stages that leave it alone.

        Raises:
            TrainingError: if the network has no blocks in an order.
        """
        raise TrainingError(
            f"{type(self.network).__name__} has no blocks of which a stage can freeze {share:g}"
        )

    def shard(self, device: torch.device) -> None:
        """Divide the network's weights among processes, see `sharding.shard`; `network` has new parameters then.

        Raises:
            TrainingError: if it cannot be divided.
        """
        raise TrainingError(
            f"a {type(self.network).__name__} is not divided among processes, only the transformer of an editor "
            "(objective flow): train without --shard"
        )

    def gathered(self) -> AbstractContextManager[None]:
        """Around `export`, in all processes: with whole weights in the first one, where they are divided."""
        return nullcontext()

    def led(self) -> AbstractContextManager[Role]:
        """Around work with what `restoring` gives, in all processes, which learn what of it is theirs."""
        return nullcontext("shares")

    def restoring(self) -> AbstractContextManager[RestorerPipeline]:
        """Around work with a restorer of the network as it is, for validation.

        Raises:
            TrainingError: if the network restores no pictures on its own.
        """
        raise TrainingError(
            f"a {type(self.network).__name__} in training makes no restorer: leave `validation` out of the recipe, "
            "and try what is exported with `ggt-hub bench run`"
        )

    @classmethod
    def memory(
        cls, model: dict[str, Any], settings: dict[str, Any], crop: int, at_once: int, *, download: bool
    ) -> Training | None:
        """What memory a stage needs, from the fields of a recipe alone; None where it is not known.

        Args:
            model: as `build`.
            settings: as `build`.
            crop: side of a crop, or of a square as large, in pixels.
            at_once: pictures that are computed at once.
            download: fetch from the Hub what is not here yet.

        Raises:
            TrainingError: as `build`.
        """
        return None

    def keep(self) -> None:
        """Write what was made by the way and is worth keeping, beside a checkpoint."""

    def start_from(self, weights: Path) -> None:
        """Take over the network's weights from a safetensors file, or from a folder that a run has exported.

        Raises:
            TrainingError: if it cannot be read, or does not fit.
        """
        if weights.is_dir():
            check_kind(weights, type(self.network).__name__)
            weights = weights / SAFETENSORS_WEIGHTS_NAME
        try:
            tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
            self.network.load_state_dict(self.select(tensors))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise TrainingError(f"cannot start from {weights}: {error}") from error

    def select(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of the tensors of a file, by name, those that are for the network: all, where an objective knows no more.

        Raises:
            TrainingError: if none are.
        """
        return tensors

    def export(self, folder: Path) -> None:
        """Write what users load."""
        self.network.save_pretrained(folder)


@contextmanager
def building(model: Mapping[str, Any]) -> Iterator[None]:
    """Around what makes a network of the field `model` of a recipe.

    Raises:
        TrainingError: in place of what says that it does not fit.
    """
    try:
        yield
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(f"the recipe's model {model} cannot be built: {error}") from error


def check_kind(folder: Path, kind: str) -> None:
    """Refuse the folder of another network than `kind`, the name of a class.

    Raises:
        TrainingError: saying which one lies there.
    """
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingError(f"cannot start from {folder}: there is no network with a config.json") from error
    if found != kind:
        raise TrainingError(f"cannot start from {folder}: it holds a {found}, and here belongs a {kind}")
