"""The report of a run: one HTML file that says where every picture went, at what cost, and shows some of them."""

import heapq
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from ggt_hub.commit import check_results, committed_result
from ggt_hub.curation.decided import Decided, read_run
from ggt_hub.curation.labels import LABELS, agreements, read_labels
from ggt_hub.curation.stage import Row
from ggt_hub.curation.stages import STAGES
from ggt_hub.curation.stages.gate import CHECKS, values_of
from ggt_hub.curation.stages.judge import AUDIT, Judge
from ggt_hub.errors import ImageError
from ggt_hub.images import read_image
from ggt_hub.reports.page import Cell, Comparison, Sheet, Table, write_report
from ggt_hub.reports.plots import histogram
from ggt_hub.vlm import Ledger, purse_of

_OF_EACH_REASON = 6
_ON_A_SHEET = {True: 60, False: 24}  # of what is kept, and of each reason


def report_run(folder: Path, path: Path, ledger: Ledger) -> Path:
    """Write the report of a run, done or not.

    Args:
        folder: of the run.
        path: of the HTML file. It shows pictures: what may not be shared may not be shared in it either.
        ledger: that was asked through.

    Raises:
        CurationError: if the folder is of no run.
        WriteError: if the file cannot be written, or one lies there that is none of ours, or was changed since.
    """
    check_results(path.parent, [path.name])
    run = read_run(folder)
    sheets, items = _pictures(run)
    tables = [_funnel(run), _reasons(run), _costs(folder, ledger), *_audit(run), *_people(folder)]
    with committed_result(path.parent, path.name) as place:
        write_report(
            place,
            title=f"Curation of {Path(run.told['source']).name}",
            summary=_summary(run),
            tables=[table for table in tables if table.rows],
            figures=[*_gate_plots(run), *_judge_plots(run)],
            sheets=sheets,
            items=items,
            max_side=384,
        )
    return path


def _summary(run: Decided) -> str:
    funnel = run.funnel
    if not funnel:
        return "Nothing is decided yet."
    waiting = sum(sum(one["later"].values()) for one in funnel)
    return f"{funnel[0]['rows']} came in, {funnel[-1]['kept']} are kept after {funnel[-1]['stage']}" + (
        f", {waiting} wait for a later run." if waiting else "."
    )


def _funnel(run: Decided) -> Table:
    rows = [
        [one["stage"], one["rows"], one["kept"], sum(one["dropped"].values()), sum(one["later"].values())]
        for one in run.funnel
    ]
    return Table(
        ["stage", "in", "kept", "dropped", "later"], rows, "Funnel", "A stage may split a row into several."
    )


def _reasons(run: Decided) -> Table:
    """How many rows left for each reason, in all and by category, where one is known."""
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for stage in run.stages:
        for row in run.outcomes(stage, ["category"]):
            if row["state"] != "kept":
                counts[stage, row["state"], row["reason"]][row.get("category") or ""] += 1
    last = run.stages[-1] if run.stages else ""
    kept = Counter(
        row.get("category") or "" for row in run.outcomes(last, ["category"]) if row["state"] == "kept"
    )
    found = {**counts, (last, "kept", ""): kept}
    categories = sorted({name for of in found.values() for name in of if name})
    rows: list[list[Cell]] = [
        [stage, f"{state}: {reason}" if reason else state, of.total(), *(of[name] for name in categories)]
        for (stage, state, reason), of in found.items()
    ]
    return Table(
        ["stage", "outcome", "rows", *categories], rows, "Reasons", "By category, once it is diagnosed."
    )


def _costs(folder: Path, ledger: Ledger) -> Table:
    # Nothing is in flight where no run goes on: it was when one was killed.
    rows = [
        [
            f"{one.model}, {'possibly billed' if one.state == 'in flight' else one.state}",
            one.requests,
            round(one.cost, 4),
            one.unknown,
            round(one.seconds / one.requests, 2) if one.requests else None,
        ]
        for one in ledger.bill(purse_of(folder, ledger))
    ]
    columns = ["model", "requests", "cost", "of unknown cost", "seconds a request"]
    return Table(
        columns, rows, "Cost and time", "In the currency of the prices. Models that run here cost nothing."
    )


def _audit(run: Decided) -> Iterator[Table]:
    """What came of the planted pairs."""
    if (learned := run.learned(Judge.name)) is None:
        return
    told = json.loads((learned / AUDIT).read_text(encoding="utf-8"))
    counts = Counter((one["planted"], one["state"]) for one in told["pairs"])
    rows = [
        [kind, *(counts[kind, state] for state in ("caught", "missed", "unanswered"))]
        for kind in ("unchanged", "another scene")
    ]
    note = "Pairs that the judge has to refuse, planted before it was believed."
    yield Table(["planted", "caught", "missed", "unanswered"], rows, "The judge, tried", note)


