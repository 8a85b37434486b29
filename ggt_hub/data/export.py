"""`export`: a data set as Parquet of the pair schema, pictures byte for byte as they were.

    OUT/data/CONFIG/SPLIT-00000-of-00003.parquet   shards of about 500 MB
    OUT/README.md                                  the card: configs, splits, licence
    OUT/SHA256SUMS                                 to be checked with `sha256sum -c` or `ggt-hub data verify`

It loads with the stock `datasets` library alone, and its row groups are small enough for the Hub's viewer.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features

from ggt_hub.commit import RECORDS, commit_text, file_sha256, locked
from ggt_hub.data.card_file import CARD
from ggt_hub.data.cards import write_card
from ggt_hub.data.index import SUMMARY
from ggt_hub.data.iterate import Undecoded
from ggt_hub.data.pairs import PAIR_FEATURES, PICTURES, POINTER_FEATURES
from ggt_hub.data.parts import Part, dataset_parts, rows_of
from ggt_hub.data.versions import code_hash
from ggt_hub.errors import DatasetError
from ggt_hub.shards import Shard, is_result, remove_result, results, run_shards

SHARD_BYTES = 500_000_000
# The Hub's viewer fails on row groups of more than about 286 MiB, and pages through small ones at ease.
GROUP_BYTES = 32_000_000
GROUP_ROWS = 1000
SUMS = "SHA256SUMS"

_BYTES_COLUMNS = [f"{side}.bytes" for side in PICTURES]


def export(
    splits: Mapping[str, Dataset],
    folder: Path,
    *,
    config: str = "default",
    workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    card: Path | None = None,
) -> list[dict[str, Any]]:
    """Write the splits of a data set to a folder; resumes where an earlier call was interrupted.

    Args:
        splits: rows of the pair schema with the names of their splits, pictures as bytes or as pointers.
        folder: where to. Another config that was exported there before stays.
        config: the name that `load_dataset` will know these splits by.
        workers: processes.
        shard_bytes: the size of the picture files in one Parquet file, about.
        card: see `cards.write_card`.

    Returns:
        A report for each file: `name`, `split`, `rows`, `size`, `sha256`.

    Raises:
        DatasetError: if a picture is missing or damaged, or is not the one that its row's SHA-256 names; and if the
            folder holds other Parquet files of this config than an earlier call wrote.
        BusyError: if another process exports into the folder.
        HubError: if the Hub does not give a picture.
    """
    _refuse_others(folder, config)
    with locked(folder / RECORDS / "lock", waits=False):
        return _export(splits, folder, config, workers, shard_bytes, card)


def _export(
    splits: Mapping[str, Dataset],
    folder: Path,
    config: str,
    workers: int,
    shard_bytes: int,
    card: Path | None,
) -> list[dict[str, Any]]:
    shards = []
    for split, dataset in splits.items():
        parts = dataset_parts(dataset, shard_bytes)
        names = [f"data/{config}/{split}-{n:05d}-of-{len(parts):05d}.parquet" for n in range(len(parts))]
        shards += [Shard(name, (part, split), part.id) for name, part in zip(names, parts, strict=True)]
    reports = run_shards(
        export_part, shards, folder, settings=code_hash(), workers=workers, title="Exporting"
    )
    _remove_outdated(folder, config, {shard.name for shard in shards})
    write_card(folder, card)
    write_sums(folder)
    return reports


def export_part(part: Part, split: str, path: Path) -> dict[str, Any]:
    """Write one part of a split to a Parquet file."""
    features = _features(next(part.tables()).schema)
    schema = features.arrow_schema
    plain = [name for name in schema.names if name not in PICTURES]
    rows = 0
    with pq.ParquetWriter(
        path,
        schema,
        compression={**dict.fromkeys(plain, "zstd"), **dict.fromkeys(_BYTES_COLUMNS, "none")},
        use_dictionary=plain,
        write_statistics=plain,
        write_page_index=True,
    ) as writer:
        for group in _groups(rows_of(part)):
            writer.write_table(pa.Table.from_pylist([_row(item) for item in group], schema))
            rows += len(group)
    return {"split": split, "rows": rows}


def _features(schema: pa.Schema) -> Features:
    """The pair schema and whatever further columns there are, without those that point into archives."""
    there = Features.from_arrow_schema(schema)
    further = {name: feature for name, feature in there.items() if name not in POINTER_FEATURES}
    return Features({**PAIR_FEATURES, **further})


def _groups(items: Iterator[Undecoded]) -> Iterator[list[Undecoded]]:
    """Row groups: as many rows as stay within `GROUP_BYTES`, at least one."""
    group: list[Undecoded] = []
    size = 0
    for item in items:
        added = sum(len(data) for data in item.files.values() if isinstance(data, bytes))
        if group and (size + added > GROUP_BYTES or len(group) == GROUP_ROWS):
            yield group
            group, size = [], 0
        group.append(item)
        size += added
    if group:
        yield group


def _row(item: Undecoded) -> dict[str, Any]:
    row = dict(item.row)
    for side in PICTURES:
        data, name = item.files[side], f"{side} of {row['id']!r}"
        if isinstance(data, Exception):
            raise type(data)(f"{name}: {data}") from data
        if data is None:
            row[side] = None
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        if row.get(f"{side}_sha256") not in (None, sha256):
            raise DatasetError(f"{name} is damaged: its SHA-256 is {sha256}; fetch the data again")
        row |= {side: {"bytes": data, "path": _file_name(row["id"], side, data)}, f"{side}_sha256": sha256}
    return row


def _file_name(row_id: str, side: str, data: bytes) -> str:
    """A name for those who unpack the pictures again."""
    endings = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp", b"BM": "bmp"}
    ending = next((ending for magic, ending in endings.items() if data.startswith(magic)), "img")
    return f"{PurePosixPath(row_id).name}.{side}.{ending}"


def _refuse_others(folder: Path, config: str) -> None:
    """Refuse a config's folder with Parquet files that no earlier export wrote, or that were changed since."""
    theirs = [
        path.name
        for path in sorted((folder / "data" / config).glob("*.parquet"))
        if not path.name.startswith(".") and not is_result(folder, f"data/{config}/{path.name}")
    ]
    if theirs:
        raise DatasetError(
            f"{folder / 'data' / config} holds files that no export wrote, such as {theirs[0]}: choose another "
            "--output, or another name by --config"
        )


