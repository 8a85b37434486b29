"""Data sets as other code bases read them.

WebDataset archives, BasicSR's folders and its LMDB; and what trainers of instruction editors read: lines of JSON
with both paths, the metadata of DiffSynth-Studio, and the columns of InstructPix2Pix.
"""

import csv
import hashlib
import io
import json
import os
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from datasets import Dataset, Features, Image, Value

from ggt_hub.commit import (
    RECORDS,
    commit_bytes,
    commit_json,
    commit_text,
    committed_folder,
    file_sha256,
    locked,
    whole_lines,
)
from ggt_hub.data.pairs import PICTURES
from ggt_hub.data.reading.iterate import Undecoded
from ggt_hub.data.reading.parts import SHARD_BYTES, Part, dataset_parts, rows_of
from ggt_hub.data.sources import lmdbs
from ggt_hub.data.sources.versions import code_hash
from ggt_hub.data.work.export import (
    check_row,
    file_ending,
    refuse_others,
    remove_outdated,
    table_names,
    write_rows,
)
from ggt_hub.errors import DatasetError
from ggt_hub.images import read_image
from ggt_hub.shards import Shard, Work, read_report, remove_result, results, run_shards

Splits = Mapping[str, Dataset]
Instruct = Callable[[str], str]

_WRITTEN = Path(RECORDS) / "pictures.jsonl"
_LONGEST = 200  # bytes of a name, beside its hash and its ending

IP2P_FEATURES = Features({"input_image": Image(), "edit_prompt": Value("string"), "edited_image": Image()})
"""What diffusers' `train_instruct_pix2pix.py` reads by default, with the published data set's names of columns."""


def no_instruction(task: str) -> str:
    """What stands for a prompt where there is none, and nobody says better."""
    return ""


@dataclass(frozen=True)
class _Names:
    """What pairs are called in a layout: their ids, of letters that every code base takes.

    Dots are not among them, for BasicSR takes what stands before the first one for the key of a picture in LMDB.

    Attributes:
        hashed: names that several ids would have, or that are too long: the hash of the id tells these apart.
    """

    hashed: frozenset[str]

    @classmethod
    def for_all(cls, ids: Iterable[str]) -> Self:
        """For the pairs of a split."""
        counts = Counter(map(_plain, ids))
        return cls(
            frozenset(name for name, count in counts.items() if count > 1 or len(name.encode()) > _LONGEST)
        )

    def of(self, pair_id: str) -> str:
        """Of a pair, without an ending."""
        name = _plain(pair_id)
        if name not in self.hashed:
            return name
        beginning = name.encode()[:_LONGEST].decode(errors="ignore")
        return f"{beginning}-{hashlib.sha256(pair_id.encode()).hexdigest()[:16]}"


def _plain(pair_id: str) -> str:
    return re.sub(r"[^\w-]+", "_", pair_id)


