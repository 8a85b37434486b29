"""Clean photographs into a data set of pairs, each with the record that replays its damage."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ggt_hub import degradations
from ggt_hub.data.export import file_ending, table_names, write_rows, write_tables
from ggt_hub.data.pairs import pair_row
from ggt_hub.degradations import NOTHING, Assets, Preset
from ggt_hub.errors import DatasetError, ImageError
from ggt_hub.files import Job
from ggt_hub.images import Metadata, encode_image, read_image
from ggt_hub.shards import Shard

PICTURES_IN_A_SHARD = 100


@dataclass(frozen=True)
class Making:
    """How pairs are made.

    Attributes:
        preset: a family or a chain; see `degradations.load_preset`.
        severity: 0..1, or None to draw it.
        seed: of the run; each picture has a seed of its own by its relative name.
        format: of the low-quality pictures: png, webp, jpg ...
        source: what the rows call the data set.
        assets: what families may use besides the picture; see `degradations.degrade`.
    """

    preset: str | Path | Preset
    severity: float | None = None
    seed: int = 0
    format: str = "png"
    source: str = "pairs"
    assets: Assets = NOTHING


def make_pairs(jobs: Sequence[Job], making: Making, folder: Path, *, workers: int = 1) -> dict[str, str]:
    """Write pairs as Parquet: `gt` is the picture's file as it is, `lq` what was made of it.

    The same pictures and settings give the same bytes, whatever the number of workers; interrupted, a call is
    repeated. `meta` of a row holds `record`, which `degradations.replay(gt, record)` takes. Where the damage
    touched `gt`, too, that is a PNG of its own, and `meta` names the file that the record is for by `clean_sha256`.

    Args:
        jobs: the clean pictures.
        making: what is done to them.
        folder: where to.
        workers: processes.

    Returns:
        Why pictures were left out, by their names.

    Raises:
        DatasetError: if there are no pictures, or none could be read.
        DegradationError: for an unknown preset a broken file of one, or a severity outside 0..1.
    """
    if not jobs:
        raise DatasetError("there are no pictures to make pairs of")
    degradations.check_severity(making.severity)
    making = replace(
        making, preset=degradations.load_preset(making.preset)
    )  # once: a file may change meanwhile
    slices = [jobs[n : n + PICTURES_IN_A_SHARD] for n in range(0, len(jobs), PICTURES_IN_A_SHARD)]
    names = table_names("default", "train", len(slices))
    shards = [
        Shard(name, (list(part), making), _version(part)) for name, part in zip(names, slices, strict=True)
    ]
    reports = write_tables(
        _make_part,
        shards,
        folder,
        config="default",
        settings=vars(making) | {"assets": making.assets.identity},
        workers=workers,
    )
    failed = {name: reason for report in reports for name, reason in report["failed"].items()}
    if len(failed) == len(jobs):
        raise DatasetError(
            f"none of the {len(jobs)} pictures could be read, such as {next(iter(failed.values()))}"
        )
    return failed


def _version(jobs: Sequence[Job]) -> str:
    states = [(str(job.relative), str(job.source), job.source.stat()) for job in jobs]
    told = [(name, path, s.st_size, s.st_mtime_ns, s.st_ino, s.st_ctime_ns) for name, path, s in states]
    return hashlib.sha256(repr(told).encode(errors="surrogateescape")).hexdigest()


def _make_part(jobs: list[Job], making: Making, path: Path) -> dict[str, Any]:
    failed: dict[str, str] = {}
    rows = write_rows(path, _rows(jobs, making, failed))
    return {"rows": rows, "failed": failed}


def _rows(jobs: list[Job], making: Making, failed: dict[str, str]) -> Iterator[dict[str, Any]]:
    for job in jobs:
        try:
            yield _row(job, making)
        except (ImageError, OSError) as error:
            failed[job.relative.as_posix()] = str(error)


def _row(job: Job, making: Making) -> dict[str, Any]:
    picture = read_image(job.source)
    file = job.source.read_bytes()
    damaged, gt_picture, record = degradations.degrade_pair(
        picture, making.preset, severity=making.severity, seed=job.seed(making.seed), assets=making.assets
    )
    suffix = f".{making.format.lstrip('.')}"
    record["steps"] += degradations.encoding(suffix)
    gt = file
    meta: dict[str, Any] = {"record": record}
    if gt_picture is not picture:
        gt = encode_image(gt_picture, ".png").data
        meta["clean_sha256"] = hashlib.sha256(file).hexdigest()
    carried = damaged.metadata  # only what the pixels need: the ground truth keeps the rest
    carried = Metadata(icc=carried.icc, cicp=carried.cicp, lossless=carried.lossless)
    lq = encode_image(replace(damaged, metadata=carried), suffix).data
    stem = job.relative.with_suffix("").as_posix()
    return pair_row(
        job.relative.as_posix(),
        {"bytes": lq, "path": f"{Path(stem).name}.lq.{file_ending(lq)}"},
        {"bytes": gt, "path": f"{Path(stem).name}.gt.{file_ending(gt)}"},
        source=making.source,
        task=record["task"],
        meta=meta,
    ) | {"lq_sha256": hashlib.sha256(lq).hexdigest(), "gt_sha256": hashlib.sha256(gt).hexdigest()}
