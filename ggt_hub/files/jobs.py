"""From what users name to jobs: which pictures are read, which are not and why, how results are called."""

import contextlib
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ggt_hub.commit import RECORDS, fitting_name, temporary_name
from ggt_hub.errors import ImageError
from ggt_hub.files.folders import PICTURE_SUFFIXES, UNREAD_SUFFIXES, find_matches, is_junk, is_picture, walk
from ggt_hub.files.names import Name, give_names, output_name
from ggt_hub.files.receipts import check_not_input, check_place, made_in, read_receipt
from ggt_hub.images.encode import FORMATS


@dataclass(frozen=True)
class Job:
    """One picture to work on.

    Attributes:
        source: where it is.
        relative: its path relative to what the user named; decides its seed.
        result: the name of its result, relative to the output folder.
        beside: the names of files of ours that lie beside the result, likewise.
    """

    source: Path
    relative: Path
    result: Path
    beside: tuple[Path, ...] = ()

    def seed(self, run_seed: int) -> int:
        """A seed for this picture alone; see `seed_of`."""
        return seed_of(self.relative.as_posix(), run_seed)


@dataclass
class Inputs:
    """What the paths of a call name.

    Attributes:
        jobs: the pictures to read.
        refused: what is not, with the reasons, each with its way out: kinds of pictures that are not read, folders
            that cannot be searched, and pictures whose result would replace what is not ours.
        notes: what else was left out or is called otherwise than users expect, and why.
    """

    jobs: list[Job] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Candidate:
    path: Path
    relative: Path
    root: Path
    is_named: bool = False


