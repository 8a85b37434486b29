"""The shard: the unit of all work on data, done entirely or not at all.

A shard is one file made by a pure function of its arguments, and a small report. Both are written under temporary
names and renamed; a shard is done when its file is there with the hash that its report states, and the report is
of the same settings. So work can be killed at any moment and started again by anything: what is done stays, what
is not done is made again with the same bytes. This module runs shards on one machine; a launcher of many machines
calls `run_shard` with the same arguments.
"""

import hashlib
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm.auto import tqdm

from ggt_hub.commit import RECORDS, commit_json, committed_file, file_sha256
from ggt_hub.engines import run_tasks
from ggt_hub.errors import GGTHubError


@dataclass(frozen=True)
class Shard:
    """One file to be made.

    Attributes:
        name: its path inside the output folder.
        arguments: what it is made of; to be pickled.
        version: names the content of the arguments; a change of it makes this shard anew.
    """

    name: str
    arguments: tuple[Any, ...]
    version: str = ""


Work = Callable[..., dict[str, Any]]
"""Makes a shard: takes the shard's arguments, then the path to write to; returns its report (plain JSON)."""


def run_shards(
    work: Work,
    shards: Sequence[Shard],
    folder: Path,
    *,
    settings: Any,
    workers: int = 1,
    engine: str = "local",
    title: str = "",
    pool: Executor | None = None,
) -> list[dict[str, Any]]:
    """Make those shards that are not done yet, with a progress bar.

    Args:
        work: see `Work`; a function of a module, so that other processes can import it.
        shards: what to make.
        folder: where to; made if need be.
        settings: whatever else the content of the files depends on; a change of it makes all shards anew.
        workers: processes. With one, the work is done in this process.
        engine: whose processes, see `engines.run_tasks`; the bytes are the same.
        title: what the progress bar says.
        pool: processes that are there already (`processes`) and stay, for callers with several lists of shards.

    Returns:
        The reports, in the order of `shards`; each has `name`, `sha256` and `size` besides what `work` returned.

    Raises:
        GGTHubError: before any work, if a file that no report names is where a shard belongs; if a process was
            killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = json.dumps(settings, sort_keys=True, default=str)
    done = {shard.name: report for shard in shards if (report := _finished(folder, shard, key)) is not None}
    left = [shard for shard in shards if shard.name not in done]
    for shard in left:
        _check_place(folder, shard)
    if left and engine != "local":
        run_tasks(
            engine, partial(_run_task, work, left, folder, key), len(left), workers, folder / RECORDS / engine
        )
        return [report for shard in shards if (report := _finished(folder, shard, key)) is not None]
    with tqdm(total=len(shards), initial=len(done), desc=title, unit="shard", disable=None) as progress:
        for report in _reports(work, left, folder, key, workers, pool):
            done[report["name"]] = report
            progress.update()
    return [done[shard.name] for shard in shards]


def made_shard(work: Work, shard: Shard, folder: Path, *, settings: Any) -> dict[str, Any]:
    """Make one shard, in this process, if it is not done yet; see `run_shards`.

    Returns:
        Its report.

    Raises:
        GGTHubError: if a file that no report names is where it belongs.
    """
    key = json.dumps(settings, sort_keys=True, default=str)
    report = _finished(folder, shard, key)
    if report is not None:
        return report
    _check_place(folder, shard)
    return run_shard(work, shard, folder, key)


def _check_place(folder: Path, shard: Shard) -> None:
    if os.path.lexists(folder / shard.name) and not is_result(folder, shard.name):
        raise GGTHubError(
            f"{folder / shard.name} was not made by an earlier run, or was changed since: move it away, or "
            "choose another folder"
        )


def are_made(shards: Sequence[Shard], folder: Path, *, settings: Any) -> bool:
    """Whether all shards are there, by whomever they were made; their bytes are not read again."""
    key = json.dumps(settings, sort_keys=True, default=str)
    reports = [_report_of(folder, shard, key) for shard in shards]
    return all(report is not None for report in reports)


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Processes that make shards: started with the first one, and not forked, for this process has threads.

    Raises:
        GGTHubError: if one of them was killed.
    """
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_worker) as made:
        try:
            yield made
        except BrokenProcessPool as error:
            raise GGTHubError(
                f"one of {workers} processes was killed, most often because memory ran out: what is done stays; "
                "run again, with fewer workers"
            ) from error


