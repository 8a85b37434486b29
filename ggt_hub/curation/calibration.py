"""Limits tried on labels of people: what they refuse of the good, and of the bad, and which would suit better."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, cast, get_type_hints

from annotated_types import Ge, Le

from ggt_hub.curation.decided import Decided, read_run
from ggt_hub.curation.labels import read_labels, verdicts
from ggt_hub.curation.report import judged
from ggt_hub.curation.stages.gate import CHECKS, Gate, values_of
from ggt_hub.curation.stages.judge import Judge
from ggt_hub.errors import CurationError

_WHOLE = ("worse", "new_letters", "lost_faces")  # limits that are counts, which few labels cannot set
_BY_SCORE = ("judge: damage is left", "judge: unfaithful")
_STEP = 1e-4


@dataclass(frozen=True)
class Score:
    """How well what passes agrees with what people keep.

    Attributes:
        good, bad: candidates labelled so.
        good_kept, bad_kept: how many of them pass.
    """

    good: int
    bad: int
    good_kept: int
    bad_kept: int

    @property
    def precision(self) -> float:
        """Share of good ones among what passes; not a number where nothing does."""
        kept = self.good_kept + self.bad_kept
        return self.good_kept / kept if kept else math.nan

    @property
    def recall(self) -> float:
        """Share of the good ones that pass."""
        return self.good_kept / self.good if self.good else math.nan

    def in_words(self) -> str:
        """Both, with what they are of."""
        return (
            f"precision {self.precision:.3f}, recall {self.recall:.3f} "
            f"({self.good_kept} of {self.good} to keep pass, {self.bad_kept} of {self.bad} to refuse)"
        )


@dataclass(frozen=True)
class Tried:
    """A limit, alone.

    Attributes:
        place: of the setting: `gate.structure`.
        now, then: the limit of the run, and the one that suits the labels; the same where none is better.
        score_now, score_then: what passes each.
    """

    place: str
    now: float
    then: float
    score_now: Score
    score_then: Score

    def in_words(self) -> str:
        """A line."""
        return f"{self.place:<22} {self.now:g}: {self.score_now.in_words()}" + (
            f"; {self.then:g}: {self.score_then.in_words()}" if self.then != self.now else ""
        )


@dataclass(frozen=True)
class Calibration:
    """All limits, and what passes all of them and everything else, as they are and as they might be."""

    limits: tuple[Tried, ...]
    now: Score
    then: Score


@dataclass(frozen=True)
class _Limit:
    """A limit, the values that it decides of, by the ids of candidates, and the type of its setting."""

    place: str
    value: float
    refused: Literal["above", "from", "below"]
    values: Mapping[str, float]
    setting: Any

    def at(self, value: float) -> Self:
        """The same with another value, or the nearest that the setting may have."""
        for one in self.setting.__metadata__:
            if isinstance(one, Ge):
                value = max(value, cast(float, one.ge))
            if isinstance(one, Le):
                value = min(value, cast(float, one.le))
        return replace(self, value=float(value))

    def refuses(self, name: str) -> bool:
        value = self.values.get(name, math.nan)
        return {"above": value > self.value, "from": value >= self.value, "below": value < self.value}[
            self.refused
        ]


def calibrate(folder: Path, labels: Path, lost: float) -> Calibration:
    """Try each limit of gate and judge on labels.

    A limit that refuses more good candidates than it may is moved to where it does not. Then, as long as bad ones
    pass all limits, the one is moved that stops most of them, to between the good and the next bad. Others stay,
    and so do limits of a share of each category (`gate.redegraded`).

    Args:
        folder: of a run.
        labels: see `labels`; of several people the majority counts.
        lost: share of the good candidates, 0..1, that one limit may refuse.

    Raises:
        CurationError: if the folder is of no run, or the labels are not of it or of one kind only.
    """
    run, told = read_run(folder), verdicts(read_labels(labels))
    limits = _limits(run)
    known = {name for limit in limits for name in limit.values}
    if unknown := [name for name in told if name not in known]:
        raise CurationError(
            f"{labels}: {unknown[0]} is no candidate of {folder} of which anything was measured"
        )
    good = sum(told.values())
    if not 0 < good < len(told):
        raise CurationError(
            f"{labels} has {good} candidates that most people keep and {len(told) - good} that most refuse: some "
            "of both are needed, label more by `ggt-hub curate review`"
        )
    firm = _refused_otherwise(run)
    moved = _moved(limits, told, lost, firm)
    tried = [
        Tried(a.place, a.value, b.value, _score([a], told), _score([b], told))
        for a, b in zip(limits, moved, strict=True)
    ]
    return Calibration(tuple(tried), _score(limits, told, firm), _score(moved, told, firm))


def _limits(run: Decided) -> list[_Limit]:
    """The limits of a run, with what they decided of."""
    return [*_gate_limits(run), *_judge_limits(run)]


def _gate_limits(run: Decided) -> list[_Limit]:
    settings = run.settings("gate")
    if settings is None:
        return []
    rows = [row for row in run.outcomes("measure", ["measures", "category"]) if row["measures"]]
    values = [(row["id"], row["category"] or "", values_of(json.loads(row["measures"]))) for row in rows]
    types = get_type_hints(Gate, include_extras=True)
    limits = [
        _Limit(
            f"gate.{check.limit}",
            float(settings[check.limit]),
            check.refused,
            {name: told[check.measure] for name, category, told in values if check.is_for(category)},
            types[check.limit],
        )
        for check in CHECKS
        if check.limit in settings  # earlier versions had fewer
    ]
    return [one for one in limits if not all(map(math.isnan, one.values.values()))]


def _judge_limits(run: Decided) -> list[_Limit]:
    settings = run.settings(Judge.name)
    if settings is None:
        return []
    told = [(row["id"], scores) for row, scores in judged(run.outcomes(Judge.name, ["judgement"]))]
    types = get_type_hints(Judge, include_extras=True)
    return [
        _Limit(
            f"judge.{limit}",
            float(settings[limit]),
            "below",
            {name: scores[score] for name, scores in told},
            types[limit],
        )
        for limit, score in (("removed", "D"), ("faithful", "F"))
    ]


def _refused_otherwise(run: Decided) -> frozenset[str]:
    """Candidates refused for what no limit here says: a share of their category, and what the judge has seen."""
    rows = [*run.outcomes("gate", []), *run.outcomes(Judge.name, [])]
    return frozenset(
        row["id"]
        for row in rows
        if row["reason"] == "gate: does not lead back"
        or (row["reason"].startswith("judge: ") and row["reason"] not in _BY_SCORE)
    )


def _moved(
    limits: Sequence[_Limit], told: Mapping[str, bool], lost: float, firm: frozenset[str]
) -> list[_Limit]:
    """The limits that suit the labels."""
    better = {limit.place: found for limit in limits if (found := _between(limit, told, lost))}
    moved = [
        better[limit.place].limit if limit.place in better and better[limit.place].was_too_strict else limit
        for limit in limits
    ]
    while True:
        passing = _score(moved, told, firm).bad_kept
        tries = [
            (passing - _score([*moved[:n], new.limit, *moved[n + 1 :]], told, firm).bad_kept, new.gap, -n)
            for n, limit in enumerate(moved)
            if (new := better.get(limit.place)) and new.limit != limit
        ]
        stopped, _, place = max(tries, default=(0, 0.0, 0))
        if stopped <= 0:
            return moved
        moved[-place] = better[moved[-place].place].limit


@dataclass(frozen=True)
class _Better:
    """A limit between the good and the bad, how wide the gap is there, and whether the old one had to be moved."""

    limit: _Limit
    gap: float
    was_too_strict: bool


def _between(limit: _Limit, told: Mapping[str, bool], lost: float) -> _Better | None:
    # Above and below are the same once the sign is changed: refused is what is large.
    sign = -1.0 if limit.refused == "below" else 1.0
    values = {name: sign * value for name, value in limit.values.items() if math.isfinite(value)}
    good, bad = (
        sorted(values[name] for name, is_good in told.items() if is_good == kind and name in values)
        for kind in (True, False)
    )
    if limit.place.partition(".")[2] in _WHOLE or not good:
        return None
    may_go = math.floor(lost * len(good))
    edge = good[max(0, len(good) - 1 - may_go)]
    beyond = next((value for value in bad if value > edge + 2 * _STEP), edge + 2 * _STEP)
    spread = good[-1] - good[0] + _STEP
    was_too_strict = sum(limit.refuses(name) for name, is_good in told.items() if is_good) > may_go
    new = limit.at(round(sign * (edge + beyond) / 2, 4))
    return _Better(new, (beyond - edge) / spread, was_too_strict)


def _score(limits: Sequence[_Limit], told: Mapping[str, bool], firm: frozenset[str] = frozenset()) -> Score:
    kept = {name for name in told if not any(limit.refuses(name) for limit in limits)} - firm
    good = [name for name, is_good in told.items() if is_good]
    bad = [name for name, is_good in told.items() if not is_good]
    return Score(len(good), len(bad), sum(n in kept for n in good), sum(n in kept for n in bad))
