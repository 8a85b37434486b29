"""Presets: chains of degradations under a name, each a readable file; those that ship lie in `presets/`."""

import hashlib
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from numpy.random import Generator

from ggt_hub.degradations.base import Degradation, Parameters
from ggt_hub.degradations.blur import Blur
from ggt_hub.degradations.chains import GROUPS, Drawn, Link, Step
from ggt_hub.degradations.compression import Compression
from ggt_hub.degradations.flare import Flare
from ggt_hub.degradations.haze import Haze
from ggt_hub.degradations.low_light import LowLight
from ggt_hub.degradations.mixed_blur import MixedBlur
from ggt_hub.degradations.moire import Moire
from ggt_hub.degradations.noise import Noise
from ggt_hub.degradations.old_photo import OldPhoto
from ggt_hub.degradations.rain import Rain
from ggt_hub.degradations.reflection import Reflection
from ggt_hub.degradations.resize import Resize
from ggt_hub.degradations.sharpen import Sharpen
from ggt_hub.degradations.sizes import Fit, Rescale
from ggt_hub.degradations.snow import Snow
from ggt_hub.errors import DegradationError, did_you_mean
from ggt_hub.scenes import NOTHING, Assets
from ggt_hub.settings import checked, read_yaml
from ggt_hub.tasks import Task, check_task

FAMILIES: dict[str, type[Degradation]] = {
    family.name: family
    for family in (
        Blur,
        Noise,
        Compression,
        LowLight,
        Resize,
        Haze,
        Rain,
        Snow,
        Moire,
        Flare,
        Reflection,
        OldPhoto,
        MixedBlur,
        Sharpen,
    )
}

STEPS: Mapping[str, type[Degradation]] = ChainMap({Rescale.name: Rescale, Fit.name: Fit}, FAMILIES)
"""What a chain may consist of: the families, and what means nothing alone."""

_FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Preset:
    """A named chain and the task that undoing it amounts to."""

    name: str
    task: Task
    steps: tuple[Link, ...]

    def draw(
        self, rng: Generator, severity: float | None = None, assets: Assets = NOTHING
    ) -> Iterator[Drawn]:
        """Draw what is applied, in order; a severity of None is drawn for each family, uniformly."""
        for link in self.steps:
            yield from link.draw(rng, severity, assets)

    @property
    def sha256(self) -> str:
        """Another one for whatever else could be drawn: a file that was changed keeps its name."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def list_presets() -> list[str]:
    """Every name that `degrade` takes: the families, then the chains that ship."""
    return [*FAMILIES, *sorted(path.stem for path in _FOLDER.glob("*.yaml"))]


def load_preset(preset: str | Path | Preset, task: str | None = None) -> Preset:
    """A preset by its name or from a YAML file; a family's name is the preset of that family alone.

    Args:
        preset: one of `list_presets`, the path of a file that ends in `.yaml` or `.yml`, or a preset as it is.
        task: which one, of those that a file with several tasks holds.

    Raises:
        DegradationError: if there is none of that name (the message lists those there are), the file cannot be
            read, something in it does not exist or has another type or range, or it has several tasks and none is
            named.
        TaskError: for a task outside the vocabulary, or one that the preset has not.
    """
    presets = load_presets(preset, task)
    if len(presets) > 1:
        tasks = ", ".join(preset.task for preset in presets)
        raise DegradationError(f"preset {presets[0].name!r} is for several tasks: name one of {tasks}")
    return presets[0]


def load_presets(preset: str | Path | Preset, task: str | None = None) -> tuple[Preset, ...]:
    """All presets of a file, one for each task that it knows, or that of one task; see `load_preset`."""
    if isinstance(preset, Preset):
        presets: tuple[Preset, ...] = (preset,)
    elif Path(preset).suffix in (".yaml", ".yml"):
        presets = parse_presets(Path(preset).stem, read_yaml(Path(preset), DegradationError))
    else:
        presets = _shipped(str(preset))
    if task is None:
        return presets
    known = tuple(preset.task for preset in presets)
    return (presets[known.index(check_task(task, known, f"preset {presets[0].name!r}"))],)


@cache
def _shipped(name: str) -> tuple[Preset, ...]:
    if name in FAMILIES:
        return (Preset(name, FAMILIES[name].task, (Step(degradation=FAMILIES[name].alone()),)),)
    if name not in list_presets():
        raise DegradationError(
            f"no degradation named {name!r}: there are {', '.join(list_presets())}, or give a YAML file"
            f"{did_you_mean(name, list_presets())}"
        )
    return load_presets(_FOLDER / f"{name}.yaml")


def parse_presets(name: str, content: dict[str, Any]) -> tuple[Preset, ...]:
    """Build the presets of a file: one from `task` and `steps`, or one for each task of `tasks`.

    Raises:
        DegradationError, TaskError: as `parse_preset`.
    """
    if "tasks" not in content:
        return (parse_preset(name, content),)
    if further := sorted(str(key) for key in set(content) - {"tasks"}):
        raise DegradationError(f"preset {name!r}: beside `tasks` there is no field, not {further[0]!r}")
    tasks = content["tasks"]
    if not isinstance(tasks, dict) or not tasks:
        raise DegradationError(f"preset {name!r}: tasks must name the steps of each task, not {tasks!r}")
    return tuple(parse_preset(name, {"task": task, "steps": steps}) for task, steps in tasks.items())


def parse_preset(name: str, content: dict[str, Any]) -> Preset:
    """Build a preset from `task` and `steps`.

    A step has `family` (one of `STEPS`), its settings and `probability`; or it is a group of steps: `one_of`, which
    may have `shares`, `shuffle`, which may have `take`, or `repeat` with `times`.

    Raises:
        DegradationError: for a family or a field that does not exist, and for a value of another type or range.
        TaskError: for a task outside the vocabulary.
    """
    if not isinstance(content, dict) or {"task", "steps"} - set(content):
        raise DegradationError(f"preset {name!r}: it needs the fields `task` and `steps`, or `tasks`")
    if unknown := sorted(str(key) for key in set(content) - {"task", "steps"}):
        raise DegradationError(f"preset {name!r}: there is no field {unknown[0]!r}, only task, steps")
    task = check_task(content["task"], who=f"the vocabulary (preset {name!r})")
    return Preset(name, task, _parse_links(f"preset {name!r}", "steps", content["steps"]))


def parse_step(step: Parameters) -> Drawn:
    """What a step of a record says was applied.

    Raises:
        DegradationError: if it names a family or a setting that does not exist.
    """
    family, settings = step["family"], step.get("settings", {})
    if family not in STEPS:
        raise DegradationError(f"the record names the family {family!r}: there are {', '.join(STEPS)}")
    where = f"settings of {family} in the record"
    degradation = STEPS[family](**checked(STEPS[family], settings, where, DegradationError))
    parameters = {key: value for key, value in step.items() if key not in ("family", "settings")}
    return Drawn(degradation, parameters)


def _parse_links(where: str, field: str, content: Any) -> tuple[Link, ...]:
    if not isinstance(content, list):
        raise DegradationError(f"{where}: {field} must be a list, not {content!r}")
    return tuple(_parse_link(where, link) for link in content)


def _parse_link(where: str, content: Any) -> Link:
    group = next((name for name in GROUPS if isinstance(content, dict) and name in content), None)
    if group is None:
        return _parse_step(where, content)
    links = _parse_links(where, group, content[group])
    if not links:
        raise DegradationError(f"{where}: {group} must not be empty")
    rest = {key: value for key, value in content.items() if key != group}
    arguments = checked(GROUPS[group], rest, f"{where}, {group}", DegradationError, besides=("links",))
    return GROUPS[group](links=links, **arguments)


def _parse_step(where: str, content: Any) -> Step:
    family = content.get("family") if isinstance(content, dict) else content
    if not isinstance(content, dict) or not isinstance(family, str) or family not in STEPS:
        raise DegradationError(f"{where} names the family {family!r}: there are {', '.join(STEPS)}")
    where = f"{where}, {family}"
    settings = {key: value for key, value in content.items() if key not in ("family", "probability")}
    chance = {key: value for key, value in content.items() if key == "probability"}
    degradation = STEPS[family](**checked(STEPS[family], settings, where, DegradationError))
    return Step(
        degradation=degradation, **checked(Step, chance, where, DegradationError, besides=("degradation",))
    )
