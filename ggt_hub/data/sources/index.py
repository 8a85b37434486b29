"""An index of a dataset that lies in archives: Parquet rows that point at its pictures and hold none.

    INDEX/index.json               what was indexed, at which commit, how it was paired, what is wrong with it
    INDEX/data/TASK/SPLIT.parquet  the rows (`pairs.POINTER_FEATURES`), in the order of the archives

The folder is complete or not there at all: it is made under another name and renamed.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ggt_hub.commit import commit_bytes, commit_json, committed_folder, file_sha256
from ggt_hub.data.batches import batched
from ggt_hub.data.pairs import POINTER_FEATURES, pair_row
from ggt_hub.data.recognising.inventory import Contents
from ggt_hub.data.recognising.pairing import Pair, Pairing, pair_up
from ggt_hub.data.recognising.told import Told
from ggt_hub.data.recognising.words import task_of
from ggt_hub.data.storage.archives import Member, Problem, summarise
from ggt_hub.errors import DatasetError
from ggt_hub.tasks import Task

SUMMARY = "index.json"
UNKNOWN = "unknown"
ROWS_PER_GROUP = 512
_ROWS_AT_ONCE = 8192


def build_index(
    contents: Contents, folder: Path, *, source: str, told: Told | None = None, by_order: bool = False
) -> None:
    """Pair the pictures of a dataset and write its index.

    Args:
        contents: what the dataset consists of.
        folder: the index to make; one that is there already is replaced.
        source: the name of the dataset in the rows.
        told: see `pairing.pair_up`.
        by_order: see `pairing.pair_up`.

    Raises:
        DatasetError: if its pictures cannot be paired, or a part of unknown category cannot be read in place.
            Categories of which a part cannot be read are left out, and `refused` in `index.json` names those parts.
    """
    # A part that cannot be read may belong to any category, unless its name says to which.
    lost = lost_tasks(contents.refused)
    pictures = [] if None in lost else [m for m in contents.pictures if task_of(m.path) not in lost]
    if not pictures:
        raise DatasetError(
            explain_refused(contents.tree.name, contents.refused)
            if contents.refused
            else f"{contents.tree.name} holds no pictures that can be read{_because(contents)}"
        )
    try:
        pairing = pair_up(pictures, contents.mentions, told=told, by_order=by_order)
    except DatasetError as error:
        raise DatasetError(f"{error}{_because(contents)}") from error
    with committed_folder(folder) as made:
        rows = _write_rows(pairing, made, source)
        summary = _summary(contents, pairing, source, rows) | {"files": _hashes(made)}
        (made / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")


def _because(contents: Contents) -> str:
    """What is wrong with files of a dataset, which may be why others have no partner."""
    if not contents.problems:
        return "; `ggt-hub data describe` says what it holds" if not contents.pictures else ""
    return "\n  ".join([", among which are files that cannot be read:", *summarise(contents.problems)])


def _summary(
    contents: Contents, pairing: Pairing, source: str, rows: dict[str, dict[str, int]]
) -> dict[str, Any]:
    return {
        "source": source,
        "repository": contents.tree.name,
        "commit": contents.tree.version,
        "rules": pairing.rules,
        "rows": rows,
        "refused": [asdict(part) for part in contents.refused],
        "unpaired": [member.path for member in pairing.unpaired],
        "problems": [
            *(str(problem) for problem in contents.problems),
            *(f"{path}: a manifest lists it, and it is not there" for path in pairing.missing),
        ],
    }


def lost_tasks(refused: Iterable[Problem]) -> set[Task | None]:
    """The categories that parts belong to which cannot be read in place; None among them if one does not say."""
    return {task_of(part.path) for part in refused}


def explain_refused(name: str, refused: Iterable[Problem]) -> str:
    """Say which parts of a dataset cannot be read in place, and what to do."""
    return "\n  ".join([f"{name} has parts that cannot be read in place:", *summarise(refused)])


def _write_rows(pairing: Pairing, folder: Path, source: str) -> dict[str, dict[str, int]]:
    """Write one file for each task and split; return the numbers of rows."""
    _check_ids(pairing.pairs)

    def file(pair: Pair) -> tuple[str, str]:
        return pair.task or UNKNOWN, pair.split

    def place(pair: Pair) -> tuple[Any, ...]:
        return *file(pair), pair.lq.file.path, pair.lq.place.offset if pair.lq.place else 0, pair.lq.path

    counts: dict[str, dict[str, int]] = {}
    with tqdm(total=len(pairing.pairs), desc="Writing the index", unit="pair", disable=None) as progress:
        for (task, split), pairs in groupby(sorted(pairing.pairs, key=place), file):
            path = folder / "data" / task / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            counts.setdefault(task, {})[split] = _write_file(path, pairs, source, progress)
    return counts


def _check_ids(pairs: Iterable[Pair]) -> None:
    repeated = [key for key, count in Counter(pair.key for pair in pairs).items() if count > 1]
    if repeated:
        raise DatasetError(f"{len(repeated)} pairs have the same id as another, such as {repeated[:3]}")


def _write_file(path: Path, pairs: Iterable[Pair], source: str, progress: tqdm) -> int:
    schema, rows = POINTER_FEATURES.arrow_schema, 0
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_index=True) as writer:
        for batch in batched(pairs, _ROWS_AT_ONCE):
            table = pa.Table.from_pylist([_row(pair, source) for pair in batch], schema)
            writer.write_table(table, ROWS_PER_GROUP)
            progress.update(len(batch))
            rows += len(batch)
    return rows


def _row(pair: Pair, source: str) -> dict[str, Any]:
    mention = pair.mention
    return pair_row(
        pair.key,
        {"bytes": None, "path": pair.lq.uri},
        {"bytes": None, "path": pair.gt.uri} if pair.gt else None,
        source=source,
        task=pair.task,
        prompt=mention.prompt if mention else None,
        meta=mention.further if mention else None,
        **_pointer("lq", pair.lq),
        **_pointer("gt", pair.gt),
    )


def _pointer(side: str, member: Member | None) -> dict[str, Any]:
    if member is None or member.place is None:
        return {}
    return {f"{side}_archive": member.file.uri} | {
        f"{side}_{name}": value for name, value in member.place._asdict().items()
    }


def copy_index(index: Path, folder: Path) -> None:
    """Bring an index to a folder of its user's, where it replaces the one that was there and nothing else.

    `files` in its `index.json` names what is part of the index, each file with the SHA-256 that it may have.

    Raises:
        DatasetError: before anything is written, if a file that no index names is where one of this index belongs.
    """
    earlier = _files_of(folder) if os.path.lexists(folder / SUMMARY) else {}
    files = {path.relative_to(index).as_posix(): path for path in sorted(index.rglob("*.parquet"))}
    for name in files:
        if os.path.lexists(folder / name) and not _is_unchanged(folder, name, earlier):
            raise DatasetError(f"{folder / name} is not part of an index, or was changed since: move it away")
    hashes = _hashes(index)
    # A kill while files are replaced must not make those of either index look like somebody else's.
    both = {name: hashes.get(name, []) + earlier.get(name, []) for name in {**hashes, **earlier}}
    summary = json.loads((index / SUMMARY).read_text())
    commit_json(folder / SUMMARY, summary | {"files": both})
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(folder / name, path.read_bytes())
    for name in set(earlier) - set(files):
        if _is_unchanged(folder, name, earlier):
            (folder / name).unlink()
    commit_json(folder / SUMMARY, summary | {"files": hashes})


def _files_of(folder: Path) -> dict[str, list[str]]:
    """What an index consists of: the SHA-256 that each file may have. Those of 0.1 say it in `SHA256SUMS` alone."""
    summary = read_summary(folder)
    if "files" in summary:
        return summary["files"]
    lines = [line.split("  ", 1) for line in (folder / "SHA256SUMS").read_text().splitlines()]
    return {name: [sha256] for sha256, name in lines if name.startswith("data/")}


def _is_unchanged(folder: Path, name: str, files: dict[str, list[str]]) -> bool:
    path = folder / name
    return path.is_file() and not path.is_symlink() and file_sha256(path) in files.get(name, ())


def _hashes(folder: Path) -> dict[str, list[str]]:
    paths = sorted(folder.rglob("*.parquet"))
    return {path.relative_to(folder).as_posix(): [file_sha256(path)] for path in paths}


def fault_of(folder: Path, prefix: str = "") -> str | None:
    """What is wrong with an index, in words; None if nothing is.

    Args:
        folder: the index.
        prefix: how the addresses of all archives and pictures must begin.
    """
    try:
        summary = read_summary(folder)
    except DatasetError as error:
        return str(error)
    files, rows = summary.get("files") or {}, summary.get("rows")
    if not isinstance(files, dict) or not isinstance(rows, dict):
        return f"{SUMMARY} does not say what it consists of"
    wanted = {f"data/{task}/{split}.parquet" for task, splits in rows.items() for split in splits}
    for name in sorted(wanted | set(files)):
        if not (folder / name).is_file():
            return f"{name} is missing"
        if name in files and file_sha256(folder / name) not in files[name]:
            return f"{name} was changed or cut off"
        if prefix and (other := _elsewhere(folder / name, prefix)):
            return f"{name} points to {other}, which is not in its data set"
    return None


def _elsewhere(path: Path, prefix: str) -> str | None:
    """The first address in an index that does not begin as it should."""
    table = pq.read_table(path, columns=["lq", "gt", "lq_archive", "gt_archive"])
    for side in ("lq", "gt"):
        for row in table.select([side, f"{side}_archive"]).to_pylist():
            address = row[f"{side}_archive"] or (row[side] or {}).get("path")
            if address and not address.rpartition("::")[2].startswith(prefix):
                return address
    return None


def read_summary(folder: Path) -> dict[str, Any]:
    """Read `index.json`.

    Raises:
        DatasetError: if the folder is no index.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        return summary | {"refused": [Problem(**part) for part in summary.get("refused", ())]}
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder} is not an index of a dataset: {error}") from error
