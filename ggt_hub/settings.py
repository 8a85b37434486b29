"""What people write in YAML and JSON lines: read, and checked against the dataclass that it becomes."""

import json
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from ggt_hub.commit import whole_lines
from ggt_hub.errors import GGTHubError, did_you_mean

Line = TypeVar("Line")


def read_yaml(path: Path, error: type[GGTHubError]) -> dict[str, Any]:
    """Read a YAML file of `name: value` lines.

    Raises:
        GGTHubError: as `error`, if it cannot be read or is something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as reason:
        raise error(f"{path} cannot be read: {' '.join(str(reason).split())}") from reason
    if not isinstance(content, dict):
        raise error(f"{path} {'is empty' if content is None else 'does not consist of `name: value` lines'}")
    return content


def read_json_lines(path: Path, kind: type[Line], error: type[GGTHubError]) -> list[Line]:
    """Read a file of JSON objects, a line each, as a dataclass; a last line that a kill has cut is left out.

    Raises:
        GGTHubError: as `error`, if it cannot be read, or a line is something else; the message names the line.
    """
    try:
        lines = whole_lines(path.read_bytes()).decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as reason:
        raise error(f"{path} cannot be read: {reason}") from reason
    found = []
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except ValueError as reason:
            raise error(f"{where}: this is no JSON: {line[:60]}") from reason
        found.append(kind(**checked(kind, content, where, error)))
    return found


def checked(
    kind: type, content: Any, where: str, error: type[GGTHubError], besides: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The arguments for a dataclass, each of the type that its field has; no value is bent into another type.

    Args:
        kind: the dataclass. Types may carry bounds (`Annotated[int, Ge(1)]`).
        content: what the file says.
        where: what messages call the place, such as `run.yaml, group noise`.
        error: what to raise.
        besides: fields that the caller fills in.

    Raises:
        GGTHubError: as `error`, naming the field: unknown, missing, or of another type or range.
    """
    known = {field.name: field for field in fields(kind) if field.name not in besides}
    if not isinstance(content, dict):
        raise error(f"{where}: here belong fields ({', '.join(known)}), not {content!r}")
    if unknown := [name for name in content if name not in known]:
        hint = did_you_mean(unknown[0], known)
        raise error(f"{where}: there is no field {str(unknown[0])!r}, only {', '.join(known)}{hint}")
    required = [f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in content]:
        raise error(f"{where}: the field {missing[0]!r} is missing")
    for name, value in content.items():
        if value == [] and known[name].default:
            raise error(f"{where}: {name} must not be empty")
    return {name: _value(kind, name, value, where, error) for name, value in content.items()}


def _value(kind: type, name: str, value: Any, where: str, error: type[GGTHubError]) -> Any:
    try:
        # As JSON: lists become tuples and words paths, but no word becomes a number.
        return _adapter(kind, name).validate_json(
            json.dumps(value, default=str, allow_nan=False), strict=True
        )
    except ValidationError as reason:
        first = reason.errors()[0]
        place = "".join(f"[{part}]" for part in first["loc"] if part != "function-after")
        hint = _hint(first["input"])
        wanted = first["msg"][0].lower() + first["msg"][1:]
        raise error(f"{where}: {name}{place}: {wanted}, not {first['input']!r}{hint}") from reason
    except ValueError as reason:  # from json, for infinity and what is no number
        raise error(f"{where}: {name}: numbers must be finite, not {value!r}") from reason


@cache
def _adapter(kind: type, name: str) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(kind, include_extras=True)[name])


def _hint(value: Any) -> str:
    """YAML 1.1 takes 1e-3 for a word; people do not."""
    try:
        number = float(value) if isinstance(value, str) else None
    except ValueError:
        return ""
    return "" if number is None else f" (to YAML this is a word: write {number!r})"
