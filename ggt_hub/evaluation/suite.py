"""Suites: what is restored, and what it is scored by. Named ones are the files in `suites/`."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ggt_hub.data.recognising.told import Told
from ggt_hub.errors import DatasetError, EvaluationError, ImageError, did_you_mean
from ggt_hub.evaluation.fixed_damage import damage
from ggt_hub.files import list_pictures as pictures_below
from ggt_hub.hub import resolve
from ggt_hub.images import read_image
from ggt_hub.vlm.judge import rgb_image

_SUITES = files("ggt_hub.evaluation") / "suites"


@dataclass(frozen=True)
class Item:
    """One picture to restore.

    Attributes:
        id: unique in its suite; results are stored under it, so it must be a relative path.
        source: the poor picture, or the clean one that `steps` damage; anything that `read_image` takes, or a
            function that gives it, so that a suite fits into memory.
        truth: its reference, likewise; None where there is none.
        task: what its scores are grouped by; "all" where nothing is known.
        hint: the task that the restorer is told; None leaves it blind.
        steps: damage by fixed rules, done when the picture is asked for.

    Raises:
        EvaluationError: for an id that would lead out of the output folder.
    """

    id: str
    source: Any
    truth: Any = None
    task: str = "all"
    hint: str | None = None
    steps: Sequence[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        if Path(self.id).is_absolute() or ".." in Path(self.id).parts:
            raise EvaluationError(f"the id {self.id!r} leads out of the output folder: rename the picture")

    @property
    def lq(self) -> Any:
        """The poor picture; anything that `read_image` takes.

        Raises:
            DatasetError: if it cannot be had; so with `gt`.
        """
        source = _given(self.source)
        return source if self.steps is None else damage(np.asarray(rgb_image(source)), self.steps)

    @property
    def gt(self) -> Any:
        """Its reference; None where there is none."""
        return _given(self.truth)


def _given(source: Any) -> Any:
    return source() if callable(source) else source


@dataclass(frozen=True)
class Suite:
    """A named set of pictures with its metrics.

    Attributes:
        name: what users type.
        title: what reports call it.
        metrics: names of `ggt_hub.metrics.METRICS` and `SET_METRICS`.
        source: where the pictures come from, for the record.
        revision: the data set's revision, if it has one.
        repository: the data set's id on the Hub, for entries on a model card; None where it has none.
        published: name of the table of published results that reports show beside ours.
        told: what is known of the pictures of a folder, where names cannot decide.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    source: str
    revision: str | None = None
    repository: str | None = None
    published: str | None = None
    _settings: dict[str, Any] = field(default_factory=dict, repr=False)
    told: Told | None = None

    def items(self) -> Iterator[Item]:
        """The pictures, in a fixed order.

        Raises:
            EvaluationError: if there is none.
            DatasetError: if the data set cannot be read.
            HubError: if it cannot be had.
        """
        if self.downstream:
            from ggt_hub.evaluation.downstream import downstream_items

            return downstream_items(Path(self.source), self.downstream)
        if "damage" in self._settings:
            return _damaged(Path(self.source), self._settings)
        if self.is_from_hub:
            return _from_dataset(self.source, self.split, revision=self.revision)
        if not self._settings.get("references", True):
            return _singles(Path(self.source))
        return _from_folder(Path(self.source), self.told)

    @property
    def is_from_hub(self) -> bool:
        """Whether the pictures are those of the data set on the Hub, not those of a folder that somebody named."""
        return "dataset" in self._settings and self.source == self._settings["dataset"]

    @property
    def rated(self) -> tuple[str, ...]:
        """What a judge adds to the suite's metrics, where its authors score it so."""
        return tuple(self._settings.get("rated", ()))

    @property
    def downstream(self) -> dict[str, Any]:
        """The task that is done with the pictures, and where its annotations lie; empty where there is none."""
        return dict(self._settings.get("downstream", {}))

    @property
    def published_set(self) -> str | None:
        """What the published table calls the suite's pictures, where it is of several sets."""
        return self._settings.get("published_set")

    @property
    def split(self) -> str:
        """The split of the data set on the Hub."""
        return str(self._settings.get("split", "test"))

    def exact_revision(self) -> str | None:
        """The data set's commit on the Hub; None for pictures in a folder.

        Raises:
            HubError: if it cannot be had.
        """
        if not self.is_from_hub or self.repository is None:
            return self.revision
        return resolve(self.repository, repo_type="dataset", revision=self.revision)


def list_suites() -> list[str]:
    """Names of the suites that come with the package."""
    return sorted(path.name[:-5] for path in _SUITES.iterdir() if path.name.endswith(".yaml"))


