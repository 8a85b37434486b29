"""The contract of objectives: all that training knows of a restorer."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from diffusers import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError

Prepare = Callable[[Example, int], dict[str, Tensor]]
"""An example and the side of a crop -> what a batch holds of it."""


class Loss(NamedTuple):
    """What one batch gives.

    Attributes:
        value: scalar, what is minimised.
        gain: (B,), how much better each picture is than it came, in dB; for people, without gradient.
    """

    value: Tensor
    gain: Tensor


class Objective(nn.Module, ABC):
    """A network with its loss; as one module, so that gradients are shared between processes.

    Attributes:
        network: what is trained, averaged and exported.
        needs_quality: whether examples must tell how good their ground truth is (`Example.known_quality`).
        prepare: makes of an example what `forward` reads; holds no network, for it runs in other processes.
    """

    network: ModelMixin
    prepare: Prepare
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

    def start_from(self, weights: Path) -> None:
        """Take over the network's weights from a safetensors file.

        Raises:
            TrainingError: if it cannot be read, or does not fit.
        """
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
