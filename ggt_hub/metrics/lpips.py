"""LPIPS: distance between deep features (Zhang et al., CVPR 2018, arXiv 1801.03924), version 0.1."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from ggt_hub.errors import MetricError
from ggt_hub.metrics.backbones import alexnet, only_features, taps, vgg16
from ggt_hub.metrics.pictures import Pictures, Scores, as_tensor, score_pairs
from ggt_hub.metrics.weights import load_weights

Net = Literal["alex", "vgg"]

WEIGHTS: dict[Net, tuple[str, str]] = {
    "alex": ("alexnet-owt-7be5be79.pth", "LPIPS_v0.1_alex-df73285e.pth"),
    "vgg": ("vgg16-397923af.pth", "LPIPS_v0.1_vgg-a78928a0.pth"),
}
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
_PIECE = 4096
_SMALLEST = {"alex": 31, "vgg": 16}  # below, a layer has no output
# Means and deviations of ImageNet's channels, on the scale -1..1 that the network takes.
_MEAN, _DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def lpips(
    restored: Pictures, gt: Pictures, *, net: Net = "alex", weights: str | Path | None = None
) -> Scores:
    """Learned perceptual distance at full resolution, version 0.1; 0 for equal pictures.

    Args:
        restored: pictures to score, RGB or grey; arrays or tensors as in `ggt_hub.metrics.pictures`.
        gt: their references, of the same sizes.
        net: the backbone; papers on restoration report "alex".
        weights: folder with the weights files; None downloads them at first use.

    Returns:
        One score for each picture, float64.

    Raises:
        MetricError: if pictures and references do not match or are too small.
        MetricUnavailableError: if the weights cannot be had.
    """
    network = load_lpips(net, Path(weights) if weights else None)
    return score_pairs(restored, gt, lambda x, y: network.to(as_tensor(x).device)(as_tensor(x), as_tensor(y)))


class Layer(NamedTuple):
    """A layer's features (`N x H*W x C`), and what brings each position to unit length (`N x H*W x 1`)."""

    values: torch.Tensor
    scale: torch.Tensor


class Lpips(nn.Module):
    """The network: `forward(x, y)` is `compare(features(x), features(y))`.

    Where many pictures are compared with one reference, keep its features: that saves half of the work.

    Tensors are `N x 3 x H x W` (or one channel), values 0..255.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, net: Net = "alex") -> None:
        super().__init__()
        self.net = net
        self.backbone = alexnet() if net == "alex" else vgg16()
        self.heads = nn.ParameterList(torch.rand(width) for width in _WIDTHS[net])
        self.register_buffer("mean", 127.5 * (1 + torch.tensor(_MEAN).view(1, 3, 1, 1)), persistent=False)
        self.register_buffer("deviation", 127.5 * torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.backbone.to(memory_format=torch.channels_last)
        self.requires_grad_(False).eval()

    def load_published(self, backbone: Mapping[str, Any], heads: Mapping[str, Any]) -> "Lpips":
        """Take the weights from torchvision's classifier and from the heads published with the paper."""
        self.backbone.load_state_dict(only_features(backbone))
        for index, head in enumerate(self.heads):
            head.copy_(heads[f"lin{index}.model.1.weight"].flatten())
        return self

    def features(self, x: torch.Tensor) -> list[Layer]:
        """Features of each layer."""
        if min(x.shape[-2:]) < _SMALLEST[self.net]:
            raise MetricError(
                f"a picture of {x.shape[-1]}x{x.shape[-2]} is too small: "
                f"LPIPS ({self.net}) needs {_SMALLEST[self.net]} pixels a side"
            )
        x = (x.float().expand(-1, 3, -1, -1) - self.mean) / self.deviation
        return [_layer(tap) for tap in taps(self.backbone, _TAPS[self.net], x)]

    def compare(self, first: list[Layer], second: list[Layer]) -> torch.Tensor:
        """The distance of each picture: weighted squared differences, averaged over positions (equation 1)."""
        layers = zip(self.heads, first, second, strict=True)
        return torch.stack([_distance(a, b, head) for head, a, b in layers]).sum(0)

    @torch.inference_mode()
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The distance of each pair."""
        return self.compare(self.features(x), self.features(y))


def _layer(tap: torch.Tensor) -> Layer:
    values = tap.permute(0, 2, 3, 1).flatten(1, 2)
    squares = torch.cat([piece.square().sum(2, keepdim=True) for piece in values.split(_PIECE, 1)], 1)
    return Layer(values, (squares.sqrt() + 1e-10).reciprocal())


def _distance(a: Layer, b: Layer, head: torch.Tensor) -> torch.Tensor:
    """Mean weighted squared difference; a few thousand positions at a time stay in the processor's cache."""
    pieces = zip(*(part.split(_PIECE, 1) for part in (*a, *b)), strict=True)
    sums = [((x * unit_x - y * unit_y).square_() @ head).sum(1) for x, unit_x, y, unit_y in pieces]
    return torch.stack(sums).sum(0) / a.values.shape[1]


@cache
def load_lpips(net: Net, folder: Path | None) -> Lpips:
    """The network with its published weights, from a folder or, where none is given, downloaded.

    Raises:
        MetricUnavailableError: if they cannot be had.
    """
    return Lpips(net).load_published(*(load_weights(name, folder) for name in WEIGHTS[net]))