def write_layout(
    splits: Splits,
    folder: Path,
    layout: str,
    *,
    workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    instruct: Instruct = no_instruction,
) -> int:
    """Write a data set in another layout, every picture byte for byte; may be interrupted and repeated.

    Args:
        splits: rows of the pair schema.
        folder: where to.
        layout: one of `LAYOUTS`.
        workers: processes.
        shard_bytes: of the pictures in one archive, about.
        instruct: task to what an editor is told for it, where a row of its has no prompt; a function of a module.

    Returns:
        How many pairs.

    Raises:
        DatasetError: for an unknown layout, a picture that is missing or damaged, a row without ground truth where
            the layout has no place for that, or files of somebody else's where the results belong.
        BusyError: if another process exports into the folder.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f"there is no layout {layout!r}, only parquet, {', '.join(LAYOUTS)}")
    with locked(folder / RECORDS / "lock", waits=False):
        return LAYOUTS[layout](splits, folder, workers, shard_bytes, instruct)


def _webdataset(splits: Splits, folder: Path, workers: int, shard_bytes: int, _: Instruct) -> int:
    """`SPLIT-000000.tar` with `KEY.lq.png`, `KEY.gt.png` and `KEY.json` for each pair."""
    shards = []
    for split, dataset in splits.items():
        start = 0
        for number, part in enumerate(dataset_parts(dataset, shard_bytes)):
            shards.append(Shard(f"{split}-{number:06d}.tar", (part, start), f"{part.id} {start}"))
            start += part.rows
    reports = run_shards(_write_tar, shards, folder, settings=code_hash(), workers=workers, title="Exporting")
    for name in set(results(folder, "")) - {shard.name for shard in shards}:
        if name.endswith(".tar"):
            remove_result(folder, name)
    return sum(report["rows"] for report in reports)


def _write_tar(part: Part, start: int, path: Path) -> dict[str, Any]:
    rows = 0
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, item in enumerate(rows_of(part), start):
            row = check_row(item)
            about = {
                name: row.get(name) for name in ("id", "task", "source", "prompt", "meta") if row.get(name)
            }
            for side in PICTURES:
                if row[side] is not None:
                    _add(
                        archive, f"{number:08d}.{side}.{file_ending(row[side]['bytes'])}", row[side]["bytes"]
                    )
            _add(archive, f"{number:08d}.json", json.dumps(about, ensure_ascii=False).encode())
            rows += 1
    return {"rows": rows}


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # with no time and no owner: the same rows give the same bytes
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _basicsr(splits: Splits, folder: Path, workers: int, shard_bytes: int, _: Instruct) -> int:
    """`SPLIT/lq/NAME` and `SPLIT/gt/NAME`, of one name on both sides, and `SPLIT/meta_info.txt`.

    BasicSR asks for equal names, endings included: both have that of the ground truth. It reads files by their
    content, as everybody does.
    """
    shards = []
    for split, dataset in splits.items():
        names = _Names.for_all(dataset["id"])
        for number, part in enumerate(dataset_parts(dataset, shard_bytes)):
            name = f"{split}/meta_info_{number:04d}.txt"
            shards.append(Shard(name, (part, folder / split, names), f"{part.id} {sorted(names.hashed)}"))
    return _with_pictures(_write_folders, shards, folder, workers, ".txt")


def _write_folders(part: Part, folder: Path, names: _Names, path: Path) -> dict[str, Any]:
    lines, files = [], list[str]()
    for item in rows_of(part):
        row = _whole(item)
        name = f"{names.of(row['id'])}.{file_ending(row['gt']['bytes'])}"
        for side in PICTURES:
            files.append(f"{side}/{name}")
            _write_once(folder.parent, f"{folder.name}/{side}/{name}", row[side]["bytes"])
        width, height = read_image(row["gt"]["bytes"], name=name).size
        lines.append(f"{name} ({height},{width},3)\n")
    path.write_text("".join(lines), encoding="utf-8")
    return {"rows": len(lines), "files": files}


def _with_pictures(work: Work, shards: Sequence[Shard], folder: Path, workers: int, ending: str) -> int:
    """Make lists of pictures that lie beside them as files, and remove those that exports wrote and no list names.

    Which these are is in a record of the folder, from before they are there: what lay there before is somebody's,
    also where it is the same picture.

    Args:
        work: makes a list; its report names `files`, from the folder of the list.
        shards: the lists.
        folder: of the export.
        workers: processes.
        ending: of the names of such lists.

    Returns:
        How many pairs.
    """
    earlier = {name for name in results(folder, "") if name.endswith(ending)}
    reports = run_shards(work, shards, folder, settings=code_hash(), workers=workers, title="Exporting")
    for name in earlier - {shard.name for shard in shards}:
        remove_result(folder, name)
    listed = {file for name in results(folder, "") for file in _files(read_report(folder, name))}
    ours = _written(folder)
    for name in ours.keys() - listed:
        if (folder / name).is_file() and file_sha256(folder / name) == ours[name]:
            (folder / name).unlink()
    left = [_line(name, sha256) for name, sha256 in sorted(ours.items()) if name in listed]
    commit_text(folder / _WRITTEN, "".join(left))
    return sum(report["rows"] for report in reports)


def _files(report: Mapping[str, Any] | None) -> set[str]:
    """The files of a report, from the folder of the export."""
    if report is None:
        return set()
    return {(PurePosixPath(report["name"]).parent / name).as_posix() for name in report.get("files", ())}


def _written(folder: Path) -> dict[str, str]:
    """The pictures that exports wrote, from their folder, by their SHA-256."""
    path = folder / _WRITTEN
    lines = whole_lines(path.read_bytes()).splitlines() if path.is_file() else []
    return dict(json.loads(line) for line in lines)


def _line(name: str, sha256: str) -> str:
    return json.dumps([name, sha256]) + "\n"


def _write_once(folder: Path, name: str, data: bytes) -> None:
    """Write a file of an export unless it is there; another one of that name is somebody else's."""
    target = folder / name
    if os.path.lexists(target):
        if target.is_symlink() or target.read_bytes() != data:
            raise DatasetError(f"{target} is there and is another picture: choose an empty folder")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with (folder / _WRITTEN).open("a", encoding="utf-8") as record:  # a line is one write, whole or not there
        record.write(_line(name, hashlib.sha256(data).hexdigest()))
    commit_bytes(target, data)


