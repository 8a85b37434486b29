"""Is a submission what it says? Its means, the hash of each picture, and each score, computed anew.

A submission is the folder that `bench run` writes. Nothing in it is believed: only the pictures are.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ggt_hub.errors import EvaluationError, MetricUnavailableError
from ggt_hub.evaluation.compare import check_alike
from ggt_hub.evaluation.results import summarise
from ggt_hub.evaluation.rows import OTHER_SIZE, Row, applies, new_row, problems, put, score_names
from ggt_hub.evaluation.scoring import Scoring
from ggt_hub.evaluation.set_scores import Distance
from ggt_hub.evaluation.suite import Item, as_rgb, content_hash
from ggt_hub.metrics import SET_METRICS, available

_OF_SETS = 1e-3  # of a distance, in which what is left is small beside what is taken away
_TOLERANCE = 1e-4  # of a score: networks in float32 differ by less between machines, restorers by more


def check_unjudged(run: Path, about: dict[str, Any], rows: Sequence[Row]) -> None:
    """Refuse a run that lacks pictures or scores, or whose scores cannot be computed anew.

    Raises:
        EvaluationError: naming the run, and the picture where there is one.
    """
    for row in rows:
        if reason := problems(row):
            raise EvaluationError(
                f"{run.name} lacks a score of {row['id']!r} ({reason}): a row is of all pictures"
            )
        if not row.get("output_sha256"):
            raise EvaluationError(f"{run.name} says no hash of {row['id']!r}: run it again with this version")
    if not score_names(rows):
        raise EvaluationError(f"{run.name} has no scores of single pictures: a leaderboard is of such")
    if about["judge"]:
        raise EvaluationError(f"{run.name} holds a judge's ratings, which cannot be checked: run it without")


def check_same_protocol(run: Path, mine: Any, first: Path, theirs: Any) -> None:
    """Refuse a run that is not over the same pictures by the same protocol as the first.

    Args:
        run: the run.
        mine: its `results.json` and rows.
        first: the run that it is compared with.
        theirs: likewise.

    Raises:
        EvaluationError: saying in what the two differ.
    """
    (about, rows), (other, other_rows) = mine, theirs
    try:
        check_alike(about, other)
    except EvaluationError as error:
        raise EvaluationError(f"{run.name} and {first.name} do not belong into one table: {error}") from error
    for key in ("revision", "limit", "protocols", "seed"):
        if about[key] != other[key]:
            raise EvaluationError(
                f"{run.name} and {first.name} do not belong into one table: they differ in {key}, "
                f"{about[key]!r} and {other[key]!r}"
            )
    if _inputs(rows) != _inputs(other_rows):
        raise EvaluationError(f"{run.name} and {first.name} are over different pictures: run them alike")


def _inputs(rows: Sequence[Row]) -> dict[str, tuple[str, str | None, str]]:
    return {row["id"]: (row["lq_sha256"], row["gt_sha256"], row["task"]) for row in rows}


def check_means(run: Path, about: dict[str, Any], rows: Sequence[Row]) -> None:
    """Refuse means, intervals and counts that are not those of the rows, or are of what no row has.

    Raises:
        EvaluationError: naming the first.
    """
    told, found = _means(about), _means({"pictures": len(rows), **summarise(rows)})
    for group, name, part in found | told:
        mine, theirs = found.get((group, name, part)), told.get((group, name, part))
        if not _alike(mine, theirs):
            raise EvaluationError(
                f"{run.name} is falsified: it says {name} ({part}) {theirs} of {group}, its rows give {mine}"
            )


def _means(about: dict[str, Any]) -> dict[tuple[str, str, str], float | None]:
    """Each number of a summary by group, name and part."""
    groups = {"the run": {"pictures": about["pictures"]}, "all pictures": about["overall"], **about["tasks"]}
    return {
        (group, name, part): value
        for group, means in groups.items()
        for name, mean in means.items()
        for part, value in (mean if isinstance(mean, dict) else {"count": mean}).items()
    }


def check_protocols(run: Path, about: dict[str, Any], rows: Sequence[Row]) -> None:
    """Refuse a run whose metrics are not computed as this version computes them.

    Raises:
        EvaluationError: naming the metrics.
    """
    names = score_names(rows, before=False)
    if (ours := _scoring(about).protocols(names)) != {name: about["protocols"].get(name) for name in names}:
        raise EvaluationError(f"{run.name} states other protocols than this version has: {', '.join(ours)}")


def check_pictures(run: Path, rows: Sequence[Row], items: Sequence[Item]) -> None:
    """Refuse rows that are not of the suite's pictures, or whose hashes are not those of the pictures.

    Args:
        run: the folder, with the pictures in `restored/`.
        rows: its scores.
        items: the pictures that were run.

    Raises:
        EvaluationError: naming run and picture.
    """
    if [(row["id"], row["task"]) for row in rows] != [(item.id, item.task) for item in items]:
        raise EvaluationError(f"{run.name} has other pictures or tasks than the suite: run it as it is")
    for row, item in zip(rows, items, strict=True):
        target = _result(run, row)
        if not target.is_file():
            raise EvaluationError(f"{run.name} lacks the picture of {row['id']!r}: submit the whole folder")
        for what, told, source in (
            ("input", "lq_sha256", item.lq),
            ("reference", "gt_sha256", item.gt),
            ("result", "output_sha256", target),
        ):
            if row[told] != (None if source is None else content_hash(source)):
                raise EvaluationError(
                    f"{run.name} is falsified or of other pictures: "
                    f"the {what} of {row['id']!r} has another hash"
                )


def check_scores(
    run: Path, about: dict[str, Any], rows: Sequence[Row], items: Sequence[Item], weights: Path | None
) -> None:
    """Refuse rows whose scores are not those of the pictures, each of which is scored again.

    Args:
        run: the folder, with the pictures in `restored/`.
        about: its `results.json`.
        rows: its scores.
        items: the pictures that were run, in the same order.
        weights: folder with the weights of perceptual metrics.

    Raises:
        EvaluationError: naming run and picture; or if a metric cannot be had here.
    """
    scoring = _scoring(about, weights)
    names = score_names(rows, before=False)
    if left_out := available(names, weights)[1]:
        name, reason = next(iter(left_out.items()))
        raise EvaluationError(f"{run.name} cannot be checked here: {name} cannot be had ({reason})")
    for row, item in zip(tqdm(rows, desc=f"checking {run.name}", leave=False), items, strict=True):
        _check_row(run, row, item, names, scoring)


def sets_of(about: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What a run says of its whole set that its pictures alone prove: distances to the references."""
    return {name: about["sets"][name] for name in SET_METRICS if name in about["sets"]}


