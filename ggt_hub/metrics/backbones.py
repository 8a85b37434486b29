"""The convolutional parts of AlexNet and VGG16, cut where the perceptual metrics look into them."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from ggt_hub.metrics.weights import StateDict

# Output channels of the convolutions, in order, "M" for a max pooling (Simonyan & Zisserman 2015, table 1, D).
_VGG16 = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]


def alexnet() -> nn.Sequential:
    """AlexNet's features up to the last ReLU, numbered as in torchvision."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True),
    )  # fmt: skip


def vgg16(pooling: type[nn.Module] | None = None) -> nn.Sequential:
    """VGG16's features up to the last ReLU, numbered as in torchvision.

    Args:
        pooling: what takes the place of max pooling; called with the number of channels.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width in _VGG16:
        if isinstance(width, int):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        else:
            layers.append(pooling(channels) if pooling else nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def taps(backbone: nn.Sequential, indices: tuple[int, ...], x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Run the backbone and yield what the layers of these indices give, channels last in memory (faster)."""
    x = x.contiguous(memory_format=torch.channels_last)
    for index, layer in enumerate(backbone):
        x = layer(x)
        if index in indices:
            yield x


def only_features(state: Mapping[str, torch.Tensor]) -> StateDict:
    """The convolutions' part of a published classifier, without its prefix."""
    return {
        key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")
    }
