"""Lists of pairs that a dataset brings along: JSON, JSON Lines, CSV or text with two columns of paths."""

import csv
import io
import json
import posixpath
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from ggt_hub.data.recognising.told import Side
from ggt_hub.data.recognising.words import SIDES, plain
from ggt_hub.errors import DatasetError
from ggt_hub.tasks import Task, find_task

SIDE_NAMES: tuple[Side, Side] = ("lq", "gt")
FIRST, SECOND = "first column", "second column"
_FURTHER = {
    "task": ("type", "task", "category", "degradation"),
    "prompt": ("prompt", "instruction", "text"),
}
# What is left of the name of a column of paths ("lq_file_name", "path_to_gt") without these tells the side.
_FILLERS = re.compile(r"[_\- ]?(?:file[_\- ]?names?|files?|paths?|images?|img|pictures?|names?|to)[_\- ]?")
_DELIMITERS = ",;\t|"
_PICTURE = r"[^,;|\t]*?\.(?:png|jpe?g|jfif|webp|bmp|tiff?|avif|gif|jp2|ppm|pgm)"
_TWO_PATHS = re.compile(rf'\s*"?({_PICTURE})"?\s*[,;|\t ]\s*"?({_PICTURE})"?\s*', re.IGNORECASE)


class Mention(NamedTuple):
    """One line of a manifest: two paths as if they began at its folder (`gt` may be missing), and what it says.

    `is_told` says whether the names of the columns tell which path is which; those of a bare list do not.
    """

    lq: str
    gt: str | None
    task: Task | None
    prompt: str | None
    further: dict[str, Any]
    is_told: bool = True
    manifest: str = ""


def read_manifest(name: str, content: bytes) -> list[Mention]:
    """Read a manifest; a file without two columns of paths gives an empty list, for it is something else.

    Raises:
        DatasetError: if the file is not what its ending says.
    """
    try:
        text = _text_of(content)
        rows = _READERS[name[name.rindex(".") :].lower()](text)
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{name} cannot be read as a manifest: {error}") from error
    rows = [
        {str(key).strip().lower(): value for key, value in row.items()}
        for row in rows
        if isinstance(row, dict)
    ]
    mentions = [_mention(row, name) for row in rows]
    return [mention for mention in mentions if mention is not None]


def read_sample(lq: str, content: bytes, name: str) -> list[Mention]:
    """What a JSON object says of the picture at `lq`; an empty list if it is none."""
    try:
        row = json.loads(_text_of(content))
    except (ValueError, UnicodeDecodeError):
        return []
    mention = (
        _mention({str(key).lower(): value for key, value in row.items()} | {"lq": lq}, "")
        if isinstance(row, dict)
        else None
    )
    return [mention._replace(manifest=name, gt=None)] if mention else []


def _text_of(content: bytes) -> str:
    """The text of a file, in UTF-8 or in the UTF-16 or 32 that spreadsheets write, by its first bytes."""
    return content.decode(json.detect_encoding(content)).removeprefix("\ufeff")


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
    """A table with a header, whose columns are parted by whatever gives names that are known here."""
    for delimiter in _DELIMITERS:
        rows = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
        if any(column_side(name) == "lq" for name in rows.fieldnames or ()):
            return list(rows)
    return _from_list(text)


def _from_list(text: str) -> list[Any]:
    """A table without header, of two columns of paths: nothing says yet which is which."""
    found = [_TWO_PATHS.fullmatch(line) for line in text.splitlines() if line.strip()]
    if not all(found):
        return []
    return [{FIRST: match[1].strip(), SECOND: match[2].strip()} for match in found if match]


_READERS = {
    ".json": _from_json,
    ".jsonl": _from_lines,
    ".csv": _from_csv,
    ".tsv": _from_csv,
    ".txt": _from_csv,
}


def _mention(row: dict[str, Any], manifest: str) -> Mention | None:
    is_told = FIRST not in row
    columns = {side: _columns(row, side) for side in SIDE_NAMES}
    lq, gt = (_first(row, columns[side]) for side in SIDE_NAMES)
    if not isinstance(lq, str):
        return None
    folder = posixpath.dirname(manifest)
    task, prompt = (_first(row, names) for names in _FURTHER.values())
    further = {
        key: value
        for key, value in row.items()
        if key not in (*sum(_FURTHER.values(), ()), *columns["lq"], *columns["gt"])
    }
    gt = _path(folder, gt) if isinstance(gt, str) and gt else None
    return Mention(_path(folder, lq), gt, _task(task), _text(prompt), further, is_told, manifest)


def _columns(row: dict[str, Any], side: Side) -> list[str]:
    """The columns that may hold the paths of a side, the plainest name first.

    `source` is one only beside `target`: else it says where a pair comes from.
    """
    found = [name for name in row if _names(name, side)]
    if not any(plain(name).startswith("target") for name in row):
        found = [name for name in found if plain(name) != "source"]
    return sorted(found, key=lambda name: plain(name) != side)


def _names(column: str, side: Side) -> bool:
    return column == {"lq": FIRST, "gt": SECOND}[side] or column_side(column) == side


@cache
def column_side(name: str) -> Side | None:
    """The side that the name of a column tells; None if it does not."""
    return SIDES.get(plain(_FILLERS.sub("_", name.strip().lower())))


def _path(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path.replace("\\", "/")))


def _first(row: dict[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _task(value: Any) -> Task | None:
    """A list of several kinds of damage is a mixture."""
    kinds = value if isinstance(value, list) else [value]
    if len(kinds) > 1:
        return "general"
    return find_task(str(kinds[0])) if kinds and kinds[0] is not None else None


def _text(value: Any) -> str | None:
    return "\n".join(map(str, value)) if isinstance(value, list) else None if value is None else str(value)
