"""The mixture that training reads: stored pairs, and clean pictures damaged on the fly, by shares and one seed.

Example i depends on the mixture and on i alone: not on what was read before, nor on the number of workers.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Ge, Gt, Le
from cachetools import LRUCache
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ggt_hub.commit import append_json
from ggt_hub.data.reading.buckets import Size, bucket_of, fitted, in_words
from ggt_hub.data.reading.picture_sources import Found, Pixels, Source, Stream
from ggt_hub.degradations import Preset, Sample, apply_steps, severities
from ggt_hub.degradations.base import Array
from ggt_hub.errors import DatasetError, ImageError
from ggt_hub.tasks import Task

MARGIN = 16
"""Pixels that are damaged around a crop and cut away: they hide borders of filters and move the grid of JPEG."""

_PATIENCE = 1000
_OTHERS = "choose others, or a smaller crop or other buckets"

CACHE_BYTES = 2**30
"""Of decoded pictures that are kept in memory, in all workers together."""

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
    """A crop of a pair, or all of it in its bucket, with what is known of it.

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

    def cut(self) -> tuple[Array, Array]:
        """Both pictures without the margin, at a place that is drawn."""
        top, left = self.rng.integers(self.margin + 1, size=2)
        height, width = (extent - self.margin for extent in self.lq.shape[:2])
        by = len(self.gt) // len(self.lq)
        lq = self.lq[top : top + height, left : left + width]
        return lq, self.gt[top * by : (top + height) * by, left * by : (left + width) * by]


