"""The part of a pipeline that is trained, where the rest of it stays frozen."""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


class TrainedPart(ModelMixin, ConfigMixin):
    """Tensors by name, zero at first. They may be shared with the network that they stand in.

    Args:
        shapes: of each tensor.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.tensors = nn.ParameterDict(
            {_key(name): nn.Parameter(torch.zeros(*shape)) for name, shape in shapes.items()}
        )

    @classmethod
    def of(cls, parameters: Mapping[str, nn.Parameter]) -> Self:
        """One that holds these very parameters."""
        # By its name, for `from_config` takes what came by place for a default.
        part = cls(shapes={name: list(parameter.shape) for name, parameter in parameters.items()})
        for name, parameter in parameters.items():
            part.tensors[_key(name)] = parameter
        return part

    def __getitem__(self, name: str) -> nn.Parameter:
        """A tensor by its name."""
        return self.tensors[_key(name)]

    def by_name(self) -> dict[str, torch.Tensor]:
        """All tensors, without gradients."""
        return {name.replace("/", "."): tensor.detach() for name, tensor in self.tensors.items()}


def _key(name: str) -> str:
    """Modules have no dots in their names."""
    return name.replace(".", "/")
