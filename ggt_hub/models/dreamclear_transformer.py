"""DreamClear's transformer: PixArt's, steered by two copies of itself that look at the damaged picture.

Ai et al., DreamClear (arXiv 2410.18666, section 4). The backbone is PixArt-alpha's, of stock blocks under stock
names, so that its weights load as they are. Beside it run two stacks of the same blocks: one for the low-quality
(`lq`) latent, one for the reference (`pre`), which a simple restorer made. After each layer of the backbone its
tokens are changed by what the two stacks have at that depth.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin, BasicTransformerBlock
from diffusers.models.embeddings import PatchEmbed, PixArtAlphaTextProjection, get_2d_sincos_pos_embed
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.normalization import AdaLayerNormSingle, FP32LayerNorm
from diffusers.utils import apply_lora_scale
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

_GATE = 24  # width of the router, whatever the width of the tokens
_COMPUTED_IN = (
    torch.float16,
    torch.bfloat16,
)  # with weights in 16 bits; the second where the first overflows


@dataclass
class Conditions:
    """What stays the same in all steps of a call, computed once by `DreamClearTransformer2DModel.embed_conditions`.

    Attributes:
        lq: embedded latents of the pictures, (images, tokens, width).
        reference: those of the references.
        caption: projected captions, (rows, length, width).
        caption_bias: 0 for what is read of them and -10000 for what is not, (rows, 1, length); None if all is read.
        positions: the table for this grid, (1, tokens, width).
    """

    lq: Tensor
    reference: Tensor
    caption: Tensor
    caption_bias: Tensor | None
    positions: Tensor

    def to(self, device: torch.device | str) -> "Conditions":
        """The same on a device."""
        held = (getattr(self, field.name) for field in fields(self))
        return Conditions(*(one if one is None else one.to(device, non_blocking=True) for one in held))  # type: ignore[arg-type]


class DreamClearTransformer2DModel(ModelMixin, ConfigMixin, AttentionMixin, PeftAdapterMixin):
    """Predicts noise and its variance from a noisy latent, two conditioning latents and a caption.

    With weights in 16 bits matrices and attention are computed in float16, as its authors run it, and once more in
    bfloat16 where that overflows; the residual streams, norms, modulation, embeddings of patches, times and
    captions, and the output stay in float32. So it is where weights are stored in bfloat16, too: float16 holds
    nearly all of its numbers exactly, and has three bits more for what is computed; guidance and the first steps
    amplify every error.

    Args:
        num_attention_heads: heads of all attention.
        attention_head_dim: width of one; heads times this is the width of the tokens.
        in_channels: of the latents.
        out_channels: noise, then variance.
        num_layers: of the backbone.
        control_layers: after how many of them, from the first on, the two stacks count.
        num_experts: of the mixture that modulates by the low-quality stack.
        mlp_ratio: width of the feed-forward, in parts of the tokens' width.
        sample_size: native side of the latents.
        patch_size: side of what becomes a token.
        interpolation_scale: of positions, which always span the native size.
        caption_channels: width of the text encoder's states.
        caption_length: of the learned empty caption, `y_embedding`.
    """

    _supports_gradient_checkpointing = True
    # Names and types of these are diffusers'.
    _repeated_blocks = ["BasicTransformerBlock", "BranchAttention", "Modulator", "MixtureModulator"]  # noqa: RUF012
    _no_split_modules = ["PatchEmbed", *_repeated_blocks]  # noqa: RUF012
    _keep_in_fp32_modules = [  # noqa: RUF012
        "pos_embed",
        "x_embedder",
        "c_embedder",
        "adaln_single",
        "caption_projection",
        "y_embedding",
        "scale_shift_table",
        "norm",
        "proj_out",
    ]
    _skip_layerwise_casting_patterns = _keep_in_fp32_modules

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int = 16,
        attention_head_dim: int = 72,
        in_channels: int = 4,
        out_channels: int = 8,
        num_layers: int = 28,
        control_layers: int = 28,
        num_experts: int = 3,
        mlp_ratio: float = 4.0,
        sample_size: int = 128,
        patch_size: int = 2,
        interpolation_scale: float = 2.0,
        caption_channels: int = 4096,
        caption_length: int = 120,
    ) -> None:
        super().__init__()
        width = num_attention_heads * attention_head_dim

        def embedder() -> PatchEmbed:
            return PatchEmbed(sample_size, sample_size, patch_size, in_channels, width, pos_embed_type=None)

        def stack(layers: int) -> nn.ModuleList:
            return nn.ModuleList(
                BasicTransformerBlock(
                    width,
                    num_attention_heads,
                    attention_head_dim,
                    cross_attention_dim=width,
                    activation_fn="gelu-approximate",
                    attention_bias=True,
                    norm_type="ada_norm_single",
                    norm_elementwise_affine=False,
                    norm_eps=1e-6,
                    ff_inner_dim=round(width * mlp_ratio),
                )
                for _ in range(layers)
            )

        self.pos_embed = embedder()
        self.adaln_single = AdaLayerNormSingle(width, use_additional_conditions=True)
        self.caption_projection = PixArtAlphaTextProjection(caption_channels, width)
        self.register_buffer("y_embedding", torch.zeros(caption_length, caption_channels))
        self.transformer_blocks = stack(num_layers)
        self.scale_shift_table = nn.Parameter(torch.randn(2, width) / width**0.5)
        self.proj_out = nn.Linear(width, patch_size**2 * out_channels)

        self.x_embedder_lq, self.x_embedder_pre = embedder(), embedder()
        self.c_embedder_lq, self.c_embedder_pre = _zero(embedder()), _zero(embedder())
        self.controlnet_lq, self.controlnet_pre = stack(control_layers), stack(control_layers)
        every = range(control_layers)
        self.cross_de = nn.ModuleList(BranchAttention(width, num_attention_heads) for _ in every)
        self.am_pre = nn.ModuleList(Modulator(width) for _ in every)
        self.am_lq = nn.ModuleList(MixtureModulator(width, num_experts) for _ in every)
        self.gradient_checkpointing = False

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As in PyTorch; but what is delicate stays in float32, as it does where weights are loaded in 16 bits."""
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if dtype is None:
            return super().to(*args, **kwargs)
        for name, tensor in (*self.named_parameters(), *self.named_buffers()):
            if tensor.is_floating_point():
                kept = any(part in name for part in self._keep_in_fp32_modules)
                tensor.data = tensor.data.to(torch.float32 if kept else dtype)
        return self if device is None else super().to(device)

    def begin_from_backbone(self) -> None:
        """Make the two stacks and their embedders copies of the backbone, as training begins."""
        for embedder in (self.x_embedder_lq, self.x_embedder_pre):
            embedder.load_state_dict(self.pos_embed.state_dict())
        for stack in (self.controlnet_lq, self.controlnet_pre):
            for block, copied in zip(self.transformer_blocks, stack, strict=False):
                copied.load_state_dict(block.state_dict())

    def blocks_in_order(self) -> Iterator[nn.Module]:
        """The parts of the layers in the order in which they run."""
        for number, block in enumerate(self.transformer_blocks):
            yield block
            if number < len(self.cross_de):
                yield from (self.controlnet_lq[number], self.controlnet_pre[number], self.cross_de[number])
                yield from (self.am_pre[number], self.am_lq[number])

    @apply_forward_hook
    def embed_conditions(
        self,
        condition_lq: Tensor,
        condition_reference: Tensor,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        beside_empty: bool = False,
    ) -> Conditions:
        """Embed what stays the same in all steps.

        Args:
            condition_lq: latents of the pictures, (images, in_channels, H, W).
            condition_reference: latents of the references, likewise.
            encoder_hidden_states: states of the text encoder, (rows, length, caption_channels); rows of one image
                follow each other. None is the learned empty caption for each image.
            encoder_attention_mask: 1 for what is read of them and 0 for padding, (rows or 1, length).
            beside_empty: whether the learned empty caption follows each of them, with the same mask.
        """
        caption, mask = self._captions(encoder_hidden_states, encoder_attention_mask, len(condition_lq))
        if beside_empty:
            empty = self.y_embedding.to(caption).expand_as(caption)
            caption = torch.stack([caption, empty], dim=1).flatten(0, 1)
            mask = mask if mask is None else mask.repeat_interleave(2, dim=0)
        grid = tuple(side // self.config.patch_size for side in condition_lq.shape[-2:])
        positions = get_2d_sincos_pos_embed(
            self.config.num_attention_heads * self.config.attention_head_dim,
            grid,
            base_size=self.config.sample_size // self.config.patch_size,
            interpolation_scale=self.config.interpolation_scale,
            device=condition_lq.device,
            output_type="pt",
        )
        return Conditions(
            lq=_exact(self.c_embedder_lq, condition_lq),
            reference=_exact(self.c_embedder_pre, condition_reference),
            caption=_exact(self.caption_projection, caption),
            caption_bias=None if mask is None else (1 - mask[:, None].float()) * -10000.0,
            positions=positions.float()[None],
        )

    def _captions(
        self, states: Tensor | None, mask: Tensor | None, images: int
    ) -> tuple[Tensor, Tensor | None]:
        """Captions (rows, length, width), and their mask (rows, length)."""
        if states is None:
            return self.y_embedding.expand(images, -1, -1), None
        caption = states.reshape(len(states), -1, states.shape[-1])
        return caption, mask if mask is None else mask.reshape(-1, mask.shape[-1]).expand(len(states), -1)

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor | None = None,
        condition_lq: Tensor | None = None,
        condition_reference: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
        conditions: Conditions | None = None,
        group: int | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict noise and variance.

        The attention between the two stacks spans the rows of a group as one sequence: the published weights were
        trained so, and are run with caption and empty caption of one picture as a group.

        Args:
            hidden_states: noisy latents, (B, in_channels, H, W).
            timestep: 0..999, (B,) or one for all.
            encoder_hidden_states: as `embed_conditions` takes them, and so the next three ...
            condition_lq: of as many images as there are groups, or rows; one serves all.
            condition_reference: likewise.
            encoder_attention_mask: or None.
            added_cond_kwargs: `resolution` (B or 1, 2) and `aspect_ratio` (B or 1, 1). As trained, and by default,
                they are 1024, 1024 and 1, whatever the size.
            conditions: ... or what that returned, instead of them.
            group: rows of a group, which follow each other; None is all of them.
            attention_kwargs: `{"scale": 0.5}` halves LoRAs.
            return_dict: False returns a tuple.

        Returns:
            (B, out_channels, H, W), float32.
        """
        if conditions is None:
            conditions = self.embed_conditions(
                condition_lq, condition_reference, encoder_hidden_states, encoder_attention_mask
            )
        rows, device = len(hidden_states), hidden_states.device
        modulation, embedded = self._embed_times(timestep.to(device).expand(rows), added_cond_kwargs)
        x = _exact(self.pos_embed, hidden_states) + conditions.positions
        lq, reference = (
            _exact(embedder, hidden_states) + conditions.positions + _to_rows(condition, rows)
            for embedder, condition in (
                (self.x_embedder_lq, conditions.lq),
                (self.x_embedder_pre, conditions.reference),
            )
        )
        told = conditions.caption, conditions.caption_bias, modulation
        for kind in _COMPUTED_IN if self.dtype in _COMPUTED_IN else (None,):
            with nullcontext() if kind is None else torch.autocast(device.type, kind, cache_enabled=False):
                tokens = self._layers(x, lq, reference, told, group or rows)
            sample = self._read_out(tokens, embedded, hidden_states.shape[-2:])
            if kind is None or torch.is_grad_enabled() or not _overflowed(sample):
                break
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def _layers(
        self,
        x: Tensor,
        lq: Tensor,
        reference: Tensor,
        told: tuple[Tensor, Tensor | None, Tensor],
        group: int,
    ) -> Tensor:
        """All layers; the backbone's tokens after them."""
        for number in range(len(self.transformer_blocks)):
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                x, lq, reference = self._gradient_checkpointing_func(
                    self._layer, number, x, lq, reference, told, group
                )
            else:
                x, lq, reference = self._layer(number, x, lq, reference, told, group)
        return x

    def _layer(
        self,
        number: int,
        x: Tensor,
        lq: Tensor,
        reference: Tensor,
        told: tuple[Tensor, Tensor | None, Tensor],
        group: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer of the three stacks, and how two of them steer the third (section 4.2, "ControlFormer")."""

        def run(block: nn.Module, tokens: Tensor) -> Tensor:
            caption, bias, modulation = told
            return block(
                tokens, encoder_hidden_states=caption, encoder_attention_mask=bias, timestep=modulation
            )

        x = run(self.transformer_blocks[number], x)
        if number >= len(self.cross_de):
            return x, lq, reference
        lq = run(self.controlnet_lq[number], lq)
        reference = run(self.controlnet_pre[number], reference)
        crossed, degradation = self.cross_de[number](lq, reference, group)
        x = _modulated(x + crossed, *self.am_pre[number](reference))
        return _modulated(x, *self.am_lq[number](lq, degradation)), lq, reference

    def _embed_times(self, timestep: Tensor, told: dict[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Modulation of all layers (B, 6 * width), and the embedding itself (B, width)."""
        rows = len(timestep)
        native = {"resolution": timestep.new_full((1, 2), 1024), "aspect_ratio": timestep.new_ones((1, 1))}
        sizes = {name: one.expand(rows, -1).to(timestep.device) for name, one in (told or native).items()}
        with _no_autocast(timestep.device):
            return self.adaln_single(
                timestep, sizes, batch_size=rows, hidden_dtype=self.adaln_single.linear.weight.dtype
            )

    def _read_out(self, x: Tensor, embedded: Tensor, size: torch.Size) -> Tensor:
        """Tokens to (B, out_channels, H, W), float32."""
        shift, scale = (self.scale_shift_table[None] + embedded[:, None]).float().chunk(2, dim=1)
        normed = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift
        patch = self.config.patch_size
        patches = _exact(self.proj_out, normed).unflatten(-1, (patch, patch, -1))
        grid = patches.unflatten(1, (size[0] // patch, size[1] // patch))
        return torch.einsum("bhwpqc->bchpwq", grid).reshape(len(x), -1, *size)


class BranchAttention(nn.Module):
    """Attention of the low-quality stack's tokens to those of the reference stack.

    What it sees of a degradation is read from it, too, for the router.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = FP32LayerNorm(width), FP32LayerNorm(width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = _zero(nn.Linear(width, width))
        self.to_degradation = nn.Linear(width, width)

    def forward(self, lq: Tensor, reference: Tensor, group: int) -> tuple[Tensor, Tensor]:
        """Attend, (B, tokens, width) each, over all tokens of `group` rows together.

        Returns:
            What is added to the backbone, and the map of the degradation; both of the same shape.
        """
        seen = self.norm2(reference)
        query, key, value = (
            part.reshape(len(lq) // group, -1, self.heads, part.shape[-1] // self.heads).transpose(1, 2)
            for part in (self.to_q(self.norm1(lq)), self.to_k(seen), self.to_v(seen))
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(lq.shape)
        return self.to_out(attended), self.to_degradation(attended)


class Modulator(nn.Module):
    """Scale and shift of the backbone's tokens, from those of a stack."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shared_proj = nn.Linear(width, width // 2)
        self.proj_mul = _zero(nn.Linear(width // 2, width))
        self.proj_add = _zero(nn.Linear(width // 2, width))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, tokens, width) to scale and shift of the same shape."""
        hidden = F.gelu(self.shared_proj(tokens), approximate="tanh")
        return self.proj_mul(hidden), self.proj_add(hidden)


class MixtureModulator(nn.Module):
    """Several modulators; a router weighs them for each token by the map of the degradation."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Modulator(width) for _ in range(experts))
        self.gate = nn.Sequential(
            nn.Linear(width, _GATE), nn.GELU(approximate="tanh"), _zero(nn.Linear(_GATE, experts))
        )

    def forward(self, tokens: Tensor, degradation: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens and degradation (B, tokens, width) to scale and shift of the same shape."""
        weights = self.gate(degradation).softmax(dim=-1)[..., None].unbind(-2)
        scale = shift = torch.zeros((), device=tokens.device)
        for weight, expert in zip(weights, self.experts, strict=True):
            own_scale, own_shift = expert(tokens)
            scale, shift = scale + weight * own_scale, shift + weight * own_shift
        return scale, shift


def _modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return (1 + scale.float()) * x + shift


def _to_rows(condition: Tensor, rows: int) -> Tensor:
    """Conditions of images as those of all rows of their groups."""
    return condition.repeat_interleave(rows // len(condition), dim=0) if len(condition) > 1 else condition


def _exact(module: nn.Module, x: Tensor) -> Tensor:
    """What a small module at the border gives, in the precision of its own weights; float32."""
    weight = next(module.parameters())
    with _no_autocast(x.device):
        return module(x.to(weight.dtype)).float()


def _overflowed(sample: Tensor) -> bool:
    return not bool(sample.isfinite().all())


def _no_autocast(device: torch.device) -> Any:
    return torch.autocast(device.type, enabled=False)


def _zero(module: nn.Module) -> Any:
    """The module, with which nothing is added before it is trained."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
