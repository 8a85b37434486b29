"""The metric gate: everything is measured and kept, then limits decide; some of them are of a category."""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Le, Lt

from ggt_hub.commit import commit_json
from ggt_hub.curation.further_measures import FURTHER, Kind
from ggt_hub.curation.further_measures import check as check_further
from ggt_hub.curation.measures import Pixels, measured_each
from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Learning, Outcome, Row
from ggt_hub.curation.stages.register import MAY_CHANGE_COLOUR
from ggt_hub.images.shown import png_rgb

_CLEARLY = {"brisque": 5.0, "piqe": 10.0, "niqe": 1.0}  # all three prefer a little noise to none
_HIDING = ("rain", "snow")  # what lies over the picture hides as much as a painter would
_RAIN, _SNOW = ("rain",), ("snow",)  # drops hide whole places, flakes a part of each
_UNEVEN = ("haze", "rain")  # thicker in places; drops show what is elsewhere
_FADED = ("old_photo",)  # a cast goes, too
LIMITS = "limits.json"


class Check(NamedTuple):
    """One of the limits.

    Attributes:
        reason: what a candidate is refused for.
        measure: what is compared, a name of `values_of`.
        limit: the setting of `Gate` with which it is compared.
        refused: which values are.
        only, but: the categories that it is for, where there are any, and those that it is not for.
    """

    reason: str
    measure: str
    limit: str
    refused: Literal["above", "from", "below"]
    only: Collection[str] = ()
    but: Collection[str] = ()

    def is_for(self, category: str) -> bool:
        """Whether candidates of a category are held to it."""
        return category not in self.but and (not self.only or category in self.only)

    def refuses(self, values: Mapping[str, float], limit: float) -> bool:
        """Whether it refuses; comparisons with what is not a number are false."""
        value = values[self.measure]
        return {"above": value > limit, "from": value >= limit, "below": value < limit}[self.refused]


CHECKS = (
    Check("a bar at the edge", "bar", "bar", "above"),
    Check("nothing has changed", "unchanged", "unchanged", "from"),
    Check("only adjusted", "adjusted", "adjusted", "from", but=MAY_CHANGE_COLOUR),
    Check("mirrored", "mirrored", "mirrored", "above"),
    Check("another scene", "structure", "structure", "below"),
    Check("other colours", "colour", "colour", "above", but=MAY_CHANGE_COLOUR),
    Check("other colours", "colour", "any_colour", "above", only=MAY_CHANGE_COLOUR),
    Check("a cast", "cast", "cast", "above", but=_FADED),
    Check("a cast", "cast", "cast_of_old", "above", only=_FADED),
    Check("other hues", "recoloured", "recoloured", "above", but=MAY_CHANGE_COLOUR),
    Check("smoothed away", "weaker", "weaker", "above"),
    Check("sharpened", "sharper", "sharper", "above"),
    Check("noisier", "noisier", "noisier", "above"),
    Check("another thing in a place", "repainted", "repainted", "above", but=_HIDING),
    Check("another thing in a place", "repainted", "repainted_in_rain", "above", only=_RAIN),
    Check("another thing in a place", "replaced", "replaced_in_snow", "above", only=_SNOW),
    Check("other hues in a place", "recoloured_place", "recoloured_place", "above", but=_UNEVEN),
    Check("other hues in a place", "recoloured_place", "recoloured_place_in_haze", "above", only=_UNEVEN),
    Check("a grid", "grid", "grid", "above"),
    Check("worse by the metrics", "worse", "worse", "above"),
    # Of what is measured only where `Measure.also` says so
    Check("other letters", "letters", "letters", "above"),
    Check("new letters", "new_letters", "new_letters", "above"),
    Check("a face is gone", "lost_faces", "lost_faces", "above"),
    Check("unlike the photograph", "dists", "dists", "above"),
    Check("unlike the photograph", "dino", "dino", "below"),
    Check("another thing in a place", "dino_worst", "dino_worst", "below"),
)
"""In the order in which they give the reason."""


def values_of(told: Mapping[str, float | None]) -> dict[str, float]:
    """What was measured, not a number where a value could not be had, and how many metrics are clearly `worse`."""
    values = {check.measure: math.nan for check in CHECKS}
    values |= {name: math.nan if value is None else value for name, value in told.items()}
    return values | {"worse": float(sum(values[name] < -margin for name, margin in _CLEARLY.items()))}


