"""Chains of degradations under a name: each is a readable file in `presets/`, and the name is the file's."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le
from numpy.random import Generator

from ggt_hub.degradations.base import Degradation, Parameters
from ggt_hub.degradations.blur import Blur
from ggt_hub.degradations.compression import Compression
from ggt_hub.degradations.low_light import LowLight
from ggt_hub.degradations.noise import Noise
from ggt_hub.degradations.resize import Resize
from ggt_hub.errors import DegradationError
from ggt_hub.settings import checked, read_yaml
from ggt_hub.tasks import Task, check_task

FAMILIES: dict[str, type[Degradation]] = {
    family.name: family for family in (Blur, Noise, Compression, LowLight, Resize)
}

_FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Step:
    """A degradation and the chance (0..1) that it is applied."""

    degradation: Degradation
    probability: Annotated[float, Ge(0), Le(1)] = 1.0


@dataclass(frozen=True)
class Preset:
    """A named chain of steps and the task that undoing it amounts to."""

    name: str
    task: Task
    steps: tuple[Step, ...]

    def sample(self, rng: Generator, strength: float | None = None) -> Iterator[Parameters]:
        """Draw the parameters of each step that takes part; `strength` None draws each severity uniformly."""
        for step in self.steps:
            if rng.random() >= step.probability:
                continue
            severity = float(rng.random()) if strength is None else strength
            yield {"family": step.degradation.name, **step.degradation.sample(rng, severity)}


def list_presets() -> list[str]:
    """Every name that `degrade` takes: the families, then the chains."""
    return [*FAMILIES, *sorted(path.stem for path in _FOLDER.glob("*.yaml"))]


@cache
def load_preset(name: str) -> Preset:
    """The preset of that name; a family's name is the preset of that family alone, with its default ranges.

    Raises:
        DegradationError: if there is none; the message lists those there are.
    """
    if name in FAMILIES:
        family = FAMILIES[name]()
        return Preset(name, family.task, (Step(family),))
    if name not in list_presets():
        raise DegradationError(f"no degradation named {name!r}: there are {', '.join(list_presets())}")
    return parse_preset(name, read_yaml(_FOLDER / f"{name}.yaml", DegradationError))


def parse_preset(name: str, content: dict[str, Any]) -> Preset:
    """Build a preset from the content of its file: `task`, and `steps` with `family`, `probability` and ranges.

    Raises:
        DegradationError: for a family or a field that does not exist, and for a value of another type or range.
        TaskError: for a task outside the vocabulary.
    """
    if not isinstance(content, dict) or {"task", "steps"} - set(content):
        raise DegradationError(f"preset {name!r}: it needs the fields `task` and `steps`")
    if unknown := sorted(str(key) for key in set(content) - {"task", "steps"}):
        raise DegradationError(f"preset {name!r}: there is no field {unknown[0]!r}, only task, steps")
    if not isinstance(content["steps"], list):
        raise DegradationError(f"preset {name!r}: steps must be a list, not {content['steps']!r}")
    steps = tuple(_parse_step(name, step) for step in content["steps"])
    return Preset(name, check_task(content["task"], who=f"the vocabulary (preset {name!r})"), steps)


def _parse_step(preset: str, content: Any) -> Step:
    family = content.get("family") if isinstance(content, dict) else content
    if not isinstance(content, dict) or family not in FAMILIES:
        raise DegradationError(
            f"preset {preset!r} names the family {family!r}: there are {', '.join(FAMILIES)}"
        )
    where = f"preset {preset!r}, {family}"
    ranges = {key: value for key, value in content.items() if key not in ("family", "probability")}
    chance = {key: value for key, value in content.items() if key == "probability"}
    degradation = FAMILIES[family](**checked(FAMILIES[family], ranges, where, DegradationError))
    return Step(degradation, **checked(Step, chance, where, DegradationError, besides=("degradation",)))
