"""The results of a comparison: a table, a page, and pairs that people vote on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from ggt_hub.commit import commit_json, committed_result
from ggt_hub.curation.comparing import Entrant
from ggt_hub.curation.decided import Decided, read_run
from ggt_hub.curation.figures import Figures, Passed, candidates_of, figures_of, pictures_of
from ggt_hub.errors import CurationError
from ggt_hub.evaluation.bradley_terry import bradley_terry, strengths_table
from ggt_hub.evaluation.suite import content_hash
from ggt_hub.evaluation.votes import VOTES, Results, Voting, counted, read_votes
from ggt_hub.reports.page import Cell, Comparison, Table, write_report
from ggt_hub.reports.plots import interval_plot
from ggt_hub.vlm import Asker, Ledger

COMPARISON, REPORT = "comparison.json", "report.html"

_PHOTOGRAPHS_SHOWN = 6
_NOT_MEASURED = (
    "Letters and faces are as the judge sees them; what OCR reads is in the runs, where measure.also asks for it. "
    "The likeness of faces and quality by learned measures are not measured."
)


def write_comparison(
    found: Sequence[Entrant], output: Path, askers: Mapping[str, Asker], ledger: Ledger
) -> list[Figures]:
    """Write `comparison.json` and `report.html`, of runs that are done or not.

    The page shows pictures: what may not be shared may not be shared in it either.

    Args:
        found: who was compared.
        output: folder of the comparison.
        askers: who was asked.
        ledger: through which.

    Raises:
        WriteError: if a file cannot be written, or the page was changed since.
    """
    figures = [figures_of(entrant, askers, ledger) for entrant in found]
    told = {
        "not measured": _NOT_MEASURED,
        "entrants": [
            one.told() | {"run": entrant.folder.relative_to(output).as_posix()}
            for one, entrant in zip(figures, found, strict=True)
        ],
    }
    commit_json(output / COMPARISON, told)
    known = [(one.label, *one.df) for one in figures if one.df and one.judged > 1]
    with committed_result(output, REPORT) as page:
        write_report(
            page,
            title="Generators, compared",
            summary=_summary(figures),
            tables=[
                _checks(figures),
                _verdicts(figures),
                *_categories(figures),
                *_voted(output),
                _refusals(figures),
            ],
            figures=[interval_plot(known, "DF, with 95 % intervals")] if known else [],
            items=[*_shown(found)],
            max_side=384,
        )
    return figures


def open_comparison(output: Path) -> Voting:
    """What people may vote on: of each photograph one candidate of each entrant, laid over it.

    Raises:
        CurationError: if the folder holds no comparison.
        EvaluationError: if there are not two candidates of any photograph.
    """
    return Voting(_results(output), output / VOTES)


def _results(output: Path) -> dict[str, Results]:
    """By the ids of photographs."""
    try:
        told = json.loads((output / COMPARISON).read_text(encoding="utf-8"))
        runs = {one["label"]: read_run(output / one["run"]) for one in told["entrants"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CurationError(f"{output} holds no comparison: {COMPARISON} cannot be read") from error
    candidates = {label: candidates_of(run) for label, run in runs.items()}
    photographs = dict.fromkeys(name for of in candidates.values() for name in of)
    found = {}
    for name in photographs:
        here = {label: (runs[label], of[name]) for label, of in candidates.items() if name in of}
        first = next(iter(here.values()))
        results = {label: partial(_side, *place, "gt") for label, place in here.items()}
        found[name] = Results(partial(_side, *first, "lq"), results)
    return found


def _side(run: Decided, candidate: str, side: str) -> bytes:
    return bytes(pictures_of(run, candidate)[side])


def _summary(figures: Sequence[Figures]) -> str:
    photographs = max((one.photographs for one in figures), default=0)
    waiting = sum(one.waiting for one in figures)
    return (
        f"{len(figures)} ways to restore the same {photographs} photographs. "
        + (f"{waiting} candidates wait: compare again to go on. " if waiting else "")
        + _NOT_MEASURED
    )


def _checks(figures: Sequence[Figures]) -> Table:
    columns = [
        "generator",
        "model",
        "photographs",
        "drawn",
        "laid over",
        "corner (px)",
        "bent (px)",
        "past the gate",
    ]
    columns += ["pairs", "cost each", "seconds"]
    rows: list[list[Cell]] = [
        [
            *(one.label, one.model, one.photographs, _share(one.drawn), _share(one.registered)),
            *(_rounded(one.corner), _rounded(one.residual), _share(one.gated)),
            *(one.pairs, one.cost, _rounded(one.seconds)),
        ]
        for one in figures
    ]
    note = (
        "Shares are of what came to the check. Corner and bent: how far candidates lie off their photograph, "
        "medians, in pixels of 1024. Pairs: photographs of which a candidate passed everything. Cost of a "
        "candidate that was asked for, refused or not, in the currency of the prices; seconds, the median."
    )
    return Table(columns, rows, "From the request to a pair", note)


def _verdicts(figures: Sequence[Figures]) -> Table:
    columns = [
        "generator",
        "judged",
        "D",
        "F",
        "DF",
        "between repeats",
        "letters unchanged",
        "faces unchanged",
    ]
    rows: list[list[Cell]] = [
        [
            *(one.label, one.judged, one.d, one.f, _interval(one.df), one.spread),
            *(_share(one.text), _share(one.faces)),
        ]
        for one in figures
    ]
    note = (
        "Means over photographs, of what came to the judge: compare it with how many did not. Between repeats: the "
        "standard deviation of DF among candidates of one photograph."
    )
    return Table(columns, rows, "What the judge says", note)


def _categories(figures: Sequence[Figures]) -> Iterator[Table]:
    names = sorted({name for one in figures for name in one.by_category})
    if len(names) > 1:
        rows: list[list[Cell]] = [
            [one.label, *(one.by_category.get(name) for name in names)] for one in figures
        ]
        yield Table(["generator", *names], rows, "DF by category")


def _refusals(figures: Sequence[Figures]) -> Table:
    rows: list[list[Cell]] = [
        [one.label, reason, count] for one in figures for reason, count in one.refusals.items()
    ]
    return Table(["generator", "reason", "candidates"], rows or [["none", None, 0]], "Refusals")


def _voted(output: Path) -> Iterator[Table]:
    """Strengths from the votes of people, if there are any on these candidates."""
    if not (output / VOTES).is_file():
        return
    pictures = _results(output)

    @cache
    def hash_of(label: str, picture: str) -> str | None:
        result = pictures[picture].results.get(label) if picture in pictures else None
        return None if result is None else content_hash(result())

    votes, left_out = counted(read_votes(output / VOTES), hash_of)
    if votes:
        found = bradley_terry((vote.left, vote.right, vote.share) for vote in votes)
        yield strengths_table(found, len(votes), left_out)


def _shown(found: Sequence[Entrant]) -> Iterator[Comparison]:
    """Some photographs, each with a candidate of every entrant."""
    runs = {entrant.label: read_run(entrant.folder) for entrant in found}
    candidates = {label: candidates_of(run) for label, run in runs.items()}
    names = dict.fromkeys(name for of in candidates.values() for name in of)
    for name in [*names][:_PHOTOGRAPHS_SHOWN]:
        for label, of in candidates.items():
            if name in of:
                pictures = pictures_of(runs[label], of[name])
                yield Comparison(label, pictures["lq"], pictures["gt"], group=name)


def _share(passed: Passed | None) -> str | None:
    if passed is None or passed.share is None:
        return None
    return f"{100 * passed.share:.0f} %\n{passed.passed} of {passed.came}"


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _interval(values: tuple[float, float, float] | None) -> str | None:
    if values is None:
        return None
    middle, low, high = values
    return f"{middle:.1f}\n[{low:.1f}, {high:.1f}]"
