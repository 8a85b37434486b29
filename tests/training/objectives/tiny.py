"""A small one of each objective: contract tests try them all, so that a new one is tested by being listed."""

from pathlib import Path

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

RECIPES: dict[str, str] = {"compact": _COMPACT}


def tiny_recipe(name: str, data: Path, folder: Path) -> Recipe:
    """The recipe of an objective, on the pictures in `data`; its file is written into `folder`."""
    path = folder / f"{name}.yaml"
    path.write_text(f"data: {{{data}: 1}}\n{RECIPES[name]}")
    return load_recipe(path)


def every_objective() -> list[str]:
    """Names of all; a factory is missing where one is not in `RECIPES`."""
    assert set(RECIPES) == set(OBJECTIVES)
    return list(RECIPES)
