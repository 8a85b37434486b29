"""Scores of one folder of pictures, or of two folders picture by picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ggt_hub.errors import EvaluationError, GGTHubError
from ggt_hub.evaluation.results import summarise
from ggt_hub.evaluation.run import score_picture
from ggt_hub.evaluation.suite import as_rgb, list_pictures
from ggt_hub.metrics import available, get_metric


def score_folders(
    results: Path, references: Path | None, names: Sequence[str], *, weights: Path | None = None
) -> dict[str, Any]:
    """Score pictures, alone or against references of the same relative path (the suffix may differ).

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
        EvaluationError: if there is no picture, or two share a path but for the suffix.
        MetricError: if a metric is unknown, or needs references and there are none.
    """
    names, left_out = available(names, weights)
    for name in names:
        if get_metric(name).needs_reference and references is None:
            raise EvaluationError(f"{name} compares with a reference: name the folder of references too")
    pictures = _by_name(results)
    gts = _by_name(references) if references else {}
    if references and results.is_file() and references.is_file():
        gts = dict(zip(pictures, gts.values(), strict=True))
    rows = [
        _row(name, pictures.get(name), gts.get(name), references is not None, names, weights)
        for name in tqdm(sorted(pictures.keys() | gts.keys()), desc="scoring", unit="picture", leave=False)
    ]
    summary = summarise(rows)
    del summary["tasks"]
    protocols = {name: get_metric(name).protocol for name in names}
    return {
        "pictures": len(rows), **summary, "protocols": protocols, "left_out": left_out, "per_picture": rows,
    }  # fmt: skip


def _by_name(source: Path) -> dict[str, Path]:
    """Pictures by their relative path without suffix."""
    if source.is_file():
        return {source.stem: source}
    found: dict[str, Path] = {}
    for path in list_pictures(source):
        name = path.relative_to(source).with_suffix("").as_posix()
        if name in found:
            raise EvaluationError(f"{path} and {found[name]} differ in their suffix alone: rename one")
        found[name] = path
    return found


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
