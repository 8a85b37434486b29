"""A training recipe: everything that decides the result, in one YAML file."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from ggt_hub.data.reading.mixture import Damage
from ggt_hub.degradations.presets import load_preset, parse_preset
from ggt_hub.errors import TrainingError, did_you_mean
from ggt_hub.settings import checked, read_yaml
from ggt_hub.training.validation import Validation

_FOLDER = Path(__file__).parent / "recipes"

Share = Annotated[float, Gt(0)]
Side = Annotated[int, Ge(8), MultipleOf(8)]
Beta = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class Stage:
    """A part of a run. It goes on with the weights of the one before, with an optimiser that starts fresh.

    Attributes:
        data: sources of pictures, each with its share: folders of clean photographs or of pairs, relative to the
            working directory, or data sets; see `mixture.open_source`.
        groups: what clean photographs meet, by name.
        crop: side of a training picture, in pixels; a multiple of 8.
        buckets: width and height of training pictures, by aspect, multiples of 8, in place of `crop`: whole
            pictures are shrunk to the nearest, see `data.reading.buckets`; they must be `aligned`.
        batch: pictures per step and process.
        steps: optimiser steps; the learning rate falls along a cosine until then, or until `--max-minutes`
            where that comes first.
        learning_rate, warmup_steps: as usual.
        last_learning_rate: what the cosine ends at in place of zero.
        weight_decay: of AdamW; with 0 it is Adam.
        aligned: the pictures are aligned, as faces are: they are mirrored alone, not turned or shrunk, and damaged
            without a margin around a crop.
        at_once: how many pictures of a batch are computed at once, where memory does not hold all; their gradients
            are added up.
        synthetic: share of the examples that are made of clean pictures; the others are stored pairs. Shares of
            sources then count among those of one kind, and a kind that is not drawn from may be missing.
        balanced: draw the tasks of stored pairs equally, however many pairs each has.
        augmentation: damage that `lq` meets besides; its share is the chance of it, 0..1.
        frozen: share of the network's blocks, from the first, that stay as they are (`Objective.first_blocks`).
    """

    data: dict[str, Share]
    groups: dict[str, Damage] = field(default_factory=dict)
    crop: Side = 128
    buckets: tuple[tuple[Side, Side], ...] = ()
    batch: Annotated[int, Ge(1)] = 8
    steps: Annotated[int, Ge(1)] = 100_000
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    warmup_steps: Annotated[int, Ge(0)] = 300
    last_learning_rate: Annotated[float, Ge(0)] = 0.0
    weight_decay: Annotated[float, Ge(0)] = 0.01
    aligned: bool = False
    at_once: Annotated[int, Ge(1)] | None = None
    synthetic: Annotated[float, Ge(0), Le(1)] | None = None
    balanced: bool = False
    augmentation: Damage | None = None
    frozen: Annotated[float, Ge(0), Lt(1)] = 0.0

    @property
    def side(self) -> int:
        """Of a square that is as large as the largest training picture, rounded up."""
        return math.ceil(math.sqrt(max((math.prod(size) for size in self.buckets), default=self.crop**2)))


@dataclass(frozen=True)
class Recipe:
    """What `ggt-hub train` reads.

    Attributes:
        model: arguments of the network.
        stages: in order. In the file, fields of a stage that stand outside of `stages` count for all; a recipe
            without `stages` has one.
        objective: what is trained, one of `objectives.OBJECTIVES`.
        settings: of the objective.
        ema_decay: of the average of the weights.
        betas: of AdamW.
        validation: what the run is looked at by.
        tracker: what is told of losses, scores and pictures while the run goes on, in `tracker/` or where it keeps
            them.
        largest_gradient: norm to which larger gradients of a learner are shortened; null for none.
        seed: decides every draw; example i is the same whatever the number of workers.
        workers: processes that prepare examples, per training process; a script that trains with some needs an
            `if __name__ == "__main__":`, for they are started anew and import it.
        save_minutes: time between checkpoints.
        shard: each process keeps a part of the network's weights (FSDP2) rather than all of them.
    """

    model: dict[str, Any]
    stages: tuple[Stage, ...]
    objective: str = "compact"
    settings: dict[str, Any] = field(default_factory=dict)
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.9995
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    validation: Validation | None = None
    tracker: Literal["tensorboard", "trackio", "wandb"] | None = None
    largest_gradient: Annotated[float, Gt(0)] | None = 1.0
    seed: Annotated[int, Ge(0)] = 0
    workers: Annotated[int, Ge(0)] = 0
    save_minutes: Annotated[float, Ge(0)] = 5.0
    shard: bool = False

    def with_data(self, data: dict[str, float]) -> Self:
        """The same on other pictures, in all stages."""
        return replace(self, stages=tuple(replace(stage, data=data) for stage in self.stages))

    def watched(self, suite: str | None, every: int, tracker: str | None) -> Self:
        """The same, looked at by this suite every so many steps, and told this tracker.

        Raises:
            TrainingError: if there is no such tracker.
        """
        asked = {"validation": suite and {"suite": suite, "every": every}, "tracker": tracker}
        told = {name: value for name, value in asked.items() if value is not None}
        return replace(self, **checked(Recipe, told, "the call", TrainingError, besides=("stages", "model")))

    def with_settings(self, settings: dict[str, Any]) -> Self:
        """The same with these settings of the objective in place of its own."""
        return replace(self, settings=self.settings | settings)


_OF_STAGES = tuple(Stage.__dataclass_fields__)


def load_recipe(path_or_name: str | Path, variant: str | None = None) -> Recipe:
    """Read a recipe from a YAML file, or one that ships with the package by its name (`compact`).

    Args:
        path_or_name: see above.
        variant: one of the file's `variants`, whose fields stand over those of the rest; the first if not given.

    Raises:
        TrainingError: if there is no such file or variant, or a field of it is unknown, missing, or of another type
            or range.
    """
    path = Path(path_or_name)
    if not path.exists() and path.suffix == "":
        path = _FOLDER / f"{path_or_name}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in _FOLDER.glob("*.yaml")))
        raise TrainingError(f"no recipe at {path_or_name}: give a YAML file, or one of {shipped}")
    content = _in_words_of_today(_chosen(path, read_yaml(path, TrainingError), variant))
    for_all = {name: content.pop(name) for name in _OF_STAGES if name in content}
    stages = content.pop("stages", None)
    if stages is not None and not (isinstance(stages, list) and stages):
        raise TrainingError(f"{path}: stages must be a list of at least one, not {stages!r}")
    known = {*Recipe.__dataclass_fields__, *_OF_STAGES} - {"stages"}
    if unknown := [str(name) for name in content if name not in known]:
        raise TrainingError(f"{path}: there is no field {unknown[0]!r}, only {', '.join(sorted(known))}")
    arguments = checked(Recipe, content, str(path), TrainingError, besides=("stages",))
    places = [f"{path}, stage {number}" for number, _ in enumerate(stages or (), 1)] or [str(path)]
    built = [_stage(place, for_all, stage) for place, stage in zip(places, stages or [{}], strict=True)]
    return Recipe(stages=tuple(built), **arguments)


def _chosen(path: Path, content: dict[str, Any], variant: str | None) -> dict[str, Any]:
    """What the file says, in the variant."""
    variants = content.pop("variants", {})
    if not isinstance(variants, dict) or not all(isinstance(own, dict) for own in variants.values()):
        raise TrainingError(f"{path}: variants must name fields for each variant, not {variants!r}")
    name = next(iter(variants), None) if variant is None else variant
    if name is None:
        return content
    if name not in variants:
        there = f"there are {', '.join(variants)}" if variants else "it has none"
        raise TrainingError(f"{path} has no variant {name!r}: {there}{did_you_mean(name, variants)}")
    return _laid_over(content, variants[name])


def _laid_over(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both, field by field where both hold fields; what is said by `over` counts."""
    both = {
        name: _laid_over(under[name], value)
        for name, value in over.items()
        if isinstance(value, dict) and isinstance(under.get(name), dict)
    }
    return under | over | both