def _lmdb(splits: Splits, folder: Path, workers: int, shard_bytes: int, _: Instruct) -> int:
    """`SPLIT_lq.lmdb` and `SPLIT_gt.lmdb`, each with the `meta_info.txt` that BasicSR reads."""
    count = 0
    for split, dataset in splits.items():
        version = f"{dataset._fingerprint} {code_hash()}"
        names = _Names.for_all(dataset["id"])
        for side in PICTURES:
            target = folder / f"{split}_{side}.lmdb"
            record = folder / RECORDS / f"{target.name}.json"
            if not _is_done(target, record, version):
                with committed_folder(target) as made:
                    lmdbs.write(made, _keyed(dataset, side, names))
                    commit_json(record, {"version": version, "sha256": file_sha256(made / lmdbs.DATA)})
        count += len(dataset)
    return count


def _is_done(target: Path, record: Path, version: str) -> bool:
    if not os.path.lexists(target):
        return False
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    if not (target / lmdbs.DATA).is_file() or file_sha256(target / lmdbs.DATA) != known.get("sha256"):
        raise DatasetError(f"{target} was not made by ggt-hub, or was changed since: move it away")
    return known["version"] == version


def _keyed(dataset: Dataset, side: str, names: _Names) -> Iterator[tuple[str, bytes]]:
    for part in dataset_parts(dataset, SHARD_BYTES):
        for item in rows_of(part):
            row = _whole(item)
            yield names.of(row["id"]), row[side]["bytes"]


def _whole(item: Undecoded) -> dict[str, Any]:
    row = check_row(item)
    for side, name in zip(PICTURES, ("low-quality picture", "ground truth"), strict=True):
        if row[side] is None:
            raise DatasetError(f"{row['id']!r} has no {name}, which this layout needs")
    return row


def _jsonl(splits: Splits, folder: Path, workers: int, _shard_bytes: int, instruct: Instruct) -> int:
    """`SPLIT.jsonl`, each line `{"lq", "gt", "type", "prompt"}`, paths from where that file lies."""
    return _listed("{}.jsonl", _write_lines, splits, folder, workers, instruct)


