"""CodeFormer, and IQPIR: a Transformer that tells which codes a good picture would have, given a poor one.

CodeFormer (Zhou et al., NeurIPS 2022, arXiv 2206.11253) predicts the codes of an autoencoder's book for a damaged
face. IQPIR (arXiv 2603.29773) tells it how good the picture is to be, by a map that is added to the encoder's
output, and adds codes of a second book that only good pictures were learned with. Modules have the names of the
published weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.errors import RestorerError
from ggt_hub.models.quality_bin import quality_bin
from ggt_hub.models.vq_autoencoder import CodedPictures, Fusion, ResidualBlock, Shape

HQ, COMMON = 0, 1
"""Places of the two books in the last dimension of logits and codes, as the published head interleaves them."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of pictures.

    Attributes:
        logits: of each code for each token (row by row): (B, tokens, K), or (B, tokens, K, 2) with two books, whose
            last dimension is `HQ`, `COMMON`.
        feature: the encoder's output with the map of the quality added, (B, C, h, w): what losses on features, the
            transfer of statistics and the straight-through gradient all refer to.
        taps: the encoder's features by level, without that map, for fusion.
    """

    logits: Tensor
    feature: Tensor
    taps: Mapping[int, Tensor]

    @property
    def codes(self) -> Tensor:
        """The likeliest codes, (B, tokens) or (B, tokens, 2)."""
        return self.logits.argmax(dim=2)


class CodeFormer(CodedPictures):
    """Restores pictures that the autoencoder's books can express; the published ones know aligned faces.

    Without `bins` and `hq_codes` it is the original CodeFormer.

    Args:
        channels: of the autoencoder, see `VQAutoencoder`; so with the next four.
        multipliers: see there.
        blocks: see there.
        attention_levels: see there.
        code_width: see there.
        codes: K, the entries of the common book.
        hq_codes: entries of the book for good pictures, of which the first K are predicted; None for one book.
        hq_weight: alpha, by which its entries are added, unless a call says otherwise.
        bins: steps of quality, each of width 1 / bins; None for a network that is told none.
        latent: side of the feature map of the pictures it was trained on.
        width: of the Transformer.
        heads: of its attention.
        layers: of it.
        fusion_levels: levels at which the encoder's features can be fused into the generator's.
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
        bins: int | None = 10,
        latent: int = 16,
        width: int = 512,
        heads: int = 8,
        layers: int = 9,
        fusion_levels: Sequence[int] = (4, 3, 2, 1),
    ) -> None:
        super().__init__()
        if hq_codes is not None and hq_codes < codes:
            raise RestorerError(
                f"{hq_codes} codes for good pictures: give at least the {codes} of the other book"
            )
        self._add_halves(Shape(channels, multipliers, blocks, attention_levels, code_width))
        self._add_books(code_width, codes, hq_codes)
        if bins is not None:
            self.score_embed = nn.Embedding(bins, code_width * latent * latent)
        self.position_emb = nn.Parameter(torch.zeros(latent * latent, width))
        self.feat_emb = nn.Linear(code_width, width)
        self.ft_layers = nn.ModuleList([TransformerLayer(width, heads) for _ in range(layers)])
        head = nn.Linear(width, codes if hq_codes is None else 2 * codes, bias=False)
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(width), head)
        self.fuse_convs_dict = nn.ModuleDict(
            {str(self.native >> level): FusionBlock(channels * multipliers[level]) for level in fusion_levels}
        )

    @property
    def native(self) -> int:
        """Side, in pixels, of the pictures it was trained on."""
        return self.config.latent * self.encoder.factor

    def forward(
        self,
        image: Tensor,
        quality: Tensor | float | None = None,
        *,
        fidelity: float = 0.0,
        adain: bool = True,
        hq_weight: float | None = None,
    ) -> Tensor:
        """Restore.

        Args:
            image: (B, 3, H, W), -1..1; sides multiples of the encoder's factor. Other than native sides are taken:
                what was learned for each place is interpolated.
            quality: how good the result is to be, 0..1: one number, or one for each picture (B,). Each falls into
                one of `bins` steps, and is needed exactly where the network has such.
            fidelity: w, 0..1: how much of the encoder's features is fused into the generator's.
            adain: whether the codes' features take mean and spread of the encoder's, channel by channel.
            hq_weight: alpha in place of the configured one.

        Returns:
            (B, 3, H, W), around -1..1 and not limited.

        Raises:
            RestorerError: for other sides, or a quality that is missing, not taken, NaN or of another count.
        """
        predicted = self.predict(image, quality)
        return self.decode(predicted, predicted.codes, fidelity=fidelity, adain=adain, hq_weight=hq_weight)

    def predict(self, image: Tensor, quality: Tensor | float | None = None) -> Prediction:
        """Encode, and predict the codes; arguments and errors are those of `forward`."""
        self.check_sides(image)
        z, taps = self.encoder.with_taps(image, self.config.fusion_levels)
        if (score_map := self._score_map(quality, z)) is not None:
            z = z + score_map
        position = _resized(self._native_map(self.position_emb.T[None]), z)
        tokens, position = self.feat_emb(z.flatten(2).mT), position.flatten(2).mT
        for layer in self.ft_layers:
            tokens = layer(tokens, position)
        logits = self.idx_pred_layer(tokens)
        return Prediction(logits if self.config.hq_codes is None else logits.unflatten(2, (-1, 2)), z, taps)

    def decode(
        self,
        predicted: Prediction,
        codes: Tensor,
        *,
        fidelity: float = 0.0,
        adain: bool = False,
        hq_weight: float | None = None,
    ) -> Tensor:
        """The picture of codes, (B, 3, H, W).

        The gradient passes from the codes' features straight to `predicted.feature`, so a loss on the picture
        reaches the encoder and the table of qualities, and neither the Transformer nor the books.

        Args:
            predicted: for the same pictures.
            codes: (B, tokens), or (B, tokens, 2) with two books.
            fidelity: as in `forward`; so with the next two.
            adain: see there.
            hq_weight: see there.
        """
        z = predicted.feature
        mixed = z + (self.code_features(codes, z.shape[-2:], hq_weight) - z).detach()
        fuse = {level: self._fusion(level, taken, fidelity) for level, taken in predicted.taps.items()}
        return self.generator(adapted(mixed, z) if adain else mixed, fuse if fidelity > 0 else None)

    def code_features(
        self, codes: Tensor, size: Sequence[int] | None = None, hq_weight: float | None = None
    ) -> Tensor:
        """The features of codes: `common[k1] + alpha hq[k2]` with two books.

        Args:
            codes: (B, tokens), or (B, tokens, 2).
            size: rows and columns of the map that the tokens make up; the native one if not given.
            hq_weight: alpha in place of the configured one.

        Returns:
            (B, C, rows, columns).
        """
        grid = tuple(size or (self.config.latent, self.config.latent))
        if self.config.hq_codes is None:
            return self.quantize.entries(codes.unflatten(1, grid))
        alpha = self.config.hq_weight if hq_weight is None else hq_weight
        common, hq = (codes[..., place].unflatten(1, grid) for place in (COMMON, HQ))
        return self.quantize.entries(common) + alpha * self.quantize_aesthetic.entries(hq)

    def _score_map(self, quality: Tensor | float | None, z: Tensor) -> Tensor | None:
        """What is added to the encoder's output: a whole map for each step of quality; None without steps."""
        bins = self.config.bins
        if (quality is None) != (bins is None):
            need = "takes no quality: leave it out" if bins is None else "needs a quality: give one in 0..1"
            raise RestorerError(f"this CodeFormer {need}")
        if quality is None:
            return None
        steps = quality_bin(torch.as_tensor(quality, device=z.device), bins)
        if steps.ndim > 1 or steps.numel() not in (1, len(z)):
            raise RestorerError(
                f"{tuple(steps.shape)} qualities for {len(z)} pictures: give one number, or one for each"
            )
        chosen = self.score_embed(steps.reshape(-1)).unflatten(1, (self.config.code_width, -1))
        return _resized(self._native_map(chosen), z).expand_as(z)

    def _native_map(self, flat: Tensor) -> Tensor:
        """(N, C, places) as a map (N, C, latent, latent)."""
        return flat.unflatten(2, (self.config.latent, self.config.latent))

    def _fusion(self, level: int, taken: Tensor, fidelity: float) -> Fusion:
        block = self.fuse_convs_dict[str(self.native >> level)]
        return lambda x: block(taken.detach(), x, fidelity)


