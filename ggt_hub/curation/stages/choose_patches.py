"""Several generators have drawn a photograph: of each patch the best one stays, as a pair of its own."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from annotated_types import Ge, MultipleOf

from ggt_hub.curation.patches import Pixels, Place, common, detail, places, texture
from ggt_hub.curation.stage import Context, Deciding, Dropped, Outcome, Row, Split
from ggt_hub.curation.stages.judge import NOT_THE_BEST, photograph_of
from ggt_hub.errors import CurationError
from ggt_hub.images.shown import png, png_rgb
from ggt_hub.metrics.registry import available, compute, get_metric

_NO_TEXTURE = "no texture"
_NO_GAIN = "choose-patches: not better than the photograph"


@dataclass(frozen=True)
class ChoosePatches(Deciding):
    """Cuts all candidates of a photograph into patches at the same places, and keeps of each place the best one.

    WildMoire's choice. A patch is a pair: nothing is sewn together, so there are no seams. Part `@ROW-COLUMN` of a
    candidate's id says where it lies, `choice` what each candidate scored there; its `place` is left, top, right,
    bottom in what all candidates have left, whose size is `of`, around the middle of the photograph.

    Attributes:
        metric: what decides. One that compares (WildMoire: A-FINE) is given the photograph as its reference; the
            photograph beside itself is then what a candidate has to be better than.
        gain: by how much it has to be, in the units of the metric; WildMoire: 15 of A-FINE's unscaled score.
        side: of a patch, in pixels; WildMoire: 1024, of larger photographs.
        texture: least standard deviation of the photograph's brightness in a patch, 0..255 (WildMoire's).
        detail: least variance of its Laplacian pyramid; see `patches.detail`.
    """

    metric: str = "pyiqa:afine_fr"
    gain: Annotated[float, Ge(0)] = 15.0
    side: Annotated[int, Ge(64), MultipleOf(32)] = 480
    texture: Annotated[float, Ge(0)] = 30.0
    detail: Annotated[float, Ge(0)] = 30.0

    name: ClassVar[str] = "choose-patches"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("lq", "gt", "generator")
    gives: ClassVar[Mapping[str, pa.DataType]] = {
        "lq": pa.large_binary(),
        "gt": pa.large_binary(),
        "choice": pa.string(),
    }

    def check(self) -> None:
        """The metric has to be there, before anything is paid.

        Raises:
            MetricError: if there is no such metric, or it needs pyiqa.
            CurationError: if its weights cannot be had.
        """
        get_metric(self.metric)
        _, missing = available([self.metric])
        if missing:
            raise CurationError(f"stage choose-patches: {missing[self.metric]}")

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Go on with the patches that a candidate has won."""
        of_photograph: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            of_photograph[photograph_of(row)].append(row)
        found: dict[str, Outcome] = {}
        for group in of_photograph.values():
            found |= self._chosen(group)
        return [found[row["id"]] for row in rows]

    def _chosen(self, group: Sequence[Row]) -> dict[str, Outcome]:
        """The outcome of each candidate of a photograph, by its id."""
        names = [row["id"] for row in group]
        drawn = common({row["id"]: png_rgb(row["gt"]) for row in group})
        lq = common({row["id"]: png_rgb(row["lq"]) for row in group})[names[0]]
        wanted = places(lq.shape, self.side)
        if not wanted:
            size = f"{lq.shape[1]}x{lq.shape[0]}"
            return dict.fromkeys(names, Dropped("smaller than a patch", size))
        parts: dict[str, dict[str, Any]] = {name: {} for name in names}
        for where, place in wanted.items():
            for name, outcome in self._best(lq, drawn, place).items():
                parts[name][f"@{where}"] = outcome
        return {name: Split(one) for name, one in parts.items()}

    def _best(
        self, lq: Pixels, drawn: Mapping[str, Pixels], place: Place
    ) -> dict[str, Mapping[str, Any] | Dropped]:
        """What becomes of the patch of each candidate at a place."""
        before, after = place.of(lq), {name: place.of(one) for name, one in drawn.items()}
        shows = {"texture": round(texture(before), 2), "detail": round(detail(before), 2)}
        if shows["texture"] < self.texture or shows["detail"] < self.detail:
            return dict.fromkeys(drawn, Dropped(_NO_TEXTURE, json.dumps(shows)))
        own, *scores = self._scores(before, [before, *after.values()])
        lower = get_metric(self.metric).direction == "lower"
        gains = dict(zip(drawn, (own - one if lower else one - own for one in scores), strict=True))
        told = {
            "place": [place.left, place.top, place.left + place.side, place.top + place.side],
            "of": [lq.shape[1], lq.shape[0]],
            **shows,
            "metric": self.metric,
            "photograph": _told(own),
            "candidates": dict(zip(drawn, map(_told, scores), strict=True)),
        }
        best = max(gains, key=lambda name: -math.inf if math.isnan(gains[name]) else gains[name])
        choice = json.dumps(told)
        outcomes: dict[str, Mapping[str, Any] | Dropped] = dict.fromkeys(drawn, Dropped(NOT_THE_BEST, choice))
        pair = {"lq": _file(before), "gt": _file(after[best]), "choice": choice}
        outcomes[best] = pair if gains[best] >= self.gain else Dropped(_NO_GAIN, choice, pair)
        return outcomes

    def _scores(self, lq: Pixels, patches: Sequence[Pixels]) -> list[float]:
        compares = get_metric(self.metric).needs_reference
        return [
            float(compute([self.metric], one[None], lq[None] if compares else None)[self.metric][0])
            for one in patches
        ]


def _told(score: float) -> float | None:
    return None if math.isnan(score) else round(score, 4)


def _file(patch: Pixels) -> bytes:
    return png(patch)
