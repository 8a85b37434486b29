"""Inception v3 as it was trained for FID: what sets of pictures are compared by."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ggt_hub.errors import MetricUnavailableError
from ggt_hub.metrics.weights import load_weights

WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"
"""TensorFlow's network of 2015-12-05 in torchvision's names, as the package pytorch-fid publishes it."""

SIDE = 299


@cache
def load_inception(folder: Path | None = None) -> nn.Module:
    """The network with its published weights: pictures (N, 3, 299, 299), 0..255, to features (N, 2048).

    Args:
        folder: with the weights; None downloads them.

    Raises:
        MetricUnavailableError: if torchvision is not installed, or the weights cannot be had.
    """
    network = inception()
    state = {key: value for key, value in load_weights(WEIGHTS, folder).items() if not key.startswith("fc.")}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise MetricUnavailableError(
            f"{WEIGHTS} holds another network than Inception v3: take the file that pytorch-fid publishes"
        ) from error
    return network


def inception() -> nn.Module:
    """The network with random weights; its 1 008 classes are left out.

    It differs from torchvision's in three ways, in which TensorFlow's network of 2015 does: means over windows that
    reach beyond the border leave out what lies there, the last block takes the maximum, and -128 centres pictures.

    Raises:
        MetricUnavailableError: if torchvision is not installed.
    """
    try:
        from torchvision.models import inception as theirs
    except ImportError as error:
        raise MetricUnavailableError(
            "fid and kid need torchvision: pip install 'ggt-hub[metrics]'"
        ) from error

    class Inception(theirs.Inception3):
        def forward(self, pictures: Tensor) -> Tensor:
            return super().forward((pictures - 128) / 128)

    def pooled(block: type[Any], pool: Any) -> type[Any]:
        """The block with another pooling in its last branch."""

        class Pooled(block):
            def _forward(self, x: Tensor) -> list[Tensor]:
                return [*super()._forward(x)[:-1], self.branch_pool(pool(x))]

        return Pooled

    blocks = [
        theirs.BasicConv2d,
        pooled(theirs.InceptionA, _mean_inside),
        theirs.InceptionB,
        pooled(theirs.InceptionC, _mean_inside),
        theirs.InceptionD,
        pooled(theirs.InceptionE, _mean_inside),
        theirs.InceptionAux,
    ]
    network = Inception(aux_logits=False, init_weights=False, inception_blocks=blocks)
    network.Mixed_7c = pooled(theirs.InceptionE, _maximum)(2048)
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False)


def _mean_inside(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def resized(pictures: Tensor) -> Tensor:
    """Pictures (N, 1 or 3, H, W), 0..255, as the network takes them: bicubic as Pillow's, unrounded, clipped.

    So clean-fid does it (Parmar, Zhang, Zhu 2022), since other ways of resizing change FID more than restorers do.
    """
    sides = F.interpolate(pictures.float(), (SIDE, SIDE), mode="bicubic", antialias=True)
    return torch.clamp(sides, 0, 255).expand(-1, 3, -1, -1)
