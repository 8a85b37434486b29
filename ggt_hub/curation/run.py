"""A run: the stages of a configuration, each slice of rows a shard.

    OUT/run.yaml                     the configuration, with all settings, and the source
    OUT/takedown.json                what has left it for good
    OUT/labels.jsonl                 what people have said, of runs that were reviewed
    OUT/funnel.json                  of each stage how many rows came in, were kept, dropped and postponed, and why
    OUT/learned/STAGE-HASH/          what stages have learned
    OUT/data/default/*.parquet       what was packed, with README.md and SHA256SUMS
    OUT/data/negatives/*.parquet     what was refused, where the stage that packs says so
    OUT/.ggt-hub/curation/STAGE/     what was decided of each row

A stage's table of a slice is made anew when what it was made of has changed, or when it holds rows that are to be
tried again; all else is done once, whoever is killed when.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml
from tqdm.auto import tqdm

from ggt_hub.commit import RECORDS, commit_json, commit_text, committed_folder, file_sha256, locked
from ggt_hub.curation.configuration import GENERATOR, Configuration, identity
from ggt_hub.curation.labels import LABELS, first_looks, read_labels
from ggt_hub.curation.slices import Slice, Step, digest, flow
from ggt_hub.curation.stage import (
    Beginning,
    Context,
    Deciding,
    Learning,
    Packing,
    Row,
    Stage,
)
from ggt_hub.curation.tables import Rows, read_dropped, read_kept
from ggt_hub.data.batches import batched
from ggt_hub.data.reading.parts import NEGATIVES
from ggt_hub.data.work.cards import write_card
from ggt_hub.data.work.export import table_names, write_rows, write_tables
from ggt_hub.errors import CurationError, NothingLeftError
from ggt_hub.shards import Shard, processes, remove_result, run_shards
from ggt_hub.vlm import Asker

RUN, FUNNEL, TAKEN = "run.yaml", "funnel.json", "takedown.json"
RUNS = "runs"  # of a comparison
TABLES = Path(RECORDS) / "curation"
LEARNED = "learned"
_TELLING = 10.0  # seconds between funnels


@dataclass(frozen=True)
class Count:
    """What became of the rows in a stage.

    Attributes:
        stage: its name.
        rows: that came in.
        kept: that went on.
        dropped, later: by reason.
    """

    stage: str
    rows: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    later: Mapping[str, int] = field(default_factory=dict)


def run(
    configuration: Configuration,
    source: str,
    output: Path,
    askers: Mapping[str, Asker],
    *,
    workers: int = 1,
    engine: str = "local",
) -> list[Count]:
    """Do what is not done yet; what `output` holds of this run stays as it is.

    Args:
        configuration: see there.
        source: what the first stage gathers.
        output: folder of the run.
        askers: who is asked, by the names of stages, and of generators (`GENERATOR` and the name).
        workers: processes of stages that neither ask nor learn.
        engine: whose processes, see `engines.run_tasks`.

    Returns:
        One for each stage that decides, in order.

    Raises:
        CurationError: if the folder is none, or of a run of another configuration or source.
        NothingLeftError: if all rows are dropped before a stage that needs some.
        RestorerError, HubError: if the text-to-image pipeline cannot be had.
        JudgeError: if a model cannot be asked, or the budget is spent; run again to go on.
        BusyError: if another process runs there.
    """
    with suppress(FileExistsError):
        output.mkdir(parents=True, exist_ok=True)
    if not output.is_dir():
        raise CurationError(f"{output} is a file: name a folder by --output")
    with locked(output / RECORDS / "lock-of-the-run", waits=False), processes(workers) as pool:
        told = _told(configuration, source)
        _check_folder(output, told)
        _check_start(configuration, source)
        if not (output / RUN).exists():
            commit_text(output / RUN, yaml.safe_dump(told, sort_keys=False, allow_unicode=True))
        made = _Run(configuration, source, output, askers, workers, engine, pool)
        for stretch in _stretches(configuration.stages):
            made.do(stretch)
            if made.is_waiting:
                break
        return made.counts


@dataclass
class _Run:
    """What is known while stages are done: the tables of each slice so far, and what was learned."""

    configuration: Configuration
    source: str
    output: Path
    askers: Mapping[str, Asker]
    workers: int
    engine: str
    pool: Executor
    slices: list[Slice] = field(default_factory=list)
    learned: dict[str, Path] = field(default_factory=dict)
    before: list[Count] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)

    @property
    def tables(self) -> Path:
        """Where tables are."""
        return self.output / TABLES

    def context(self, stage: Stage) -> Context:
        """What a stage has."""
        learned = {name: folder for name, folder in self.learned.items() if name in (*stage.uses, stage.name)}
        configuration = self.configuration
        asker, generators = self.askers.get(stage.name), {}
        if stage.edits:
            generators = {name: self.askers[GENERATOR + name] for name in configuration.generators}
        labels = self._labels() if stage.reviews else {}
        return Context(configuration.seed, configuration.pictures, learned, asker, generators, labels)

    def _labels(self) -> dict[str, Counter[str]]:
        path = self.output / LABELS
        return first_looks(read_labels(path)) if path.is_file() else {}

    def do(self, stretch: Sequence[Stage]) -> None:
        """Some stages, of which only the first may have to wait for all slices."""
        first = stretch[0]
        if isinstance(first, Beginning):
            begun = batched(first.seeds(self.source), self.configuration.slice)
            self.slices = [Slice(f"{number:06d}", seeds) for number, seeds in enumerate(begun)]
        if isinstance(first, Learning):
            self._learn(first)
        if deciding := [stage for stage in stretch if isinstance(stage, Deciding)]:
            self._decide(deciding)
        if isinstance(first, Packing):
            self._pack(first)

    def _decide(self, stages: Sequence[Deciding]) -> None:
        self.slices = [replace(one, reports=()) for one in self.slices]
        self.before = self.counts
        self._leave_what_is_no_more(stages)
        steps = [self._step(stage) for stage in stages]
        try:
            if self.engine == "local":
                self._flow(steps)
            else:
                self._by_engine(steps)
        finally:
            self._tell(stages)
        for stage in stages:
            for generator in self.context(stage).generators.values():
                generator.flush()

    def _step(self, stage: Deciding) -> Step:
        context = self.context(stage)
        learned = [self.learned[name].name for name in stage.uses if name in self.learned]
        learned += [self.learned[stage.name].name] if stage.name in self.learned else []
        learned += [digest(sorted(context.labels.items()))] if stage.reviews else []
        return Step(stage, context, tuple(learned), read_taken(self.output), self.tables)

    def _leave_what_is_no_more(self, stages: Sequence[Deciding]) -> None:
        """Remove the tables of slices that are no more, as where photographs have left the source."""
        there = {f"{one.name}.arrow" for one in self.slices}
        for stage in stages:
            for path in sorted((self.tables / stage.name).glob("*.arrow")):
                if path.name not in there:
                    remove_result(self.tables, f"{stage.name}/{path.name}")

    def _flow(self, steps: Sequence[Step]) -> None:
        """In this process and the pool's; the funnel grows meanwhile."""
        names = [step.stage.name for step in (steps[0], steps[-1])]
        pool = self.pool if self.workers > 1 and len(self.slices) > 1 else None
        ahead = 2 * self.workers + 2 if pool else 1
        title = " to ".join(dict.fromkeys(names))
        told = time.monotonic()
        with tqdm(total=len(self.slices), desc=title, unit="slice", disable=None) as progress:
            for _ in flow(self.slices, steps, pool, ahead):
                progress.update()
                if time.monotonic() - told > _TELLING:
                    self._tell([step.stage for step in steps])
                    told = time.monotonic()

    def _by_engine(self, steps: Sequence[Step]) -> None:
        """One stage after the other."""
        for step in steps:
            here = step.stage.is_asking  # in this process alone, whose threads wait for the replies
            reports = run_shards(
                step.work,
                [step.shard(one) for one in self.slices],
                step.folder,
                settings=step.settings,
                workers=1 if here else self.workers,
                engine="local" if here else self.engine,
                title=step.stage.name,
            )
            self.slices = [step.after(one, made) for one, made in zip(self.slices, reports, strict=True)]

    def _learn(self, stage: Learning) -> None:
        rows = Rows(tuple(one.tables for one in self.slices), stage.needs)
        if next(iter(replace(rows, columns=())), None) is None:
            raise NothingLeftError(
                f"nothing is left for the stage {stage.name}: {self.output / FUNNEL} says which stages dropped it"
            )
        hashes = [one.hashes for one in self.slices]
        told = [identity(stage), hashes, [self.learned[n].name for n in stage.uses]]
        folder = self.output / LEARNED / f"{stage.name}-{digest(told)[:8]}"
        shard = Shard(f"{stage.name}/learned.json", (rows, folder), folder.name)
        if not folder.is_dir():
            remove_result(self.tables, shard.name)
        work = partial(_learn, stage, self.context(stage), self.tables / stage.name / folder.name)
        run_shards(work, [shard], self.tables, settings=None, title=stage.name)
        self.learned[stage.name] = folder

    def _pack(self, stage: Packing) -> None:
        counts = [len(read_kept(one.tables, ())) for one in self.slices]
        if not sum(counts):
            raise NothingLeftError(
                f"no row is left to pack: {self.output / FUNNEL} says which stages dropped them"
            )
        if stage.refusing:
            refused = [sum(1 for _ in _refused(stage, [one.tables], ())) for one in self.slices]
            self._write(stage, NEGATIVES, refused)
        self._write(stage, "default", counts)

    def _write(self, stage: Packing, config: str, counts: Sequence[int]) -> None:
        """The files of a config, each of so many slices as hold enough rows."""
        told = self.configuration.told()
        groups = [group for group in _grouped(counts, stage.rows) if group]
        names = table_names(config, "train", len(groups))
        shards = [
            Shard(
                name,
                (tuple(self.slices[n].tables for n in group),),
                digest([self.slices[n].hashes for n in group]),
            )
            for name, group in zip(names, groups, strict=True)
        ]
        write_tables(
            partial(_pack_slices, stage, told, config == NEGATIVES),
            shards,
            self.output,
            config=config,
            settings=identity(stage),
            workers=self.workers,
            engine=self.engine,
            describe=lambda folder: _describe(folder, stage.card(told)),
            pool=self.pool,
        )

    def _tell(self, stages: Sequence[Stage]) -> None:
        """Count what the slices have come to so far in these stages."""
        of_stages = zip_longest(*(one.reports for one in self.slices))
        counts = [
            count_of(stage.name, [report for report in reports if report is not None])
            for stage, reports in zip(stages, of_stages, strict=False)
        ]
        # Behind a stage in which all of it waits there is nothing to count.
        waiting = next((n for n, one in enumerate(counts, 1) if one.later and not one.kept), None)
        self.counts = [*self.before, *counts[:waiting]]
        commit_json(self.output / FUNNEL, [vars(count) for count in self.counts])

    @property
    def is_waiting(self) -> bool:
        """Whether nothing goes on before all that the last stage has waited for is there."""
        return bool(self.counts and self.counts[-1].later and not self.counts[-1].kept)