def seed_of(name: str, run_seed: int) -> int:
    """A seed (63 bits) for the picture of that name, so that order, batching and resuming never change a byte.

    A Mac's and Linux' spelling of one name (NFD, NFC) give the same.
    """
    spelt = unicodedata.normalize("NFC", f"{run_seed}/{name}")
    digest = hashlib.sha256(spelt.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def check_output(output: Path, format: str | None = None) -> None:
    """Refuse, before any work, an output that cannot be written.

    Raises:
        ImageError: if it is a file, has the name of a picture or cannot be written to, or for an unknown format.
    """
    if format is not None and f".{format.lower().lstrip('.')}" not in FORMATS:
        known = ", ".join(suffix[1:] for suffix in FORMATS)
        raise ImageError(f"--format {format}: there are {known}")
    is_folder = os.path.isdir(output)  # noqa: PTH112 - never raises
    if os.path.lexists(output) and not is_folder:
        raise ImageError(f"--output {output} is a file: give a folder, which is made if it is missing")
    if not is_folder and output.suffix.lower() in PICTURE_SUFFIXES | UNREAD_SUFFIXES.keys():
        raise ImageError(
            f"--output {output} is the name of a picture: give a folder; results keep their names"
        )
    missing = [path for path in (output, *output.parents) if not os.path.lexists(path)]
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = temporary_name(output / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ImageError(
            f"--output {output} cannot be written to ({error.strerror}): choose another folder"
        ) from error
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()


def find_jobs(
    paths: Iterable[str | Path], output: Path, suffix: str | None = None, *, records: bool = False
) -> Inputs:
    """All pictures that the paths name: files, folders (searched to the bottom) and patterns.

    The output folder, junk, and results of ours that lie among the pictures are left out. A picture that is named
    twice counts once.

    Args:
        paths: what the user named.
        output: folder for the results.
        suffix: format of the results; None keeps each input's.
        records: whether a record is written beside each result.

    Raises:
        ImageError: for a path where nothing is.
    """
    inputs, found = Inputs(), dict[str, _Candidate]()
    for path in paths:
        for candidate in _expand(str(path), output, inputs.refused):
            found.setdefault(os.path.realpath(candidate.path), candidate)
    pictures = _pictures(_without_results(found, output, inputs), inputs)
    known = _Known(pictures, output)
    names = give_names([(picture.relative, _longer(picture)) for picture in pictures], suffix, known)
    for picture, (relative, result) in zip(pictures, names, strict=True):
        beside = (result.with_name(fitting_name(f"{result.name}.json")),) if records else ()
        try:
            check_not_input(output / result, picture.path)
            check_place(output, result, beside)
        except ImageError as error:
            inputs.refused[str(picture.path)] = f"{picture.path}: {error}"
            continue
        inputs.jobs.append(Job(picture.path, relative, result, beside))
        if result != output_name(picture.relative, suffix):
            inputs.notes.append(f"{picture.path} meets another of its name: its result is {output / result}")
    return inputs


def _expand(path: str, output: Path, problems: dict[str, str]) -> list[_Candidate]:
    root, aside = Path(path), output.resolve()
    if is_junk(root.name, hidden_too=False):  # the shell puts it among `photos/*`
        return []
    if os.path.isdir(path):  # noqa: PTH112 - never raises
        inside = walk(root, problems, leave_out=None if root.resolve() == aside else aside)
        return [_Candidate(file, file.relative_to(root), root) for file in inside]
    if os.path.lexists(path):
        return [_Candidate(root, Path(root.name), root.parent, is_named=True)]
    fixed, matches = find_matches(path, problems)
    if not matches:
        raise ImageError(f"{path!r}: no such file or folder, and no file matches it as a pattern")
    files: list[Path] = []
    for match in matches:
        files += walk(match, problems, leave_out=aside) if match.is_dir() else [match]
    if fixed.resolve() != aside:
        files = [file for file in files if not file.resolve().is_relative_to(aside)]
    return [_Candidate(file, file.relative_to(fixed), fixed) for file in files]


def _without_results(found: dict[str, _Candidate], output: Path, inputs: Inputs) -> list[_Candidate]:
    """Leave out what we made: in this output, below a folder that is searched, or of another input."""
    left, results = [], Counter[Path]()
    for real, candidate in found.items():
        made = made_in(Path(real)) or made_in(candidate.path)
        if made is None:
            left.append(candidate)
            continue
        folder, receipt = made
        below = candidate.root.resolve() in folder.resolve().parents
        beside = receipt.source in found and folder.resolve().is_relative_to(
            Path(receipt.source or "").parent
        )
        if folder.resolve() == output.resolve() or below or beside:
            results[folder] += 1
        else:
            left.append(candidate)
    for folder, count in results.items():
        inputs.notes.append(f"left out {count} files in {folder} that ggt-hub made itself")
    return left


def _pictures(candidates: Iterable[_Candidate], inputs: Inputs) -> list[_Candidate]:
    """Those that are to be read; what is not is noted."""
    pictures, others = [], Counter[str]()
    for candidate in candidates:
        path, suffix = candidate.path, candidate.path.suffix.lower()
        if is_junk(path.name, hidden_too=not candidate.is_named) or _is_record(candidate):
            continue
        if candidate.is_named or is_picture(path):
            pictures.append(candidate)
        elif suffix in UNREAD_SUFFIXES:
            inputs.refused[str(path)] = (
                f"cannot read {str(path)!r}: it is {UNREAD_SUFFIXES[suffix]}. "
                "If its ending is wrong, name the file itself."
            )
        else:
            others[suffix or "without ending"] += 1
    if others:
        told = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
        inputs.notes.append(f"not pictures by their endings: {told}")
    return pictures


def _is_record(candidate: _Candidate) -> bool:
    """Whether it is the file that `degrade` wrote beside a result."""
    return candidate.path.suffix == ".json" and made_in(candidate.path) is not None


def _longer(candidate: _Candidate) -> list[Path]:
    """The relative name with one, two, ... folders more in front."""
    folders = candidate.path.absolute().parts[1 : -len(candidate.relative.parts)]
    return [Path(*folders[-count:], candidate.relative) for count in range(1, len(folders) + 1)]


class _Known:
    """Which name a picture had in earlier calls: a picture that is added to a call never renames the others."""

    def __init__(self, pictures: list[_Candidate], output: Path) -> None:
        self.pictures, self.output = pictures, output
        self.has_records = (output / RECORDS).is_dir()

    def __call__(self, index: int, names: Iterable[Name]) -> Name | None:
        if not self.has_records:
            return None
        source = os.path.realpath(self.pictures[index].path)
        for name in names:
            receipt = read_receipt(self.output, name[1])
            if receipt is not None and receipt.source == source:
                return name
        return None
