"""Scores of one folder of pictures, or of two folders picture by picture."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from ggt_hub.errors import EvaluationError, GGTHubError
from ggt_hub.evaluation.results import summarise
from ggt_hub.evaluation.rows import Row, fail, new_row
from ggt_hub.evaluation.scoring import Scoring
from ggt_hub.evaluation.suite import as_rgb, list_pictures
from ggt_hub.files import match_names
from ggt_hub.metrics import available, get_metric


def score_folders(
    results: Path,
    references: Path | None,
    names: Sequence[str],
    *,
    scoring: Scoring | None = None,
    template: str | None = None,
) -> dict[str, Any]:
    """Score pictures, alone or against the references that `match_names` finds for them.

    A picture without a reference, or that cannot be read or scored, is counted and listed as failed and makes
    the result incomplete; so is a reference without a picture, and a metric that cannot be had here.

    Args:
        results: a picture, or a folder searched to the bottom.
        references: likewise; None where no metric needs them.
        names: of metrics.
        scoring: where weights are, and how pictures are cut before.
        template: how the name of a result follows from that of its reference, both without ending: `{}_x4`.

    Returns:
        Plain JSON: `complete`, `failed`, `overall` (means with 95 % BCa intervals), `protocols`,
        `left_out` (metrics that cannot be had here, with the reasons), and `per_picture`.

    Raises:
        EvaluationError: if there is no picture, or no metric, or the template holds no `{}`.
        MetricError: if a metric is unknown, or needs references and there are none.
    """
    scoring = scoring or Scoring()
    if not names:
        raise EvaluationError("no metric is named: choose some, such as psnr,ssim")
    items = _items(results, references, template)
    names, left_out = available(names, scoring.weights)
    for name in names:
        if get_metric(name).needs_reference and references is None:
            raise EvaluationError(f"{name} compares with a reference: name the folder of references too")
    rows = [
        _row(*item, references is not None, names, scoring)
        for item in tqdm(items, desc="scoring", unit="picture", leave=False)
    ]
    summary = summarise(rows, left_out=left_out)
    del summary["tasks"]
    return {
        "pictures": len(rows), **summary, "protocols": scoring.protocols(names), "left_out": left_out,
        "per_picture": rows,
    }  # fmt: skip


def _items(
    results: Path, references: Path | None, template: str | None
) -> list[tuple[str, Path | None, Path | None]]:
    """Name, picture and reference, sorted by name: the path without suffix, where that is unique."""
    pictures = _by_path(results)
    gts = _by_path(references) if references else {}
    if template is not None:
        matched = _by_template(pictures, gts, template)
    elif references and results.is_file() and references.is_file():
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


def _by_template(pictures: Iterable[str], gts: Iterable[str], template: str) -> dict[str, str]:
    if template.count("{}") != 1:
        raise EvaluationError(f"template {template!r} must hold {{}} once, such as {{}}_x4")
    by_stem = {_stem(path): path for path in pictures}
    wanted = {
        (PurePosixPath(gt).parent / template.replace("{}", PurePosixPath(gt).stem)).as_posix(): gt
        for gt in gts
    }
    return {by_stem[stem]: gt for stem, gt in wanted.items() if stem in by_stem}


def _by_path(source: Path) -> dict[str, Path]:
    """Pictures by their relative path."""
    if source.is_file():
        return {source.name: source}
    return {path.relative_to(source).as_posix(): path for path in list_pictures(source)}


def _stem(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()


def _row(
    name: str, picture: Path | None, gt: Path | None, paired: bool, names: Sequence[str], scoring: Scoring
) -> Row:
    row = new_row(name, "all")
    try:
        if picture is None or (paired and gt is None):
            raise EvaluationError(
                "it has no reference" if picture else "there is no picture for this reference"
            )
        pixels, truth = as_rgb(picture), as_rgb(gt) if gt else None
    except (GGTHubError, OSError) as error:
        fail(row, names, str(error))
        return row
    scoring.score(row, pixels, truth, names)
    return row
