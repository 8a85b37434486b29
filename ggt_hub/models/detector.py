"""The detector: which of the nine kinds of damage a picture shows, if any, and how strong it is.

It judges what the compact restorer makes of a few patches (whose layers know noise, blocks and blur), their
spectrum, where gratings stand out, the distribution of light and of edges in the whole picture, and what an eye of
its own sees in a small copy of it (a glow, a second picture, haze).
"""

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.models.compact_restorer import CompactRestorer, told_condition
from ggt_hub.models.edge_statistics import SIZE, edge_statistics
from ggt_hub.models.told_parts import small_copy
from ggt_hub.tasks import TASKS, Task

DETECTED: tuple[Task, ...] = TASKS[:9]
"""What it tells apart: RealRestorer's nine tasks (arXiv 2603.25502, table 1)."""

PATCH, MOST = 96, 2
"""Side of the patches in pixels, and at most how many along each side of the picture."""

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_RINGS = 24


class Detector(ModelMixin, ConfigMixin):
    """A small classifier of `features` and of a small copy.

    Args:
        channels: those of the restorer whose layers it judges.
        width: of its hidden layer.
        eye_channels: of the finer and of the coarser layers of its eye.
        caution: added to the logit of nothing: with more there are fewer alarms, and less is found.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        channels: Sequence[int] = (48, 96, 192),
        width: int = 96,
        eye_channels: Sequence[int] = (48, 64),
        caution: float = 0.0,
    ) -> None:
        super().__init__()
        size = feature_size(channels)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.eye = Eye(*eye_channels)
        self.verdict = nn.Sequential(
            nn.Linear(size + self.eye.size, width),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(width, 2 * len(DETECTED) + 1),
        )

    def forward(self, features: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
        """Judge pictures by their features (B, D) and small copies (B, 3, h, w), 0..1, see `small_copy`.

        Returns:
            Logits (B, 10) of nothing and of each of `DETECTED`, and severities (B, 9), 0 to about 1, of each in
            case it is there.
        """
        known = ((features - self.mean.float()) / self.deviation.float()).clamp(-5, 5)
        seen = self.eye(small.to(self.mean.dtype))
        found = self.verdict(torch.cat([known.to(self.mean.dtype), seen], dim=1)).float()
        logits, severities = found.split([len(DETECTED) + 1, len(DETECTED)], dim=1)
        nothing, rest = logits.split([1, len(DETECTED)], dim=1)
        return torch.cat([nothing + self.config.caution, rest], dim=1), severities.sigmoid()

    def judge(self, features: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, the mean of five looks, which is steadier; the logits are logarithms of probabilities."""
        found = [self(features, look) for look in self.looks(small)]
        logits, severities = (torch.stack(of_all) for of_all in zip(*found, strict=True))
        return logits.log_softmax(2).mean(0), severities.mean(0)

    @staticmethod
    def looks(small: Tensor) -> list[Tensor]:
        """Five of small copies (B, 3, h, w): at all of it and, a sixth of each side smaller, into its corners."""
        height, width = small.shape[2:]
        less_y, less_x = height // 6, width // 6
        corners = [
            small[:, :, top : height - less_y + top, left : width - less_x + left]
            for top in (0, less_y)
            for left in (0, less_x)
        ]
        return [small, *corners]

    def chance(self, logits: Tensor, task: Task) -> Tensor:
        """How likely one kind is, if it is that or nothing, without caution: (B,), 0..1, from `judge`'s logits."""
        kind = logits[:, 1 + DETECTED.index(task)]
        return (kind - logits[:, 0] + self.config.caution).sigmoid()


