"""Scores of one folder of pictures, or of two folders picture by picture."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from ggt_hub.errors import EvaluationError, GGTHubError
from ggt_hub.evaluation.results import summarise
from ggt_hub.evaluation.run import score_picture
from ggt_hub.evaluation.suite import as_rgb, list_pictures
from ggt_hub.files import match_names
from ggt_hub.metrics import available, get_metric


def score_folders(
    results: Path, references: Path | None, names: Sequence[str], *, weights: Path | None = None
) -> dict[str, Any]:
    """Score pictures, alone or against the references that `match_names` finds for them.

    A picture without a reference, or that cannot be read or scored, is counted and listed as failed and makes
    the result incomplete; so is a reference without a picture.

    Args:
        results: a picture, or a folder searched to the bottom.
        references: likewise; None where no metric needs them.
        names: of metrics.
        weights: folder with the weights of perceptual metrics.

    Returns:
        Plain JSON: `complete`, `failed`, `overall` (means with 95 % bootstrap intervals), `protocols`,
        `left_out` (metrics that cannot be had here, with the reasons), and `per_picture`.

    Raises:
        EvaluationError: if there is no picture.
        MetricError: if a metric is unknown, or needs references and there are none.
    """
    names, left_out = available(names, weights)
    for name in names:
        if get_metric(name).needs_reference and references is None:
            raise EvaluationError(f"{name} compares with a reference: name the folder of references too")
    rows = [
        _row(*item, references is not None, names, weights)
        for item in tqdm(_items(results, references), desc="scoring", unit="picture", leave=False)
    ]
    summary = summarise(rows)
    del summary["tasks"]
    protocols = {name: get_metric(name).protocol for name in names}
    return {
        "pictures": len(rows), **summary, "protocols": protocols, "left_out": left_out, "per_picture": rows,
    }  # fmt: skip


def _items(results: Path, references: Path | None) -> list[tuple[str, Path | None, Path | None]]:
    """Name, picture and reference, sorted by name: the path without suffix, where that is unique."""
    pictures = _by_path(results)
    gts = _by_path(references) if references else {}
    if references and results.is_file() and references.is_file():
        matched = dict(zip(pictures, gts, strict=True))
    else:
        matched = match_names(pictures, gts)
    stems = Counter(_stem(path) for path in pictures)
    items: list[tuple[str, Path | None, Path | None]] = [
        (_stem(path) if stems[_stem(path)] == 1 else path, picture, gts.get(matched.get(path, "")))
        for path, picture in pictures.items()
    ]
    items += [(_stem(path), None, gt) for path, gt in gts.items() if path not in matched.values()]
    return sorted(items, key=lambda item: item[0])


def _by_path(source: Path) -> dict[str, Path]:
    """Pictures by their relative path."""
    if source.is_file():
        return {source.name: source}
    return {path.relative_to(source).as_posix(): path for path in list_pictures(source)}


def _stem(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()


def _row(
    name: str, picture: Path | None, gt: Path | None, paired: bool, names: Sequence[str], weights: Path | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"id": name, "task": "all", "error": None}
    try:
        if picture is None or (paired and gt is None):
            raise EvaluationError(
                "it has no reference" if picture else "there is no picture for this reference"
            )
        row |= score_picture(as_rgb(picture), as_rgb(gt) if gt else None, names, weights)
    except (GGTHubError, OSError) as error:
        row["error"] = str(error)
    return row
