"""What a run does: stages in a row and whom they ask, in one YAML file."""

import hashlib
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import Ge, Gt

from ggt_hub.curation.generators import Named
from ggt_hub.curation.stage import Beginning, Deciding, Packing, Stage
from ggt_hub.curation.stages import STAGES
from ggt_hub.curation.words import text_of
from ggt_hub.errors import CurationError, did_you_mean
from ggt_hub.settings import checked, read_yaml

_PRESETS = Path(__file__).parent / "presets"
_ROLES = ("vision", "language")
_PARTS = ("stages", "models", "generators")

GENERATOR = "generators."
"""What stands before a generator's name where a stage's might stand."""

Price = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Model:
    """One that is asked.

    Attributes:
        model: a folder or an id on the Hub (ID@REVISION), run here; with `url` its name there.
        url: of an OpenAI-compatible server, whose key is read from OPENAI_API_KEY; null for here.
        price: of a million tokens asked, and answered.
        per_minute: requests that may be sent.
        workers: questions asked at the same time.
    """

    model: str
    url: str | None = None
    price: tuple[Price, Price] = (0.0, 0.0)
    per_minute: Annotated[float, Gt(0)] | None = None
    workers: Annotated[int, Ge(1)] = 8


@dataclass(frozen=True)
class Configuration:
    """What a file says.

    Attributes:
        stages: in order.
        models: who is asked, by role.
        generators: who edits pictures, by names of one's own.
        pictures: folder or id on the Hub of a text-to-image pipeline; "" where none is used.
        seed: of all that is drawn.
        slice: rows that a stage decides of at a time; what a kill may lose of stages that are not paid.
    """

    stages: tuple[Stage, ...]
    models: dict[str, Model] = field(default_factory=dict)
    generators: dict[str, Named] = field(default_factory=dict)
    pictures: str = ""
    seed: Annotated[int, Ge(0)] = 0
    slice: Annotated[int, Ge(1)] = 64

    def told(self) -> dict[str, Any]:
        """What a run folder records: all settings, given or not, but where models run and at what price."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _PARTS}
        told: dict[str, Any] = {"models": {role: model.model for role, model in self.models.items()}}
        if self.generators:
            told["generators"] = {name: named.told() for name, named in self.generators.items()}
        return plain | told | {"stages": [{s.name: asdict(s)} for s in self.stages]}


def list_presets() -> list[str]:
    """The names of configurations that ship."""
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def load_configuration(path_or_name: str | Path, changes: dict[str, str] | None = None) -> Configuration:
    """Read a configuration from a YAML file, or one that ships by its name (`genir`).

    Args:
        path_or_name: see above.
        changes: values in place of those in the file, in YAML, by their places: `models.vision.url`,
            `generate.steps`.

    Raises:
        CurationError: if there is no such file, stage or field, or one is missing or of another type or range.
    """
    path = Path(path_or_name)
    if not path.exists() and path.suffix == "":
        path = _PRESETS / f"{path_or_name}.yaml"
    if not path.is_file():
        known = list_presets()
        raise CurationError(
            f"no configuration {path_or_name}: give a YAML file, or one of {', '.join(known)}"
            f"{did_you_mean(str(path_or_name), known)}"
        )
    content = read_yaml(path, CurationError)
    for place, value in (changes or {}).items():
        _set(content, place, value)
    return _parsed(str(path), content)


def identity(stage: Stage) -> list[Any]:
    """What a stage's results depend on besides its rows and the configuration, of which a folder knows one."""
    return [
        stage.name,
        stage.version,
        [hashlib.sha256(text_of(name).encode()).hexdigest() for name in stage.words],
    ]


