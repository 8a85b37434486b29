"""What a run will see, said before it starts: counts, sizes, tasks, and the steps of each stage."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from ggt_hub.data.reading.buckets import bucket_of, in_words
from ggt_hub.data.reading.mixture import Mixture
from ggt_hub.data.reading.picture_sources import Found, Source, Stream
from ggt_hub.errors import DatasetError, ImageError, TrainingError
from ggt_hub.training.memory import describe
from ggt_hub.training.objectives import load_objective
from ggt_hub.training.reading import open_mixtures
from ggt_hub.training.recipe import Recipe, Stage
from ggt_hub.training.run import needed_memory

_LOOKED_AT = 32


def plan(recipe: Recipe, *, processes: int = 1) -> str:
    """What `train` would see of its data, in words; no network is loaded, and nothing is written.

    Sizes are those of 32 pictures of a source, evenly spaced; those among them that a run would skip are counted.

    Args:
        recipe: from `load_recipe`.
        processes: with how many it would train.

    Raises:
        TrainingError, DatasetError, HubError: as `train` before its first step, what regards networks left out.
    """
    needs_quality = load_objective(recipe.objective).needs_quality
    mixtures = open_mixtures(recipe, needs_quality=needs_quality)
    sources = {source.name: source for mixture in mixtures for source in mixture.sources}
    lines = [_of_source(source, recipe.stages) for source in sources.values()]
    for number, (stage, mixture) in enumerate(zip(recipe.stages, mixtures, strict=True), 1):
        lines += _of_stage(number, stage, mixture, processes)
    lines += _memory(recipe, processes)
    total = sum(stage.steps for stage in recipe.stages)
    lines.append(
        f"in all: {total} steps; at 1 s a step {_short(total / 3600)} h, at 10 s {_short(total / 360)} h"
    )
    return "\n".join(lines)


def _memory(recipe: Recipe, processes: int) -> Iterator[str]:
    """Of the stage that needs most."""
    try:
        needs = needed_memory(recipe, processes, download=False)
    except TrainingError as error:
        yield f"memory: not known: {error}"
        return
    if needs is not None:
        yield from describe(needs)


def _of_source(source: Source | Stream, stages: Sequence[Stage]) -> str:
    """How many pictures, of what sizes and tasks, and in which buckets; of a stream the first ones."""
    crop = min((stage.crop for stage in stages if not stage.buckets), default=0)
    counts = {stage.buckets: dict.fromkeys(stage.buckets, 0) for stage in stages if stage.buckets}
    kind = "clean pictures" if source.is_clean else "pairs"
    looks: list[Callable[[], Found | None]]
    sides, skipped = [], Counter[str]()
    if isinstance(source, Stream):
        count, looks = "a stream of", [source.read] * _LOOKED_AT
    else:
        places = np.unique(np.linspace(0, len(source) - 1, _LOOKED_AT).astype(int))
        count, looks = str(len(source)), [partial(source.load, place) for place in places.tolist()]
    for look in looks:
        try:
            found = look()
        except (DatasetError, ImageError):
            found = None
        if found is None:
            skipped["unreadable"] += 1
            continue
        read = found.gt if found.lq is None else found.lq
        sides.append(read.shape[:2])
        if min(read.shape[:2]) < crop:
            skipped[f"below a crop of {crop}"] += 1
        for buckets, filled in counts.items():
            bucket = bucket_of(read.shape[1], read.shape[0], buckets)
            if bucket is None:
                skipped[f"cover none of the buckets {in_words(buckets)}"] += 1
            else:
                filled[bucket] += 1
    words = [f"{source.name}: {count} {kind}"]
    if sides:
        lowest, highest = np.min(sides, 0), np.max(sides, 0)
        words.append(f"{lowest[1]}x{lowest[0]} to {highest[1]}x{highest[0]} pixels")
    if source.by_task:
        words.append(", ".join(f"{task} {len(own)}" for task, own in sorted(source.by_task.items())))
    for filled in counts.values():
        told = ", ".join(f"{in_words([bucket])} {number}" for bucket, number in filled.items() if number)
        words += [f"buckets of {len(looks)} looked at: {told}"] if told else []
    words += [f"{number} of {len(looks)} {reason}" for reason, number in skipped.items()]
    return "; ".join(words)


def _of_stage(number: int, stage: Stage, mixture: Mixture, processes: int) -> Iterator[str]:
    """Steps and rates, and what is drawn from each source."""
    seen = stage.steps * stage.batch * processes
    sizes = f"pictures of {in_words(stage.buckets)}" if stage.buckets else f"crops of {stage.crop} pixels"
    yield (
        f"stage {number}: {stage.steps} steps of {stage.batch * processes} {sizes}, learning rate "
        f"{stage.learning_rate:g} to {stage.last_learning_rate:g}"
    )
    for source, chance in mixture.source_chances():
        often = "" if isinstance(source, Stream) else f", {_short(seen * chance / len(source))} times each"
        yield f"  {source.name}: {chance:.0%}, {seen * chance:.0f} examples{often}"
    shares = ", ".join(f"{name} {chance:.0%}" for name, chance in mixture.damage_chances())
    if any(source.is_clean for source in mixture.sources):
        yield f"  clean pictures meet: {shares}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
