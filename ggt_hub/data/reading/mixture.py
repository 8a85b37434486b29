"""The mixture that training reads: stored pairs, and clean pictures damaged on the fly, by shares and one seed.

Example i depends on the mixture and on i alone: not on what was read before, nor on the number of workers.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import cv2
import datasets
import numpy as np
from annotated_types import Ge, Gt, Le
from cachetools import LRUCache
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ggt_hub.data.pairs import scale_of
from ggt_hub.data.reading.iterate import decode, row_files
from ggt_hub.data.reading.loading import SOURCES
from ggt_hub.data.reading.opening import find_pairs, open_splits, training_rows
from ggt_hub.degradations import Preset, Sample, apply_steps, severities
from ggt_hub.degradations.base import Array
from ggt_hub.errors import DatasetError, ImageError, did_you_mean
from ggt_hub.files import list_pictures
from ggt_hub.images.shown import shown_rgb
from ggt_hub.tasks import TASKS, Task

MARGIN = 16
"""Pixels that are damaged around a crop and cut away: they hide borders of filters and move the grid of JPEG."""

CACHE_BYTES = 2**30
"""Of decoded pictures that are kept in memory, in all workers together."""

Pixels = NDArray[np.uint8]
Severity = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Damage:
    """What clean pictures meet.

    Attributes:
        share: how often it is drawn; shares need not sum to 1.
        preset: the chain.
        severity: between what the severity of the whole chain is drawn, 0..1; None draws that of each step.
    """

    share: Annotated[float, Gt(0)]
    preset: Preset
    severity: tuple[Severity, Severity] | None = None


@dataclass(frozen=True)
class Example:
    """A crop of a pair, with what is known of it.

    Attributes:
        lq, gt: float32, height x width x 3, 0..1; the sides of `gt` are those of `lq` times a whole number.
        task: what undoing the damage amounts to; `general` where nothing is known.
        severities: what the families say of the damage (`Degradation.severity`); None for a stored pair.
        group: what it is counted by: the name of its damage, or of its data set.
        margin: pixels of `lq` that are to be cut away, of each dimension.
        rng: what is drawn further for this example comes from here.
        source: the data set or folder that it comes from.
        quality: how good the whole ground truth is, 0..1, as the column `quality` says; None where nobody does.
        prompt: what the picture shows, as the column `prompt` says; None where nobody does.
    """

    lq: Array
    gt: Array
    task: Task
    severities: dict[str, float] | None
    group: str
    margin: int
    rng: Generator
    source: str = ""
    quality: float | None = None
    prompt: str | None = None

    @property
    def known_quality(self) -> float:
        """The quality, for objectives that need it.

        Raises:
            DatasetError: if it is not known.
        """
        if self.quality is None:
            raise _without_quality(self.source)
        return self.quality

    def cut(self, side: int) -> tuple[Array, Array]:
        """Both pictures without the margin, at a place that is drawn: squares of `side` pixels of `lq`."""
        top, left = self.rng.integers(self.margin + 1, size=2)
        scale = len(self.gt) // len(self.lq)
        return self.lq[_square(top, left, side)], self.gt[_square(top * scale, left * scale, side * scale)]


class Found(NamedTuple):
    """A pair, 8-bit RGB, what is to be undone in it, how good `gt` is, and what it shows; clean without `lq`."""

    lq: Pixels | None
    gt: Pixels
    task: Task = "general"
    quality: float | None = None
    prompt: str | None = None


class Source(Protocol):
    """Pictures by number.

    Attributes:
        name: what it is called.
        tells_quality: whether it knows how good they are, of most at least.
        is_clean: whether its pictures are clean ones, rather than pairs.
    """

    name: str
    tells_quality: bool
    is_clean: bool

    @property
    def by_task(self) -> Mapping[str, Sequence[int]]:
        """Numbers of the pairs of each task; empty of clean pictures."""
        ...

    def __len__(self) -> int: ...

    def load(self, number: int) -> Found:
        """Read one.

        Raises:
            DatasetError, ImageError: if it cannot be had.
        """
        ...

    def name_of(self, number: int) -> str:
        """What messages call it."""
        ...


class _Photographs:
    """A folder of clean photographs, searched to the bottom."""

    tells_quality, is_clean = False, True
    by_task: Mapping[str, Sequence[int]] = {}

    def __init__(self, folder: Path) -> None:
        self.name, self.paths = str(folder), list_pictures(folder)
        if not self.paths:
            raise DatasetError(f"no photographs under {folder}: name a folder that holds some, or a data set")

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, number: int) -> Found:
        return Found(None, shown_rgb(self.paths[number]))

    def name_of(self, number: int) -> str:
        return str(self.paths[number])


class _Rows:
    """_Rows of the pair schema. One without `lq` is a clean picture."""

    def __init__(self, name: str, rows: datasets.Dataset) -> None:
        self.name, self.rows = name, rows
        self.tells_quality = "quality" in rows.column_names
        self.is_clean = row_files(rows, 0).files["lq"] is None

    @cached_property
    def by_task(self) -> dict[str, list[int]]:
        """See `Source`."""
        found: dict[str, list[int]] = {}
        for number, task in enumerate(self.rows["task"] if "task" in self.rows.column_names else ()):
            found.setdefault(task if task in TASKS else "general", []).append(number)
        return found

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, number: int) -> Found:
        row = row_files(self.rows, number)
        lq, gt = decode(row, "lq"), decode(row, "gt")
        if gt is None:
            raise DatasetError(f"{row.row['id']!r} has no ground truth")
        if lq is not None and scale_of(lq.shape, gt.shape) is None:
            raise DatasetError(
                f"{row.row['id']!r}: the sides of gt ({_size(gt)}) are not those of lq ({_size(lq)}) "
                "times a whole number"
            )
        task = row.row.get("task")
        known: Task = task if task in TASKS else "general"  # a data set may have words of its own
        prompt = row.row.get("prompt")
        return Found(
            lq, gt, known, _quality(row.row.get("quality")), prompt if isinstance(prompt, str) else None
        )

    def name_of(self, number: int) -> str:
        return f"row {number} of {self.name}"


def open_source(source: str | Path) -> Source:
    """The pictures that a person names: a folder of pairs or of clean photographs, or a data set of pairs.

    Args:
        source: a folder, a name that `load_dataset` knows, or an id on the Hub. Of a data set its split `train`
            is read, or the only one that it has.

    Raises:
        DatasetError: if it holds nothing to train on.
        HubError: if it cannot be had.
    """
    folder, name = Path(source).expanduser(), str(source)
    may_be_at_hub = name.count("/") == 1 and not name.startswith((".", "~", "/"))
    if not (folder.is_dir() or name in SOURCES or may_be_at_hub):
        raise DatasetError(
            f"no photographs under {name}: there is no such folder, and no data set of that name "
            f"({', '.join(SOURCES)}, or an id on the Hub){did_you_mean(name, SOURCES)}"
        )
    splits = find_pairs(folder) if folder.is_dir() else open_splits(name)
    if not splits:
        return _Photographs(folder)
    return _Rows(name, training_rows(splits, name))


def with_synthetic(sources: Iterable[tuple[Source, float]], synthetic: float) -> list[tuple[Source, float]]:
    """The sources with shares of which `synthetic` (0..1) are clean pictures and the rest pairs.

    Raises:
        DatasetError: if there are none of a kind that is needed.
    """
    sources, found = [*sources], []
    for is_clean, kind, part in ((True, "clean pictures", synthetic), (False, "pairs", 1 - synthetic)):
        own = [(source, share) for source, share in sources if source.is_clean == is_clean]
        if part and not own:
            raise DatasetError(
                f"there are no {kind} among {', '.join(source.name for source, _ in sources)}, and {part:.0%} of a "
                "stage are to be some: add a source of them, or choose a recipe or variant without `synthetic`"
            )
        whole = sum(share for _, share in own)
        found += [(source, part * share / whole) for source, share in own if part]
    return found


class Mixture:
    """Crops of pairs, by number.

    Args:
        sources: each with its share; shares need not sum to 1.
        damage: what clean pictures meet, by name; may be empty where all pairs are stored.
        crop: side of a crop, in pixels of `lq`.
        seed: decides every draw.
        cache_bytes: of decoded pictures that are kept; in each process, where several read.
        needs_quality: leave pictures out of which it is not known how good they are.
        aligned: mirror crops, but do not turn or shrink them, and damage them without a margin: pictures of the
            size of a crop are then used whole.
        balanced: draw the tasks of a source of pairs equally.
        augmentation: damage that `lq` meets besides, with a chance that its share says.

    Raises:
        DatasetError: if it is needed, and a source does not tell it at all.
    """

    def __init__(
        self,
        sources: Iterable[tuple[Source, float]],
        damage: Mapping[str, Damage],
        *,
        crop: int,
        seed: int,
        cache_bytes: int = CACHE_BYTES,
        needs_quality: bool = False,
        aligned: bool = False,
        balanced: bool = False,
        augmentation: Damage | None = None,
    ) -> None:
        self.balanced, self.augmentation = balanced, augmentation
        self.sources, shares = zip(*sources, strict=True)
        self.needs_quality = needs_quality
        for source in self.sources:
            if needs_quality and not source.tells_quality:
                raise _without_quality(source.name)
        self.damage, self.crop, self.seed = dict(damage), crop, seed
        self.aligned, self.margin = aligned, 0 if aligned else MARGIN
        self.groups = [*dict.fromkeys([*self.damage, *(source.name for source in self.sources)])]
        self.skipped: dict[str, str] = {}
        self._source_chances = _chances(shares)
        self._damage_chances = _chances([kind.share for kind in self.damage.values()])
        self._cache: LRUCache[tuple[int, int], Found] = LRUCache(cache_bytes, getsizeof=_bytes)

    def source_chances(self) -> list[tuple[Source, float]]:
        """How often each source is drawn from, in sum 1."""
        return [*zip(self.sources, self._source_chances.tolist(), strict=True)]

    def damage_chances(self) -> list[tuple[str, float]]:
        """How often clean pictures meet each damage, in sum 1."""
        return [*zip(self.damage, self._damage_chances.tolist(), strict=True)]

    def __getitem__(self, index: int) -> Example:
        """Example `index`, any whole number from 0 on.

        Raises:
            DatasetError: if no picture of a source can be used.
        """
        rng = default_rng((self.seed, index))
        place = int(rng.choice(len(self.sources), p=self._source_chances)) if len(self.sources) > 1 else 0
        kind = int(rng.choice(len(self.damage), p=self._damage_chances)) if self.damage else None
        source = self.sources[place]
        found = self._usable(place, self._members(source, rng), rng)
        if found.lq is None:
            return self._damaged(found, kind, source, rng)
        lq, gt = _crop_pair(found.lq, found.gt, self.crop, rng, self.aligned)
        lq = self._augmented(lq, rng)
        told = source.name, found.quality, found.prompt
        return Example(lq, gt, found.task, None, source.name, 0, rng, *told)

    def _damaged(self, found: Found, kind: int | None, source: Source, rng: Generator) -> Example:
        if kind is None:
            raise DatasetError(f"{source.name} holds clean pictures, and no damage is given for them")
        name = list(self.damage)[kind]
        preset = self.damage[name].preset
        clean = _crop(found.gt, self.crop + self.margin, rng, self.aligned)
        limits = self.damage[name].severity
        steps = list(preset.draw(rng, None if limits is None else rng.uniform(*limits)))
        sample = apply_steps(Sample(clean, clean), steps)
        damage, lq = severities(steps), self._augmented(sample.lq, rng)
        told = source.name, found.quality, found.prompt
        return Example(lq, sample.gt, preset.task, damage, name, self.margin, rng, *told)

    def _augmented(self, lq: Array, rng: Generator) -> Array:
        if self.augmentation is None or rng.random() >= self.augmentation.share:
            return lq
        return apply_steps(Sample(lq, lq), self.augmentation.preset.draw(rng, None)).lq

    def _members(self, source: Source, rng: Generator) -> Sequence[int]:
        """The pictures of a source among which one is drawn: all, or those of a task that is drawn before."""
        if not (self.balanced and source.by_task):
            return range(len(source))
        return source.by_task[sorted(source.by_task)[int(rng.integers(len(source.by_task)))]]

    def _usable(self, place: int, members: Sequence[int], rng: Generator) -> Found:
        """One of these pictures, or the next of them that can be used; those that cannot are told once."""
        source, first = self.sources[place], int(rng.integers(len(members)))
        for candidate in (members[n % len(members)] for n in range(first, first + len(members))):
            name = source.name_of(candidate)
            if name in self.skipped:
                continue
            try:
                found = self._load(place, candidate)
                smallest = min((found.gt if found.lq is None else found.lq).shape[:2])
                if smallest < self.crop:
                    reason = f"{name}: {smallest} pixels are fewer than a crop of {self.crop}"
                elif self.needs_quality and found.quality is None:
                    reason = f"{name}: its quality is not known"
                else:
                    return found
            except (DatasetError, ImageError) as error:
                reason = str(error)
            self.skipped[name] = reason
            warnings.warn(f"picture {len(self.skipped)} that is skipped: {reason}", stacklevel=4)
        raise DatasetError(
            f"none of the {len(members)} pictures of {source.name} can be used, such as {self.skipped[name]}"
        )

    def _load(self, place: int, number: int) -> Found:
        found = self._cache.get((place, number))
        if found is None:
            found = self.sources[place].load(number)
            if _bytes(found) <= self._cache.maxsize:
                self._cache[place, number] = found
        return found


def _bytes(found: Found) -> int:
    return found.gt.nbytes + (0 if found.lq is None else found.lq.nbytes)


def _chances(shares: Iterable[float]) -> NDArray[np.float64]:
    weights = np.array([*shares], np.float64)
    return weights / weights.sum()


def _crop(photograph: Pixels, side: int, rng: Generator, aligned: bool) -> Array:
    """A square of float pixels, turned and mirrored; a third of them from a smaller copy of the photograph."""
    scale = rng.uniform(0.55, 1.0) if not aligned and rng.random() < 0.33 else 1.0
    scale = max(scale, side / min(photograph.shape[:2]))
    wide = min(int(np.ceil(side / scale)), *photograph.shape[:2])
    top, left = (int(rng.integers(extent - wide + 1)) for extent in photograph.shape[:2])
    patch = photograph[_square(top, left, wide)].astype(np.float32) / np.float32(255)
    if wide != side:
        patch = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)
    return _turned(patch, 0 if aligned else int(rng.integers(4)), rng.random() < 0.5)


def _crop_pair(lq: Pixels, gt: Pixels, side: int, rng: Generator, aligned: bool) -> tuple[Array, Array]:
    """The same square of both, turned and mirrored alike; never resized, which would change the damage."""
    scale = len(gt) // len(lq)
    top, left = (int(rng.integers(extent - side + 1)) for extent in lq.shape[:2])
    turns, mirrored = 0 if aligned else int(rng.integers(4)), rng.random() < 0.5
    squares = lq[_square(top, left, side)], gt[_square(top * scale, left * scale, side * scale)]
    turned = [_turned(square.astype(np.float32) / np.float32(255), turns, mirrored) for square in squares]
    return turned[0], turned[1]


def _square(top: int, left: int, side: int) -> tuple[slice, slice]:
    return slice(top, top + side), slice(left, left + side)


def _turned(patch: Array, turns: int, mirrored: bool) -> Array:
    patch = np.rot90(patch, turns)
    return np.ascontiguousarray(patch[:, ::-1] if mirrored else patch)


def _without_quality(source: str) -> DatasetError:
    return DatasetError(
        f"{source} does not say how good its pictures are (column `quality`): train on the copy that "
        f"`ggt-hub data score-quality {source} --output DIR` writes"
    )


def _quality(told: Any) -> float | None:
    """A data set of others may have a column of that name that holds words, or another scale."""
    return float(told) if isinstance(told, (int, float)) and 0 <= told <= 1 else None


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