class TransformerLayer(nn.Module):
    """Attention among tokens that know their place, then a feed-forward; each normed first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Map (B, tokens, width) to the same shape; `position` (1, tokens, width) is for queries and keys alone."""
        normed = self.norm1(tokens)
        placed = normed + position
        tokens = tokens + self.self_attn(placed, placed, normed, need_weights=False)[0]
        return tokens + self.linear2(F.gelu(self.linear1(self.norm2(tokens))))


class FusionBlock(nn.Module):
    """CodeFormer's controllable feature transformation (section 3.3): the encoder's features scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode_enc = ResidualBlock(2 * channels, channels)
        self.scale, self.shift = (
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(2)
        )

    def forward(self, encoded: Tensor, decoded: Tensor, fidelity: float) -> Tensor:
        """`decoded + w (decoded * scale + shift)`; all (B, channels, H, W)."""
        both = self.encode_enc(torch.cat([encoded, decoded], dim=1))
        return decoded + fidelity * (decoded * self.scale(both) + self.shift(both))


def adapted(content: Tensor, style: Tensor) -> Tensor:
    """`content` with mean and standard deviation of `style`, for each sample and channel; (B, C, H, W) both.

    Adaptive instance normalisation (Huang and Belongie, ICCV 2017); the variance is the unbiased one, plus 1e-5.
    """

    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True)
        return mean, (variance + 1e-5).sqrt()

    (mean, spread), (to_mean, to_spread) = moments(content), moments(style)
    return (content - mean) / spread * to_spread + to_mean


def _resized(learned: Tensor, like: Tensor) -> Tensor:
    """A learned map at the size of another one: bilinear where it is not native."""
    size = like.shape[-2:]
    if learned.shape[-2:] == size:
        return learned
    return F.interpolate(learned, size=size, mode="bilinear", align_corners=False)
