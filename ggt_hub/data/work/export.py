"""`export`: a data set as Parquet of the pair schema, pictures byte for byte as they were.

    OUT/data/CONFIG/SPLIT-00000-of-00003.parquet   shards of about 500 MB
    OUT/README.md                                  the card: configs, splits, licence
    OUT/SHA256SUMS                                 to be checked with `sha256sum -c` or `ggt-hub data verify`

It loads with the stock `datasets` library alone, and its row groups are small enough for the Hub's viewer.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, Image

from ggt_hub.commit import RECORDS, commit_text, file_sha256, locked
from ggt_hub.data.pairs import PAIR_FEATURES, PICTURES, POINTER_FEATURES
from ggt_hub.data.reading.iterate import Undecoded
from ggt_hub.data.reading.parts import SHARD_BYTES, Part, dataset_parts, rows_of
from ggt_hub.data.sources.index import SUMMARY
from ggt_hub.data.sources.versions import code_hash
from ggt_hub.data.work.card_file import CARD
from ggt_hub.data.work.cards import write_card
from ggt_hub.errors import DatasetError
from ggt_hub.shards import Shard, Work, are_made, is_result, remove_result, results, run_shards

# The Hub's viewer fails on row groups of more than about 286 MiB, and pages through small ones at ease.
GROUP_BYTES = 32_000_000
GROUP_ROWS = 1000
SUMS = "SHA256SUMS"


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
    shards = []
    for split, dataset in splits.items():
        parts = dataset_parts(dataset, shard_bytes)
        names = table_names(config, split, len(parts))
        shards += [Shard(name, (part, split), part.id) for name, part in zip(names, parts, strict=True)]
    describe = partial(write_card, card=card)
    return write_tables(export_part, shards, folder, config=config, workers=workers, describe=describe)


def table_names(config: str, split: str, count: int) -> list[str]:
    """What the Parquet files of a split are called."""
    return [f"data/{config}/{split}-{n:05d}-of-{count:05d}.parquet" for n in range(count)]


def write_tables(
    work: Work,
    shards: Sequence[Shard],
    folder: Path,
    *,
    config: str,
    settings: Any = None,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    engine: str = "local",
    describe: Callable[[Path], None] = write_card,
    pool: Executor | None = None,
) -> list[dict[str, Any]]:
    """Make the Parquet files of a config with their card and sums, in place of those of an earlier call.

    Args:
        work: makes a file; see `shards.run_shards`.
        shards: likewise.
        folder: likewise.
        config: what the files belong to.
        settings: see `shards.run_shards`.
        workers: likewise.
        part: (I, N) makes every Nth file from the Ith on, beside calls that make the others. Who finds all files
            made, by whomever, writes card and sums.
        engine: see `shards.run_shards`.
        describe: writes the card of a folder.
        pool: see `shards.run_shards`.

    Returns:
        A report for each file of the part.

    Raises:
        DatasetError: if the folder holds other Parquet files of this config than an earlier call wrote.
        BusyError: if another process writes into the folder.
    """
    refuse_others(folder, config)
    number, parts = part
    settings = [code_hash(), settings]
    with locked(folder / RECORDS / f"lock{f'-{number}' if parts > 1 else ''}", waits=False):
        mine = shards[number - 1 :: parts]
        reports = run_shards(
            work,
            mine,
            folder,
            settings=settings,
            workers=workers,
            engine=engine,
            title="Exporting",
            pool=pool,
        )
        with locked(folder / RECORDS / "lock-of-the-card", waits=True):
            if are_made(shards, folder, settings=settings):
                remove_outdated(folder, config, {shard.name for shard in shards})
                describe(folder)
                write_sums(folder)
    return reports


def export_part(part: Part, split: str, path: Path) -> dict[str, Any]:
    """Write one part of a split to a Parquet file."""
    features = features_of(next(part.tables()).schema)
    return {"split": split, "rows": write_rows(path, map(check_row, rows_of(part)), features)}


def write_rows(path: Path, rows: Iterable[dict[str, Any]], features: Features = PAIR_FEATURES) -> int:
    """Write rows, their pictures as bytes, in row groups that suit the Hub's viewer; returns how many."""
    schema = features.arrow_schema
    pictures = [name for name, feature in features.items() if isinstance(feature, Image)]
    plain = [name for name in schema.names if name not in pictures]
    stored = [f"{name}.bytes" for name in pictures]
    count = 0
    with pq.ParquetWriter(
        path,
        schema,
        compression={**dict.fromkeys(plain, "zstd"), **dict.fromkeys(stored, "none")},
        use_dictionary=plain,
        write_statistics=plain,
        write_page_index=True,
    ) as writer:
        for group in _groups(rows, pictures):
            writer.write_table(pa.Table.from_pylist(group, schema))
            count += len(group)
    return count


def features_of(schema: pa.Schema) -> Features:
    """The pair schema and whatever further columns there are, without those that point into archives."""
    there = Features.from_arrow_schema(schema)
    further = {name: feature for name, feature in there.items() if name not in POINTER_FEATURES}
    return Features({**PAIR_FEATURES, **further})


def _groups(rows: Iterable[dict[str, Any]], pictures: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Row groups: as many rows as stay within `GROUP_BYTES`, at least one."""
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        added = sum(len(row[name]["bytes"]) for name in pictures if row[name] is not None)
        if group and (size + added > GROUP_BYTES or len(group) == GROUP_ROWS):
            yield group
            group, size = [], 0
        group.append(row)
        size += added
    if group:
        yield group


def check_row(item: Undecoded) -> dict[str, Any]:
    """A row with the bytes of its pictures and their SHA-256.

    Raises:
        DatasetError: if a picture is missing, or is not the one that the row's SHA-256 names.
    """
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
    return f"{PurePosixPath(row_id).name}.{side}.{file_ending(data)}"


def file_ending(data: bytes) -> str:
    """The ending that a picture's bytes ask for, without its dot."""
    endings = {
        b"\x89PNG": "png",
        b"\xff\xd8\xff": "jpg",
        b"RIFF": "webp",
        b"BM": "bmp",
        b"II": "tif",
        b"MM": "tif",
    }
    return next((ending for magic, ending in endings.items() if data.startswith(magic)), "img")


def refuse_others(folder: Path, config: str) -> None:
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


def remove_outdated(folder: Path, config: str, names: set[str]) -> None:
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
