"""What the compact restorer undoes only when it is told: parts of their own, beside weights that stay as they are.

A part has two halves. The *veil* looks at a small copy of the whole picture and gives each place a gain and an
offset: so it takes off what lies over the picture at large (haze, glare, the glow of a reflection). The *adapter*
changes the convolutions of the U-Net by matrices of low rank (LoRA, arXiv 2106.09685), so that it removes what it
never saw before (streaks, gratings). Without a part nothing of the restorer changes, not by a bit.
"""

from collections.abc import Mapping, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ggt_hub.models.compact_restorer import CompactRestorer
from ggt_hub.models.low_rank import LowRank, changed_weights, unet_convolutions
from ggt_hub.tasks import TASKS, Task

SMALL_SIDE = 96
"""Longer side, in pixels, of the copy that the veil looks at."""


class ToldParts(ModelMixin, ConfigMixin):
    """Parts by task.

    Args:
        ranks: task to the rank of its adapter; 0 has a veil alone.
        channels: those of the restorer that they belong to.
        blocks: likewise.
        width: channels of the veil at its finest level.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        ranks: Mapping[str, int],
        channels: Sequence[int] = (48, 96, 192),
        blocks: Sequence[int] = (1, 2, 4),
        width: int = 12,
    ) -> None:
        super().__init__()
        shapes = unet_convolutions(channels, blocks)
        self.parts = nn.ModuleDict({task: _Part(shapes, rank, width) for task, rank in ranks.items()})

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What there are parts for, in the order of the vocabulary."""
        return tuple(task for task in TASKS if task in self.parts)

    def veil(self, task: str, small: Tensor) -> Tensor:
        """Gains and offsets (B, 6, h, w), from small copies (B, 3, h, w), 0..1, of whole pictures."""
        return self._part(task).veil(small)

    def weights(self, task: str, restorer: CompactRestorer) -> dict[str, Tensor]:
        """The restorer's weights with the adapter's change, by name; empty for a veil alone."""
        return changed_weights(restorer, self.changes(task))

    def changes(self, task: str) -> dict[str, Tensor]:
        """What the adapter adds to the restorer's weights, by name; nothing for a veil alone."""
        return self._part(task).changes()

    def forward(self, lq: Tensor, task: str, restorer: CompactRestorer, c: Tensor) -> Tensor:
        """Restore whole pictures (B, 3, H, W), 0..1, sides multiples of 8; see `CompactRestorer.forward` for c."""
        lifted = unveiled(lq, self.veil(task, small_copy(lq)))
        changed = self.weights(task, restorer)
        return functional_call(restorer, changed, (lifted, c)) if changed else lifted

    def _part(self, task: str) -> "_Part":
        part: _Part = self.parts[task]  # type: ignore[assignment]
        return part


class _Part(LowRank):
    def __init__(self, shapes: Mapping[str, tuple[int, ...]], rank: int, width: int) -> None:
        super().__init__(shapes, rank)
        self.veil = Veil(width)


class Veil(nn.Module):
    """A U-Net of three levels that also sees where in the picture it is, and the picture's mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(5, width, 3, padding=1)
        self.middle = nn.Conv2d(width, 2 * width, 3, padding=1, stride=2)
        self.coarse = nn.Conv2d(2 * width, 4 * width, 3, padding=1, stride=2)
        self.whole = nn.Linear(4 * width, 4 * width)
        self.coarse_again = nn.Conv2d(4 * width, 4 * width, 3, padding=1)
        self.up_middle = nn.Conv2d(6 * width, 2 * width, 3, padding=1)
        self.up_first = nn.Conv2d(3 * width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 6, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, small: Tensor) -> Tensor:
        """Map (B, 3, h, w), 0..1, to (B, 6, h, w): logarithms of gains, then offsets."""
        first = F.gelu(self.first(torch.cat([small - 0.5, _places(small)], dim=1)))
        middle = F.gelu(self.middle(first))
        coarse = F.gelu(self.coarse(middle))
        coarse = coarse + self.whole(coarse.mean((2, 3)))[:, :, None, None]
        coarse = F.gelu(self.coarse_again(F.gelu(coarse)))
        middle = F.gelu(self.up_middle(torch.cat([_as_large_as(coarse, middle), middle], dim=1)))
        first = F.gelu(self.up_first(torch.cat([_as_large_as(middle, first), first], dim=1)))
        return self.last(first)


def small_copy(lq: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) shrunk by area so that their longer side is `SMALL_SIDE`; small ones stay."""
    height, width = lq.shape[2:]
    scale = min(1.0, SMALL_SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return F.interpolate(lq, size, mode="area")


def unveiled(lq: Tensor, maps: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) times the gains plus the offsets of maps (B, 6, h, w), enlarged to them; 0..1."""
    gain, offset = F.interpolate(maps.float(), lq.shape[2:], mode="bilinear").chunk(2, dim=1)
    return (lq * gain.exp() + offset).clamp(0, 1).to(lq.dtype)


def _places(small: Tensor) -> Tensor:
    """Where each pixel is: (B, 2, h, w), -1 at the left and at the top .. 1."""
    batch, _, height, width = small.shape
    y = torch.linspace(-1, 1, height, device=small.device, dtype=small.dtype).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=small.device, dtype=small.dtype).view(1, 1, 1, -1)
    return torch.cat([y.expand(batch, 1, height, width), x.expand(batch, 1, height, width)], dim=1)


def _as_large_as(x: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(x, other.shape[2:], mode="bilinear")
