"""The autoencoder with one or two codebooks that CodeFormer and IQPIR restore with.

A VQGAN (Esser et al., CVPR 2021, arXiv 2012.09841) in CodeFormer's form (Zhou et al., NeurIPS 2022, arXiv
2206.11253), with IQPIR's second book for good pictures (arXiv 2603.29773, the codebook stage). Modules have the
names of the published weights. Unlike in other VQGANs no activation stands before the last convolution of a half.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.errors import RestorerError

Fusion = Callable[[Tensor], Tensor]
"""What changes the generator's features at a tap."""

_GROUPS = 32


@dataclass(frozen=True)
class Quantised:
    """What a codebook makes of a feature map.

    Attributes:
        feature: the nearest entries (B, C, H, W), equal in value; gradients pass straight through to the input.
        codes: which entries they are, (B, H, W), int64.
        loss: of each sample, (B,): `mean((sg(q) - z)^2) + beta mean((q - sg(z))^2)`.
    """

    feature: Tensor
    codes: Tensor
    loss: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """What the autoencoder gives in training.

    Attributes:
        image: the reconstruction, (B, 3, H, W), around -1..1 and not limited.
        feature: the encoder's output z, (B, C, h, w).
        common: of the common book.
        hq: of the book for good pictures, before the gate; None where there is one book.
        gate: 1 where the book for good pictures takes part, else 0; (B,).
    """

    image: Tensor
    feature: Tensor
    common: Quantised
    hq: Quantised | None
    gate: Tensor

    @property
    def hq_loss(self) -> Tensor:
        """The loss of the book for good pictures over the whole batch, samples that are gated out counted as 0."""
        return self.gate.new_zeros(()) if self.hq is None else (self.hq.loss * self.gate).mean()


class Shape(NamedTuple):
    """Of both halves of an autoencoder; see `VQAutoencoder`."""

    channels: int
    multipliers: Sequence[int]
    blocks: int
    attention_levels: Sequence[int]
    code_width: int

    @property
    def widths(self) -> list[int]:
        """Channels at each level."""
        return [self.channels * multiplier for multiplier in self.multipliers]


class CodedPictures(ModelMixin, ConfigMixin):
    """What the autoencoder and the predictor of its codes share: both halves and the books, by published names."""

    def _add_halves(self, shape: Shape) -> None:
        self.encoder, self.generator = Encoder(shape), Generator(shape)

    def _add_books(self, width: int, codes: int, hq_codes: int | None, beta: float = 0.25) -> None:
        self.quantize = Codebook(codes, width, beta)
        if hq_codes is not None:
            self.quantize_aesthetic = Codebook(hq_codes, width, beta)

    @property
    def books(self) -> "list[Codebook]":
        """In the order in which a head predicts their codes: that for good pictures first, where there is one."""
        return [self.quantize] if self.config.hq_codes is None else [self.quantize_aesthetic, self.quantize]

    def check_sides(self, image: Tensor) -> None:
        """Refuse pictures whose sides do not come out even after all halvings.

        Raises:
            RestorerError: for those.
        """
        factor = self.encoder.factor
        if image.ndim != 4 or any(side == 0 or side % factor for side in image.shape[-2:]):
            raise RestorerError(
                f"{type(self).__name__} was given a batch of {tuple(image.shape)}: it takes (B, 3, H, W) with "
                f"sides that are multiples of {factor}; pad or resize the pictures"
            )