def _stretches(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Stages in groups: through one of them slices go by themselves, whatever becomes of the others."""
    stretches: list[list[Stage]] = []
    for stage in stages:
        waits_for_all = isinstance(stage, (Beginning, Learning, Packing))
        if waits_for_all or not stretches:
            stretches.append([])
        stretches[-1].append(stage)
    return stretches


def read_taken(output: Path) -> frozenset[str]:
    """The hashes of what has left a run for good, photographs and ids; see `takedown`."""
    path = output / TAKEN
    return frozenset(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else ())


def _learn(
    stage: Learning, context: Context, working: Path, rows: Rows, folder: Path, path: Path
) -> dict[str, Any]:
    """Write what a stage learns, and a list of it."""
    with committed_folder(folder) as unfinished:
        report = stage.learn(rows, context, working, unfinished)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    commit_json(path, {file.relative_to(folder).as_posix(): file_sha256(file) for file in files})
    return {"learned": report, "folder": folder.name}


def _pack_slices(
    stage: Packing,
    told: Mapping[str, Any],
    are_refused: bool,
    slices: tuple[tuple[Path, ...], ...],
    path: Path,
) -> dict[str, Any]:
    """Write the records of some slices."""
    columns = (*stage.needs, *stage.takes)
    rows = _refused(stage, slices, columns) if are_refused else Rows(slices, columns)
    return {"rows": write_rows(path, (stage.row(row, told) for row in rows), stage.features)}


def _refused(stage: Packing, slices: Sequence[Sequence[Path]], columns: Sequence[str]) -> Iterator[Row]:
    """What the stages that it names have found fault with; their other reasons say nothing of a candidate."""
    for tables in slices:
        for place, path in enumerate(tables):
            name = path.parent.name
            dropped = read_dropped(tables[: place + 1], columns) if name in stage.refusing else []
            yield from (
                row | {"refused_by": name} for row in dropped if row["reason"].startswith(f"{name}: ")
            )


def _describe(folder: Path, card: Mapping[str, Any]) -> None:
    """Write the card, once there is something to describe."""
    if any((folder / "data").glob("*/*.parquet")):
        write_card(folder, **card)


def _grouped(counts: Sequence[int], rows: int) -> list[list[int]]:
    """Numbers of slices, so many together that they hold about `rows`; none of nothing."""
    groups: list[list[int]] = [[]]
    held = 0
    for number, count in enumerate(counts):
        if held and held + count > rows:
            groups.append([])
            held = 0
        if count:
            groups[-1].append(number)
            held += count
    return groups


def count_of(stage: str, reports: Sequence[Mapping[str, Any]]) -> Count:
    """The sum of what is known of the tables of a stage."""
    rows, kept = (sum(report[name] for report in reports) for name in ("in", "kept"))
    reasons = {
        state: dict(sum((Counter(report[state]) for report in reports), Counter()).most_common())
        for state in ("dropped", "later")
    }
    return Count(stage, rows, kept, reasons["dropped"], reasons["later"])


def _check_start(configuration: Configuration, source: str) -> None:
    """Refuse what cannot be done here, before anything is recorded or paid.

    Raises:
        CurationError: if something is not installed.
        DatasetError: if there is nothing to begin with.
        RestorerError, HubError: if the text-to-image pipeline cannot be had.
    """
    for stage in configuration.stages:
        stage.check()
        if isinstance(stage, Beginning):
            stage.seeds(source)
    if any(stage.draws for stage in configuration.stages):
        from ggt_hub.pipelines.text_to_image import find_text_to_image

        find_text_to_image(configuration.pictures)


def _told(configuration: Configuration, source: str) -> dict[str, Any]:
    """What a run folder records."""
    folder = Path(source).expanduser()
    place = str(folder.resolve()) if folder.is_dir() else source
    # Through JSON, so that what was read compares with what is: tuples are lists.
    return json.loads(json.dumps({"source": place, **configuration.told()}, default=str))


def _check_folder(output: Path, told: dict[str, Any]) -> None:
    """Refuse a folder of another run.

    Raises:
        CurationError: naming the first difference.
    """
    path = output / RUN
    if not path.exists():
        if (output / TABLES).exists():
            raise CurationError(
                f"{path} is gone, so nobody knows of which run {output} is: choose another --output"
            )
        return
    try:
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CurationError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if difference := _difference(there, told):
        raise CurationError(
            f"{output} is of another run: {difference}. Choose another --output, or that configuration"
        )


def _difference(there: Any, here: Any, place: str = "") -> str:
    """The first place where two configurations differ, in words; "" where they do not."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*here, *there]):
            where = f"{place}.{name}" if place else str(name)
            if found := _difference(there.get(name), here.get(name), where):
                return found
        return ""
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True), 1)
        return next((found for n, both in pairs if (found := _difference(*both, f"{place}[{n}]"))), "")
    return "" if there == here else f"{place} is {there!r} there, and {here!r} here"