def check_sets(run: Path, about: dict[str, Any], items: Sequence[Item], weights: Path | None) -> None:
    """Refuse distances of sets that are not those of the pictures, or by another protocol.

    Args:
        run: the folder, with the pictures in `restored/`.
        about: its `results.json`.
        items: the pictures that were run.
        weights: folder with the weights of Inception v3.

    Raises:
        EvaluationError: naming run and score; or if the weights cannot be had here.
    """
    pictures = {"before": lambda item: item.lq, "after": lambda item: run / "restored" / f"{item.id}.png"}
    for name, told in sets_of(about).items():
        try:
            scorer = Distance(SET_METRICS[name], weights)
        except MetricUnavailableError as error:
            raise EvaluationError(f"{run.name} cannot be checked here: {error}") from error
        if about["protocols"].get(name) != scorer.protocols[name]:
            raise EvaluationError(f"{run.name} states another protocol of {name} than this version has")
        for side, picture in pictures.items():
            found = scorer.score(items, picture)[name]
            if not math.isclose(told.get(side, math.nan), found, rel_tol=_OF_SETS, abs_tol=1e-6):
                raise EvaluationError(
                    f"{run.name} is falsified: it says {name} {side} {told.get(side)}, its pictures give {found}"
                )


def _scoring(about: dict[str, Any], weights: Path | None = None) -> Scoring:
    return Scoring(weights=weights, crop_border=about["crop_border"], crop_to_fit=about["crop_to_fit"])


def _check_row(run: Path, row: Row, item: Item, names: Sequence[str], scoring: Scoring) -> None:
    lq, truth = item.lq, item.gt
    found = new_row(row["id"], item.task)
    after, before = as_rgb(_result(run, row)), as_rgb(lq)
    gt = None if truth is None else as_rgb(truth)
    scoring.score(found, after, gt, names)
    if before.shape == after.shape:
        scoring.score(found, before, gt, names, "_before")
    else:
        for name in names:
            put(found, f"{name}_before", None, OTHER_SIZE)
    for name in score_names([found]):
        # A score that is there, and called none, would stay out of the means.
        if applies(row, name) != applies(found, name):
            raise EvaluationError(
                f"{run.name} is falsified: what it says of {name} of {row['id']!r} is not so of its picture"
            )
        if not _alike(row.get(name), found[name]):
            raise EvaluationError(
                f"{run.name} is falsified: it says {name} {row.get(name)} of {row['id']!r}, "
                f"whose picture scores {found[name]}"
            )


def _result(run: Path, row: Row) -> Path:
    return run / "restored" / f"{row['id']}.png"


def _alike(mine: float | None, theirs: float | None) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return math.isclose(mine, theirs, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