class Eye(nn.Module):
    """Looks at a small copy of the whole picture: a small ConvNeXt (Liu et al., CVPR 2022).

    Attributes:
        size: of what it gives.
    """

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.size = 2 * coarse
        self.layers = nn.Sequential(
            nn.Conv2d(3, fine // 2, 3, padding=1, stride=2),
            nn.GELU(),
            nn.Conv2d(fine // 2, fine, 3, padding=1, stride=2),
            _Block(fine),
            _Block(fine),
            _Norm(fine),
            nn.Conv2d(fine, coarse, 2, stride=2),
            _Block(coarse),
            _Block(coarse),
            _Norm(coarse),
        )

    def forward(self, small: Tensor) -> Tensor:
        """Map (B, 3, h, w), 0..1, to the mean and the largest of each channel: (B, `size`)."""
        missing = [max(0, 8 - extent) for extent in small.shape[2:]]
        seen = self.layers(2 * F.pad(small, (0, missing[1], 0, missing[0]), mode="replicate") - 1)
        return torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], dim=1)


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            _Norm(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class _Norm(nn.LayerNorm):
    """Over the channels of each pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@torch.no_grad()
def features(restorer: CompactRestorer, lq: Tensor) -> Tensor:
    """What the detector judges, of pictures (B, 3, H, W), 0..1, of any size: (B, `feature_size`), float32."""
    patches = patches_of(lq, PATCH, MOST)
    count, flat = patches.shape[1], patches.flatten(0, 1)
    of_patches = torch.cat([_of_layers(restorer, flat), _of_spectrum(flat.float())], dim=1)
    of_all = [_of_light(small_copy(lq).float()), edge_statistics(lq)]
    return torch.cat([of_patches.unflatten(0, (-1, count)).mean(1), *of_all], dim=1)


def feature_size(channels: Sequence[int]) -> int:
    """How many features there are, by the restorer's channels."""
    layers = 2 * (sum(channels) + 3) + 4
    return layers + 2 * _RINGS + len(_QUANTILES) * 6 + 2 * 8 + SIZE


def _of_layers(restorer: CompactRestorer, patches: Tensor) -> Tensor:
    """What the restorer's layers hold, what it would change, and what its estimator says."""
    held: dict[str, Tensor] = {}
    watched = (restorer.encode_fine[-1], restorer.encode_middle[-1], restorer.bottleneck[-1])
    hooks = [
        layer.register_forward_hook(lambda _m, _i, out, name=name: held.__setitem__(name, out))
        for name, layer in zip(("fine", "middle", "coarse"), watched, strict=True)
    ]
    try:
        restored = restorer(patches, told_condition(restorer, patches))
    finally:
        for hook in hooks:
            hook.remove()
    parts = [_statistics(held[name]) for name in ("fine", "middle", "coarse")]
    return torch.cat(
        [*parts, _statistics(64 * (restored - patches)), restorer.estimator(patches).float()], dim=1
    )


def _of_spectrum(patches: Tensor) -> Tensor:
    """Of each ring of the brightness' spectrum: the logarithm of its mean power, and how its peak stands out."""
    grey = patches.mean(1)
    window = torch.hann_window(grey.shape[-1], periodic=False, device=grey.device)
    power = (
        torch.fft.rfft2((grey - grey.mean((1, 2), keepdim=True)) * window * window[:, None]).abs().square()
    )
    y = torch.fft.fftfreq(grey.shape[-2], device=grey.device)[:, None]
    x = torch.fft.rfftfreq(grey.shape[-1], device=grey.device)[None]
    ring = (torch.hypot(y, x) * 2 * _RINGS).long().clamp(max=_RINGS - 1).flatten()
    power, index = power.flatten(1), ring.expand(len(power), -1)
    sums = torch.zeros(len(power), _RINGS, device=grey.device).scatter_add_(1, index, power)
    mean = sums / torch.bincount(ring, minlength=_RINGS)
    peak = torch.zeros_like(mean).scatter_reduce_(1, index, power, "amax")
    return torch.cat([(mean + 1e-6).log(), ((peak + 1e-6) / (mean + 1e-6)).log()], dim=1)


def _of_light(small: Tensor) -> Tensor:
    """How light, colour and contrast are distributed over a small copy of the picture."""
    grey, darkest, lightest = small.mean(1), small.amin(1), small.amax(1)
    dark_channel = -F.max_pool2d(-darkest, 7, stride=1, padding=3)  # He et al., CVPR 2009: haze lifts it
    saturation = (lightest - darkest) / (lightest + 0.02)
    local = F.avg_pool2d(grey[:, None], 5, stride=1, padding=2, count_include_pad=False)[:, 0]
    contrast = (grey - local).abs()
    maps = [*small.unbind(1), dark_channel, saturation, (contrast + 1e-3).log()]
    points = torch.tensor(_QUANTILES, device=small.device)
    quantiles = [torch.quantile(x.flatten(1), points, dim=1).T for x in maps]
    rows = [F.adaptive_avg_pool2d(x[:, None], (8, 1)).flatten(1) for x in (grey, dark_channel)]
    return torch.cat([*quantiles, *rows], dim=1)


def _statistics(layer: Tensor) -> Tensor:
    """Mean and logarithm of the mean square of each channel: (B, C, H, W) to (B, 2 C)."""
    layer = layer.float()
    return torch.cat([layer.mean((2, 3)), (layer.square().mean((2, 3)) + 1e-4).log()], dim=1)


def patches_of(lq: Tensor, side: int, most: int) -> Tensor:
    """Up to `most` by `most` patches (B, N, 3, side, side) spread evenly over pictures (B, 3, H, W).

    Pictures that are smaller are reflected, there and back as often as need be.
    """
    rows, columns = (_covering(extent, side, lq.device) for extent in lq.shape[2:])
    grown = lq[:, :, rows][:, :, :, columns]
    tops, lefts = (_starts(extent, side, most) for extent in grown.shape[2:])
    patches = [grown[:, :, top : top + side, left : left + side] for top in tops for left in lefts]
    return torch.stack(patches, dim=1)


def _covering(extent: int, side: int, device: torch.device) -> Tensor:
    """Indices of at least `side` rows of a picture of `extent` rows: there and back again."""
    index = torch.arange(max(extent, side), device=device) % max(1, 2 * extent - 2)
    return torch.where(index < extent, index, 2 * extent - 2 - index)


def _starts(extent: int, side: int, most: int) -> list[int]:
    count = min(most, -(-extent // side))
    return torch.linspace(0, extent - side, count).round().int().tolist()
