"""Every published network that comes as one file, as a small one under its published names."""

import torch
from torch import Tensor

from ggt_hub.models import MoireRefiner, SynNet

# The class and settings of a small one, what its authors' programs put in front of names, and whether the weights
# lie in the `state_dict` of a larger checkpoint.
TINY = {
    "synnet": (SynNet, {"width": 2, "blocks": 9}, "module.netG.", False),
    "unidemoire": (MoireRefiner, {"width": 4, "heads": (1, 2, 4, 4, 8, 8, 4, 2, 1)}, "refine_net.", True),
}


def tiny_weights(name: str) -> dict[str, Tensor]:
    """The weights of a small network that tells its tensors apart, by their bare names."""
    kind, settings, _, _ = TINY[name]
    torch.manual_seed(0)
    return {key: value.detach().clone() for key, value in kind(**settings).state_dict().items()}


def published(name: str, weights: dict[str, Tensor]) -> dict:
    """What the authors' file holds: names with prefixes, perhaps within a checkpoint of a training run."""
    _, _, prefix, nested = TINY[name]
    stored = {prefix + key: value for key, value in weights.items()}
    return {"epoch": 7, "state_dict": stored} if nested else stored
