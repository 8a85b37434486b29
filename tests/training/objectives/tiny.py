"""A small one of each objective: contract tests try them all, so that a new one is tested by being listed."""

from pathlib import Path

import torch

from ggt_hub.models import CompactRestorer
from ggt_hub.training import Recipe, load_recipe
from ggt_hub.training.objectives import OBJECTIVES

_COMPACT = """\
objective: compact
model: {channels: [8, 8, 8], blocks: [1, 1, 1], condition_width: 8}
crop: 32
batch: 2
steps: 3
warmup_steps: 2
ema_decay: 0.5
groups:
  noise: {share: 1, task: noise, steps: [{family: noise, sigma: [10, 60]}]}
"""

_TOLD = """\
objective: told
settings: {task: rain, restorer: RESTORER}
model: {rank: 2, width: 4}
crop: 32
batch: 2
steps: 3
warmup_steps: 2
ema_decay: 0.5
groups:
  rain: {share: 1, task: rain, steps: [{family: rain}]}
"""

RECIPES: dict[str, str] = {"compact": _COMPACT, "told": _TOLD}


def tiny_recipe(name: str, data: Path, folder: Path) -> Recipe:
    """The recipe of an objective, on the pictures in `data`; its file, and what it needs, go into `folder`."""
    tiny_restorer().save_pretrained(folder / "restorer")
    path = folder / f"{name}.yaml"
    path.write_text(f"data: {{{data}: 1}}\n{RECIPES[name].replace('RESTORER', str(folder / 'restorer'))}")
    return load_recipe(path)


def tiny_restorer() -> CompactRestorer:
    """A compact restorer whose last layers are not zero, as they are before any training."""
    torch.manual_seed(0)
    network = CompactRestorer(channels=(8, 8, 8), blocks=(1, 1, 1), condition_width=8)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return network.eval()


def every_objective() -> list[str]:
    """Names of all; a factory is missing where one is not in `RECIPES`."""
    assert set(RECIPES) == set(OBJECTIVES)
    return list(RECIPES)
