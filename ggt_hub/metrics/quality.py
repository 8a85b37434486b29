"""How good a picture is on one scale of 0 to 1: the mean of several metrics without reference (experts).

An ensemble as IQPIR conditions on (arXiv 2603.29773), but each expert is brought to 0..1 by percentiles in place of
minimum and maximum, which one odd picture moves: over 160 photographs NIQE reaches from 2.8 to 5.7 between its 5th
and 95th percentile, and to 10 at most.
"""

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ggt_hub.errors import MetricError
from ggt_hub.metrics.pictures import Array
from ggt_hub.metrics.registry import compute, get_metric

FREE_EXPERTS = ("piqe", "brisque")
"""The experts that need neither weights nor pyiqa."""

_PERCENTILES = (5, 95)


class Ends(NamedTuple):
    """The scores of one expert that count as 0 and as 1; what lies beyond counts as these."""

    worst: float
    best: float


Scale = Mapping[str, Ends]
"""Expert to its ends."""


def expert_scores(pixels: Array, experts: Sequence[str]) -> dict[str, float]:
    """What each expert says of one picture (an array as in `ggt_hub.metrics.pictures`), in its own units.

    Raises:
        MetricError: if an expert is unknown, compares with a reference, or has no score for the picture.
        MetricUnavailableError: if what it needs cannot be had.
    """
    scores = {name: float(of_one[0]) for name, of_one in compute(experts, [pixels]).items()}
    if undefined := [name for name, score in scores.items() if not math.isfinite(score)]:
        raise MetricError(f"{undefined[0]} has no score for a picture without texture")
    return scores


def quality(scores: Mapping[str, float], scale: Scale) -> float:
    """The mean over the experts, each 0 at its worst end, 1 at its best one and linear between: 0..1."""
    parts = [
        (score - scale[name].worst) / (scale[name].best - scale[name].worst) for name, score in scores.items()
    ]
    return float(np.clip(parts, 0, 1).mean())


def measured_scale(scores: Sequence[Mapping[str, float]]) -> dict[str, Ends]:
    """The ends by the 5th and 95th percentile of the scores of pictures, of which there is one at least.

    Raises:
        MetricError: if an expert says the same of all of them.
    """
    scale = {}
    for name in scores[0]:
        low, high = np.percentile([of_one[name] for of_one in scores], _PERCENTILES).tolist()
        if low == high:
            raise MetricError(f"{name} says {low:g} of nearly all pictures: give a scale measured on others")
        scale[name] = Ends(high, low) if get_metric(name).direction == "lower" else Ends(low, high)
    return scale


def shipped_scale() -> dict[str, Ends]:
    """Of the free experts, over clean and damaged photographs; `benchmarks/quality_scale.py` says which."""
    return _scale_of(
        json.loads((files("ggt_hub.metrics") / "quality_scale.json").read_text(encoding="utf-8"))
    )


def read_scale(path: Path) -> dict[str, Ends]:
    """The scale in a file that `data score-quality` wrote.

    Raises:
        MetricError: if it is none.
    """
    try:
        return _scale_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MetricError(
            f"{path} is no scale of quality, {{expert: {{worst: number, best: number}}}}: {error!r}"
        ) from error


def scale_to_json(scale: Scale) -> dict[str, Any]:
    """Plain JSON, as `read_scale` reads it."""
    return {name: ends._asdict() for name, ends in scale.items()}


def _scale_of(content: Any) -> dict[str, Ends]:
    scale = {str(name): Ends(float(ends["worst"]), float(ends["best"])) for name, ends in content.items()}
    if any(ends.worst == ends.best or not math.isfinite(ends.worst - ends.best) for ends in scale.values()):
        raise ValueError("worst and best must be different numbers")
    return scale
