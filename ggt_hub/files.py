"""Many pictures in, many pictures out: finding inputs, naming outputs, and never doing finished work again."""

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ggt_hub.commit import RECORDS, commit_json, file_sha256
from ggt_hub.errors import GGTHubError, ImageError
from ggt_hub.images import Picture, read_image, write_image

INPUT_SUFFIXES = {
    ".avif", ".bmp", ".dib", ".gif", ".ico", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip
OUTPUT_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Job:
    """One picture to work on: where it is, and its path relative to what the user named."""

    source: Path
    relative: Path

    def seed(self, run_seed: int) -> int:
        """A seed (63 bits) for this picture alone, so that order, batching and resuming never change a byte."""
        digest = hashlib.sha256(f"{run_seed}/{self.relative.as_posix()}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Outcome:
    """What became of one picture: `done`, `skipped` (finished before) or `failed`."""

    input: str
    status: str
    output: str | None = None
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


Work = Callable[[Picture, Job], tuple[Picture, dict[str, Any]]]
"""What is done to each picture: returns the new one, and details for its record."""


def find_jobs(paths: Iterable[str | Path], output: Path) -> list[Job]:
    """All pictures that the paths name: files, folders (searched to the bottom) and globs.

    The output folder is left out, and so are hidden files. A path that is the same file twice counts once. Where
    two relative paths would be equal, all are taken relative to the inputs' common folder instead.

    Raises:
        ImageError: for a path where nothing is.
    """
    found: dict[Path, Job] = {}
    for path in paths:
        for job in _expand(str(path), output.resolve()):
            found.setdefault(job.source.resolve(), job)
    jobs = list(found.values())
    if len({job.relative for job in jobs}) < len(jobs):
        root = os.path.commonpath([job.source.resolve().parent for job in jobs])
        jobs = [Job(job.source, job.source.resolve().relative_to(root)) for job in jobs]
    return sorted(jobs, key=lambda job: job.relative.as_posix())


def _expand(path: str, output: Path) -> Iterator[Job]:
    if Path(path).is_dir():
        yield from _walk(Path(path), output)
    elif os.path.lexists(path):
        yield Job(Path(path), Path(Path(path).name))
    else:
        matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not matches:
            raise ImageError(f"{path!r}: no such file or folder, and no file matches it as a pattern")
        root = _fixed_part(path)
        for match in map(Path, matches):
            if match.is_file() and match.suffix.lower() in INPUT_SUFFIXES:
                yield Job(match, match.relative_to(root))


def _walk(folder: Path, output: Path) -> Iterator[Job]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and Path(root, name).resolve() != output
        )
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in INPUT_SUFFIXES:
                yield Job(Path(root, name), Path(root, name).relative_to(folder))


def _fixed_part(pattern: str) -> Path:
    """The folder before the first wildcard."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def output_name(relative: Path, suffix: str | None) -> Path:
    """Where the result of an input goes, relative to the output folder.

    The name stays where the format stays. Where it changes the new suffix is appended (`a.jpg` -> `a.jpg.png`), so
    that `a.jpg` and `a.png` never meet, whatever else is in the batch.
    """
    if suffix is None:
        suffix = relative.suffix.lower() if relative.suffix.lower() in OUTPUT_SUFFIXES else ".png"
    suffix = "." + suffix.lstrip(".").lower()
    return relative if relative.suffix.lower() == suffix else relative.with_name(relative.name + suffix)


def process(
    jobs: Iterable[Job], output: Path, work: Work, *, settings: dict[str, Any], suffix: str | None = None
) -> Iterator[Outcome]:
    """Work through the jobs; a failure is an outcome, and the next one goes on.

    Args:
        jobs: from `find_jobs`.
        output: folder for the results; made if missing.
        work: what to do with each picture.
        settings: everything besides the picture that the result depends on (JSON). A finished output is skipped
            only if its record has these settings and the hash of the same input, and the file is intact.
        suffix: format of the results; None keeps each input's.

    Yields:
        One outcome per job, in order.
    """
    for job in jobs:
        target = output / output_name(job.relative, suffix)
        try:
            yield _one(job, target, output / RECORDS / f"{target.relative_to(output)}.json", work, settings)
        except (GGTHubError, OSError, RuntimeError, ValueError, MemoryError) as error:
            yield Outcome(str(job.source), "failed", error=str(error) or type(error).__name__)


def _one(job: Job, target: Path, record: Path, work: Work, settings: dict[str, Any]) -> Outcome:
    if target.exists() and target.resolve() == job.source.resolve():
        raise ImageError(f"{job.source}: the result would overwrite the input; choose another --output")
    data = job.source.read_bytes() if job.source.is_file() else b""
    made_from = {"input_sha256": hashlib.sha256(data).hexdigest(), "settings": settings}
    finished = _finished(record, target, made_from)
    if finished is not None:
        return Outcome(str(job.source), "skipped", str(target), details=finished)
    picture = read_image(data, name=str(job.source)) if job.source.is_file() else read_image(job.source)
    result, details = work(picture, job)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(result, target)
    commit_json(record, made_from | {"output_sha256": file_sha256(target), "details": details})
    return Outcome(str(job.source), "done", str(target), details=details)


def _finished(record: Path, target: Path, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """The details of an output that was made from the same input and settings and is intact; else None."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        same = all(known[key] == json.loads(json.dumps(value)) for key, value in made_from.items())
        return known["details"] if same and known["output_sha256"] == file_sha256(target) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fingerprint(folder: Path) -> str:
    """A hash of a model's files by name, size and content (of large files: time of change), 16 hex digits."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        state = path.stat()
        digest.update(f"{path.relative_to(folder)} {state.st_size}".encode())
        digest.update(path.read_bytes() if state.st_size < 2**24 else str(state.st_mtime_ns).encode())
    return digest.hexdigest()[:16]
