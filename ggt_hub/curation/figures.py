"""What came of a generator in a comparison, in numbers."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, median, pstdev
from typing import Any

from ggt_hub.curation.comparing import Entrant
from ggt_hub.curation.configuration import GENERATOR
from ggt_hub.curation.decided import Decided, read_run
from ggt_hub.curation.report import judged
from ggt_hub.curation.stage import Row
from ggt_hub.curation.stages.compose import Compose, ComposeAdaptive
from ggt_hub.curation.stages.edit import Edit, asked
from ggt_hub.curation.stages.gate import Gate
from ggt_hub.curation.stages.judge import Judge, photograph_of
from ggt_hub.curation.stages.register import Register
from ggt_hub.curation.tables import read_kept
from ggt_hub.errors import CurationError
from ggt_hub.evaluation.statistics import bootstrap
from ggt_hub.vlm import Asker, Ledger


@dataclass(frozen=True)
class Passed:
    """How many candidates came to a check, and how many passed it."""

    came: int
    passed: int

    @property
    def share(self) -> float | None:
        """None where none came."""
        return self.passed / self.came if self.came else None


@dataclass(frozen=True)
class Figures:
    """What came of an entrant; None is what was not measured.

    Attributes:
        label, generator, prompts, model: who.
        photographs: that it was asked to restore.
        drawn: candidates that it drew, of those that it answered to, refusals among them.
        refusals: how many it refused, by reason.
        waiting: candidates that wait, at whatever stage, for the next call.
        registered: those that could be laid over their photographs.
        corner, residual: medians of how far a candidate was moved (its furthest corner) and bent (the median way
            that was left), in pixels of a picture of 1024, of all that could be matched, refused ones too.
        gated: those that passed the metric gate.
        judged: candidates with a verdict.
        d, f, df: means, 0..100, over photographs, of the means of their candidates; DF with its 95 % interval.
        spread: how far repeats of one photograph differ in DF: the mean of their standard deviations.
        by_category: DF.
        text, faces: candidates of photographs with letters or faces, and how many the judge finds unchanged.
        pairs: photographs of which a candidate passed everything.
        cost: of a candidate that was asked for, on the mean; refusals and retries are paid, too.
        seconds: until a reply was there, the median.
    """

    label: str
    generator: str
    prompts: str
    model: str
    photographs: int = 0
    drawn: Passed = Passed(0, 0)
    refusals: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0
    registered: Passed | None = None
    corner: float | None = None
    residual: float | None = None
    gated: Passed | None = None
    judged: int = 0
    d: float | None = None
    f: float | None = None
    df: tuple[float, float, float] | None = None
    spread: float | None = None
    by_category: Mapping[str, float] = field(default_factory=dict)
    text: Passed | None = None
    faces: Passed | None = None
    pairs: int = 0
    cost: float | None = None
    seconds: float | None = None

    def told(self) -> dict[str, Any]:
        """For `comparison.json`."""
        return asdict(self)


def figures_of(entrant: Entrant, askers: Mapping[str, Asker], ledger: Ledger) -> Figures:
    """Count what the run of an entrant has decided, and what the ledger knows of its questions."""
    run = read_run(entrant.folder)
    return replace(
        Figures(entrant.label, entrant.generator, entrant.prompts, entrant.model),
        waiting=sum(sum(one["later"].values()) for one in run.funnel),
        gated=None if run.settings(Gate.name) is None else _passed(run.outcomes(Gate.name, [])),
        pairs=_photographs_kept(run),
        **_drawing(run, entrant.generator),
        **_prices(run, askers[GENERATOR + entrant.generator], ledger),
        **_registering(run),
        **_judging(run),
    )


def candidates_of(run: Decided) -> dict[str, str]:
    """Of each photograph the candidate that people vote on: the first that could be laid over it."""
    found: dict[str, str] = {}
    for row in run.outcomes(Register.name, []):
        if row["state"] == "kept":
            found.setdefault(photograph_of(row), row["id"])
    return found


def pictures_of(run: Decided, candidate: str) -> Row:
    """`lq` and `gt` of a candidate, laid over each other.

    Raises:
        CurationError: if it has left the run.
    """
    for tables in run.slices(Register.name):
        if rows := read_kept(tables, ("lq", "gt"), only={candidate}):
            return rows[0]
    raise CurationError(f"{candidate} has left the run {run.folder}: compare again")


def _drawing(run: Decided, generator: str) -> dict[str, Any]:
    rows = [row for row in run.outcomes(Edit.name, []) if row["state"] != "later"]
    refused = [row["reason"].removeprefix(f"{generator}: ") for row in rows if row["state"] == "dropped"]
    asked_for = sum(len(read_kept(tables, ())) for tables in _composed(run))
    return {
        "photographs": asked_for,
        "drawn": _passed(rows),
        "refusals": dict(Counter(refused).most_common()),
    }


def _composed(run: Decided) -> list[list[Path]]:
    """Of each slice the tables up to where photographs have their instructions."""
    name = next((name for name in (Compose.name, ComposeAdaptive.name) if name in run.stages), None)
    return [] if name is None else [*run.slices(name)]


def _prices(run: Decided, asker: Asker, ledger: Ledger) -> dict[str, Any]:
    """What its candidates cost, and how long they took."""
    candidates = range((run.settings(Edit.name) or {})["candidates"])
    costs, seconds = [], []
    for tables in _composed(run):
        for row in read_kept(tables, ("lq", "prompt")):
            question, _ = asked(row, asker)
            for requests in ledger.receipts(asker.key(question, (number, 0)) for number in candidates):
                known = [one.cost for one in requests if one.cost is not None]
                costs += [sum(known)] if known else []
                seconds += [one.seconds for one in requests[-1:] if one.seconds is not None]
    return {"cost": mean(costs) if costs else None, "seconds": median(seconds) if seconds else None}


def _registering(run: Decided) -> dict[str, Any]:
    if run.settings(Register.name) is None:
        return {}
    rows = [*run.outcomes(Register.name, ["registration"])]
    # What was refused has its statistics behind the reason.
    told = [
        row["registration"] if row["state"] == "kept" else row["detail"].partition("{")[1:] for row in rows
    ]
    found = [json.loads("".join(one)) for one in told if one and "".join(one)]
    measured = {
        name: [one[place] for one in found if place in one]
        for name, place in (("corner", "corner"), ("residual", "median"))
    }
    return {"registered": _passed(rows)} | {name: median(of) if of else None for name, of in measured.items()}


def _judging(run: Decided) -> dict[str, Any]:
    rows = [*judged(run.outcomes(Judge.name, ["judgement", "category", "diagnosis"]))]
    if not rows:
        return {}
    of_photograph: dict[str, list[dict[str, Any]]] = defaultdict(list)
    categories = {}
    for row, told in rows:
        of_photograph[photograph_of(row)].append(told)
        categories[photograph_of(row)] = row.get("category") or ""
    means = {
        name: {photograph: mean(one[name] for one in told) for photograph, told in of_photograph.items()}
        for name in ("D", "F", "DF")
    }
    by_category = defaultdict(list)
    for photograph, value in means["DF"].items():
        by_category[categories[photograph]].append(value)
    repeats = [pstdev(one["DF"] for one in told) for told in of_photograph.values() if len(told) > 1]
    return {
        "judged": len(rows),
        "d": mean(means["D"].values()),
        "f": mean(means["F"].values()),
        "df": tuple(bootstrap([*means["DF"].values()])),
        "spread": mean(repeats) if repeats else None,
        "by_category": {name: mean(values) for name, values in sorted(by_category.items()) if name},
        "text": _unchanged(rows, "has_text", "text"),
        "faces": _unchanged(rows, "has_faces", "face"),
    }


def _unchanged(rows: Iterable[tuple[Mapping[str, Any], dict[str, Any]]], where: str, what: str) -> Passed:
    """Of candidates of photographs that have something, how many the judge does not find changed in it."""
    said = [told["said"] for row, told in rows if json.loads(row.get("diagnosis") or "{}").get(where)]
    changed = sum(any(one["property"] == what for one in verdict["violations"]) for verdict in said)
    return Passed(len(said), len(said) - changed)


def _photographs_kept(run: Decided) -> int:
    """Of how many photographs a candidate is left after all stages, which so end after the one that draws."""
    if Edit.name not in run.stages:
        return 0
    last = run.funnel[-1]["stage"]
    return len({photograph_of(row) for row in run.outcomes(last, []) if row["state"] == "kept"})


def _passed(rows: Iterable[Row]) -> Passed:
    counts = Counter(row["state"] for row in rows)
    return Passed(counts["kept"] + counts["dropped"], counts["kept"])
