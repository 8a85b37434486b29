"""Training of restorers: a recipe in one readable file, a resumable run on accelerate, and objectives."""

from ggt_hub.training.plan import plan
from ggt_hub.training.recipe import Recipe, Stage, load_recipe
from ggt_hub.training.run import train

__all__ = ["Recipe", "Stage", "load_recipe", "plan", "train"]