def _begin_worker() -> None:
    """Keep this process to one core, for as many are meant to run as there are cores, and to its parent's life.

    Its queues would keep it for ever when the one that has started it is killed.
    """
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported
    if (
        torch := sys.modules.get("torch")
    ) is not None:  # the program that has started us imports it at its head
        torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _reports(
    work: Work, shards: list[Shard], folder: Path, key: str, workers: int, pool: Executor | None
) -> Iterator[dict[str, Any]]:
    if workers == 1 or len(shards) < 2:
        for shard in shards:
            yield run_shard(work, shard, folder, key)
        return
    with nullcontext(pool) if pool is not None else processes(workers) as made:
        waiting = [made.submit(run_shard, work, shard, folder, key) for shard in shards]
        try:
            for future in waiting:
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()


def _run_task(
    work: Work, shards: Sequence[Shard], folder: Path, key: str, _before: Any, number: int, _count: int
) -> None:
    """`run_shard` as a step of datatrove's."""
    run_shard(work, shards[number], folder, key)


def run_shard(work: Work, shard: Shard, folder: Path, key: str) -> dict[str, Any]:
    """Make one shard and commit it; see `run_shards`."""
    path, report_path = folder / shard.name, _report_path(folder, shard.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with committed_file(path) as unfinished:
        report = work(*shard.arguments, unfinished)
        report |= {"name": shard.name, "size": unfinished.stat().st_size, "sha256": file_sha256(unfinished)}
        # First the report, so that a kill in between does not make our own file look like somebody else's.
        replaced = {"replaces": file_sha256(path)} if path.exists() else {}
        commit_json(report_path, report | {"key": _full_key(shard, key)} | replaced)
    return report


def is_result(folder: Path, name: str) -> bool:
    """Whether a file of `folder` is what a shard of that name has made, unchanged since."""
    path, report = folder / name, read_report(folder, name)
    if report is None or path.is_symlink() or not path.is_file():
        return False
    return file_sha256(path) in (report["sha256"], report.get("replaces"))


def results(folder: Path, inside: str) -> list[str]:
    """The names of all shards below a part of `folder` that have a report."""
    reports = sorted((folder / RECORDS / inside).rglob("*.json"))
    return [path.relative_to(folder / RECORDS).as_posix().removesuffix(".json") for path in reports]


def remove_result(folder: Path, name: str) -> None:
    """Remove what a shard has made, with its report; a file that was changed since stays, without its report."""
    if is_result(folder, name):
        (folder / name).unlink()
    _report_path(folder, name).unlink(missing_ok=True)


def replace_result(folder: Path, name: str, work: Work) -> None:
    """Put another file in the place of what a shard has made; the shard stays done.

    Its report then says as `made_as` what the SHA-256 of the file was, for those whose versions name it.

    Args:
        folder: see `run_shards`.
        name: of the shard.
        work: makes the file; what it returns changes the report.

    Raises:
        GGTHubError: if no shard of that name has made a file there, or it was changed since.
    """
    report, path = read_report(folder, name), folder / name
    if report is None or not is_result(folder, name):
        raise GGTHubError(
            f"{path} was not made by a run, or was changed since: put back what the run has made"
        )
    before = file_sha256(path)
    with committed_file(path) as unfinished:
        report |= {"made_as": report.get("made_as", before), "replaces": before} | work(unfinished)
        report |= {"size": unfinished.stat().st_size, "sha256": file_sha256(unfinished)}
        commit_json(_report_path(folder, name), report)


def _finished(folder: Path, shard: Shard, key: str) -> dict[str, Any] | None:
    """The report of a shard that is done; None if it is missing, damaged, or of other settings."""
    report = _report_of(folder, shard, key)
    return report if report and file_sha256(folder / shard.name) == report["sha256"] else None


def _report_of(folder: Path, shard: Shard, key: str) -> dict[str, Any] | None:
    """The report of a shard of these settings, if its file is there and has the size that it states."""
    report, path = read_report(folder, shard.name), folder / shard.name
    if report is None or report.pop("key", None) != _full_key(shard, key):
        return None
    report.pop("replaces", None)
    return report if path.is_file() and path.stat().st_size == report["size"] else None


def read_report(folder: Path, name: str) -> dict[str, Any] | None:
    """What is known of a shard that was made once; None where there is nothing whole."""
    try:
        report = json.loads(_report_path(folder, name).read_text())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and {"sha256", "size"} <= set(report) else None


def _full_key(shard: Shard, key: str) -> str:
    return hashlib.sha256(f"{key}\0{shard.version}".encode()).hexdigest()


def _report_path(folder: Path, name: str) -> Path:
    return folder / RECORDS / f"{name}.json"
