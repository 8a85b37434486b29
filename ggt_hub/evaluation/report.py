"""The page of a run: the table with intervals, how gains are spread, the worst and the best pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggt_hub.evaluation.published import published_table
from ggt_hub.evaluation.rows import Row, score_names, scored
from ggt_hub.evaluation.statistics import bootstrap
from ggt_hub.evaluation.suite import Item, Suite
from ggt_hub.metrics import get_metric
from ggt_hub.reports import Comparison, Table, histogram, interval_plot, write_report
from ggt_hub.reports.page import format_cell

_SHOWN = 6  # pictures at each end
_ARROWS = {"higher": "↑", "lower": "↓"}


def write_run_report(
    rows: Sequence[Row],
    items: Sequence[Item],
    results: dict[str, Any],
    suite: Suite,
    output: Path,
    path: Path,
) -> Path:
    """Write the page of a run whose pictures are in `output` to `path`."""
    scores = score_names(rows, before=False)
    tables = [_scores_table(results, scores)] if scores else []
    tables += [_sets_table(results)] if results["sets"] else []
    missing = [*results["left_out"].items(), *results["failed"].items()]
    if missing:
        tables.append(Table(["missing", "reason"], missing, title="Missing: the scores are incomplete"))
    is_whole = not results["failed"] and results["limit"] is None
    quoted = published_table(suite, results) if is_whole else None
    ranking = _ranking(rows, results)
    return write_report(
        path,
        title=f"{results['model']['name']} on {suite.title}",
        summary=_summary(results),
        tables=tables + ([quoted] if quoted else []),
        figures=_figures(ranking) if ranking.ranked else [],
        items=_extremes(ranking, {item.id: item for item in items}, output, scores),
    )


def _summary(results: dict[str, Any]) -> str:
    scored = results["overall"]["scored"]
    text = f"{scored} of {results['pictures']} pictures have all scores that could be had, seed {results['seed']}."
    if not results["complete"]:
        text += " Incomplete: what is missing is listed; each mean is over the pictures that have that score."
    if results["limit"] is not None:
        text += f" Only the first {results['limit']} pictures of the suite."
    if settings := ", ".join(f"{name}={value}" for name, value in results["arguments"].items()):
        text += f" Settings: {settings}."
    if results["judge"]:
        text += f" Rated by {results['judge']['judge']}, protocol {results['judge']['protocol']}."
    noise = results["judge_noise"] or {}
    if noise.get("unchanged", {}).get("RS") is not None:
        text += f" Unchanged pictures score RS {noise['unchanged']['RS']:.3g}."
    if noise.get("repeated", {}).get("deviation") is not None:
        text += f" Ratings of one picture spread by {noise['repeated']['deviation']:.3g}."
    if results["cost"]["seconds"] is not None:
        text += f" {results['cost']['seconds']:.3g} s a picture on {results['device']}."
    if (count := results["cost"].get("multiply_adds")) is not None:
        height, width = results["cost"]["multiply_adds_of"]
        text += f" {count / 1e9:.3g} billion multiply-adds for {width}x{height} pixels."
    return text + " Intervals are 95 %, by bootstrap (BCa) over pictures."


def _scores_table(results: dict[str, Any], names: list[str]) -> Table:
    names = [name for name in names if name != "rating_before"]
    groups = {**results["tasks"], "all pictures": results["overall"]}
    if len(results["tasks"]) == 1:
        del groups[next(iter(results["tasks"]))]
    rows = [
        [label, means["pictures"], *(_score_cell(means, name) for name in names)]
        for label, means in groups.items()
    ]
    columns = ["task", "pictures", *(f"{name} {_ARROWS[results['directions'][name]]}" for name in names)]
    of_pictures = {name: told for name, told in results["protocols"].items() if name not in results["sets"]}
    note = " · ".join(f"{name}: {told}" for name, told in of_pictures.items())
    return Table(columns, rows, title="Scores", note=note)


def _sets_table(results: dict[str, Any]) -> Table:
    sides = ("before", "after", "clean")
    rows = [
        [f"{name} {_ARROWS[results['directions'][name]]}", *(found.get(side) for side in sides)]
        for name, found in results["sets"].items()
    ]
    note = " · ".join(f"{name}: {results['protocols'][name]}" for name in results["sets"])
    return Table(["score", *sides], rows, title="Scores of all pictures together", note=note)


def _score_cell(means: dict[str, Any], name: str) -> str | None:
    """`before → after`, and below the interval of `after` with its number of pictures."""
    mean = means.get(name)
    if mean is None:
        return None
    before = means.get("rating_before" if name == "rating_after" else f"{name}_before", {})
    shown = format_cell(mean["mean"])
    if before.get("mean") is not None:
        lacks = "" if before["count"] == mean["count"] else f" (n={before['count']})"
        shown = f"{format_cell(before['mean'])}{lacks} → {shown}"
    count = f"n={mean['count']}" if mean["count"] == mean["of"] else f"n={mean['count']} of {mean['of']}"
    if mean["low"] is None:
        return f"{shown}\n{count}"
    return f"{shown}\n[{format_cell(mean['low'])}, {format_cell(mean['high'])}] {count}"


@dataclass(frozen=True)
class _Ranking:
    """The pictures from worst to best, and by what: better is larger."""

    by: str
    ranked: list[tuple[Row, float]]


def _ranking(rows: Sequence[Row], results: dict[str, Any]) -> _Ranking:
    """By FS or RS where a judge rated them; else by the gain in the first metric, or by it where sizes differ.

    Left out are pictures that were perfect before, such as the clean ones of a suite: they cannot gain.
    """
    names = score_names(rows, before=False)
    judged = [name for name in ("FS", "RS") if scored(rows, name)]
    name = next(iter(judged + [name for name in names if scored(rows, name)]), None)
    if name is None:
        return _Ranking("", [])
    sign = 1 if results["directions"][name] == "higher" else -1
    known, before = scored(rows, name), f"{name}_before"
    if judged or any(row.get(before) is None for row in known):
        return _Ranking(name, sorted(((row, sign * row[name]) for row in known), key=lambda pair: pair[1]))
    perfect = get_metric(name).range[0 if sign < 0 else 1]
    gains = [(row, sign * (row[name] - row[before])) for row in known if row[before] != perfect]
    return _Ranking(f"gain in {name}", sorted(gains, key=lambda pair: pair[1]))


def _figures(ranking: _Ranking) -> list[str]:
    title = ranking.by[0].upper() + ranking.by[1:]
    figures = [histogram([value for _, value in ranking.ranked], f"{title} of each picture")]
    groups: dict[str, list[float]] = {}
    for row, value in ranking.ranked:
        groups.setdefault(row["task"], []).append(value)
    means = [(task, *bootstrap(values)) for task, values in groups.items() if len(values) > 1]
    if len(means) > 1:
        means.sort(key=lambda mean: mean[1])
        figures.append(interval_plot(means, f"{title} of each task, worst first, with 95 % intervals"))
    return figures


def _extremes(ranking: _Ranking, items: dict[str, Item], output: Path, names: list[str]) -> list[Comparison]:
    ranked = ranking.ranked
    half = min(_SHOWN, len(ranked) // 2)
    ends = [("Worst", ranked[:half]), ("Best", ranked[::-1][: len(ranked) - half][:_SHOWN])]
    is_gain = ranking.by not in names
    return [
        Comparison(
            title=row["id"],
            before=items[row["id"]].lq,
            after=output / "restored" / f"{row['id']}.png",
            reference=items[row["id"]].gt,
            caption=row["task"],
            numbers=({ranking.by: value} if is_gain else {}) | {name: row.get(name) for name in names},
            group=f"{group} cases by {ranking.by}",
        )
        for group, chosen in ends
        for row, value in chosen
    ]
