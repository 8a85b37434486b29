"""Where a data set's pictures lie."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.suite import list_pictures


def part(folder: Path, settings: dict[str, Any], name: str) -> Path:
    """A file or folder of the data set.

    Raises:
        EvaluationError: if it is not there.
    """
    path = folder / settings[name]
    if not path.exists():
        hint = "; damage the clean ones into it, by ggt-hub degrade" if name == "poor" else ""
        raise EvaluationError(f"there is no {settings[name]} in {folder}, where {name} lie{hint}")
    return path


def poor_pictures(folder: Path, settings: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Path]:
    """The poor pictures by the data set's names without ending, in its order; `a.jpg.png` is `a`'s too.

    Fewer than it knows are a part of it; one that it does not know is refused.

    Raises:
        EvaluationError: if there is none, or one that the data set does not know.
    """
    place = part(folder, settings, "poor")
    found = {_name(path.relative_to(place), known): path for path in list_pictures(place)}
    if strange := sorted(found.keys() - known.keys()):
        raise EvaluationError(f"the annotations do not know {found[strange[0]].name} in {place}: take it out")
    return {name: found[name] for name in known if name in found}


def _name(path: Path, known: Mapping[str, Any]) -> str:
    """The name without as many endings as the data set's has not: degrade adds one."""
    name = path.with_suffix("")
    while name.as_posix() not in known and name.suffix:
        name = name.with_suffix("")
    return name.as_posix()


def clean_pictures(folder: Path, settings: dict[str, Any]) -> dict[str, Path]:
    """The clean pictures by their names without ending; none where their folder is not there."""
    place = folder / settings["clean"]
    if not place.is_dir():
        return {}
    return {path.relative_to(place).with_suffix("").as_posix(): path for path in list_pictures(place)}