def _write_lines(
    part: Part, split: str, folder: Path, names: _Names, instruct: Instruct, path: Path
) -> dict[str, Any]:
    files: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        for row, lq, gt in _side_by_side(part, folder / split, names):
            line = {"lq": f"{split}/{lq}", "gt": f"{split}/{gt}", "type": row["task"] or ""}
            line["prompt"] = row["prompt"] or instruct(row["task"] or "general")
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            files += [line["lq"], line["gt"]]
    return {"rows": len(files) // 2, "files": files}


def _diffsynth(splits: Splits, folder: Path, workers: int, _shard_bytes: int, instruct: Instruct) -> int:
    """`SPLIT/metadata.csv` of DiffSynth-Studio's `--dataset_base_path SPLIT`: the target, what is edited, how."""
    return _listed("{}/metadata.csv", _write_metadata, splits, folder, workers, instruct)


def _write_metadata(
    part: Part, split: str, folder: Path, names: _Names, instruct: Instruct, path: Path
) -> dict[str, Any]:
    files: list[str] = []
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "prompt", "edit_image"])
        for row, lq, gt in _side_by_side(part, folder / split, names):
            table.writerow([gt, row["prompt"] or instruct(row["task"] or "general"), lq])
            files += [lq, gt]
    return {"rows": len(files) // 2, "files": files}


def _listed(
    name: str,
    write: Callable[..., dict[str, Any]],
    splits: Splits,
    folder: Path,
    workers: int,
    instruct: Instruct,
) -> int:
    """The pictures in `SPLIT/lq` and `SPLIT/gt`, and one list for each split."""
    shards = []
    for split, dataset in splits.items():
        names = _Names.for_all(dataset["id"])
        for part in dataset_parts(dataset, sys.maxsize):
            version = f"{part.id} {sorted(names.hashed)} {_named(instruct)}"
            shards.append(Shard(name.format(split), (part, split, folder, names, instruct), version))
    return _with_pictures(write, shards, folder, workers, name.rpartition("{}")[2].lstrip("/"))


def _side_by_side(part: Part, folder: Path, names: _Names) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Each row, and where its two pictures now lie in the folder, each with the ending of its own format."""
    for item in rows_of(part):
        row = _whole(item)
        lq, gt = (f"{side}/{names.of(row['id'])}.{file_ending(row[side]['bytes'])}" for side in PICTURES)
        for side, name in zip(PICTURES, (lq, gt), strict=True):
            _write_once(folder.parent, f"{folder.name}/{name}", row[side]["bytes"])
        yield row, lq, gt


def _instructpix2pix(splits: Splits, folder: Path, workers: int, shard_bytes: int, instruct: Instruct) -> int:
    """Parquet of `IP2P_FEATURES`, named so that `load_dataset` finds the splits."""
    config = "instructpix2pix"
    refuse_others(folder, config)
    shards = []
    for split, dataset in splits.items():
        parts = dataset_parts(dataset, shard_bytes)
        for name, part in zip(table_names(config, split, len(parts)), parts, strict=True):
            shards.append(Shard(name, (part, instruct), f"{part.id} {_named(instruct)}"))
    reports = run_shards(
        _write_instructed, shards, folder, settings=code_hash(), workers=workers, title="Exporting"
    )
    remove_outdated(folder, config, {shard.name for shard in shards})
    return sum(report["rows"] for report in reports)


def _write_instructed(part: Part, instruct: Instruct, path: Path) -> dict[str, Any]:
    rows = (
        {
            "input_image": {"bytes": row["lq"]["bytes"], "path": None},
            "edit_prompt": row["prompt"] or instruct(row["task"] or "general"),
            "edited_image": {"bytes": row["gt"]["bytes"], "path": None},
        }
        for row in map(_whole, rows_of(part))
    )
    return {"rows": write_rows(path, rows, IP2P_FEATURES)}


def _named(function: Instruct) -> str:
    return f"{function.__module__}.{function.__qualname__}"


LAYOUTS: dict[str, Callable[[Splits, Path, int, int, Instruct], int]] = {
    "webdataset": _webdataset,
    "lmdb": _lmdb,
    "basicsr": _basicsr,
    "jsonl": _jsonl,
    "diffsynth": _diffsynth,
    "instructpix2pix": _instructpix2pix,
}
