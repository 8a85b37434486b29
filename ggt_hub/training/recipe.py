"""A training recipe: everything that decides the result, in one YAML file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from ggt_hub.degradations.presets import Preset, load_preset, parse_preset
from ggt_hub.errors import TrainingError
from ggt_hub.settings import checked, read_yaml

_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Group:
    """One kind of training sample.

    Attributes:
        share: how often it is drawn; shares need not sum to 1.
        preset: the damage.
    """

    share: Annotated[float, Gt(0)]
    preset: Preset


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
    crop: Annotated[int, Ge(8), MultipleOf(8)] = 128
    batch: Annotated[int, Ge(1)] = 8
    steps: Annotated[int, Ge(1)] = 100_000
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    warmup_steps: Annotated[int, Ge(0)] = 300
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.9995
    hint: Annotated[float, Ge(0), Le(1)] = 0.25
    seed: Annotated[int, Ge(0)] = 0
    workers: Annotated[int, Ge(0)] = 0
    save_minutes: Annotated[float, Ge(0)] = 5.0


def load_recipe(path_or_name: str | Path) -> Recipe:
    """Read a recipe from a YAML file, or one that ships with the package by its name (`compact`).

    Raises:
        TrainingError: if there is no such file, or a field of it is unknown, missing, or of another type or range.
    """
    path = Path(path_or_name)
    if not path.exists() and path.suffix == "":
        path = _FOLDER / f"{path_or_name}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in _FOLDER.glob("*.yaml")))
        raise TrainingError(f"no recipe at {path_or_name}: give a YAML file, or one of {shipped}")
    content = read_yaml(path, TrainingError)
    groups = content.pop("groups", None)
    if not isinstance(groups, dict) or not groups:
        raise TrainingError(f"{path}: the field 'groups' is missing or names no kinds of samples")
    arguments = checked(Recipe, content, str(path), TrainingError, besides=("groups",))
    built = {str(name): _parse_group(f"{path}, group {name}", group) for name, group in groups.items()}
    return Recipe(groups=built, **arguments)


def _parse_group(where: str, content: Any) -> Group:
    if not isinstance(content, dict):
        raise TrainingError(f"{where}: here belong fields (share, preset or task and steps), not {content!r}")
    if "dark" in content:
        content = _without_dark(where, content)
    chain = {name: content[name] for name in ("task", "steps") if name in content}
    named = content.get("preset")
    if (named is None) != bool(chain):
        raise TrainingError(f"{where}: give either `preset`, or `task` and `steps`")
    rest = {name: value for name, value in content.items() if name not in ("preset", *chain)}
    arguments = checked(Group, rest, where, TrainingError, besides=("preset",))
    return Group(preset=load_preset(str(named)) if named else parse_preset(where, chain), **arguments)


def _without_dark(where: str, content: dict[str, Any]) -> dict[str, Any]:
    """Recipes of 0.1 said `dark: true` of a group whose low light is to stay: `lifted: false` of that step."""
    rest = {name: value for name, value in content.items() if name != "dark"}
    if content["dark"] is False:
        return rest
    steps = rest.get("steps")
    is_low_light = [isinstance(step, dict) and step.get("family") == "low_light" for step in steps or ()]
    if content["dark"] is not True or not any(is_low_light):
        raise TrainingError(f"{where}: in place of `dark` give a step low_light with `lifted: false`")
    told = [
        step | {"lifted": False} if low else step
        for step, low in zip(rest["steps"], is_low_light, strict=True)
    ]
    return rest | {"steps": told}