def _remove_outdated(folder: Path, config: str, names: set[str]) -> None:
    """Remove what an earlier export of this config wrote under other names."""
    for name in results(folder, f"data/{config}"):
        if name not in names:
            remove_result(folder, name)


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` over the data of a folder; the card is left out, for people complete it.

    Raises:
        DatasetError: if there is a file of that name which lists other data.
    """
    files = [*sorted((folder / "data").glob("*/*.parquet")), folder / SUMMARY]
    names = [path.relative_to(folder).as_posix() for path in files if path.is_file()]
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    there = _sums(folder)
    if there and not any(name.startswith("data/") for name in there):
        raise DatasetError(f"{folder / SUMS} is somebody else's, for it lists nothing in data/: move it away")
    commit_text(folder / SUMS, "".join(f"{file_sha256(folder / name)}  {name}\n" for name in names))


def check_sums(folder: Path) -> list[str]:
    """Name the files that are missing or differ from `SHA256SUMS`; empty if all is well or there are no sums.

    The card is not looked at, though 0.1 listed it: people complete it.
    """
    return [
        f"{name}: {'its SHA-256 differs' if (folder / name).is_file() else 'it is missing'}"
        for name, sha256 in _sums(folder).items()
        if name != CARD and (not (folder / name).is_file() or file_sha256(folder / name) != sha256)
    ]


def _sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name.lstrip(" *"): sha256 for sha256, _, name in (line.partition(" ") for line in lines) if name}