def _people(folder: Path) -> Iterator[Table]:
    """What each reviewer has said, and how far they agree."""
    if not (folder / LABELS).is_file():
        return
    labels = read_labels(folder / LABELS)
    counts = Counter[tuple[str, str]]((one.reviewer, one.label) for one in labels if one.look == 1)
    names = sorted({one.reviewer for one in labels})
    said = ("keep", "refuse", "unsure")
    yield Table(
        ["reviewer", *said],
        [[name or "unnamed", *(counts[name, one] for one in said)] for name in names],
        "People",
    )
    rows: list[list[Cell]] = [
        [f"{one.first}, {one.second if one.second != one.first else 'again'}", one.shared, one.kappa]
        for one in agreements(labels)
    ]
    note = "Of candidates that both have labelled. Kappa (Cohen) is 1 where they always agree, 0 at chance."
    yield Table(["reviewers", "candidates", "kappa"], rows, "How far people agree", note)


def _gate_plots(run: Decided) -> Iterator[str]:
    """Of each measure how it is spread, with its limits."""
    limits = run.settings("gate") or {}
    found = [json.loads(row["measures"]) for row in run.outcomes("measure", ["measures"]) if row["measures"]]
    values = [values_of(told) for told in found]
    for measure in dict.fromkeys(name for told in values for name in told):
        here = [told[measure] for told in values if math.isfinite(told[measure])]
        lines = {
            check.limit: float(limits[check.limit])
            for check in CHECKS
            if check.measure == measure and check.limit in limits
        }
        if here:
            yield histogram(here, f"{measure}, of {len(here)} candidates", limits=lines)


def _judge_plots(run: Decided) -> Iterator[str]:
    settings = run.settings(Judge.name) or {}
    told = list(judged(run.outcomes(Judge.name, ["judgement"])))
    for score, limit in (("D", "removed"), ("F", "faithful"), ("DF", None)):
        here = [one[score] for _, one in told]
        if here:
            lines = {limit: float(settings[limit])} if limit else {}
            yield histogram(here, f"{score}, of {len(here)} candidates", limits=lines)


def judged(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Those outcomes of the judge that it has given a verdict on, with the verdict."""
    for row in rows:
        told = row["judgement"] if row["state"] == "kept" else row["detail"]
        if told and told.startswith('{"D"'):
            yield row, json.loads(told)


def _is_picture(data: bytes | None) -> bool:
    try:
        return data is not None and read_image(data) is not None
    except ImageError:
        return False


def _pictures(run: Decided) -> tuple[list[Sheet], list[Comparison]]:
    """Some of what is kept, and of what was refused for each reason: small, and a few of them under sliders."""
    groups = _drawn(run)
    wanted = {name: stage for drawn in groups.values() for name, stage in drawn}
    rows: dict[str, Row] = {}
    for stage in dict.fromkeys(wanted.values()):
        ids = {name for name, of in wanted.items() if of == stage}
        for row in run.outcomes(stage, ["lq", "gt", "candidate", "category"], ids):
            if _is_picture(_after(row)):
                rows[row["id"]] = row
    there = {group: [rows[name] for name, _ in drawn if name in rows] for group, drawn in groups.items()}
    there = {group: of for group, of in there.items() if of}
    sheets = [
        Sheet(
            f"Contact sheet: {group[0].lower()}{group[1:]}",
            [(row["lq"], _after(row), row["id"]) for row in of],
            f"{len(of)}, drawn by chance; on the left the photograph.",
        )
        for group, of in there.items()
    ]
    items = [
        Comparison(row["id"], row["lq"], _after(row), caption=row.get("category") or "", group=group)
        for group, of in there.items()
        for row in of[:_OF_EACH_REASON]
    ]
    return sheets, items


def _after(row: Mapping[str, Any]) -> bytes | None:
    return row.get("gt") or row.get("candidate")


def _drawn(run: Decided) -> dict[str, list[tuple[str, str]]]:
    """By what became of them the ids of some rows and the stage that decided: the kept ones first."""
    giving = next(
        (n for n, name in enumerate(run.stages) if "gt" in getattr(STAGES[name], "gives", ())), None
    )
    shown = [] if giving is None else run.stages[giving:]
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for stage in shown:
        for row in run.outcomes(stage, []):
            if row["state"] == "dropped":
                groups[f"Refused: {row['reason']}"].append((row["id"], stage))
            elif row["state"] == "kept" and stage == shown[-1]:
                groups["Kept"].append((row["id"], stage))
    by_chance = {
        group: heapq.nsmallest(
            _ON_A_SHEET[group == "Kept"], of, key=lambda one: sha256(one[0].encode()).digest()
        )
        for group, of in groups.items()
    }
    return dict(sorted(by_chance.items(), key=lambda one: (one[0] != "Kept", one[0])))