def with_synthetic(
    sources: Iterable[tuple[Source | Stream, float]], synthetic: float
) -> list[tuple[Source | Stream, float]]:
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
        sources: each with its share; shares need not sum to 1. With a stream among them examples must be asked for
            in order, once each.
        damage: what clean pictures meet, by name; may be empty where all pairs are stored.
        crop: side of a crop, in pixels of `lq`.
        buckets: sizes of `lq`, by aspect: pictures are used whole then, in place of crops; see `buckets`. What
            covers none of them is skipped. For aligned pictures alone.
        seed: decides every draw.
        cache_bytes: of decoded pictures that are kept; in each process, where several read.
        needs_quality: leave pictures out of which it is not known how good they are.
        aligned: mirror crops, but do not turn or shrink them, and damage them without a margin: pictures of the
            size of a crop are then used whole.
        balanced: draw the tasks of pairs equally, whatever source has them and however many; among those that have
            a task their shares count. A stream is then read for each task on its own.
        augmentation: damage that `lq` meets besides, with a chance that its share says.
        skipped_in: a file of JSON lines in which pictures are listed that cannot be used, each once: its `source`,
            its `row` there (a path, or an id) and the `reason`. Without one there is a warning for each.

    Raises:
        DatasetError: if it is needed, and a source does not tell it at all.
    """

    def __init__(
        self,
        sources: Iterable[tuple[Source | Stream, float]],
        damage: Mapping[str, Damage],
        *,
        crop: int,
        seed: int,
        buckets: Sequence[Size] = (),
        cache_bytes: int = CACHE_BYTES,
        needs_quality: bool = False,
        aligned: bool = False,
        balanced: bool = False,
        augmentation: Damage | None = None,
        skipped_in: Path | None = None,
    ) -> None:
        self.skipped_in = skipped_in
        self.balanced, self.augmentation = balanced, augmentation
        self.sources, shares = zip(*sources, strict=True)
        self.needs_quality = needs_quality
        for source in self.sources:
            if needs_quality and not source.tells_quality:
                raise _without_quality(source.name)
        self.damage, self.crop, self.buckets, self.seed = dict(damage), crop, buckets, seed
        self.aligned, self.margin = aligned, 0 if aligned else MARGIN
        self.groups = [*dict.fromkeys([*self.damage, *(source.name for source in self.sources)])]
        self.skipped: dict[tuple[str, str], str] = {}
        self._unusable: dict[tuple[int, int], str] = {}
        self._source_chances = _chances(shares)
        self._damage_chances = _chances([kind.share for kind in self.damage.values()])
        self._cache: LRUCache[tuple[int, int], Found] = LRUCache(cache_bytes, getsizeof=_bytes)

    def check(self) -> None:
        """Find a picture that can be used in each source, and of each task that is drawn; changes no draw.

        Raises:
            DatasetError: if a source has none, or of a stream none of the first ones can be.
        """
        for place, source in enumerate(self.sources):
            if isinstance(source, Stream):
                begin = source.state_dict()
                for task in (source.tasks if self.balanced else []) or (None,):
                    self._next_usable(source, task)
                source.load_state_dict(begin)
            else:
                by_task = [*source.by_task.values()] if self.balanced else []
                for members in by_task or [range(len(source))]:
                    self._usable(place, members, default_rng(self.seed))

    def source_chances(self) -> list[tuple[Source | Stream, float]]:
        """How often each source is drawn from, in sum 1."""
        chances = self._source_chances.copy()
        if self.balanced and self._having_task:
            tabled = sorted({place for places in self._having_task.values() for place in places})
            of_each, chances[tabled] = chances[tabled].sum() / len(self._having_task), 0
            for places in self._having_task.values():
                chances[places] += of_each * _chances(self._source_chances[places])
        return [*zip(self.sources, chances.tolist(), strict=True)]

    @property
    def streams(self) -> list[Stream]:
        """The sources that are read in order."""
        return [source for source in self.sources if isinstance(source, Stream)]

    @cached_property
    def _having_task(self) -> dict[Task, list[int]]:
        """Each task, and the places of the sources that have pairs of it."""
        found: dict[Task, list[int]] = {}
        for place, source in enumerate(self.sources):
            for task in source.tasks if isinstance(source, Stream) else source.by_task:
                found.setdefault(task, []).append(place)
        return found

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
        place, task = self._task(place, rng)
        source = self.sources[place]
        if isinstance(source, Stream):
            found = self._next_usable(source, task)
        else:
            members = source.by_task[task] if task else range(len(source))
            found = self._usable(place, members, rng)
        if found.lq is None:
            return self._damaged(found, kind, source, rng)
        lq, gt = self._pair(found.lq, found.gt, rng)
        lq = self._augmented(lq, rng)
        told = source.name, found.quality, found.prompt
        return Example(lq, gt, found.task, None, source.name, 0, rng, *told)

    def _damaged(self, found: Found, kind: int | None, source: Source | Stream, rng: Generator) -> Example:
        if kind is None:
            raise DatasetError(f"{source.name} holds clean pictures, and no damage is given for them")
        name = list(self.damage)[kind]
        preset = self.damage[name].preset
        clean = self._clean(found.gt, rng)
        limits = self.damage[name].severity
        steps = list(preset.draw(rng, None if limits is None else rng.uniform(*limits)))
        sample = apply_steps(Sample(clean, clean), steps)
        damage, lq = severities(steps), self._augmented(sample.lq, rng)
        told = source.name, found.quality, found.prompt
        return Example(lq, sample.gt, preset.task, damage, name, self.margin, rng, *told)

    def _pair(self, lq: Pixels, gt: Pixels, rng: Generator) -> tuple[Array, Array]:
        if not self.buckets:
            return _crop_pair(lq, gt, self.crop, rng, self.aligned)
        mirrored = rng.random() < 0.5
        whole = fitted(lq, self.buckets), fitted(gt, self.buckets, len(gt) // len(lq))
        return _turned(whole[0], 0, mirrored), _turned(whole[1], 0, mirrored)

    def _clean(self, photograph: Pixels, rng: Generator) -> Array:
        if not self.buckets:
            return _crop(photograph, self.crop + self.margin, rng, self.aligned)
        return _turned(fitted(photograph, self.buckets), 0, rng.random() < 0.5)

    def _augmented(self, lq: Array, rng: Generator) -> Array:
        if self.augmentation is None or rng.random() >= self.augmentation.share:
            return lq
        return apply_steps(Sample(lq, lq), self.augmentation.preset.draw(rng, None)).lq

    def _task(self, place: int, rng: Generator) -> tuple[int, Task | None]:
        """Where tasks are drawn equally one of them, and a source that has it, in place of a source of pairs."""
        if not (self.balanced and any(place in places for places in self._having_task.values())):
            return place, None
        task = sorted(self._having_task)[int(rng.integers(len(self._having_task)))]
        there = self._having_task[task]
        drawn = rng.choice(there, p=_chances(self._source_chances[there])) if len(there) > 1 else there[0]
        return int(drawn), task

    def _usable(self, place: int, members: Sequence[int], rng: Generator) -> Found:
        """One of these pictures, or the next of them that can be used; those that cannot are told once."""
        source, first, failed = self.sources[place], int(rng.integers(len(members))), dict[int, str]()
        for number in (members[n % len(members)] for n in range(first, first + len(members))):
            reason = self._unusable.get((place, number))
            if reason is None:
                try:
                    found = self._load(place, number)
                    reason = self._why_not(found)
                except (DatasetError, ImageError) as error:
                    reason = str(error)
            if reason is None:
                for one, why in failed.items():
                    self._unusable[place, one] = why
                    self._skip(source, source.row_of(one), why)
                return found
            failed[number] = reason
        number, reason = next(iter(failed.items()))
        raise DatasetError(
            f"none of the {len(members)} pictures of {source.name} can be used, such as {source.row_of(number)}: "
            f"{reason}; {_OTHERS}"
        )

    def _next_usable(self, stream: Stream, task: Task | None) -> Found:
        """The next pair of a stream, of a task where one is given, that can be used."""
        failed: dict[tuple[str, str], None] = {}
        for _ in range(_PATIENCE):
            try:
                found = stream.read(task)
                reason = None if found is None else self._why_not(found)
            except (DatasetError, ImageError) as error:
                found, reason = None, str(error)
            if reason is None:
                for row, why in failed:
                    self._skip(stream, row, why)
                if found is None:
                    break
                return found
            failed[stream.last, reason] = None
        of_task = f" of {task}" if task else ""
        if not failed:
            raise DatasetError(
                f"a reader's share of {stream.name} has no pairs{of_task}: take fewer workers or processes"
            )
        raise DatasetError(
            f"none of {_PATIENCE} pairs{of_task} of {stream.name} in a row can be used, such as {stream.last}: "
            f"{reason}; {_OTHERS}"
        )

    def _why_not(self, found: Found) -> str | None:
        """Why a picture cannot be used; None if it can."""
        height, width = (found.gt if found.lq is None else found.lq).shape[:2]
        if self.buckets and bucket_of(width, height, self.buckets) is None:
            return f"{width}x{height} pixels cover none of the buckets {in_words(self.buckets)}"
        if not self.buckets and min(height, width) < self.crop:
            return f"{min(height, width)} pixels are fewer than a crop of {self.crop}"
        return "its quality is not known" if self.needs_quality and found.quality is None else None

    def _skip(self, source: Source | Stream, row: str, reason: str) -> None:
        """Note a picture that cannot be used, once."""
        if (source.name, row or reason) in self.skipped:
            return
        self.skipped[source.name, row or reason] = reason
        if self.skipped_in is not None:
            append_json(self.skipped_in, {"source": source.name, "row": row, "reason": reason}, once=True)
        else:
            told = f"picture {len(self.skipped)} that is skipped, of {source.name}: {row}: {reason}"
            warnings.warn(told, stacklevel=5)

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
