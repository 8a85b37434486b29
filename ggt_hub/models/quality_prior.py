"""A quality prior: how good the result should be, as a vector for a network that was trained without it.

IQPIR (arXiv 2603.29773) adds a row of a table, chosen by the quality of the target, to what its Transformer reads.
Here the row is added to the one vector that modulates a whole network: the output of its *host* module, such as
FLUX's `time_text_embed`. The table is zero at first, so a new prior changes nothing, not by a bit.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Self

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ggt_hub.errors import RestorerError
from ggt_hub.models.compact_restorer import CompactRestorer
from ggt_hub.models.low_rank import LowRank, unet_convolutions
from ggt_hub.models.quality_bin import quality_bin

HOSTS = {
    "CompactRestorer": "conditioner",
    "FluxTransformer2DModel": "time_text_embed",
    "SD3Transformer2DModel": "time_text_embed",
    "QwenImageTransformer2DModel": "time_text_embed",
    "PixArtTransformer2DModel": "adaln_single.emb",
    "DreamClearTransformer2DModel": "adaln_single.emb",
}
"""Class of a network -> the module of it whose output (B, width) a prior adds to."""


class QualityPrior(ModelMixin, ConfigMixin):
    """A table of vectors, one for each bin of quality; and, if a rank is given, changes of the host's convolutions.

    `QualityPrior.of(network)` makes a new one for a network.

    Args:
        host: class of the network that it belongs to, one of `HOSTS`.
        width: of the vector.
        base: the network's `base_id`; None fits any of its class and width.
        bins: rows of the table; quality 0..1 is cut into as many equal parts.
        rank: of the changes to a compact restorer's convolutions, which count while a quality is set; 0 has none.
        channels: of the compact restorer that is changed.
        blocks: likewise.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        host: str,
        width: int,
        base: str | None = None,
        bins: int = 10,
        rank: int = 0,
        channels: Sequence[int] = (),
        blocks: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(bins, width)
        nn.init.zeros_(self.table.weight)
        self.adapter = LowRank(unet_convolutions(channels, blocks) if rank else {}, rank)

    @classmethod
    def of(cls, network: ModelMixin, rank: int = 0) -> Self:
        """A new prior for a network; with a rank only for a compact restorer.

        Raises:
            RestorerError: if no prior adds to such a network, or it is given a rank and is another.
        """
        module, shape = host_module(network), {}
        if rank and not isinstance(network, CompactRestorer):
            raise RestorerError(
                f"a rank of {rank} is for a CompactRestorer, not for a {type(network).__name__}"
            )
        if rank:
            shape = {"channels": network.config.channels, "blocks": network.config.blocks}
        return cls(type(network).__name__, width_of(module), base_id(module), rank=rank, **shape)

    def forward(self, quality: Tensor) -> Tensor:
        """Map qualities (B,), 0..1, to vectors (B, width); 1 is in the last bin, for the index is clamped."""
        return self.table(quality_bin(quality, self.table.num_embeddings))

    def changes(self) -> dict[str, Tensor]:
        """What is added to the host's convolutions, by the names of their weights; see `changed_weights`."""
        return self.adapter.changes()


def host_module(network: Any) -> nn.Module:
    """The module of a network whose output a prior adds to.

    Raises:
        RestorerError: if there is none in networks of its class; the message names the classes that have one.
    """
    host = type(network).__name__
    if host not in HOSTS:
        raise RestorerError(f"no place for a quality prior in a {host}: there is one in {', '.join(HOSTS)}")
    return network.get_submodule(HOSTS[host])


def width_of(module: nn.Module) -> int:
    """The length of the vector that a host module gives: no linear layer in it is wider."""
    return max(layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear))


def base_id(module: nn.Module) -> str | None:
    """Names the weights of a host module: a digest of their signs, which are the same in every precision.

    LoRAs do not count. None where the weights are not there as plain numbers: quantised, or not on any device.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(module.named_parameters()):
        if "lora_" in name:
            continue
        if weight.is_meta or not weight.is_floating_point() or weight.element_size() < 2:
            return None
        digest.update(torch.signbit(weight.detach()).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
