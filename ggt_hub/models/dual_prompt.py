"""What dual-prompt tuning learns (GenIR, arXiv 2410.18666): vectors of tokens, and changes of attention."""

from collections.abc import Mapping, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class DualPrompt(ModelMixin, ConfigMixin):
    """Tensors by name, zero at first. Those of the attention may be shared with the network that they stand in.

    Args:
        shapes: of each tensor. Tokens are `positive.ENCODER` and `negative.ENCODER`, (vectors, width); all others
            are parameters of the denoiser, by their names there.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.tensors = nn.ParameterDict(
            {_key(name): nn.Parameter(torch.zeros(*shape)) for name, shape in shapes.items()}
        )

    @classmethod
    def of(cls, parameters: Mapping[str, nn.Parameter]) -> "DualPrompt":
        """One that holds these very parameters."""
        network = cls({name: list(parameter.shape) for name, parameter in parameters.items()})
        for name, parameter in parameters.items():
            network.tensors[_key(name)] = parameter
        return network

    def __getitem__(self, name: str) -> nn.Parameter:
        """A tensor by its name."""
        return self.tensors[_key(name)]


class TokensBeside(nn.Module):
    """A table of tokens whose last rows are learned; all others stay as they are, by the bit."""

    def __init__(self, table: nn.Embedding, learned: Sequence[tuple[int, nn.Parameter]]) -> None:
        super().__init__()
        self.table = table
        # In a list, not as parameters: they belong to the network that is trained.
        self._learned = [*learned]

    @property
    def weight(self) -> Tensor:
        """The table, of which callers ask dtype and device."""
        return self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of token ids."""
        vectors = self.table(ids)
        for first, learned in self._learned:
            is_learned = (ids >= first) & (ids < first + len(learned))
            own = learned[(ids - first).clamp(0, len(learned) - 1)].to(vectors.dtype)
            vectors = torch.where(is_learned[..., None], own, vectors)
        return vectors


def _key(name: str) -> str:
    """Modules have no dots in their names."""
    return name.replace(".", "/")
