"""Clean pictures into a data set of pairs, each with the record that replays its damage."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datasets import Features, Value
from datasets import List as ListOf

from ggt_hub import degradations
from ggt_hub.commit import file_sha256
from ggt_hub.data.pairs import PAIR_FEATURES, PICTURES, pair_row
from ggt_hub.data.reading.clean import Clean
from ggt_hub.data.work.cards import write_card
from ggt_hub.data.work.export import file_ending, table_names, write_rows, write_tables
from ggt_hub.degradations import NOTHING, Assets, Preset
from ggt_hub.errors import DatasetError, ImageError
from ggt_hub.files import seed_of
from ggt_hub.images import Metadata, encode_image, read_image
from ggt_hub.images.encode import FORMATS
from ggt_hub.images.shown import shown_rgb
from ggt_hub.reports import contact_sheet
from ggt_hub.shards import Shard, run_shards

PAIRS_IN_A_SHARD = 100
SHEET = "pairs.png"
_SHOWN = 2

FEATURES = Features({**PAIR_FEATURES, "tasks": ListOf(Value("string"))})
"""The pair schema; `tasks` are those of all families in a chain, in the order in which they were applied."""


@dataclass(frozen=True)
class Wanted:
    """One pair to make.

    Attributes:
        id: of its row; its random numbers come from it.
        clean: the picture.
        preset: what is done to it.
    """

    id: str
    clean: Clean
    preset: Preset


@dataclass(frozen=True)
class Making:
    """How pairs are made.

    Attributes:
        severity: 0..1, or None to draw it.
        seed: of the run; each pair has a seed of its own by its id.
        format: of the low-quality pictures: png, webp, jpg ...
        quality: 1 to 100, of JPEG and WebP; 100 makes WebP lossless.
        assets: what families may use besides the pictures.
    """

    severity: float | None = None
    seed: int = 0
    format: str = "png"
    quality: int = 95
    assets: Assets = NOTHING


def parse_format(text: str) -> tuple[str, int]:
    """Ending and quality of `png`, `webp` (lossless), `jpeg:95` and the like.

    Raises:
        DatasetError: for an ending that is not written, or a quality outside 1..100.
    """
    ending, _, quality = text.partition(":")
    known = ", ".join(suffix[1:] for suffix in FORMATS)
    if f".{ending}" not in FORMATS:
        raise DatasetError(f"--format {text}: there are {known}, with :QUALITY where something may be lost")
    if not quality:
        return ending, 100 if ending == "webp" else 95
    if not (quality.isdecimal() and 1 <= int(quality) <= 100):
        raise DatasetError(f"--format {text}: the quality is a whole number from 1 to 100")
    return ending, int(quality)


def want_for_tasks(clean: Sequence[Clean], presets: Sequence[Preset], count: int, seed: int) -> list[Wanted]:
    """`count` pairs for each preset, of pictures in an order that is drawn.

    All pictures are used once before any is used again. A larger `count` gives the same pairs and more.

    Raises:
        DatasetError: if there are no pictures.
    """
    if not clean:
        raise DatasetError("there are no pictures to make pairs of")
    wanted = []
    for preset in presets:
        rng = np.random.default_rng((seed, seed_of(preset.task, 0)))
        order = np.concatenate([rng.permutation(len(clean)) for _ in range(-(-count // len(clean)))])
        for number, place in enumerate(order[:count].tolist()):
            stem = PurePosixPath(clean[place].name).stem
            wanted.append(Wanted(f"{preset.task}/{number:06d}-{stem}", clean[place], preset))
    return wanted


def make_pairs(
    wanted: Sequence[Wanted],
    making: Making,
    folder: Path,
    *,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    engine: str = "local",
) -> dict[str, str]:
    """Write pairs as Parquet: `gt` is the picture's file as it is, `lq` what was made of it.

    The same pictures and settings give the same bytes, whatever the number of workers and parts; interrupted, a
    call is repeated. `meta` of a row holds `record`, which `degradations.replay(gt, record)` takes. Where the
    damage touched `gt`, too, that is a PNG of its own, and `meta` names the file that the record is for by
    `clean_sha256`.

    Args:
        wanted: the pairs.
        making: how.
        folder: where to.
        workers: processes.
        engine: whose processes, see `engines.run_tasks`.
        part: (I, N) makes one of N parts, which may run at the same time; the card is written with the last.

    Returns:
        Why pairs of this part were left out, by their ids.

    Raises:
        DatasetError: if there is nothing to make, or no picture could be read.
        DegradationError: for a severity outside 0..1.
    """
    if not wanted:
        raise DatasetError("there are no pictures to make pairs of")
    degradations.check_severity(making.severity)
    slices = [wanted[n : n + PAIRS_IN_A_SHARD] for n in range(0, len(wanted), PAIRS_IN_A_SHARD)]
    names = table_names("default", "train", len(slices))
    shards = [
        Shard(name, (list(some), making), _version(some)) for name, some in zip(names, slices, strict=True)
    ]
    settings = asdict(replace(making, assets=NOTHING)) | {"assets": making.assets.identity}
    reports = write_tables(
        make_part,
        shards,
        folder,
        config="default",
        settings=settings,
        workers=workers,
        part=part,
        engine=engine,
        describe=partial(_describe, wanted=wanted, making=making),
    )
    failed = {name: reason for report in reports for name, reason in report["failed"].items()}
    if failed and not sum(report["rows"] for report in reports):
        raise DatasetError(
            f"none of the {len(failed)} pictures could be read, such as {next(iter(failed.values()))}"
        )
    return failed


def _describe(folder: Path, wanted: Sequence[Wanted], making: Making) -> None:
    """Write the card, and a sheet with the first pairs of each task."""
    tables = sorted((folder / "data/default").glob("*.parquet"))
    drawn_of = hashlib.sha256("".join(map(file_sha256, tables)).encode()).hexdigest()
    run_shards(_draw_sheet, [Shard(SHEET, (tables,), drawn_of)], folder, settings="sheet")
    presets = dict.fromkeys(pair.preset.name for pair in wanted)
    severity = "drawn for each" if making.severity is None else f"{making.severity:g}"
    how = (
        f"By ggt-hub {version('ggt-hub')} of clean pictures from "
        f"{', '.join(dict.fromkeys(pair.clean.source for pair in wanted))}: preset {', '.join(presets)}, severity "
        f"{severity}, seed {making.seed}. `record` in `meta` holds what each family did to a picture, with all "
        "parameters, and `ggt_hub.degradations.replay(gt, record)` gives `lq` again. `SHA256SUMS` covers the files."
    )
    write_card(folder, how=how, sheet=SHEET)


def _draw_sheet(tables: Sequence[Path], path: Path) -> dict[str, Any]:
    shown = _first_of_each_task([pq.ParquetFile(table) for table in tables])
    pictures = [shown_rgb(row[side]["bytes"]) for row in shown for side in PICTURES]
    captions = [f"{side} {row['task']}" for row in shown for side in PICTURES]
    contact_sheet(pictures, captions, columns=2 * _SHOWN).save(path, "PNG")
    return {"pictures": len(pictures)}


def _first_of_each_task(tables: Sequence[pq.ParquetFile]) -> list[dict[str, Any]]:
    """Up to `_SHOWN` rows of each task; only what is shown is read with its pictures."""
    places: dict[str, list[tuple[int, int]]] = {}
    for number, table in enumerate(tables):
        for row, task in enumerate(table.read(columns=["task"])["task"].to_pylist()):
            places.setdefault(task, []).append((number, row))
    chosen = [place for of_task in places.values() for place in of_task[:_SHOWN]]
    return [_read_row(tables[number], row) for number, row in chosen]


def _read_row(table: pq.ParquetFile, row: int) -> dict[str, Any]:
    for group in range(table.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        if row < rows:
            return table.read_row_group(group).slice(row, 1).to_pylist()[0]
        row -= rows
    raise IndexError(row)


def _version(wanted: Sequence[Wanted]) -> str:
    told = [(pair.id, pair.clean.version, pair.preset.sha256) for pair in wanted]
    return hashlib.sha256(repr(told).encode(errors="surrogateescape")).hexdigest()


def make_part(wanted: list[Wanted], making: Making, path: Path) -> dict[str, Any]:
    """Write some pairs to one Parquet file."""
    failed: dict[str, str] = {}
    rows = write_rows(path, _rows(wanted, making, failed), FEATURES)
    return {"rows": rows, "failed": failed}


def _rows(wanted: list[Wanted], making: Making, failed: dict[str, str]) -> Iterator[dict[str, Any]]:
    for pair in wanted:
        try:
            yield _row(pair, making)
        except (ImageError, DatasetError, OSError) as error:
            failed[pair.id] = f"{pair.clean.name}: {error}"


def _row(pair: Wanted, making: Making) -> dict[str, Any]:
    file = pair.clean.read()
    picture = read_image(file, name=pair.clean.name)
    damaged, gt_picture, record = degradations.degrade_pair(
        picture,
        pair.preset,
        severity=making.severity,
        seed=seed_of(pair.id, making.seed),
        assets=making.assets,
    )
    tasks = [degradations.STEPS[step["family"]].task for step in record["steps"]]
    suffix = f".{making.format.lstrip('.')}"
    record["steps"] += degradations.encoding(suffix, making.quality)
    gt = file
    meta: dict[str, Any] = {"record": record}
    if gt_picture is not picture:
        gt = encode_image(gt_picture, ".png").data
        meta["clean_sha256"] = hashlib.sha256(file).hexdigest()
    carried = damaged.metadata  # only what the pixels need: the ground truth keeps the rest
    carried = Metadata(icc=carried.icc, cicp=carried.cicp, lossless=carried.lossless)
    lq = encode_image(replace(damaged, metadata=carried), suffix, making.quality).data
    stem = PurePosixPath(pair.id).stem
    return pair_row(
        pair.id,
        {"bytes": lq, "path": f"{stem}.lq.{file_ending(lq)}"},
        {"bytes": gt, "path": f"{stem}.gt.{file_ending(gt)}"},
        source=pair.clean.source,
        task=record["task"],
        meta=meta,
        tasks=[*dict.fromkeys(tasks)],
        lq_sha256=hashlib.sha256(lq).hexdigest(),
        gt_sha256=hashlib.sha256(gt).hexdigest(),
    )
