"""Suites: what is restored, and what it is scored by. Named ones are the files in `suites/`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ggt_hub.errors import DatasetError, EvaluationError
from ggt_hub.evaluation.fixed_damage import damage
from ggt_hub.images import read_image

_SUITES = files("ggt_hub.evaluation") / "suites"


@dataclass(frozen=True)
class Item:
    """One picture to restore.

    Attributes:
        id: unique in its suite.
        lq: the poor picture; anything that `read_image` takes.
        gt: its reference; None where there is none.
        task: what its scores are grouped by; "all" where nothing is known.
        hint: the task that the restorer is told; None leaves it blind.
    """

    id: str
    lq: Any
    gt: Any = None
    task: str = "all"
    hint: str | None = None


@dataclass(frozen=True)
class Suite:
    """A named set of pictures with its metrics.

    Attributes:
        name: what users type.
        title: what reports call it.
        metrics: names of `ggt_hub.metrics.METRICS`.
        source: where the pictures come from, for the record.
        revision: the data set's revision, if it has one.
        repository: the data set's id on the Hub, for entries on a model card; None where it has none.
        published: name of the table of published results that reports show beside ours.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    source: str
    revision: str | None = None
    repository: str | None = None
    published: str | None = None
    _settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def items(self) -> Iterator[Item]:
        """The pictures, in a fixed order.

        Raises:
            EvaluationError: if there is none.
            DatasetError: if the data set cannot be read.
            HubError: if it cannot be had.
        """
        if "damage" in self._settings:
            return _damaged(Path(self.source), self._settings)
        if "dataset" in self._settings and not Path(self.source).is_dir():
            return _from_dataset(self.source, self._settings["split"], revision=self.revision)
        return _from_folder(Path(self.source))


def list_suites() -> list[str]:
    """Names of the suites that come with the package."""
    return sorted(path.name[:-5] for path in _SUITES.iterdir() if path.name.endswith(".yaml"))


def load_suite(name: str, data: str | Path | None = None, revision: str | None = None) -> Suite:
    """A suite by name, or any folder of pairs or of single pictures.

    Args:
        name: one of `list_suites`, or a folder.
        data: folder with the suite's pictures, where they are not downloaded by name.
        revision: of the data set on the Hub.

    Raises:
        EvaluationError: if there is no such suite or folder, or the suite needs `data`.
    """
    if Path(name).is_dir():
        return Suite(
            Path(name).resolve().name, f"Pictures in {Path(name).name}", ("psnr", "ssim", "niqe"), str(name)
        )
    if name not in list_suites():
        raise EvaluationError(
            f"no suite or folder {name!r}: there are {', '.join(list_suites())}, or give a folder"
        )
    settings = yaml.safe_load((_SUITES / f"{name}.yaml").read_text(encoding="utf-8"))
    source = str(data) if data else settings.get("dataset")
    if source is None or (data and not Path(data).is_dir()):
        raise EvaluationError(f"the suite {name} needs the folder of its pictures: give it with --data")
    return Suite(
        name=name,
        title=settings["title"],
        metrics=tuple(settings["metrics"]),
        source=source,
        revision=revision,
        repository=settings.get("repository"),
        published=settings.get("published"),
        _settings=settings,
    )


def _from_dataset(source: str, split: str, **where: Any) -> Iterator[Item]:
    from datasets import Image

    from ggt_hub.data.loading import load_dataset

    rows = load_dataset(source, split=split, **{key: value for key, value in where.items() if value})
    for column in ("lq", "gt"):
        rows = rows.cast_column(column, Image(decode=False))
    for row in rows:
        lq, gt = (row[column] and (row[column]["bytes"] or row[column]["path"]) for column in ("lq", "gt"))
        yield Item(row["id"], lq, gt or None, row["task"] or "all", _known_hint(row["task"]))


def _from_folder(folder: Path) -> Iterator[Item]:
    """Pairs if the folder's pictures can be paired, otherwise single pictures; sub-folders are tasks."""
    try:
        yield from _from_dataset("pairs", "train", data_dir=str(folder))
    except DatasetError:
        for path in _pictures(folder):
            relative = path.relative_to(folder)
            yield Item(str(relative), path, None, relative.parts[0] if len(relative.parts) > 1 else "all")


def _damaged(folder: Path, settings: dict[str, Any]) -> Iterator[Item]:
    hints = settings.get("hints", {})
    paths = _pictures(folder)
    for task, steps in settings["damage"].items():
        for path in paths:
            clean = np.asarray(read_image(path).to_pil().convert("RGB"))
            yield Item(
                f"{task}/{path.relative_to(folder)}", damage(clean, steps), path, task, hints.get(task)
            )


def _pictures(folder: Path) -> list[Path]:
    from ggt_hub.files import INPUT_SUFFIXES

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in INPUT_SUFFIXES)
    if not paths:
        raise EvaluationError(f"there is no picture in {folder}: give a folder that holds some")
    return paths


def _known_hint(task: str | None) -> str | None:
    from ggt_hub.tasks import TASKS

    return task if task in TASKS else None


def content_hash(source: Any) -> str:
    """SHA-256 of a picture: of its file where it is one, else of its pixels."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if isinstance(source, str | Path):
        return hashlib.sha256(Path(source).read_bytes()).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(source).tobytes()).hexdigest()
