"""`score-quality`: a copy of a data set whose column `quality` says how good each ground truth is, 0 to 1.

    OUT/data/CONFIG/SPLIT-...parquet   as `export` writes it, with `quality`, and the experts' scores in `meta`
    OUT/quality.json                   the scale: the scores of each expert that count as 0 and as 1

All pictures are scored first, and the scale of an expert that has none yet is measured on them; then the rows are
written.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Features, Value

from ggt_hub.commit import RECORDS, file_sha256, to_json
from ggt_hub.data.pairs import PAIR_FEATURES
from ggt_hub.data.reading.clean import clean_rows
from ggt_hub.data.reading.iterate import Undecoded, decode
from ggt_hub.data.reading.opening import find_pairs, open_parts
from ggt_hub.data.reading.parts import SHARD_BYTES, Part, dataset_parts, rows_of
from ggt_hub.data.recognising.told import Told
from ggt_hub.data.storage.trees import parquet_below
from ggt_hub.data.work.export import check_row, features_of, table_names, write_rows, write_tables
from ggt_hub.errors import DatasetError, HubError, MetricError, MetricUnavailableError
from ggt_hub.metrics.quality import (
    FREE_EXPERTS,
    Scale,
    expert_scores,
    measured_scale,
    quality,
    scale_to_json,
    shipped_scale,
)
from ggt_hub.metrics.registry import get_metric
from ggt_hub.shards import Shard, run_shards

SCALE = "quality.json"


def open_scorable(
    source: str,
    config: str | None = None,
    *,
    revision: str | None = None,
    data_dir: str | None = None,
    told: Told | None = None,
) -> dict[str, list[Part]]:
    """The splits of a data set of pairs as `open_parts` gives them, or a folder of clean photographs as `train`.

    Raises:
        DatasetError: if it holds neither.
        HubError: if it cannot be had.
    """
    folder = Path(source).expanduser()
    if folder.is_dir() and not parquet_below(folder) and not find_pairs(folder, told):
        return {"train": dataset_parts(clean_rows(folder), SHARD_BYTES)}
    return open_parts(source, config, revision=revision, data_dir=data_dir, told=told)[0]


def score_quality(
    splits: Mapping[str, Sequence[Part]],
    folder: Path,
    *,
    config: str = "default",
    experts: Sequence[str] = FREE_EXPERTS,
    scale: Scale | None = None,
    workers: int = 1,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Write the splits with their quality; a call that was interrupted is repeated, and goes on.

    Args:
        splits: parts of the pair schema.
        folder: where to.
        config: the name that `load_dataset` will know these splits by.
        experts: metrics without reference, of ours or `pyiqa:NAME`; quality is their mean on `scale`.
        scale: of some of them. Others have the scale that ships or, where none does, that of these pictures.
        workers: processes.

    Returns:
        A report for each file, as `export` gives it; and by the ids of rows why their `quality` is null.

    Raises:
        MetricError: if an expert is unknown or compares with a reference, or the scale cannot be measured.
        MetricUnavailableError: if what an expert needs cannot be had.
        DatasetError: as `export`; and if no picture could be scored.
    """
    check_experts(experts)
    parts = [(split, part) for split, of_split in splits.items() for part in of_split]
    records = folder / RECORDS
    scored = [
        Shard(f"quality/{config}/{number:05d}.json", (part, tuple(experts)), part.id)
        for number, (_, part) in enumerate(parts)
    ]
    run_shards(_score_part, scored, records, settings=["scores", experts], workers=workers, title="Scoring")
    rows = [row for shard in scored for row in _read(records / shard.name)]
    known = [row["scores"] for row in rows if "scores" in row]
    if not known:
        raise DatasetError(f"no picture could be scored, such as {rows[0] if rows else 'of no rows'}")
    ends = _complete(experts, scale or {}, known)
    told = to_json(scale_to_json(ends))
    run_shards(_write_scale, [Shard(SCALE, (told,))], folder, settings=told)
    names = {split: iter(table_names(config, split, len(of_split))) for split, of_split in splits.items()}
    shards = [
        Shard(
            next(names[split]),
            (part, split, records / scores.name, ends),
            f"{part.id} {file_sha256(records / scores.name)}",
        )
        for (split, part), scores in zip(parts, scored, strict=True)
    ]
    reports = write_tables(_write_part, shards, folder, config=config, settings=told, workers=workers)
    return reports, {row["id"]: row["reason"] for row in rows if "reason" in row}


def check_experts(experts: Sequence[str]) -> None:
    """Refuse what is no metric without reference.

    Raises:
        MetricError, MetricUnavailableError: for one.
    """
    if not experts or len(set(experts)) < len(experts):
        raise MetricError("name one expert at least, and each once")
    if compares := [name for name in experts if get_metric(name).needs_reference]:
        raise MetricError(f"{compares[0]} compares with a reference: experts judge one picture alone")


def _complete(experts: Sequence[str], given: Scale, scores: Sequence[Mapping[str, float]]) -> Scale:
    there = shipped_scale() | dict(given)
    missing = [name for name in experts if name not in there]
    measured = measured_scale([{name: of_one[name] for name in missing} for of_one in scores])
    return {name: (there | measured)[name] for name in experts}


def _score_part(part: Part, experts: Sequence[str], path: Path) -> dict[str, Any]:
    rows = [{"id": item.row["id"], **_scored(item, experts)} for item in rows_of(part)]
    path.write_text(to_json(rows), encoding="utf-8")
    return {"rows": len(rows)}


def _scored(item: Undecoded, experts: Sequence[str]) -> dict[str, Any]:
    try:
        pixels = decode(item, "gt")
        if pixels is None:
            return {"reason": "there is no ground truth"}
        return {"scores": expert_scores(pixels, experts)}
    except MetricUnavailableError:
        raise
    except (DatasetError, HubError, MetricError) as error:
        return {"reason": str(error)}


def _write_scale(told: str, path: Path) -> dict[str, Any]:
    path.write_text(told, encoding="utf-8")
    return {}


def _write_part(part: Part, split: str, scores: Path, scale: Scale, path: Path) -> dict[str, Any]:
    there = features_of(next(part.tables()).schema)
    features = Features({**there, "quality": Value("float64")})
    return {"split": split, "rows": write_rows(path, _with_quality(part, _read(scores), scale), features)}


def _with_quality(part: Part, scored: Sequence[dict[str, Any]], scale: Scale) -> Iterator[dict[str, Any]]:
    for item, found in zip(rows_of(part), scored, strict=True):
        row = dict.fromkeys(PAIR_FEATURES) | check_row(item)
        scores = found.get("scores")
        meta = json.loads(row["meta"] or "{}") | ({"quality": scores} if scores else {})
        row["meta"] = json.dumps(meta, ensure_ascii=False)
        yield row | {"quality": quality(scores, scale) if scores else None}


def _read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))
