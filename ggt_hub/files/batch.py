"""Working through many pictures: a failure is an outcome, finished work is not done again, nothing is replaced."""

import contextlib
import hashlib
import json
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ggt_hub.commit import RECORDS, commit_bytes, commit_json, committed_file, file_sha256, to_json
from ggt_hub.errors import GGTHubError, ImageError
from ggt_hub.files.jobs import Job
from ggt_hub.files.receipts import (
    Receipt,
    check_not_input,
    check_ours,
    check_place,
    read_receipt,
    write_receipt,
)
from ggt_hub.images import ImageWarning, Picture, check_format, read_image
from ggt_hub.images.faults import OtherPicturesWarning
from ggt_hub.images.read import MAX_BYTES
from ggt_hub.images.write import encoded

Work = Callable[[Picture, Job], tuple[Picture, dict[str, Any]]]
"""What is done to each picture: returns the new one, and details for its record."""

_FAULTS = (GGTHubError, OSError, RuntimeError, ValueError, MemoryError)


@dataclass(frozen=True)
class Outcome:
    """What became of one picture: `done`, `skipped` (finished before) or `failed`.

    Attributes:
        input: the picture.
        status: see above.
        output: the result, if there is one.
        error: why there is none.
        details: what the work says of it.
        kept, left_behind: what the picture carried besides its pixels, and what became of it.
        warnings: what else is to be known.
    """

    input: str
    status: str
    output: str | None = None
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Batch:
    """How a batch is worked through.

    Attributes:
        output: folder for the results; made if missing.
        settings: everything besides the picture that the result of a job depends on (JSON). A finished output is
            skipped only if its receipt has these settings and the hash of the same input, and the file is intact.
        overwrite: also replace what is the result of another picture.
        beside: the detail that is written as JSON to the files beside each output.
        reading: further arguments of `read_image`.
        strip: what tells about people and is taken out of the results, see `Picture.strip`.
        scale: how many times as wide and high as its picture a result is.
    """

    output: Path
    settings: Callable[[Job], dict[str, Any]]
    overwrite: bool = False
    beside: str = ""
    reading: dict[str, Any] = field(default_factory=dict)
    strip: Literal["gps", "all"] | None = None
    scale: int = 1


def process(jobs: Iterable[Job], work: Work, batch: Batch) -> Iterator[Outcome]:
    """Work through the jobs.

    Args:
        jobs: from `find_jobs`.
        work: what to do with each picture.
        batch: where to, and how.

    Yields:
        One outcome per job, in order.
    """
    for job in jobs:
        try:
            yield _one(job, work, batch)
        except _FAULTS as error:
            yield _failed(job, error)


def _failed(job: Job, error: BaseException) -> Outcome:
    told = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and not isinstance(error, GGTHubError):
        told = f"{error.filename}: {error.strerror}. Check the file, the folder and the free space."
    reason = " ".join(told.split())
    name = str(job.source)
    return Outcome(name, "failed", error=reason if name in reason else f"{name}: {reason}")


def _one(job: Job, work: Work, batch: Batch) -> Outcome:
    target = batch.output / job.result
    check_not_input(target, job.source)
    check_place(batch.output, job.result, job.beside)
    data = _read(job.source)
    digest = hashlib.sha256(data).hexdigest()
    if (finished := _finished(job, digest, batch)) is not None:
        return finished
    names = (job.result, job.beside, job.source, digest)
    replaces = check_ours(batch.output, *names, overwrite=batch.overwrite)
    with _noted_warnings() as noted:
        picture = _picture(data or job.source, str(job.source), batch.reading)
        width, height = picture.size
        check_format((width * batch.scale, height * batch.scale), target.suffix)
        result, details = work(picture, job)
        made = encoded(result.strip(batch.strip) if batch.strip else result, target)
    side = {path: to_json(details[batch.beside]).encode() for path in job.beside}
    receipt = Receipt(
        source=os.path.realpath(job.source),
        input_sha256=digest,
        settings=batch.settings(job),
        output_sha256=hashlib.sha256(made.data).hexdigest(),
        details=details,
        side_files={path.name: hashlib.sha256(content).hexdigest() for path, content in side.items()},
        replaces=replaces,
        kept=list(made.kept),
        left_behind=[*made.left_behind, *_side_files_of(job.source)],
        warnings=noted,
    )
    _write(job, made.data, side, receipt, batch.output)
    return _outcome(job, "done", receipt, batch.output)


