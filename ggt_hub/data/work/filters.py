"""Which clean pictures are worth damaging: filters by name, each with a limit that can be set."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ggt_hub.commit import RECORDS
from ggt_hub.data.reading.clean import Clean
from ggt_hub.data.work.duplicates import near, perceptual_hash
from ggt_hub.data.work.judging import JUDGED_FILTERS, judged_out
from ggt_hub.errors import DatasetError, ImageError, did_you_mean
from ggt_hub.images import read_image
from ggt_hub.images.shown import shown_rgb
from ggt_hub.shards import Shard, run_shards
from ggt_hub.vlm import Judge

NEAR_DUPLICATE = "near-duplicate"
_PICTURES_IN_A_SHARD = 200
_SHARPNESS_SIDE = 512

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Filter:
    """One reason to leave a picture out.

    Attributes:
        limit: what is used where no other is given.
        about: what it means, for people.
        measure: of a picture (8-bit RGB), the number that must be at least the limit.
    """

    limit: float
    about: str
    measure: Callable[[Pixels], float]


def _shorter_side(pixels: Pixels) -> float:
    return float(min(pixels.shape[:2]))


def _brightness(pixels: Pixels) -> float:
    return float(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).mean())


def _sharpness(pixels: Pixels) -> float:
    """Variance of the Laplacian of the brightness, at one size for all (Pech-Pacheco et al., ICPR 2000)."""
    scale = min(1.0, _SHARPNESS_SIDE / min(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    grey = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


FILTERS: dict[str, Filter] = {
    "too-small": Filter(256, "shorter side in pixels", _shorter_side),
    "too-dark": Filter(20, "mean brightness, in levels of 255", _brightness),
    "too-blurred": Filter(50, "variance of the Laplacian at a shorter side of 512", _sharpness),
}
"""Filters that look at one picture alone; `near-duplicate` looks at all of them, `JUDGED_FILTERS` ask a judge."""


def parse_filters(told: Iterable[str]) -> dict[str, float]:
    """What `NAME` or `NAME=LIMIT` say: limits by name.

    Raises:
        DatasetError: for a filter that does not exist, or a limit that is no number, or no rating.
    """
    limits = {}
    defaults = {name: kind.limit for name, kind in (FILTERS | JUDGED_FILTERS).items()}
    names = [*defaults, NEAR_DUPLICATE]
    for text in told:
        name, _, limit = text.partition("=")
        if name not in names:
            raise DatasetError(f"no filter {name!r}: there are {', '.join(names)}{did_you_mean(name, names)}")
        if name == NEAR_DUPLICATE and limit:
            raise DatasetError(f"the filter {NEAR_DUPLICATE} has no limit: leave out ={limit}")
        try:
            limits[name] = float(limit) if limit else defaults.get(name, 0.0)
        except ValueError as error:
            raise DatasetError(f"the limit of {name} must be a number, not {limit!r}") from error
        if name in JUDGED_FILTERS and not 1 < limits[name] <= 5:
            raise DatasetError(f"the limit of {name} is a rating above 1, up to 5 (none of it), not {limit}")
    return limits


def check_judge(limits: Mapping[str, float], judge: Judge | None) -> None:
    """See that there is a judge where a filter asks one.

    Raises:
        DatasetError: if there is none.
    """
    asking = [name for name in limits if name in JUDGED_FILTERS]
    if asking and judge is None:
        raise DatasetError(
            f"the filter {asking[0]} asks a judge, and none is named: name a model by --judge, and by --judge-url "
            "where it is served"
        )


def choose(
    clean: Sequence[Clean],
    limits: Mapping[str, float],
    folder: Path,
    *,
    workers: int = 1,
    judge: Judge | None = None,
) -> tuple[list[Clean], dict[str, str]]:
    """The pictures that pass all filters, and why the others do not, by name.

    What was measured is kept below `folder`, so that a call that is repeated goes on. Of near duplicates (see
    `duplicates.near`) the first stays. Pictures that cannot be read do not pass. A judge is asked last, and only
    of what is left.

    Raises:
        DatasetError: if a filter asks a judge, and there is none.
        JudgeError: see `judged_out`.
    """
    check_judge(limits, judge)
    slices = [clean[n : n + _PICTURES_IN_A_SHARD] for n in range(0, len(clean), _PICTURES_IN_A_SHARD)]
    shards = [
        Shard(f"clean/{n:05d}.json", (list(some),), repr([picture.version for picture in some]))
        for n, some in enumerate(slices)
    ]
    run_shards(_measure, shards, folder / RECORDS, settings="measures", workers=workers, title="Looking")
    measured = [
        row
        for shard in shards
        for row in json.loads((folder / RECORDS / shard.name).read_text(encoding="utf-8"))
    ]
    reasons = {
        picture.name: reason
        for picture, row in zip(clean, measured, strict=True)
        if (reason := _why_not(row, limits))
    }
    if NEAR_DUPLICATE in limits:
        for first, second in near([row.get("hash") for row in measured]):
            if clean[first].name not in reasons:
                reasons.setdefault(clean[second].name, f"shows nearly what {clean[first].name} shows")
    left = [picture for picture in clean if picture.name not in reasons]
    asked = {name: limit for name, limit in limits.items() if name in JUDGED_FILTERS}
    if judge is not None and asked and left:
        reasons |= judged_out(left, asked, judge, folder)
    return [picture for picture in left if picture.name not in reasons], reasons


def _measure(clean: list[Clean], path: Path) -> dict[str, Any]:
    path.write_text(json.dumps([_measures(picture) for picture in clean]), encoding="utf-8")
    return {}


def _measures(picture: Clean) -> dict[str, Any]:
    try:
        pixels = shown_rgb(read_image(picture.read(), name=picture.name))
    except (DatasetError, ImageError, OSError) as error:
        return {"error": str(error)}
    measures: dict[str, Any] = {name: kind.measure(pixels) for name, kind in FILTERS.items()}
    return measures | {"hash": perceptual_hash(pixels)}


def _why_not(row: dict[str, Any], limits: Mapping[str, float]) -> str | None:
    if "error" in row:
        return str(row["error"])
    for name, limit in limits.items():
        if name in FILTERS and row[name] < limit:
            return f"{name}: {FILTERS[name].about} {row[name]:.4g}, below {limit:g}"
    return None
