"""DISTS: structure and texture of deep features (Ding et al., IEEE TPAMI 44(5), 2022, arXiv 2004.07728)."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ggt_hub.metrics.backbones import only_features, taps, vgg16
from ggt_hub.metrics.pictures import Pictures, Scores, as_tensor, score_pairs
from ggt_hub.metrics.weights import load_weights

WEIGHTS = ("vgg16-397923af.pth", "DISTS_weights-f5e65c96.pth")
_TAPS = (3, 8, 15, 22, 29)
_WIDTHS = (3, 64, 128, 256, 512, 512)  # the picture itself is the first layer
_STABILISER = 1e-6
_PIECE = 4096
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels, 0..1


def dists(restored: Pictures, gt: Pictures, *, weights: str | Path | None = None) -> Scores:
    """Distance of structure and texture at full resolution (pictures are not resized); 0 for equal pictures.

    Args:
        restored: pictures to score, RGB or grey; arrays or tensors as in `ggt_hub.metrics.pictures`.
        gt: their references, of the same sizes.
        weights: folder with the weights files; None downloads them at first use.

    Returns:
        One score for each picture, float64.

    Raises:
        MetricError: if pictures and references do not match.
        MetricUnavailableError: if the weights cannot be had.
    """
    network = _network(Path(weights) if weights else None)
    return score_pairs(restored, gt, lambda x, y: network.to(as_tensor(x).device)(as_tensor(x), as_tensor(y)))


class Layer(NamedTuple):
    """A layer's features (`N x H*W x C`) with their means and variances (`N x C`)."""

    values: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor


class _SmoothPooling(nn.Module):
    """Square, blur by a Hann window, halve, take the root (equation 3): aliases less than max pooling."""

    kernel: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        window = torch.tensor([0.25, 0.5, 0.25])
        kernel = torch.outer(window, window).expand(channels, 1, 3, 3)
        self.register_buffer("kernel", kernel.clone(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squares = F.conv2d(x.square(), self.kernel, stride=2, padding=1, groups=x.shape[1])
        return (squares + 1e-12).sqrt()


class Dists(nn.Module):
    """The network: `forward(x, y)` is `compare(features(x), features(y))`.

    Where many pictures are compared with one reference, keep its features: that saves half of the work.

    Tensors are `N x 3 x H x W` (or one channel), values 0..255.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.backbone = vgg16(_SmoothPooling)
        self.alpha = nn.Parameter(torch.rand(sum(_WIDTHS)))
        self.beta = nn.Parameter(torch.rand(sum(_WIDTHS)))
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.backbone.to(memory_format=torch.channels_last)
        self.requires_grad_(False).eval()

    def load_published(self, backbone: Mapping[str, Any], heads: Mapping[str, Any]) -> "Dists":
        """Take the weights from torchvision's classifier and from the weights published with the paper."""
        self.backbone.load_state_dict(only_features(backbone))
        self.alpha.copy_(heads["alpha"].flatten())
        self.beta.copy_(heads["beta"].flatten())
        return self

    def features(self, x: torch.Tensor) -> list[Layer]:
        """The picture and five layers of the backbone."""
        x = x.float().expand(-1, 3, -1, -1) / 255
        layers = [x, *taps(self.backbone, _TAPS, (x - self.mean) / self.deviation)]
        return [_layer(layer.permute(0, 2, 3, 1).flatten(1, 2)) for layer in layers]

    def compare(self, first: list[Layer], second: list[Layer]) -> torch.Tensor:
        """1 - the weighted sum of texture and structure similarities (equations 5 to 7)."""
        texture, structure = [], []
        for a, b in zip(first, second, strict=True):
            means = 2 * a.mean * b.mean + _STABILISER
            texture.append(means / (a.mean.square() + b.mean.square() + _STABILISER))
            covariance = _covariance(a.values, a.mean, b.values, b.mean)
            structure.append((2 * covariance + _STABILISER) / (a.variance + b.variance + _STABILISER))
        weighted = torch.cat(texture, 1) @ self.alpha + torch.cat(structure, 1) @ self.beta
        return 1 - weighted / (self.alpha.sum() + self.beta.sum())

    @torch.inference_mode()
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The distance of each pair."""
        return self.compare(self.features(x), self.features(y))


def _layer(values: torch.Tensor) -> Layer:
    mean = values.mean(1)
    return Layer(values, mean, _covariance(values, mean, values, mean))


def _covariance(a: torch.Tensor, mean_a: torch.Tensor, b: torch.Tensor, mean_b: torch.Tensor) -> torch.Tensor:
    """Mean product of deviations; a few thousand positions at a time stay in the processor's cache."""
    pieces = zip(a.split(_PIECE, 1), b.split(_PIECE, 1), strict=True)
    sums = [((x - mean_a[:, None]) * (y - mean_b[:, None])).sum(1) for x, y in pieces]
    return torch.stack(sums).sum(0) / a.shape[1]


@cache
def _network(folder: Path | None) -> Dists:
    return Dists().load_published(*(load_weights(name, folder) for name in WEIGHTS))