class VQAutoencoder(CodedPictures):
    """Pictures to codes and back.

    Args:
        channels: at full resolution; a multiple of 32, as normalisation needs.
        multipliers: of `channels` at each level; the resolution halves from one to the next.
        blocks: residual blocks at each level, in both halves.
        attention_levels: levels (0 is full resolution) whose residual blocks are each followed by attention.
        code_width: channels of the feature map and of a code.
        codes: entries of the common book.
        hq_codes: entries of the book for good pictures; None for one book.
        hq_weight: alpha, by which its entries are added.
        hq_threshold: the quality above which (strictly) a picture is good.
        beta: weight of the term that moves the codes.
    """

    @register_to_config
    def __init__(
        self,
        channels: int = 64,
        multipliers: Sequence[int] = (1, 2, 2, 4, 4, 8),
        blocks: int = 2,
        attention_levels: Sequence[int] = (5,),
        code_width: int = 256,
        codes: int = 1024,
        hq_codes: int | None = 1024,
        hq_weight: float = 0.8,
        hq_threshold: float = 0.7,
        beta: float = 0.25,
    ) -> None:
        super().__init__()
        self._add_halves(Shape(channels, multipliers, blocks, attention_levels, code_width))
        self._add_books(code_width, codes, hq_codes, beta)

    def forward(self, image: Tensor, quality: Tensor | None = None) -> Reconstruction:
        """Encode, look up and decode, as the codebooks are trained.

        Both books look at the same feature map. `z_q = common + alpha gate hq`, where the gate is
        `quality > hq_threshold` for each sample.

        Args:
            image: (B, 3, H, W), -1..1; sides multiples of the encoder's factor.
            quality: of each picture, (B,), 0..1; None opens the gate for all.

        Raises:
            RestorerError: for other sides.
        """
        self.check_sides(image)
        z = self.encoder(image)
        common = self.quantize(z)
        gate = z.new_ones(len(z)) if quality is None else (quality > self.config.hq_threshold).to(z)
        mixed, hq = common.feature, None
        if self.config.hq_codes is not None:
            hq = self.quantize_aesthetic(z)
            mixed = mixed + self.config.hq_weight * gate[:, None, None, None] * hq.feature
        return Reconstruction(self.generator(mixed), z, common, hq, gate)

    @torch.no_grad()
    def encode(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """The codes of pictures in the common book and in the one for good pictures, (B, h, w) each.

        The second is given for all pictures, whatever their quality, as the code predictor is trained with; None
        where there is one book. Arguments and errors are those of `forward`.
        """
        self.check_sides(image)
        z = self.encoder(image)
        codes = [book(z).codes for book in self.books]
        return codes[-1], codes[0] if len(codes) == 2 else None

    @property
    def last_layer(self) -> Tensor:
        """The weight at which adversarial training balances its losses: of the generator's last convolution."""
        return self.generator.get_parameter(f"blocks.{len(self.generator.blocks) - 1}.weight")


class Codebook(nn.Module):
    """K vectors; a feature map is replaced by the nearest of them.

    Args:
        codes: K.
        width: of each vector.
        beta: weight of the term of the loss that moves the vectors; the one that moves the encoder has weight 1.
    """

    def __init__(self, codes: int, width: int, beta: float = 0.25) -> None:
        super().__init__()
        self.beta = beta
        self.embedding = nn.Embedding(codes, width)
        nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)

    def forward(self, z: Tensor) -> Quantised:
        """Replace each vector of (B, C, H, W) by the nearest of the book, by squared Euclidean distance."""
        codes = self.distances(z).argmin(dim=-1)
        q = self.entries(codes)
        to_encoder, to_book = ((q.detach() - z) ** 2, (q - z.detach()) ** 2)
        loss = to_encoder.flatten(1).mean(1) + self.beta * to_book.flatten(1).mean(1)
        return Quantised(z + (q - z).detach(), codes, loss)

    def distances(self, z: Tensor) -> Tensor:
        """Squared distances of each vector of (B, C, H, W) to each entry, (B, H, W, K)."""
        vectors, book = z.movedim(1, -1), self.embedding.weight
        return (vectors**2).sum(-1, keepdim=True) + (book**2).sum(-1) - 2 * vectors @ book.T

    def entries(self, codes: Tensor) -> Tensor:
        """The entries of codes (B, H, W) as a map (B, C, H, W)."""
        return self.embedding(codes).movedim(-1, 1)

    def perplexity(self, codes: Tensor) -> Tensor:
        """How many entries `codes` use, as if evenly: `exp(-sum p log(p + 1e-10))` of their shares p."""
        counts = torch.bincount(codes.flatten(), minlength=self.embedding.num_embeddings)
        shares = counts.float() / codes.numel()
        return (-(shares * (shares + 1e-10).log()).sum()).exp()


