"""What results are called, and to which picture a result belongs by its name.

A result has the name of its picture. Where the format changes, the new suffix is appended (`a.jpg` -> `a.jpg.png`).
Where two inputs of one call would meet, the one named first keeps its name; the other gets one more suffix if its
own name differs (`a.jpg.png` -> `a.jpg.png.png`), else the folders that it comes from in front (`y/a.png`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from ggt_hub.commit import fitting_name
from ggt_hub.images.encode import FORMATS

Name = tuple[Path, Path]
"""The relative name of an input, which decides its seed, and that of its result."""


def output_name(relative: Path, suffix: str | None) -> Path:
    """Where the result of an input goes, relative to the output folder, if no other is in the way.

    Args:
        relative: the input's path, relative to what the user named.
        suffix: the format of the results; None keeps each input's, or takes PNG where it cannot be written.
    """
    own = relative.suffix.lower()
    suffix = (own if own in FORMATS else ".png") if suffix is None else "." + suffix.lstrip(".").lower()
    return relative if own == suffix else _appended(relative, suffix)


def _appended(relative: Path, suffix: str) -> Path:
    return relative.with_name(fitting_name(relative.name + suffix))


def possible_names(relative: Path, longer: Iterable[Path], suffix: str | None) -> Iterator[Name]:
    """The names that an input and its result may get, the best first.

    Args:
        relative: its usual name.
        longer: the same with more and more of its folders in front.
        suffix: as in `output_name`.
    """
    for name in (relative, *longer):
        result = output_name(name, suffix)
        yield name, result
        yield name, _appended(result, result.suffix)


def give_names(
    inputs: Sequence[tuple[Path, Sequence[Path]]],
    suffix: str | None,
    known: Callable[[int, Iterable[Name]], Name | None] = lambda index, names: None,
) -> list[Name]:
    """A name for each input and its result, all different.

    Args:
        inputs: the usual name and the longer ones of each, in the order in which they were named.
        suffix: as in `output_name`.
        known: which of its possible names the input of that index had before; it keeps it.
    """
    given: dict[int, Name] = {}
    for index, (relative, longer) in enumerate(inputs):
        if name := known(index, possible_names(relative, longer, suffix)):
            given[index] = name
    names, results = (
        (set(column) for column in zip(*given.values(), strict=True)) if given else (set(), set())
    )
    for index, (relative, longer) in enumerate(inputs):
        if index not in given:
            free = (
                n
                for n in possible_names(relative, longer, suffix)
                if n[0] not in names and n[1] not in results
            )
            given[index] = next(free, (relative, output_name(relative, suffix)))
            names.add(given[index][0])
            results.add(given[index][1])
    return [given[index] for index in range(len(inputs))]


def match_names(results: Iterable[str], sources: Iterable[str]) -> dict[str, str]:
    """Which source each result belongs to, by their relative paths; those without a partner are left out.

    The names are equal, or those that `restore` and `degrade` give, or equal but for the suffix: whichever pairs
    most. Of sources from several folders the result may lack the folders in front.
    """
    results, sources = sorted(set(results)), sorted(set(sources))
    there = set(results)
    suffixes = sorted({PurePosixPath(result).suffix for result in results} - {""})
    rules = [{source: source for source in sources}]
    for suffix in (None, *suffixes):
        names = give_names([(Path(source), ()) for source in sources], suffix)
        rules.append({result.as_posix(): source for source, (_, result) in zip(sources, names, strict=True)})
    rules.append(_by_stems(results, sources))
    best = max(rules, key=lambda rule: len(there & rule.keys()))
    matched = {result: best[result] for result in results if result in best}
    return matched | _by_ends([r for r in results if r not in matched], best, set(matched.values()))


def _by_stems(results: Sequence[str], sources: Sequence[str]) -> dict[str, str]:
    """By the names without suffix, where these are unique on both sides."""
    by_stem = {_stem(source): source for source in sources}
    if len(by_stem) < len(sources) or len({_stem(result) for result in results}) < len(results):
        return {}
    return {result: by_stem[_stem(result)] for result in results if _stem(result) in by_stem}


def _by_ends(results: Sequence[str], rule: dict[str, str], taken: set[str]) -> dict[str, str]:
    found = {}
    for result in results:
        ends = [
            source for name, source in rule.items() if name.endswith(f"/{result}") and source not in taken
        ]
        if len(ends) == 1:
            found[result] = ends[0]
            taken.add(ends[0])
    return found


def _stem(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()
