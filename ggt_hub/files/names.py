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

    The names are equal, or those that `restore` and `degrade` give, whichever pairs most. Those that are left may
    differ in their suffix, and of sources from several folders the results may lack the folders in front.
    """
    results, sources = sorted(set(results)), sorted(set(sources))
    suffixes = sorted({PurePosixPath(result).suffix for result in results} - {""})
    rules = [{source: source for source in sources}]
    for suffix in (None, *suffixes):
        names = give_names([(Path(source), ()) for source in sources], suffix)
        rules.append({result.as_posix(): source for source, (_, result) in zip(sources, names, strict=True)})
    return max((_matched(results, rule) for rule in rules), key=len)


def _matched(results: Iterable[str], rule: dict[str, str]) -> dict[str, str]:
    """Results with their sources, of which a rule says what their results are called."""
    matched = {result: rule[result] for result in results if result in rule}
    taken = set(matched.values())
    left = {name: source for name, source in rule.items() if source not in taken}
    matched |= _alike(results, matched, {source: [_stem(source)] for source in left.values()}, _stem)
    taken = set(matched.values())
    left = {name: source for name, source in left.items() if source not in taken}
    return matched | _alike(results, matched, {source: _ends(name) for name, source in left.items()}, str)


def _alike(
    results: Iterable[str],
    matched: dict[str, str],
    sources: dict[str, list[str]],
    key_of: Callable[[str], str],
) -> dict[str, str]:
    """Those that have no partner yet and share a key with one source alone, which no other result shares."""
    ours = _by_key({result: [key_of(result)] for result in results if result not in matched})
    theirs = _by_key(sources)
    return {ours[key]: theirs[key] for key in ours.keys() & theirs.keys()}


def _by_key(keys: dict[str, list[str]]) -> dict[str, str]:
    """The items by their keys, without those keys that several items have."""
    found: dict[str, list[str]] = {}
    for item, of_item in keys.items():
        for key in of_item:
            found.setdefault(key, []).append(item)
    return {key: of_key[0] for key, of_key in found.items() if len(of_key) == 1}


def _ends(name: str) -> list[str]:
    """The name without one, two, ... of the folders in front."""
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(1, len(parts))]


def _stem(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()
