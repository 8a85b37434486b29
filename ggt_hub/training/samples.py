"""Training samples: a crop of a clean photograph, damaged on the fly, and what was done to it."""

import warnings
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor
from torch.utils.data import Dataset

from ggt_hub.degradations import Sample, apply_steps, severities
from ggt_hub.degradations.base import Array
from ggt_hub.errors import ImageError, TrainingError
from ggt_hub.files import list_pictures
from ggt_hub.images.shown import shown_rgb
from ggt_hub.models.compact_restorer import ESTIMATES, TASKS
from ggt_hub.training.recipe import Recipe

MARGIN = 16
"""Pixels around a crop that are damaged and cut away: hides the borders of filters, moves the grid of JPEG."""


class DamagedCrops(Dataset[dict[str, Tensor]]):
    """Sample i of a recipe; the same for every order, number of workers and restart.

    Items: `lq` and `gt` (3, crop, crop) 0..1; `task` index into the network's TASKS (`general` when not told);
    `severity` (4,) targets of the estimator, NaN where unknown; `lift` whether the exposure is to change;
    `strength` how much of the restoration is asked for, 1 for most; `group` index of the group.
    """

    def __init__(self, recipe: Recipe, length: int) -> None:
        self.recipe, self.length = recipe, length
        self.paths = list_pictures(recipe.images) if recipe.images.is_dir() else []
        self.skipped: dict[Path, str] = {}
        if not self.paths:
            raise TrainingError(
                f"no photographs under {recipe.images}: set `images` in the recipe, or --images"
            )
        self.groups = list(recipe.groups.values())
        shares = np.array([group.share for group in self.groups])
        self.chances = shares / shares.sum()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(index)  # what ends iteration over a sequence
        rng = default_rng((self.recipe.seed, index))
        chosen = int(rng.choice(len(self.groups), p=self.chances))
        group = self.groups[chosen]
        clean = _crop(self._photograph(int(rng.integers(len(self.paths)))), self.recipe.crop + MARGIN, rng)
        steps = list(group.preset.draw(rng))
        sample = apply_steps(Sample(clean, clean), steps)
        if not sample.lq.shape == sample.gt.shape == clean.shape:
            raise TrainingError(
                f"group {list(self.recipe.groups)[chosen]}: its damage makes pictures smaller, and the network "
                "keeps their size: take the step with `enlarge: false` out"
            )
        lift = group.preset.task == "low_light"
        told = lift or rng.random() < self.recipe.hint
        task = group.preset.task if told else "general"
        strength = rng.uniform(0.3, 1.0) if rng.random() < 0.125 else 1.0
        window = _window(rng, self.recipe.crop)
        return {
            "lq": _to_tensor(np.rint(sample.lq[window] * 255) / 255),
            "gt": _to_tensor(sample.gt[window]),
            "task": torch.tensor(TASKS.index(task)),
            "severity": torch.tensor(_targets(severities(steps)), dtype=torch.float32),
            "lift": torch.tensor(lift),
            "strength": torch.tensor(strength, dtype=torch.float32),
            "group": torch.tensor(chosen),
        }

    def _photograph(self, index: int) -> np.ndarray:
        """The photograph of that index, or the next one that can be used; those that cannot are told once."""
        for place in range(index, index + len(self.paths)):
            path = self.paths[place % len(self.paths)]
            if path in self.skipped:
                continue
            try:
                photograph = _load(path)
                if min(photograph.shape[:2]) >= self.recipe.crop:
                    return photograph
                reason = (
                    f"{path}: {min(photograph.shape[:2])} pixels are fewer than a crop of {self.recipe.crop}"
                )
            except ImageError as error:
                reason = str(error)
            self.skipped[path] = reason
            warnings.warn(f"photograph {len(self.skipped)} that is skipped: {reason}", stacklevel=2)
        raise TrainingError(f"none of the {len(self.paths)} photographs can be used, such as {reason}")


@cache
def _load(path: Path) -> np.ndarray:
    return shown_rgb(path)


def _crop(photograph: np.ndarray, side: int, rng: Generator) -> Array:
    """A square of float pixels, turned and mirrored; a third of them from a smaller copy of the photograph."""
    scale = rng.uniform(0.55, 1.0) if rng.random() < 0.33 else 1.0
    scale = max(scale, side / min(photograph.shape[:2]))
    wide = min(int(np.ceil(side / scale)), *photograph.shape[:2])
    top, left = (int(rng.integers(extent - wide + 1)) for extent in photograph.shape[:2])
    patch = photograph[top : top + wide, left : left + wide].astype(np.float32) / 255
    if wide != side:
        patch = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)
    patch = np.rot90(patch, int(rng.integers(4)))
    return np.ascontiguousarray(patch[:, ::-1] if rng.random() < 0.5 else patch)


def _window(rng: Generator, side: int) -> tuple[slice, slice]:
    top, left = rng.integers(MARGIN + 1, size=2)
    return slice(top, top + side), slice(left, left + side)


def _targets(severity: dict[str, float]) -> list[float]:
    """Targets of the estimator, in the order of its ESTIMATES: what is not there is 0.

    All are open (NaN) where the families name damage that the estimator has no word for: how much of it looks like
    noise or blur, nobody knows.
    """
    if set(severity) - set(ESTIMATES):
        return [float("nan")] * len(ESTIMATES)
    return [severity.get(name, 0.0) for name in ESTIMATES]


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32))
