"""Changes of low rank to a network's convolutions (LoRA, arXiv 2106.09685), trained beside weights that stay."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ggt_hub.models.compact_restorer import CompactRestorer

_NOT_CHANGED = ("estimator", "exposure", "conditioner")


class LowRank(nn.Module):
    """What is added to each of some weights, seen as a matrix: a product of two thin ones, 0 at first.

    Args:
        shapes: of the weights, by name.
        rank: of the product; with 0 nothing is added.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], rank: int) -> None:
        super().__init__()
        self.shapes = dict(shapes) if rank else {}
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for name, (first, *rest) in self.shapes.items():
            inside = int(torch.Size(rest).numel())
            self.down[_key(name)] = nn.Parameter(torch.randn(rank, inside) / inside**0.5)
            self.up[_key(name)] = nn.Parameter(torch.zeros(first, rank))

    def changes(self) -> dict[str, Tensor]:
        """What is added to each weight, by name; nothing at rank 0."""
        return {
            name: (self.up[_key(name)] @ self.down[_key(name)]).view(shape)
            for name, shape in self.shapes.items()
        }


def unet_convolutions(channels: Sequence[int], blocks: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of the convolutions in a compact restorer's U-Net, by name."""
    with torch.device("meta"):
        restorer = CompactRestorer(tuple(channels), tuple(blocks))
    return {
        f"{name}.weight": tuple(module.weight.shape)
        for name, module in restorer.named_modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and not name.startswith(_NOT_CHANGED)
    }


def changed_weights(network: nn.Module, *changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those weights of a network that something is added to, with all that is, for `functional_call`."""
    weights, own = dict[str, Tensor](), dict(network.named_parameters())
    # Without what torch.compile and LoRAs of peft put into them.
    names = {name.replace("_orig_mod.", "").replace(".base_layer", ""): name for name in own}
    for some in changes:
        for plain, change in some.items():
            name = names[plain]
            weight = weights.get(name, own[name])
            weights[name] = weight + change.to(weight)
    return weights


def _key(name: str) -> str:
    """Names of parameters hold no dots."""
    return name.removesuffix(".weight").replace(".", "-")
