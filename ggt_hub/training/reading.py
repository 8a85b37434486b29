"""What a process reads in the stages of a run: batches in pieces that are computed at once, and how far it is."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, count
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate, get_worker_info

from ggt_hub.data.reading.mixture import CACHE_BYTES, Mixture, with_synthetic
from ggt_hub.data.reading.picture_sources import STREAM, Source, Stream, open_source, open_stream
from ggt_hub.errors import TrainingError
from ggt_hub.training.objectives.base import Prepare
from ggt_hub.training.recipe import Recipe, Stage

Piece = dict[str, Tensor]
"""What is computed at once: what `Objective.forward` reads, and `group`, places in `Mixture.groups`."""

State = dict[str, Any]
"""How far each stream is read, by name."""


def open_mixtures(
    recipe: Recipe,
    process: int = 0,
    processes: int = 1,
    *,
    needs_quality: bool,
    skipped_in: Path | None = None,
) -> list[Mixture]:
    """What each stage reads; a source that several name is opened once.

    Args:
        recipe: whose stages.
        process: which of several it is: of a stream each reads its share.
        processes: how many there are.
        needs_quality: whether it must be known how good pictures are.
        skipped_in: see `Mixture`.

    Raises:
        DatasetError: if a source holds nothing to train on, or a stage lacks a kind of pictures.
        HubError: if a source cannot be had.
    """
    opened: dict[str, Source | Stream] = {
        name: open_stream(name.removeprefix(STREAM), recipe.seed, process, processes)
        if name.startswith(STREAM)
        else open_source(name)
        for stage in recipe.stages
        for name in stage.data
    }
    mixtures = []
    for stage in recipe.stages:
        sources = [(opened[name], share) for name, share in stage.data.items()]
        mixtures.append(
            Mixture(
                sources if stage.synthetic is None else with_synthetic(sources, stage.synthetic),
                stage.groups,
                crop=stage.crop,
                buckets=stage.buckets,
                seed=recipe.seed,
                cache_bytes=CACHE_BYTES // max(1, recipe.workers),
                needs_quality=needs_quality,
                aligned=stage.aligned,
                balanced=stage.balanced,
                augmentation=stage.augmentation,
                skipped_in=skipped_in,
            )
        )
    return mixtures


class _Examples(Dataset[Piece]):
    """The examples of a stage that one process of several reads, by their numbers."""

    def __init__(
        self, stage: Stage, before: int, mixture: Mixture, prepare: Prepare, process: int, processes: int
    ) -> None:
        self.batch, self.before, self.mixture, self.prepare = stage.batch, before, mixture, prepare
        self.process, self.processes = process, processes

    def __getitem__(self, number: int) -> Piece:
        step, place = divmod(number, self.batch)
        of_all = (self.before + step * self.batch) * self.processes + self.process * self.batch + place
        example = self.mixture[of_all]
        group = torch.tensor(self.mixture.groups.index(example.group))
        return self.prepare(example) | {"group": group}

    def turn_to(self, reader: int, readers: int, state: State) -> None:
        """Have the streams give what a reader of this process is given, from where it was."""
        part = self.process * readers + reader, self.processes * readers
        for stream in self.mixture.streams:
            stream.turn_to(part)
            if stream.name in state:
                stream.load_state_dict(state[stream.name])

    def state(self) -> State:
        """Of the reader that it was turned to."""
        return {stream.name: stream.state_dict() for stream in self.mixture.streams}


class _Read(NamedTuple):
    """An example that was read: its number, how far its reader was before and is after it, and what it holds."""

    number: int
    before: State
    after: State
    content: Piece


class _InOrder(IterableDataset[_Read]):
    """Examples from a number on. Each worker of a DataLoader is a reader, which has a share of the streams."""

    def __init__(self, examples: _Examples, first: int, states: Sequence[State]) -> None:
        self.examples, self.first, self.states = examples, first, states

    def __iter__(self) -> Iterator[_Read]:
        about, readers = get_worker_info(), len(self.states)
        first = self.first + (about.id if about else 0)  # a DataLoader begins with its first worker
        self.examples.turn_to(first % readers, readers, self.states[first % readers])
        after = self.examples.state()
        for number in count(first, readers):
            before, content = after, self.examples[number]
            after = self.examples.state()
            yield _Read(number, before, after, content)


class Reading:
    """The batches of each stage, the same again after a restart, whatever waits for others of its size.

    Args:
        recipe: whose stages.
        mixtures: what they read.
        prepare: makes of an example what the objective reads.
        process: which of several it is.
        processes: how many there are.
        pinned: keep batches where a device reads them from.
    """

    def __init__(
        self,
        recipe: Recipe,
        mixtures: Sequence[Mixture],
        prepare: Prepare,
        process: int = 0,
        processes: int = 1,
        *,
        pinned: bool = False,
    ) -> None:
        self._recipe, self._pinned = recipe, pinned
        before = accumulate((stage.steps * stage.batch for stage in recipe.stages), initial=0)
        self._examples = [
            _Examples(stage, done, mixture, prepare, process, processes)
            for stage, done, mixture in zip(recipe.stages, before, mixtures, strict=False)
        ]
        self._stage, self._done, self._waiting = 0, 0, list[_Read]()
        self._states: list[State] = [{} for _ in range(max(1, recipe.workers))]
        self.has_state = any(stage.buckets for stage in recipe.stages) or any(
            mixture.streams for mixture in mixtures
        )

    def groups(self, number: int) -> list[str]:
        """The names of what examples of stage `number` are counted by, in the order of `group`."""
        return self._examples[number].mixture.groups

    def batches(self, number: int, step: int) -> Iterator[list[Piece]]:
        """The batches of stage `number` from its step `step` on.

        Each is in pieces of `at_once` examples, the last one of what is left. With buckets a piece has one size.
        """
        stage, examples = self._recipe.stages[number], self._examples[number]
        at_once = stage.at_once or stage.batch
        pieces = [range(begun, min(begun + at_once, stage.batch)) for begun in range(0, stage.batch, at_once)]
        if number != self._stage:
            self._stage, self._done, self._waiting = number, 0, []
        if stage.buckets or examples.mixture.streams:
            found = self._in_order(examples)
            for _ in range(step, stage.steps):
                yield [self._of_one_size(found, len(piece)) for piece in pieces]
            return
        steps = range(step, stage.steps)
        numbers = [[at * stage.batch + place for place in piece] for at in steps for piece in pieces]
        loaded = iter(self._loader(examples, batch_sampler=numbers))
        for _ in steps:
            yield [next(loaded) for _ in pieces]

    def state_dict(self) -> dict[str, Any]:
        """How far it is; plain numbers, lists and dicts."""
        return {
            "stage": self._stage,
            "done": self._done,
            "waiting": [(one.number, one.before) for one in self._waiting],
            "streams": self._states,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one of the same recipe was; what waited is read again.

        Raises:
            TrainingError: if that had another number of workers, and there are streams.
        """
        states = state["streams"]
        if any(states) and len(states) != len(self._states):
            raise TrainingError(
                f"{len(states)} readers had shares of the streams, and now there are {len(self._states)}: go on "
                f"with as many workers as before, {len(states)}"
            )
        if any(states):
            self._states = [*states]
        self._stage, self._done = state["stage"], state["done"]
        examples, readers = self._examples[self._stage], len(self._states)
        self._waiting = []
        for number, before in state["waiting"]:
            examples.turn_to(number % readers, readers, before)
            self._waiting.append(_Read(number, before, before, examples[number]))

    def _in_order(self, examples: _Examples) -> Iterator[_Read]:
        """Examples one by one from `done` on."""
        if examples.mixture.streams:
            for read in self._loader(_InOrder(examples, self._done, self._states), batch_size=None):
                self._states[read.number % len(self._states)] |= read.after
                yield read
        else:
            loader = self._loader(examples, batch_size=None, sampler=count(self._done))
            for number, content in zip(count(self._done), loader, strict=False):
                yield _Read(number, {}, {}, content)

    def _of_one_size(self, found: Iterator[_Read], size: int) -> Piece:
        """The first examples of which so many have one size; others wait."""
        while True:
            for shapes in dict.fromkeys(_shapes(one) for one in self._waiting):
                same = [one for one in self._waiting if _shapes(one) == shapes][:size]
                if len(same) == size:
                    numbers = {one.number for one in same}
                    self._waiting = [one for one in self._waiting if one.number not in numbers]
                    return default_collate([one.content for one in same])
            read = next(found)
            self._waiting.append(read)
            self._done = read.number + 1

    def _loader(self, examples: Dataset[Any], **how: Any) -> DataLoader[Any]:
        workers = self._recipe.workers
        return DataLoader(
            examples,
            num_workers=workers,
            # Not forked: a copy of this process would wait for ever for the threads that OpenCV has in it.
            multiprocessing_context="spawn" if workers else None,
            pin_memory=self._pinned,
            worker_init_fn=_use_one_thread,
            **how,
        )


def _shapes(read: _Read) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tensor.shape) for tensor in read.content.values())


def _use_one_thread(_worker: int) -> None:
    """In a worker of a DataLoader: as many workers are meant to run as there are cores."""
    cv2.setNumThreads(1)
