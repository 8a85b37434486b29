"""Which columns of a table are what, recognised by type and name, for data sets that do not say."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow as pa

from ggt_hub.data.pairs import pair_row
from ggt_hub.data.recognising.words import task_of
from ggt_hub.errors import DatasetError
from ggt_hub.tasks import Task, find_task

_NAMES = {
    "lq": ("lq", "image", "input", "degraded", "img", "picture", "lr", "low", "low_quality", "source_image"),
    "gt": (
        "gt",
        "hq",
        "target",
        "clean",
        "ground_truth",
        "hr",
        "high",
        "high_quality",
        "target_image",
        "edited_image",
    ),
    "task": ("task", "type", "category", "degradation", "label", "class"),
    "prompt": ("prompt_en", "instruction_en", "prompt", "instruction", "text", "caption", "en"),
    "id": ("id", "image_id", "image_name", "name", "file_name", "filename", "key"),
}


# What is no low-quality picture, though it may be the only picture in a table.
_NOT_LQ = re.compile(
    r"restored|output|result|predict|enhanced|mask|depth|(^|_)(sr|gt|hq|hr)(_|$)|target|clean|truth"
)


@dataclass(frozen=True)
class Columns:
    """The names of the columns that hold each part of a pair, None where there is none; and all others.

    `labels` are the names behind the numbers of a task column that is a `ClassLabel`.
    """

    lq: str
    gt: str | None
    task: str | None
    prompt: str | None
    id: str | None
    further: tuple[str, ...]
    labels: tuple[str, ...] = ()

    def tasks(self, table: pa.Table) -> list[Task | None]:
        """The task of each row of a table that has the column."""
        return [self._named_task(value) for value in table[self.task or ""].to_pylist()]

    def ids(self, table: pa.Table) -> list[tuple[Task | None, str]]:
        """Task and name of each row of a table that has at least these columns."""
        tasks = self.tasks(table) if self.task else [None] * len(table)
        return [(task, str(name)) for task, name in zip(tasks, table[self.id or ""].to_pylist(), strict=True)]

    def rows(self, table: pa.Table, source: str, prefix: str, naming: str) -> Iterator[dict[str, Any]]:
        """Turn the rows of a table into records of the pair schema.

        Args:
            table: some rows.
            source: the name of the data set.
            prefix: what counted ids begin with.
            naming: `named` takes the id column, `by task` puts the task in front, `counted` counts.
        """
        for number, row in enumerate(table.to_pylist()):
            lq, gt = _picture(row[self.lq]), _picture(row[self.gt]) if self.gt else None
            if lq is None:
                raise DatasetError(
                    f"{source}: row {prefix}-{number:02d} has no picture in column {self.lq!r}"
                )
            task = self._task(row, lq)
            names = {"named": str(row[self.id or self.lq]), "by task": f"{task}/{row[self.id or self.lq]}"}
            yield pair_row(
                names[naming] if self.id and naming in names else f"{prefix}-{number:02d}",
                lq,
                gt,
                source=source,
                task=task,
                prompt=row[self.prompt] if self.prompt else None,
                meta=json.loads(json.dumps({name: row[name] for name in self.further}, default=str)),
            ) | {"lq_sha256": _digest(lq), "gt_sha256": _digest(gt)}

    def _task(self, row: dict[str, Any], lq: dict[str, Any]) -> Task | None:
        """What the task column says or, without one, the folder in the picture's path."""
        if self.task is None:
            return task_of(lq["path"] or "")
        return self._named_task(row[self.task])

    def _named_task(self, value: Any) -> Task | None:
        return find_task(self.labels[value] if self.labels and isinstance(value, int) else str(value))


def recognise(table: pa.Table, name: str, *, lq: str | None = None, gt: str | None = None) -> Columns:
    """Find out what the columns of `table` are.

    Args:
        table: some rows, with the metadata that `datasets` writes where it has them.
        name: what messages call the data set.
        lq: the column of low-quality pictures, if somebody told it.
        gt: that of ground truths.

    Raises:
        DatasetError: if there is no column of pictures, or nothing says which is the low-quality one; the message
            lists what was found.
    """
    schema = table.schema
    pictures = [field.name for field in schema if _is_picture(field.type)]
    if not pictures:
        found = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise DatasetError(
            f"{name}: no column holds pictures (bytes, or bytes with a path). Found: {found}. Convert the data "
            "to a column `lq`, or unpack the pictures into one folder for each task"
        )
    for told in filter(None, (lq, gt)):
        if told not in pictures:
            raise DatasetError(f"{name}: there is no column of pictures {told!r}, only {', '.join(pictures)}")
    others = [column for column in pictures if column not in (lq, gt)]
    gt = gt or (_named(others, "gt") if lq or len(pictures) > 1 else None)
    others = [column for column in others if column != gt]
    lq = lq or _named(others, "lq") or _only(others)
    if lq is None:
        raise DatasetError(
            f"{name}: nothing says which of the columns {', '.join(pictures)} is the low-quality one: name it lq, "
            "or tell it by lq= (--lq)"
        )
    texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    labels = {
        column: tuple(feature.names)
        for column, feature in datasets.Features.from_arrow_schema(schema).items()
        if isinstance(feature, datasets.ClassLabel)
    }
    task = _named([*texts, *labels], "task") or _all_tasks(table, texts)
    rest = [column for column in texts if column != task]
    prompt, row_id = _named(rest, "prompt"), _named(rest, "id")
    used = {lq, gt, task, prompt, row_id, *pictures}
    further = tuple(column for column in schema.names if column not in used)
    return Columns(lq, gt, task, prompt, row_id, further, labels.get(task or "", ()))


def _only(columns: list[str]) -> str | None:
    """The one column there is, unless its name says that it holds something else."""
    return columns[0] if len(columns) == 1 and not _NOT_LQ.search(columns[0].lower()) else None


def _is_picture(kind: pa.DataType) -> bool:
    is_struct = pa.types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind}
    return is_struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _named(columns: list[str], part: str) -> str | None:
    by_name = {column.lower(): column for column in columns}
    return next((by_name[name] for name in _NAMES[part] if name in by_name), None)


def _all_tasks(table: pa.Table, columns: list[str]) -> str | None:
    """A column of any name whose every value names a task."""
    for column in columns:
        values = set(table[column].to_pylist()) - {None}
        if values and all(find_task(value) for value in values):
            return column
    return None


def _picture(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return {"bytes": value["bytes"], "path": value["path"]} if value["bytes"] or value["path"] else None
    return {"bytes": value, "path": None} if value else None


def _digest(picture: dict[str, Any] | None) -> str | None:
    return hashlib.sha256(picture["bytes"]).hexdigest() if picture and picture["bytes"] else None