def _picture(source: Any, name: str, reading: dict[str, Any]) -> Picture:
    """Read a picture; of a file that holds several, one must be chosen, or the others would be lost."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        picture = read_image(source, name=name, **reading)
    for one in caught:
        if issubclass(one.category, OtherPicturesWarning):
            told = str(one.message).replace(
                "only the first is used: choose with page=", "choose one with --page "
            )
            raise ImageError(told)
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return picture


def _read(path: Path) -> bytes:
    """The bytes of a file; none of what is not one, or is too large: `read_image` says so, without reading it."""
    state = path.stat() if path.exists() else None
    if state is None or not stat.S_ISREG(state.st_mode) or state.st_size > MAX_BYTES:
        read_image(path)
        raise ImageError(f"cannot read {str(path)!r}: it changed while it was read. Try again.")
    return path.read_bytes()


def _finished(job: Job, digest: str, batch: Batch) -> Outcome | None:
    """The outcome of a picture that was done with the same settings and whose output is intact; else None."""
    receipt = read_receipt(batch.output, job.result)
    target = batch.output / job.result
    if (
        receipt is None
        or receipt.input_sha256 != digest
        or receipt.settings != json.loads(to_json(batch.settings(job)))
        or not target.is_file()
        or file_sha256(target) != receipt.output_sha256
    ):
        return None
    for path in (batch.output / beside for beside in job.beside):
        # A kill may have come between the output and what lies beside it.
        if not path.exists() or file_sha256(path) == receipt.replaces.get(path.name):
            commit_json(path, receipt.details[batch.beside])
    return _outcome(job, "skipped", receipt, batch.output)


def _outcome(job: Job, status: str, receipt: Receipt, output: Path) -> Outcome:
    told = {name: getattr(receipt, name) for name in ("details", "kept", "left_behind", "warnings")}
    return Outcome(str(job.source), status, str(output / job.result), **told)


def _write(job: Job, made: bytes, side: dict[Path, bytes], receipt: Receipt, output: Path) -> None:
    """The receipt first: see `receipts`. The output has the date of the picture, by which people sort."""
    target = output / job.result
    target.parent.mkdir(parents=True, exist_ok=True)
    write_receipt(output, job.result, receipt)
    with committed_file(target) as unfinished:
        unfinished.write_bytes(made)
        _copy_date(job.source, unfinished)
    for path, content in side.items():
        commit_bytes(output / path, content)


def _copy_date(source: Path, target: Path) -> None:
    try:
        state = source.stat()
        os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
    except OSError:
        return  # not every file system has dates that can be set


def _side_files_of(source: Path) -> list[str]:
    """Files in which other programs keep what belongs to a picture; they are not carried over."""
    names = [f"{source.stem}.xmp", f"{source.name}.xmp", f"{source.stem}.aae"]
    if not (source.parent / RECORDS).is_dir():  # there it would be a record of ours
        names += [f"{source.name}.json", f"{source.name}.supplemental-metadata.json", f"{source.stem}.json"]
    there = (source.with_name(written) for name in names for written in (name, name.upper()))
    return [f"its side file {path.name}" for path in there if os.path.isfile(path)]  # noqa: PTH113 - never raises


@contextlib.contextmanager
def _noted_warnings() -> Iterator[list[str]]:
    """Notes what is said of the pictures meanwhile, as lines; other warnings go where they always go."""
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        try:
            yield lines
        finally:
            lines += [str(one.message) for one in caught if issubclass(one.category, ImageWarning)]
    for one in caught:
        if not issubclass(one.category, ImageWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
