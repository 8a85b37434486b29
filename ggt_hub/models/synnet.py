"""SynNet: where, and how strongly, a pane of glass shows what is reflected in it.

From "Single Image Reflection Removal Beyond Linearity" (Wen et al., CVPR 2019), and what RealRestorer
(arXiv 2603.25502) makes its reflections with: the ResNet generator of "Perceptual Losses" (Johnson et al., ECCV
2016), on two pictures. Modules have the names of the published weights, `130_net_G.pth`.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.errors import DegradationError

_MULTIPLE = 4  # of both sides, for two halvings
_SMALLEST = 8  # side; at a quarter of less there is nothing to reflect at the borders


class SynNet(ModelMixin, ConfigMixin):
    """Predicts the weight W of the mix `W * reflection + (1 - W) * transmission`, for each pixel and channel.

    Args:
        width: channels at full resolution; twice and four times as many at a half and a quarter of it.
        blocks: residual blocks at a quarter of the resolution.
    """

    @register_to_config
    def __init__(self, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ReflectionPad2d(3),
            *_normed(nn.Conv2d(6, width, 7)),
            *_normed(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)),
            *_normed(nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)),
            *[ResidualBlock(4 * width) for _ in range(blocks)],
            *_normed(_doubled(4 * width, 2 * width)),
            *_normed(_doubled(2 * width, width)),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, 3, 7),
            nn.Sigmoid(),
        )

    def forward(self, transmission: Tensor, reflection: Tensor) -> Tensor:
        """Predict the weights of the reflection.

        Sides that are no multiples of 4 are continued by reflection, and the result is cut.

        Args:
            transmission: what is behind the glass, (B, 3, H, W), 0..1.
            reflection: what is before it, of the same shape.

        Returns:
            W, of the same shape, 0..1.

        Raises:
            DegradationError: if the shapes differ, or a side is below 8 pixels.
        """
        if transmission.shape != reflection.shape or min(transmission.shape[-2:]) < _SMALLEST:
            raise DegradationError(
                f"SynNet was given pictures of {tuple(transmission.shape)} and {tuple(reflection.shape)}: resize "
                f"the reflection to the transmission's size, and both to at least {_SMALLEST} pixels a side"
            )
        height, width = transmission.shape[-2:]
        both = 2 * torch.cat([transmission, reflection], dim=1) - 1
        whole = F.pad(both, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="reflect")
        return self.model(whole)[..., :height, :width]


class ResidualBlock(nn.Module):
    """Two convolutions, each normed, beside a way around both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            *_normed(nn.Conv2d(width, width, 3)),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        return x + self.conv_block(x)


def _normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return layer, nn.InstanceNorm2d(layer.out_channels), nn.ReLU()


def _doubled(channels: int, out: int) -> nn.ConvTranspose2d:
    """A convolution to twice the resolution."""
    return nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=1)
