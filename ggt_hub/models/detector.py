"""The detector: which of the nine kinds of damage a picture shows, if any, and how strong it is.

It looks at patches of the picture as they are, where noise, blocks and gratings show, and at a small copy of the
whole, where haze, darkness and flare do.
"""

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.models.told_parts import small_copy
from ggt_hub.tasks import TASKS, Task

DETECTED: tuple[Task, ...] = TASKS[:9]
"""What it tells apart: RealRestorer's nine tasks (arXiv 2603.25502, table 1)."""


class Detector(ModelMixin, ConfigMixin):
    """Whole pictures in, a verdict out.

    Args:
        width: channels of both branches at their finest level.
        tasks: what it tells apart, for the record; `DETECTED`.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, width: int = 24, tasks: Sequence[str] = DETECTED) -> None:
        super().__init__()
        self.fine = _branch(12, width)
        self.whole = _branch(3, width)
        self.verdict = nn.Sequential(
            nn.LayerNorm(16 * width), nn.Linear(16 * width, 96), nn.GELU(), nn.Linear(96, 2 * len(tasks) + 1)
        )

    def forward(self, patches: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
        """Judge pictures.

        Args:
            patches: (B, N, 3, h, w), 0..1: N patches of each picture as it is, sides multiples of 2.
            small: (B, 3, h', w'), 0..1: `small_copy` of each whole picture.

        Returns:
            Logits (B, 10) of nothing and each of `DETECTED`, and severities (B, 9), 0 to about 1, of each in case
            it is there.
        """
        count = patches.shape[1]
        detail = F.pixel_unshuffle(_detail(patches.flatten(0, 1)), 2)
        fine = _statistics(self.fine(detail)).unflatten(0, (-1, count)).mean(1)
        whole = _statistics(self.whole(2 * small - 1))
        found = self.verdict(torch.cat([fine, whole], dim=1)).float()
        logits, severities = found.split([len(DETECTED) + 1, len(DETECTED)], dim=1)
        return logits, severities.sigmoid()


def patches_of(lq: Tensor, side: int, most: int) -> Tensor:
    """Up to `most` by `most` patches (B, N, 3, side, side) spread evenly over pictures (B, 3, H, W).

    Pictures that are smaller are reflected, or where that is not enough, repeated beyond their edges.
    """
    height, width = lq.shape[2:]
    rows, columns = (_covering(extent, side, lq.device) for extent in (height, width))
    grown = lq[:, :, rows][:, :, :, columns]
    height, width = grown.shape[2:]
    tops, lefts = (_starts(extent, side, most) for extent in (height, width))
    patches = [grown[:, :, top : top + side, left : left + side] for top in tops for left in lefts]
    return torch.stack(patches, dim=1)


def _covering(extent: int, side: int, device: torch.device) -> Tensor:
    """Indices of at least `side` rows of a picture of `extent` rows: there and back again."""
    index = torch.arange(max(extent, side), device=device) % max(1, 2 * extent - 2)
    return torch.where(index < extent, index, 2 * extent - 2 - index)


def _starts(extent: int, side: int, most: int) -> list[int]:
    count = min(most, -(-extent // side))
    return torch.linspace(0, extent - side, count).round().int().tolist()


def _detail(x: Tensor) -> Tensor:
    """What the local mean leaves, enlarged: what the picture shows outweighs what was done to it."""
    return 16 * (x - F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False))


def _branch(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, stride=2),
        nn.GELU(),
        nn.Conv2d(2 * width, 4 * width, 3, padding=1, stride=2),
        nn.GELU(),
        nn.Conv2d(4 * width, 4 * width, 3, padding=1),
    )


def _statistics(features: Tensor) -> Tensor:
    """Mean and logarithm of the mean square of each channel: (B, C, H, W) to (B, 2 C)."""
    features = features.float()
    energy = features.square().mean((2, 3))
    return torch.cat([features.mean((2, 3)), (energy + 1e-4).log()], dim=1)


def judged(detector: Detector, lq: Tensor, side: int = 192, most: int = 3) -> tuple[Tensor, Tensor]:
    """`Detector.forward` of whole pictures (B, 3, H, W), 0..1, of any size."""
    return detector(patches_of(lq, side, most), small_copy(lq))
