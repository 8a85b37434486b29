"""The discriminator that the codebooks are trained against: a verdict for each patch of a picture.

PatchGAN (Isola et al., CVPR 2017), as VQGAN, CodeFormer and IQPIR (arXiv 2603.29773) use it; published names.
"""

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

_WIDEST = 8  # times the first layer's channels


class PatchDiscriminator(ModelMixin, ConfigMixin):
    """Says of patches whether they are real (above 0) or made (below 0).

    Args:
        channels: after the first layer; they double, up to eight times as many.
        layers: that halve the sides.
    """

    @register_to_config
    def __init__(self, channels: int = 64, layers: int = 4) -> None:
        super().__init__()
        widths = [channels * min(1 << n, _WIDEST) for n in range(layers + 1)]
        stages: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for n in range(1, layers + 1):
            stride = 2 if n < layers else 1
            stages += [
                nn.Conv2d(widths[n - 1], widths[n], 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(widths[n]),
                nn.LeakyReLU(0.2),
            ]
        self.main = nn.Sequential(*stages, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """Judge (B, 3, H, W), -1..1; the verdicts are (B, 1, h, w), 30 x 30 for pictures of 512 and four layers."""
        return self.main(image)
