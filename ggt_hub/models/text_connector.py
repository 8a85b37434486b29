"""The text connector of RealRestorer: language-model states in, conditioning of a FLUX transformer out.

It is the only part of RealRestorer that no library has. The design comes from Step1X-Edit
(arXiv 2504.17761, section 3), on which RealRestorer (arXiv 2603.25502) is fine-tuned: two refiner blocks,
gated by the time and by the mean of all tokens, and one pooled vector for FLUX's modulation.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import PixArtAlphaTextProjection, TimestepEmbedding, Timesteps
from diffusers.utils import BaseOutput
from torch import Tensor, nn


@dataclass
class TextConnectorOutput(BaseOutput):
    """What FLUX is conditioned on.

    Attributes:
        tokens: text stream, (..., batch, tokens, hidden_size); rows of padding are not zero.
        pooled: modulation vector, (batch, pooled_dim). It does not depend on the time.
    """

    tokens: Tensor
    pooled: Tensor


class TextConnector(ModelMixin, ConfigMixin):
    """Turns the last hidden states of Qwen2.5-VL into the two text inputs of `FluxTransformer2DModel`.

    Args:
        in_channels: width of the language model.
        hidden_size: width of the tokens that come out, FLUX's `joint_attention_dim`.
        num_heads: heads of the refiner's attention; divides `hidden_size`.
        depth: number of refiner blocks.
        pooled_dim: width of the pooled vector, FLUX's `pooled_projection_dim`.
        scale_pooled: whether one learned number scales the pooled vector. RealRestorer's published
            weights ("v1.0") have it, the later layout "v1.1" has not.
    """

    _no_split_modules = ["RefinerBlock"]  # noqa: RUF012 (the name and type are diffusers')

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3584,
        hidden_size: int = 4096,
        num_heads: int = 32,
        depth: int = 2,
        pooled_dim: int = 768,
        scale_pooled: bool = True,
    ) -> None:
        super().__init__()
        self.pooled_scale = nn.Parameter(torch.full((1,), -0.91)) if scale_pooled else None
        self.pooled_proj = nn.Linear(in_channels, pooled_dim)
        self.token_embedder = nn.Linear(in_channels, hidden_size)
        self.time_proj = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedder = TimestepEmbedding(256, hidden_size)
        self.context_embedder = PixArtAlphaTextProjection(in_channels, hidden_size, act_fn="silu")
        self.blocks = nn.ModuleList([RefinerBlock(hidden_size, num_heads) for _ in range(depth)])

    def forward(self, hidden_states: Tensor, timestep: Tensor, attention_mask: Tensor) -> TextConnectorOutput:
        """Connect a batch of prompts, at one time or at all times of a schedule.

        Only the refiner depends on the time, so the rest is computed once for all of `timestep`.

        Args:
            hidden_states: states of the language model, (batch, tokens, in_channels).
            timestep: times in 0..1, (batch,), or (steps, batch) for a whole schedule.
            attention_mask: 1 for real tokens and 0 for padding, (batch, tokens).

        Returns:
            Tokens of shape (batch, tokens, hidden_size), with `steps` in front where `timestep` has it,
            and the pooled vector.
        """
        mask = attention_mask.bool()
        mean = masked_mean(hidden_states, mask)
        pooled = self.pooled_proj(mean if self.pooled_scale is None else mean * (1 + self.pooled_scale))
        context = self.context_embedder(mean)
        tokens = self.token_embedder(hidden_states)
        visible = visibility(mask)
        refined = [
            self._refine(tokens, context + self._embed_time(time, tokens.dtype), visible)
            for time in timestep.reshape(-1, len(tokens))
        ]
        return TextConnectorOutput(torch.stack(refined).reshape(*timestep.shape, *tokens.shape[1:]), pooled)

    def _embed_time(self, time: Tensor, dtype: torch.dtype) -> Tensor:
        # The sinusoid is taken in float32: half precision would round 988.4 to 988.
        return self.time_embedder(self.time_proj(time.float() * 1000).to(dtype))

    def _refine(self, tokens: Tensor, condition: Tensor, visible: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, condition, visible)
        return tokens


class RefinerBlock(nn.Module):
    """A transformer block whose two residuals are gated by the condition; no rotary positions.

    Args:
        hidden_size: width of the tokens and of the condition.
        num_heads: heads of the attention.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.to_qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.to_out = nn.Linear(hidden_size, hidden_size)
        self.norm2 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.ff_in = nn.Linear(hidden_size, 4 * hidden_size)
        self.ff_out = nn.Linear(4 * hidden_size, hidden_size)
        self.gates = nn.Linear(hidden_size, 2 * hidden_size)

    def forward(self, tokens: Tensor, condition: Tensor, visible: Tensor) -> Tensor:
        """Refine `tokens` (batch, tokens, width) under `condition` (batch, width); see `visibility`."""
        attention_gate, ff_gate = self.gates(F.silu(condition)).unsqueeze(1).chunk(2, dim=-1)
        tokens = tokens + attention_gate * self._attend(self.norm1(tokens), visible)
        return tokens + ff_gate * self.ff_out(F.silu(self.ff_in(self.norm2(tokens))))

    def _attend(self, tokens: Tensor, visible: Tensor) -> Tensor:
        heads = self.to_qkv(tokens).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.to_out(attended.transpose(1, 2).flatten(2))


def masked_mean(hidden_states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens where `mask` is true; zeros where it is true nowhere.

    Summed in float32, because float16 overflows over hundreds of tokens.
    """
    weights = mask.unsqueeze(-1).float()
    mean = (hidden_states.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    return mean.to(hidden_states.dtype)


def visibility(mask: Tensor) -> Tensor:
    """Which key each query may see, (batch, 1, tokens, tokens).

    Real tokens see real tokens. Everybody sees the first one, so that no row of the softmax is empty.
    """
    visible = mask[:, None, :, None] & mask[:, None, None, :]
    visible[..., 0] = True
    return visible
