"""Slices of rows on their way through stages: while this process asks about some, others compute on the next."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from ggt_hub.curation.configuration import identity
from ggt_hub.curation.ids import hash_of, hidden
from ggt_hub.curation.stage import Beginning, Context, Deciding, Kept, Outcome, Seed
from ggt_hub.curation.tables import TAKEN_DOWN, has_postponed, read_kept, write_table
from ggt_hub.shards import Shard, Work, made_shard, remove_result


@dataclass(frozen=True)
class Slice:
    """Some rows, and what stages have decided of them so far.

    Attributes:
        name: its number, as tables are called.
        seeds: what its rows begin with, until the first stage has made them.
        tables: one of each stage so far, in order.
        hashes: of these.
        reports: what the stages say that it went through last.
    """

    name: str
    seeds: Sequence[Seed] = ()
    tables: tuple[Path, ...] = ()
    hashes: tuple[str, ...] = ()
    reports: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Step:
    """A stage with all that it has, but for the rows.

    Attributes:
        stage, context: see there.
        learned: what else its decisions depend on: names of what was learned, and a hash of what people said.
        taken: hashes of what has left the run for good: of photographs, and of ids.
        folder: of the tables.
    """

    stage: Deciding
    context: Context
    learned: tuple[str, ...]
    taken: frozenset[str]
    folder: Path

    @property
    def settings(self) -> list[Any]:
        """What its tables depend on besides the rows."""
        return identity(self.stage)

    @property
    def work(self) -> Work:
        """What makes a table."""
        return partial(_decide, self.stage, self.context, self.taken)

    def shard(self, one: Slice) -> Shard:
        """The table of a slice; one that holds rows that are to be tried again is removed."""
        name = f"{self.stage.name}/{one.name}.arrow"
        if has_postponed(self.folder / name):
            remove_result(self.folder, name)
        told = [[seed.id, seed.version] for seed in one.seeds]
        begun = one.seeds if isinstance(self.stage, Beginning) else None
        return Shard(name, (begun, one.tables), digest([told, one.hashes, self.learned]))

    def after(self, one: Slice, report: Mapping[str, Any]) -> Slice:
        """A slice when its table is made."""
        return Slice(
            one.name,
            (),
            (*one.tables, self.folder / report["name"]),
            (*one.hashes, report.get("made_as", report["sha256"])),
            (*one.reports, report),
        )


def flow(slices: list[Slice], steps: Sequence[Step], pool: Executor | None, ahead: int) -> Iterator[None]:
    """Bring slices through stages; gives back control whenever one is through.

    Stages that ask are done here, whose threads wait for the replies, one slice after the other; meanwhile other
    processes do what the other stages have to do with the slices that follow.

    Args:
        slices: those before; each is replaced when stages are done with it.
        steps: the stages.
        pool: the other processes; None does all of it here.
        ahead: slices that are under way at a time, so that the first are through long before the last begin.
    """
    legs = [[*leg] for _, leg in groupby(steps, key=lambda step: pool is None or step.stage.is_asking)]
    here: list[tuple[int, int]] = []  # numbers of slices, the first ones first, each with that of its leg
    elsewhere: dict[Future[Slice], tuple[int, int]] = {}
    coming = iter(range(len(slices)))

    def send(number: int, leg: int) -> None:
        if pool is None or legs[leg][0].stage.is_asking:
            heappush(here, (number, leg))
        else:
            elsewhere[pool.submit(through, legs[leg], slices[number])] = number, leg

    try:
        for number in islice(coming, ahead):
            send(number, 0)
        while here or elsewhere:
            made = []
            if here:
                number, leg = heappop(here)
                made.append((number, leg, through(legs[leg], slices[number])))
            else:
                wait(elsewhere, return_when=FIRST_COMPLETED)
            made += [(*elsewhere.pop(one), one.result()) for one in [*elsewhere] if one.done()]
            for number, leg, one in made:
                slices[number] = one
                if leg + 1 < len(legs):
                    send(number, leg + 1)
                    continue
                for another in islice(coming, 1):
                    send(another, 0)
                yield
    finally:
        for future in elsewhere:
            future.cancel()


def through(steps: Sequence[Step], one: Slice) -> Slice:
    """A slice, when some stages have decided of it; what is done already stays."""
    for step in steps:
        one = step.after(one, made_shard(step.work, step.shard(one), step.folder, settings=step.settings))
    return one


def _decide(
    stage: Deciding,
    context: Context,
    taken: frozenset[str],
    seeds: Sequence[Seed] | None,
    tables: tuple[Path, ...],
    path: Path,
) -> dict[str, Any]:
    """Write what a stage decides of a slice."""
    if seeds is not None:
        rows = [{"id": seed.id, "seed": seed.content} for seed in seeds]
    else:
        rows = read_kept(tables, stage.needs)
    names, outcomes = [row["id"] for row in rows], stage.decide(rows, context) if rows else []
    if seeds is not None and taken:
        are_taken = [_is_taken(name, one, taken) for name, one in zip(names, outcomes, strict=True)]
        names = [hidden(name) if gone else name for name, gone in zip(names, are_taken, strict=True)]
        outcomes = [TAKEN_DOWN if gone else one for one, gone in zip(outcomes, are_taken, strict=True)]
    return write_table(path, names, outcomes, stage.gives)


def _is_taken(name: str, outcome: Outcome, taken: frozenset[str]) -> bool:
    return hash_of(name) in taken or (isinstance(outcome, Kept) and outcome.values.get("sha256") in taken)


def digest(content: Any) -> str:
    """A hash of what can be written as JSON."""
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
