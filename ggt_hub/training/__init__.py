"""Training of restorers: a recipe in one readable file, a resumable loop on accelerate."""

from ggt_hub.training.loop import train
from ggt_hub.training.recipe import Recipe, load_recipe

__all__ = ["Recipe", "load_recipe", "train"]
