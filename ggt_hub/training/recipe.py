"""A training recipe: everything that decides the result, in one YAML file."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ggt_hub.degradations.presets import Preset, load_preset, parse_preset
from ggt_hub.errors import TrainingError

_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Group:
    """One kind of training sample.

    Attributes:
        share: how often it is drawn; shares need not sum to 1.
        preset: the damage.
        dark: the target is as dark as the input, only without its noise; so a blind call learns to clean dark
            pictures without lifting them.
    """

    share: float
    preset: Preset
    dark: bool = False


@dataclass(frozen=True)
class Recipe:
    """What `ggt-hub train` reads.

    Attributes:
        model: arguments of `CompactRestorer`.
        images: folder of clean photographs, relative to the working directory.
        groups: the kinds of samples by name.
        crop: side of a training picture, in pixels; a multiple of 8.
        batch: pictures per step and process.
        steps: optimiser steps of a full run; the learning rate falls to zero along a cosine until then, or until
            `--max-minutes` where that comes first.
        learning_rate, warmup_steps, ema_decay: as usual.
        hint: chance (0..1) that the network is told the task of a sample.
        seed: decides every draw; sample i is the same whatever the number of workers.
        workers: processes that prepare samples, per training process.
        save_minutes: time between checkpoints.
    """

    model: dict[str, Any]
    images: Path
    groups: dict[str, Group]
    crop: int = 128
    batch: int = 8
    steps: int = 100_000
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    ema_decay: float = 0.9995
    hint: float = 0.25
    seed: int = 0
    workers: int = 0
    save_minutes: float = 5.0


def load_recipe(path_or_name: str | Path) -> Recipe:
    """Read a recipe from a YAML file, or one that ships with the package by its name (`compact`).

    Raises:
        TrainingError: if there is no such file, or it has fields that a recipe does not know.
    """
    path = Path(path_or_name)
    if not path.exists() and path.suffix == "":
        path = _FOLDER / f"{path_or_name}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in _FOLDER.glob("*.yaml")))
        raise TrainingError(f"no recipe at {path_or_name}: give a YAML file, or one of {shipped}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if unknown := set(content) - {field.name for field in fields(Recipe)}:
        raise TrainingError(f"{path}: unknown fields {sorted(unknown)}")
    groups = {name: _parse_group(name, group) for name, group in content.pop("groups").items()}
    return Recipe(groups=groups, images=Path(content.pop("images")), **content)


def _parse_group(name: str, content: dict[str, Any]) -> Group:
    named = content.get("preset")
    preset = load_preset(named) if named else parse_preset(name, content)
    return Group(content["share"], preset, content.get("dark", False))
