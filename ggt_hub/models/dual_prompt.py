"""What dual-prompt tuning learns (GenIR, arXiv 2410.18666): vectors of tokens, and changes of attention."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ggt_hub.models.trained_part import TrainedPart


class DualPrompt(TrainedPart):
    """Tensors by name, zero at first; the attention's may be shared with the denoiser.

    Tokens are `positive.ENCODER` and `negative.ENCODER`, (vectors, width); all others are parameters of the
    denoiser, by their names there.
    """


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
