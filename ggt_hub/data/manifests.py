"""Lists of pairs that a dataset brings along: JSON, JSON Lines, CSV or text with two columns of paths."""

import csv
import io
import json
import posixpath
from typing import Any, NamedTuple

from ggt_hub.errors import DatasetError
from ggt_hub.tasks import Task, find_task

_NAMES = {
    "lq": ("lq", "lq_path", "input", "degraded", "low", "image_lq"),
    "gt": ("gt", "gt_path", "target", "hq", "hq_path", "clean", "image_gt"),
    "task": ("type", "task", "category", "degradation"),
    "prompt": ("prompt", "instruction", "text"),
}


class Entry(NamedTuple):
    """One line of a manifest: two paths as if they began at its folder (`gt` may be missing), and what it says."""

    lq: str
    gt: str | None
    task: Task | None
    prompt: str | None
    further: dict[str, Any]


def read_manifest(name: str, content: bytes) -> list[Entry]:
    """Read a manifest; a file without two columns of paths gives an empty list, for it is something else.

    Raises:
        DatasetError: if the file is not what its ending says.
    """
    try:
        text = content.decode("utf-8-sig")
        rows = _READERS[name[name.rindex(".") :].lower()](text)
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{name} cannot be read as a manifest: {error}") from error
    rows = [{str(key).lower(): value for key, value in row.items()} for row in rows if isinstance(row, dict)]
    entries = [_entry(row, posixpath.dirname(name)) for row in rows]
    return [entry for entry in entries if entry is not None]


def _from_json(text: str) -> list[Any]:
    content = json.loads(text)
    if isinstance(content, dict) and content and all(isinstance(value, dict) for value in content.values()):
        return [{"lq": name} | value for name, value in content.items()]
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else []
    return content if isinstance(content, list) else []


def _from_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _from_csv(text: str) -> list[Any]:
    return list(csv.DictReader(io.StringIO(text)))


def _from_text(text: str) -> list[Any]:
    lines = [line.replace(",", " ").replace("\t", " ").split() for line in text.splitlines() if line.strip()]
    return [dict(zip(("lq", "gt"), words, strict=True)) for words in lines if len(words) == 2]


_READERS = {".json": _from_json, ".jsonl": _from_lines, ".csv": _from_csv, ".txt": _from_text}


def _entry(row: dict[str, Any], folder: str) -> Entry | None:
    found = {ours: _first(row, names) for ours, names in _NAMES.items()}
    if not isinstance(found["lq"], str):
        return None
    further = {key: value for key, value in row.items() if key not in sum(_NAMES.values(), ())}
    gt = _path(folder, found["gt"]) if isinstance(found["gt"], str) and found["gt"] else None
    return Entry(_path(folder, found["lq"]), gt, _task(found["task"]), _text(found["prompt"]), further)


def _path(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path.replace("\\", "/")))


def _first(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _task(value: Any) -> Task | None:
    """A list of several kinds of damage is a mixture."""
    kinds = value if isinstance(value, list) else [value]
    if len(kinds) > 1:
        return "general"
    return find_task(str(kinds[0])) if kinds and kinds[0] is not None else None


def _text(value: Any) -> str | None:
    return "\n".join(map(str, value)) if isinstance(value, list) else None if value is None else str(value)