def _in_words_of_today(content: dict[str, Any]) -> dict[str, Any]:
    """Recipes of 0.1 said `images` of a folder of photographs, and had `hint` among everything else."""
    rest = {name: value for name, value in content.items() if name not in ("images", "hint")}
    if "images" in content:
        rest.setdefault("data", content["images"])
    if "hint" in content:
        rest["settings"] = {"hint": content["hint"]} | rest.get("settings", {})
    return rest


def _stage(where: str, for_all: dict[str, Any], own: Any) -> Stage:
    if not isinstance(own, dict):
        raise TrainingError(f"{where}: here belong fields ({', '.join(_OF_STAGES)}), not {own!r}")
    content = for_all | own
    groups, augmentation = content.pop("groups", {}), content.pop("augmentation", None)
    if not isinstance(groups, dict) or ("groups" in for_all | own and not groups):
        raise TrainingError(f"{where}: the field 'groups' names no kinds of samples")
    if isinstance(content.get("data"), str):
        content["data"] = {content["data"]: 1}
    arguments = checked(Stage, content, where, TrainingError, besides=("groups", "augmentation"))
    if arguments.get("buckets") and not arguments.get("aligned"):
        raise TrainingError(f"{where}: what is put into buckets is not turned: say `aligned: true`")
    if augmentation is not None:
        arguments["augmentation"] = _parse_group(f"{where}, augmentation", augmentation)
    built = {str(name): _parse_group(f"{where}, group {name}", group) for name, group in groups.items()}
    return Stage(groups=built, **arguments)


def _parse_group(where: str, content: Any) -> Damage:
    if not isinstance(content, dict):
        raise TrainingError(f"{where}: here belong fields (share, preset or task and steps), not {content!r}")
    if "dark" in content:
        content = _without_dark(where, content)
    named, chain = (
        content.get("preset"),
        {name: content[name] for name in ("task", "steps") if name in content},
    )
    if (named is None) != ("steps" in chain):
        raise TrainingError(f"{where}: give either `preset`, or `task` and `steps`")
    rest = {name: value for name, value in content.items() if name not in ("preset", *chain)}
    arguments = checked(Damage, rest, where, TrainingError, besides=("preset",))
    preset = load_preset(str(named), chain.get("task")) if named else parse_preset(where, chain)
    return Damage(preset=preset, **arguments)


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
