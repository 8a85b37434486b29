"""Every published network that comes as one file, as a small one under its published names."""

import torch
from torch import Tensor

from ggt_hub.models import CodeFormer, MoireRefiner, SwinIR, SynNet

CODE_FORMER = {
    "channels": 32,
    "multipliers": (1, 2, 4),
    "blocks": 1,
    "attention_levels": (1, 2),
    "code_width": 4,
    "codes": 6,
    "hq_codes": 9,
    "latent": 4,
    "width": 16,
    "layers": 2,
    "fusion_levels": (2, 0),
}
# The class and settings of a small one, what its authors' programs put in front of names, and where in a larger
# checkpoint the weights lie.
TINY = {
    "synnet": (SynNet, {"width": 2, "blocks": 9}, "module.netG.", None),
    "unidemoire": (
        MoireRefiner,
        {"width": 4, "heads": (1, 2, 4, 4, 8, 8, 4, 2, 1)},
        "refine_net.",
        "state_dict",
    ),
    "swinir": (
        SwinIR,
        {"embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4), "num_feat": 4},
        "module.",
        "state_dict",
    ),
    "iqpir": (CodeFormer, {**CODE_FORMER, "bins": 12}, "module.", "params_ema"),
    "codeformer": (CodeFormer, {**CODE_FORMER, "hq_codes": None, "bins": None}, "", "params"),
}


def tiny_weights(name: str) -> dict[str, Tensor]:
    """The weights of a small network that tells its tensors apart, by their bare names."""
    kind, settings, _, _ = TINY[name]
    torch.manual_seed(0)
    return {key: value.detach().clone() for key, value in kind(**settings).state_dict().items()}


def published(name: str, weights: dict[str, Tensor]) -> dict:
    """What the authors' file holds: names with prefixes, perhaps within a checkpoint of a training run."""
    _, _, prefix, within = TINY[name]
    stored = {prefix + key: value for key, value in weights.items()}
    return {"epoch": 7, within: stored} if within else stored