@dataclass(frozen=True)
class Measure(Deciding):
    """Measures every candidate beside its photograph; see `measures.measured` for what.

    Attributes:
        also: further measures, by networks: `letters` (extra `letters`), `faces`, `dists`, `dino`; see
            `further_measures`.
    """

    also: tuple[Kind, ...] = ()

    name: ClassVar[str] = "measure"
    version: ClassVar[int] = 6
    needs: ClassVar[tuple[str, ...]] = ("lq", "gt")
    gives: ClassVar[Mapping[str, pa.DataType]] = {"measures": pa.string()}

    def check(self) -> None:
        """Say what further measures lack, and fetch their networks."""
        check_further(self.also)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep all, with the values as JSON; null is a value that cannot be had."""
        pairs = ((png_rgb(row["lq"]), png_rgb(row["gt"])) for row in rows)
        shown, measured = tee(pairs)
        return [
            Kept({"measures": self._told(values, *pair)})
            for pair, values in zip(shown, measured_each(measured), strict=True)
        ]

    def _told(self, values: dict[str, float], lq: Pixels, gt: Pixels) -> str:
        for kind in self.also:
            values |= FURTHER[kind](lq, gt)
        plain = {name: None if math.isnan(value) else round(value, 4) for name, value in values.items()}
        return json.dumps(plain)


@dataclass(frozen=True)
class Gate(Learning, Deciding):
    """Refuses by what was measured. A value that cannot be had refuses nothing: the judge will see.

    Attributes:
        bar: largest uniform bar at an edge, as a share of the side.
        structure: least likeness of the scenes.
        mirrored: largest gain in likeness by mirroring.
        unchanged: PSNR in dB from which a candidate is the photograph that was given.
        adjusted: the same of what a filter and a curve make of it, where a curve does not restore.
        colour: largest chromaticity drift, where colours may not change; of truths under heavy noise it is 0.15.
        any_colour: the same where they may: beyond, it is another scene.
        cast: largest shift of all chromaticities beyond what makes colours stronger.
        cast_of_old: the same of old photographs, whose own cast goes.
        recoloured: largest way of colours to others, in levels, where colours may not change.
        recoloured_place: how far that of one place may stand out.
        recoloured_place_in_haze: the same in haze, which is thicker in places, and rain, whose drops show what is
            elsewhere.
        repainted: how far a place may stand out in what it has lost of the photograph.
        repainted_in_rain: the same under rain; of truths behind large drops a third are refused.
        replaced_in_snow: how far a place may stand out of which most is another, under snow.
        weaker, sharper: by how much the structures of the photograph may have become weaker, or stronger.
        noisier: how much more noise there may be, in levels.
        worse: how many of the three free metrics may find the candidate clearly worse: all, for of what only they
            refused as many were originals and good restorations as faults.
        grid: how much stronger the periods of decoders may become, as a multiple of other change around them.
        letters: largest share of the letters of the photograph that are others.
        new_letters: how many there may be where the photograph has none.
        lost_faces: how many faces may be gone.
        dists: largest DISTS at a quarter of the size.
        dino, dino_worst: least mean of the cosines of patches, and least 5th percentile.
        redegraded: share of each category, 0..1, that leads back to its photograph worst, and leaves, however good
            all of them are.
    """

    bar: Annotated[float, Ge(0), Le(1)] = 0.02
    structure: Annotated[float, Ge(-1), Le(1)] = 0.30
    mirrored: Annotated[float, Ge(0)] = 0.05
    unchanged: Annotated[float, Ge(0)] = 50.0
    adjusted: Annotated[float, Ge(0)] = 52.0
    colour: Annotated[float, Ge(0)] = 0.20
    any_colour: Annotated[float, Ge(0)] = 0.25
    cast: Annotated[float, Ge(0)] = 0.10
    cast_of_old: Annotated[float, Ge(0)] = 0.16
    recoloured: Annotated[float, Ge(0)] = 12.0
    recoloured_place: Annotated[float, Ge(0)] = 1.4
    recoloured_place_in_haze: Annotated[float, Ge(0)] = 2.5
    repainted: Annotated[float, Ge(0)] = 1.1
    repainted_in_rain: Annotated[float, Ge(0)] = 2.0
    replaced_in_snow: Annotated[float, Ge(0)] = 1.2
    weaker: Annotated[float, Ge(0)] = 0.05
    sharper: Annotated[float, Ge(0), Le(1)] = 0.12
    noisier: Annotated[float, Ge(0)] = 6.0
    worse: Annotated[int, Ge(0), Le(3)] = 3
    grid: Annotated[float, Ge(0)] = 6.5
    letters: Annotated[float, Ge(0), Le(1)] = 0.1
    new_letters: Annotated[int, Ge(0)] = 2
    lost_faces: Annotated[int, Ge(0)] = 0
    dists: Annotated[float, Ge(0)] = 0.30
    dino: Annotated[float, Ge(-1), Le(1)] = 0.80
    dino_worst: Annotated[float, Ge(-1), Le(1)] = 0.35
    redegraded: Annotated[float, Ge(0), Lt(1)] = 0.0

    name: ClassVar[str] = "gate"
    version: ClassVar[int] = 4
    needs: ClassVar[tuple[str, ...]] = ("measures", "category")

    def learn(self, rows: Iterable[Row], context: Context, working: Path, folder: Path) -> dict[str, Any]:
        """The limits that depend on all candidates of a category, in `limits.json`."""
        of_category = defaultdict(list)
        for row in rows:
            value = json.loads(row["measures"])["redegraded"]
            if value is not None:
                of_category[row["category"] or ""].append(value)
        limits = {
            name: float(np.quantile(values, self.redegraded)) for name, values in sorted(of_category.items())
        }
        commit_json(folder / LIMITS, limits)
        return {"redegraded": limits}

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep what passes all; the reason is the first that it fails."""
        limits = json.loads((context.learned[self.name] / LIMITS).read_text(encoding="utf-8"))
        return [self._decide(json.loads(row["measures"]), row["category"] or "", limits) for row in rows]

    def _decide(
        self, told: Mapping[str, float | None], category: str, limits: Mapping[str, float]
    ) -> Outcome:
        values = values_of(told)
        fails = [
            check.reason
            for check in CHECKS
            if check.is_for(category) and check.refuses(values, getattr(self, check.limit))
        ]
        if values["redegraded"] < limits.get(category, -math.inf):
            fails.append("does not lead back")
        return Dropped(f"gate: {fails[0]}", json.dumps(dict(told))) if fails else Kept()