class Encoder(nn.Module):
    """Pictures (B, 3, H, W) to feature maps (B, code_width, H / factor, W / factor).

    Attributes:
        factor: by which sides shrink.
        taps: for each level, the block after which its features are read: the level's last residual one.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        lowest, width = len(shape.widths) - 1, shape.channels
        self.factor = 1 << lowest
        self.taps: dict[int, int] = {}
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        for level, wide in enumerate(shape.widths):
            for _ in range(shape.blocks):
                layers.append(ResidualBlock(width, wide))
                self.taps[level], width = len(layers) - 1, wide
                if level in shape.attention_levels:
                    layers.append(AttentionBlock(wide))
            if level < lowest:
                layers.append(Downsample(wide))
        self.blocks = nn.ModuleList([*layers, *_middle(width), *_ending(width, shape.code_width)])

    def forward(self, image: Tensor) -> Tensor:
        """Encode."""
        return self.with_taps(image, ())[0]

    def with_taps(self, image: Tensor, levels: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Encode, and give the features at the taps of these levels, too."""
        level_at = {self.taps[level]: level for level in levels}
        x, taken = image, {}
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in level_at:
                taken[level_at[number]] = x
        return x, taken


class Generator(nn.Module):
    """Feature maps (B, code_width, h, w) to pictures (B, 3, h factor, w factor).

    Attributes:
        taps: for each level, the block after which features of the encoder are fused in: the level's first residual
            one, at the lowest level the second.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        lowest, width = len(shape.widths) - 1, shape.widths[-1]
        self.taps: dict[int, int] = {}
        layers: list[nn.Module] = [nn.Conv2d(shape.code_width, width, 3, padding=1), *_middle(width)]
        for level in range(lowest, -1, -1):
            for number in range(shape.blocks):
                layers.append(ResidualBlock(width, shape.widths[level]))
                if number == 0 or (level == lowest and number == 1):
                    self.taps[level] = len(layers) - 1
                width = shape.widths[level]
                if level in shape.attention_levels:
                    layers.append(AttentionBlock(width))
            if level > 0:
                layers.append(Upsample(width))
        self.blocks = nn.ModuleList([*layers, *_ending(width, 3)])

    def forward(self, feature: Tensor, fuse: Mapping[int, Fusion] | None = None) -> Tensor:
        """Decode; what is in `fuse`, by level, changes the features at that level's tap."""
        x, at_block = feature, {self.taps[level]: fusion for level, fusion in (fuse or {}).items()}
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in at_block:
                x = at_block[number](x)
        return x


class ResidualBlock(nn.Module):
    """Two normed convolutions beside a way around both."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm1 = _norm(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.norm2 = _norm(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, out, H, W)."""
        changed = self.conv2(_swish(self.norm2(self.conv1(_swish(self.norm1(x))))))
        return changed + (x if self.conv_out is None else self.conv_out(x))


class AttentionBlock(nn.Module):
    """One head of attention among all places of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        normed = self.norm(x)
        query, key, value = (part(normed).flatten(2).mT for part in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(query, key, value)
        return x + self.proj_out(attended.mT.reshape(x.shape))


class Downsample(nn.Module):
    """To half the sides; zeros stand at the right and bottom alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, channels, H / 2, W / 2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """To twice the sides: each pixel four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, channels, 2 H, 2 W)."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def _swish(x: Tensor) -> Tensor:
    """`x sigmoid(x)`, in place of x where no gradient needs it any more: at full resolution that saves 67 MB."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def _middle(width: int) -> list[nn.Module]:
    """What looks at the whole picture, at the lowest level of a half."""
    return [ResidualBlock(width, width), AttentionBlock(width), ResidualBlock(width, width)]


def _ending(width: int, out: int) -> list[nn.Module]:
    return [_norm(width), nn.Conv2d(width, out, 3, padding=1)]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=1e-6)
