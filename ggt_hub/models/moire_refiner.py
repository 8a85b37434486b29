"""UniDemoire's refinement of a synthetic moire: a Uformer that predicts by what a blended picture is multiplied.

From "UniDemoiré" (Yang et al., AAAI 2025, arXiv 2502.06324, the tint refinement network), and what RealRestorer
(arXiv 2603.25502) makes its moire with. It is a Uformer (Wang et al., CVPR 2022, arXiv 2106.03106) of one block at
each level, whose upsampling is CARAFE's (Wang et al., ICCV 2019, arXiv 1905.02188). In training the authors also
look at a real moire; at inference that has no influence, so it is not an input here. Modules have the names of the
published weights, slips included (`dowsample_0`).
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.errors import DegradationError
from ggt_hub.models.windows import from_windows, to_windows, window_offsets

WINDOW = 8
"""Side of the windows that attention stays within, at each level."""

_LEVELS = 4
_MULTIPLE = WINDOW << _LEVELS  # of both sides: whole windows at a sixteenth of the resolution


class MoireRefiner(ModelMixin, ConfigMixin):
    """Predicts the gain map G; the refined picture is `blended * G`, stretched to 0..1.

    Args:
        width: channels at full resolution; they double at each of the four levels.
        heads: of attention, in the order of the blocks: four down, one at the bottom, four up.
    """

    @register_to_config
    def __init__(self, width: int = 16, heads: tuple[int, ...] = (1, 2, 4, 8, 16, 16, 8, 4, 2)) -> None:
        super().__init__()
        self.input_proj = _named("proj", nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU())
        for level in range(_LEVELS):
            channels = width << level
            setattr(self, f"encoderlayer_{level}", Stage(channels, heads[level]))
            down = nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1)
            setattr(self, f"dowsample_{level}", _named("conv", down))
        self.conv = Stage(width << _LEVELS, heads[_LEVELS])
        for level in range(
            _LEVELS
        ):  # counted from the bottom; from the second on, the skip has doubled the width
            channels = width << (_LEVELS - level)
            up = Upsample(channels if level == 0 else 2 * channels, channels // 2)
            setattr(self, f"upsample_{level}", _named("deconv", up))
            setattr(self, f"decoderlayer_{level}", Stage(channels, heads[_LEVELS + 1 + level]))
        self.output_proj = _named("proj", nn.Conv2d(2 * width, 3, 3, padding=1))

    def forward(self, blended: Tensor) -> Tensor:
        """Predict the gain map.

        Args:
            blended: pictures with a moire pattern blended in, (B, 3, H, W), 0..1; H and W multiples of 128. The
                published pipeline resizes all to 512 x 512.

        Returns:
            G, of the same shape; values are around those of `blended` and not limited.

        Raises:
            DegradationError: for other sides.
        """
        if any(side == 0 or side % _MULTIPLE for side in blended.shape[-2:]):
            raise DegradationError(
                f"the moire refiner was given {blended.shape[-1]} x {blended.shape[-2]} pixels: its sides are "
                f"multiples of {_MULTIPLE}; resize to 512 x 512 and back, as its authors do"
            )
        x, skips = self.input_proj["proj"](blended), []
        for level in range(_LEVELS):
            skips.append(self.get_submodule(f"encoderlayer_{level}")(x))
            x = self.get_submodule(f"dowsample_{level}.conv")(skips[-1])
        x = self.conv(x)
        for level in range(_LEVELS):
            x = torch.cat([self.get_submodule(f"upsample_{level}.deconv")(x), skips.pop()], dim=1)
            x = self.get_submodule(f"decoderlayer_{level}")(x)
        return blended + self.output_proj["proj"](x)


class Stage(nn.Module):
    """One level: the published network has one block at each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(width, heads))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape; H and W multiples of WINDOW."""
        return self.blocks(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Attention within windows, then a feed-forward that sees its neighbours; channels last."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, width) to the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each offset between two pixels of one."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("relative_position_index", window_offsets(WINDOW))
        self.qkv = nn.ModuleDict({"to_q": nn.Linear(width, width), "to_kv": nn.Linear(width, 2 * width)})
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, width) to the same shape."""
        tokens = to_windows(x, WINDOW)
        query = self._split(self.qkv["to_q"](tokens))
        key, value = (self._split(part) for part in self.qkv["to_kv"](tokens).chunk(2, dim=-1))
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        merged = self.proj(attended.transpose(1, 2).flatten(2))
        return from_windows(merged, WINDOW, *x.shape[1:3])

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, tokens, width) to (B, heads, tokens, width / heads)."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Uformer's "LeFF": to four times the width, a 3x3 convolution of each channel, and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 4 * width
        self.linear1 = nn.Sequential(nn.Linear(width, hidden), nn.GELU())
        self.dwconv = nn.Sequential(nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.GELU())
        self.linear2 = nn.Sequential(nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, width) to the same shape."""
        spread = self.dwconv(self.linear1(x).permute(0, 3, 1, 2))
        return self.linear2(spread.permute(0, 2, 3, 1))


class Upsample(nn.Module):
    """CARAFE: each new pixel is a mix of 3x3 old ones, with weights that the picture itself decides."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // 4, 1)
        self.encoder = nn.Conv2d(channels // 4, 4 * 9, 3, padding=1)
        self.out = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, out, 2 H, 2 W)."""
        height, width = x.shape[-2:]
        weights = F.pixel_shuffle(self.encoder(self.down(x)), 2).softmax(dim=1)
        weights = weights.unflatten(3, (width, 2)).unflatten(2, (height, 2))
        around = F.unfold(x, 3, padding=1).unflatten(2, (height, width)).unflatten(1, (-1, 9))
        mixed = torch.einsum("bckhw,bkhiwj->bchiwj", around, weights)
        return self.out(mixed.flatten(4, 5).flatten(2, 3))


def _named(name: str, *layers: nn.Module) -> nn.ModuleDict:
    """Layers in a row, under the name that the published weights have for them."""
    return nn.ModuleDict({name: nn.Sequential(*layers)})
