"""SwinIR as a remover of degradations: the network that DiffBIR and DreamClear look at a picture with first.

Liang et al., SwinIR (arXiv 2108.10257), in the form that DiffBIR (arXiv 2308.15070) trained for any damage: the
picture is unshuffled by 8, worked on as tokens, and brought back by three nearest-neighbour doublings, so it keeps
its size. Modules have the names of the published weights.
"""

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ggt_hub.errors import RestorerError
from ggt_hub.models.windows import from_windows, to_windows, window_offsets

_MEAN = (0.4488, 0.4371, 0.4040)
_UNSHUFFLE = 8  # undone by three doublings
_HIDDEN = -100.0  # what is added to the logits of pixels that the shift has brought together


class SwinIR(ModelMixin, ConfigMixin):
    """Removes what is wrong with a picture, and much of its detail; the size stays.

    Args:
        embed_dim: width of the tokens.
        depths: layers of each group.
        num_heads: of attention, for each group.
        window: side of the windows, in tokens.
        mlp_ratio: width of the feed-forward, in parts of `embed_dim`.
        num_feat: channels of the part that brings the size back.
    """

    _no_split_modules = ["Layer"]  # noqa: RUF012 (the name and type are diffusers')

    @register_to_config
    def __init__(
        self,
        embed_dim: int = 180,
        depths: tuple[int, ...] = (6,) * 8,
        num_heads: tuple[int, ...] = (6,) * 8,
        window: int = 8,
        mlp_ratio: float = 2.0,
        num_feat: int = 64,
    ) -> None:
        super().__init__()
        self.multiple = _UNSHUFFLE * window
        self.conv_first = nn.Sequential(nn.PixelUnshuffle(_UNSHUFFLE), _conv(3 * _UNSHUFFLE**2, embed_dim))
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(embed_dim)})
        self.layers = nn.ModuleList(
            Group(embed_dim, depth, heads, window, round(embed_dim * mlp_ratio))
            for depth, heads in zip(depths, num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = _conv(embed_dim, embed_dim)
        self.conv_before_upsample = nn.Sequential(_conv(embed_dim, num_feat), nn.LeakyReLU())
        self.conv_up1, self.conv_up2, self.conv_up3 = (_conv(num_feat, num_feat) for _ in range(3))
        self.conv_hr = _conv(num_feat, num_feat)
        self.conv_last = _conv(num_feat, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        """Restore pictures (B, 3, H, W), 0..1; the values that come back may leave that range.

        Raises:
            RestorerError: unless both sides are multiples of 64 (unshuffling times window).
        """
        if any(side == 0 or side % self.multiple for side in pixels.shape[-2:]):
            raise RestorerError(
                f"SwinIR was given {pixels.shape[-1]} x {pixels.shape[-2]} pixels: its sides are multiples of "
                f"{self.multiple}; resize or pad the picture"
            )
        mean = pixels.new_tensor(_MEAN)[:, None, None]
        shallow = self.conv_first(pixels - mean)
        x = self.patch_embed["norm"](shallow.permute(0, 2, 3, 1))
        for group in self.layers:
            x = group(x)
        x = self.conv_before_upsample(self.conv_after_body(self.norm(x).permute(0, 3, 1, 2)) + shallow)
        for conv in (self.conv_up1, self.conv_up2, self.conv_up3):
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2)), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2)) + mean


class Group(nn.Module):
    """Some layers, then a convolution, around a residual; channels last."""

    def __init__(self, width: int, depth: int, heads: int, window: int, hidden: int) -> None:
        super().__init__()
        layers = [Layer(width, heads, window, number % 2 * (window // 2), hidden) for number in range(depth)]
        self.residual_group = nn.ModuleDict({"blocks": nn.Sequential(*layers)})
        self.conv = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, width) to the same shape; H and W multiples of the window."""
        deep = self.residual_group["blocks"](x)
        return x + self.conv(deep.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Layer(nn.Module):
    """Attention within windows, every second time between them, and a feed-forward; channels last."""

    def __init__(self, width: int, heads: int, window: int, shift: int, hidden: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, width) to the same shape; H and W multiples of the window."""
        size = x.shape[1:3]
        moved = torch.roll(self.norm1(x), (-self.shift, -self.shift), (1, 2))
        hidden = apart(size, self.window, self.shift, x.device) if self.shift else None
        attended = from_windows(self.attn(to_windows(moved, self.window), hidden), self.window, *size)
        x = x + torch.roll(attended, (self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each offset between two pixels of one."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", window_offsets(window), persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, hidden: Tensor | None) -> Tensor:
        """Map (B * windows, tokens, width) to the same shape.

        Args:
            tokens: of all windows of a picture, then those of the next.
            hidden: which two tokens of each window do not see each other, (windows, tokens, tokens).
        """
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]
        if hidden is not None:
            bias = (bias + _HIDDEN * hidden[:, None]).repeat(len(tokens) // len(hidden), 1, 1, 1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        return self.proj(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """To a larger width and back."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return self.fc2(F.gelu(self.fc1(x)))


def apart(size: torch.Size, window: int, shift: int, device: torch.device) -> Tensor:
    """Which two pixels of each window are neighbours only because the picture was rolled by `shift`, as 0 or 1.

    Returns:
        (windows, window^2, window^2), for a picture of `size`.
    """
    parts = [
        (
            torch.arange(side, device=device)[:, None]
            >= torch.tensor([side - window, side - shift], device=device)
        ).sum(1)
        for side in size
    ]
    region = to_windows((3 * parts[0][:, None] + parts[1])[None, ..., None], window)[..., 0]
    return (region[:, :, None] != region[:, None]).float()


def _conv(inner: int, outer: int) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 3, padding=1)