def _parsed(where: str, content: dict[str, Any]) -> Configuration:
    listed = content.pop("stages", None)
    if not (isinstance(listed, list) and listed):
        raise CurationError(f"{where}: `stages` must be a list of at least one, not {listed!r}")
    models = content.pop("models", {})
    if not isinstance(models, dict) or (unknown := [role for role in models if role not in _ROLES]):
        raise CurationError(f"{where}: `models` are {' and '.join(_ROLES)}, not {unknown or models!r}")
    named = content.pop("generators", {})
    if not isinstance(named, dict) or any(not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)) for name in named):
        raise CurationError(f"{where}: `generators` are named by letters and digits, not {named!r}")
    rest = checked(Configuration, content, where, CurationError, besides=_PARTS)
    stages = tuple(_stage(where, number, one) for number, one in enumerate(listed, 1))
    built = {
        role: Model(**checked(Model, model, f"{where}, model {role}", CurationError))
        for role, model in models.items()
    }
    generators = {
        str(name): Named(**checked(Named, one, f"{where}, generator {name}", CurationError))
        for name, one in named.items()
    }
    configuration = Configuration(stages=stages, models=built, generators=generators, **rest)
    check_chain(where, configuration)
    return configuration


def _stage(where: str, number: int, content: Any) -> Stage:
    """A stage, from its name alone or from `name: settings`."""
    if isinstance(content, str):
        content = {content: {}}
    if not (isinstance(content, dict) and len(content) == 1):
        raise CurationError(f"{where}, stage {number}: write `- name: {{settings}}`, not {content!r}")
    name, settings = next(iter(content.items()))
    if name not in STAGES:
        raise CurationError(
            f"{where}: there is no stage {name!r}, only {', '.join(STAGES)}{did_you_mean(name, STAGES)}"
        )
    return STAGES[name](**checked(STAGES[name], settings or {}, f"{where}, stage {name}", CurationError))


def check_chain(where: str, configuration: Configuration) -> None:
    """Refuse stages that lack what they need: a run would find that out after hours.

    Raises:
        CurationError: naming the first.
    """
    columns: set[str] = set()
    before: set[str] = set()
    stages = configuration.stages
    if not isinstance(stages[0], Beginning):
        first = ", ".join(name for name, kind in STAGES.items() if issubclass(kind, Beginning))
        raise CurationError(f"{where}: a run begins with one of {first}, not with {stages[0].name}")
    for stage in stages:
        if stage.name in before:
            raise CurationError(f"{where}: the stage {stage.name} stands there twice")
        columns = set() if isinstance(stage, Beginning) else columns
        missing = [f"column {name}" for name in stage.needs if name not in columns]
        missing += [f"stage {name}" for name in stage.uses if name not in before]
        if stage.asks and stage.asks not in configuration.models:
            missing.append(f"entry {stage.asks} under `models`")
        if stage.edits and not configuration.generators:
            missing.append("entry `generators`, who edits pictures")
        if stage.draws and not configuration.pictures:
            missing.append("entry `pictures`, a text-to-image pipeline")
        if isinstance(stage, Packing) and stage is not stages[-1]:
            raise CurationError(f"{where}: {stage.name} must be the last stage")
        if missing:
            raise CurationError(f"{where}: stage {stage.name} needs the {missing[0]}, which is not there")
        columns |= set(stage.gives) if isinstance(stage, Deciding) else set()
        before.add(stage.name)


def _set(content: dict[str, Any], place: str, value: str) -> None:
    """Put a value, in YAML, at its place; stages go by their names."""
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise CurationError(f"--set {place}={value}: {' '.join(str(error).split())}") from error
    *path, last = place.split(".")
    here: Any = content
    stages = [one if isinstance(one, dict) else {one: {}} for one in content.get("stages") or ()]
    named = [one for one in stages if path[:1] == [next(iter(one), None)]]
    there = [str(name) for one in stages for name in one]
    if path and path[0] not in (*there, *(f.name for f in fields(Configuration))):
        raise CurationError(
            f"--set {place}: there is no stage {path[0]!r}, only {', '.join(there)}{did_you_mean(path[0], there)}"
        )
    if named:
        content["stages"] = stages
        here = named[0]
    for name in path:
        if not isinstance(here, dict):
            break
        if here.get(name) is None:
            here[name] = {}
        here = here[name]
    if not isinstance(here, dict):
        raise CurationError(f"--set {place}: there is no such place")
    here[last] = parsed