def load_suite(
    name: str, data: str | Path | None = None, revision: str | None = None, told: Told | None = None
) -> Suite:
    """A suite by name, or any folder of pairs or of single pictures.

    Args:
        name: one of `list_suites`, or a folder; a folder of such a name is written with its path, `./ggt-test`.
        data: folder with the suite's pictures, where they are not downloaded by name.
        revision: of the data set on the Hub.
        told: what is known of the pictures of a folder, where names cannot decide.

    Raises:
        EvaluationError: if there is no such suite or folder, the suite needs `data`, or something is told of
            pictures that are no folder's.
    """
    if name not in list_suites():
        if not Path(name).is_dir():
            raise EvaluationError(
                f"no suite or folder {name!r}: there are {', '.join(list_suites())}, or give a folder"
                f"{did_you_mean(name, list_suites())}"
            )
        about = Path(name).resolve().name
        return Suite(about, f"Pictures in {about}", ("psnr", "ssim", "niqe"), str(name), told=told)
    settings = yaml.safe_load((_SUITES / f"{name}.yaml").read_text(encoding="utf-8"))
    source = str(data) if data else settings.get("dataset")
    if source is None or (data and not Path(data).is_dir()):
        raise EvaluationError(f"the suite {name} needs the folder of its pictures: give it with --data")
    if told and not (data and settings.get("references", True)):
        raise EvaluationError(f"the pairs of {name} are known: --lq, --gt and the like are for a folder")
    return Suite(
        name=name,
        title=settings["title"],
        metrics=tuple(settings["metrics"]),
        source=source,
        revision=revision,
        repository=settings.get("repository"),
        published=settings.get("published"),
        told=told,
        _settings=settings,
    )


def _from_dataset(source: str, split: str, **where: Any) -> Iterator[Item]:
    from ggt_hub.data.reading.loading import load_dataset

    yield from _rows(
        load_dataset(source, split=split, **{key: value for key, value in where.items() if value})
    )


def _rows(rows: Any) -> Iterator[Item]:
    """An item for each row; pictures are fetched when they are asked for, wherever they lie."""
    told = rows.select_columns([name for name in ("id", "task") if name in rows.column_names])
    gt = rows.with_format("arrow").select_columns("gt") if "gt" in rows.column_names else None
    for number, row in enumerate(told):
        task = row.get("task")
        has_gt = gt is not None and gt[number : number + 1]["gt"][0].is_valid
        truth = partial(_picture, rows, number, "gt") if has_gt else None
        yield Item(row["id"], partial(_picture, rows, number, "lq"), truth, task or "all", _known_hint(task))


def _picture(rows: Any, number: int, side: str) -> Any:
    """The file of one picture of a row: bytes.

    Raises:
        DatasetError: if it cannot be had.
    """
    from ggt_hub.data.reading.iterate import row_files

    row = row_files(rows, number, [side])
    found = row.files[side]
    if isinstance(found, Exception):
        raise DatasetError(f"{side} of {row.row['id']!r}: {found}") from found
    if found is None:
        raise DatasetError(
            f"{row.row['id']!r} is a clean picture without lq: damage it first (degrade --pairs)"
        )
    return found


def _from_folder(folder: Path, told: Told | None) -> Iterator[Item]:
    """The pairs of all splits if the names tell pairs, otherwise single pictures; sub-folders are tasks."""
    from ggt_hub.data.reading.opening import find_pairs

    splits = find_pairs(folder, told)
    for rows in splits.values():
        yield from _rows(rows)
    if not splits:
        yield from _singles(folder)


def _singles(folder: Path) -> Iterator[Item]:
    for path in list_pictures(folder):
        relative = path.relative_to(folder)
        yield Item(str(relative), path, None, relative.parts[0] if len(relative.parts) > 1 else "all")


def _damaged(folder: Path, settings: dict[str, Any]) -> Iterator[Item]:
    """Each picture damaged in all ways, one after the other, so that the first few pictures show every task."""
    hints = settings.get("hints", {})
    for path in list_pictures(folder):
        for task, steps in settings["damage"].items():
            yield Item(f"{task}/{path.relative_to(folder)}", path, path, task, hints.get(task), steps)


def list_pictures(folder: Path) -> list[Path]:
    """All pictures in a folder, searched to the bottom; hidden ones are left out.

    Raises:
        EvaluationError: if there is none.
        ImageError: if a folder below cannot be searched.
    """
    paths = pictures_below(folder) if folder.is_dir() else []
    if not paths:
        raise EvaluationError(f"there is no picture in {folder}: give a folder that holds some")
    return paths


def _known_hint(task: str | None) -> str | None:
    from ggt_hub.tasks import TASKS

    return task if task in TASKS else None


def as_rgb(source: Any) -> np.ndarray[Any, Any]:
    """A picture as `H x W x 3`, 8 or 16 bits as it is stored; transparency is left out.

    Raises:
        ImageError: if it cannot be read.
    """
    if source is None:
        raise ImageError("there is no picture")
    pixels = read_image(source).pixels
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def content_hash(source: Any) -> str:
    """SHA-256 of a picture: of its file where it is one, else of its pixels."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if isinstance(source, str | Path):
        return hashlib.sha256(Path(source).read_bytes()).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(source).tobytes()).hexdigest()
