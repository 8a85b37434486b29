"""The page of a run: the table with intervals, how gains are spread, the worst and the best pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ggt_hub.evaluation.published import published_table
from ggt_hub.evaluation.statistics import bootstrap
from ggt_hub.evaluation.suite import Item, Suite
from ggt_hub.metrics import get_metric
from ggt_hub.reports import Comparison, Table, histogram, interval_plot, write_report
from ggt_hub.reports.page import format_cell

_SHOWN = 6  # pictures at each end


def write_run_report(
    rows: Sequence[dict[str, Any]],
    items: Sequence[Item],
    results: dict[str, Any],
    suite: Suite,
    output: Path,
    path: Path,
) -> Path:
    """Write the page of a run whose pictures are in `output` to `path`."""
    names = [name for name in results["overall"] if isinstance(results["overall"][name], dict)]
    scores = [name for name in names if not name.endswith("_before")]
    tables = [_scores_table(results, scores)]
    if results["failed"]:
        failures = list(results["failed"].items())
        tables.append(Table(["picture", "reason"], failures, title="Failed: the scores are incomplete"))
    quoted = published_table(suite.published, results["judge"])
    judged = _with_gain(rows, scores)
    return write_report(
        path,
        title=f"{results['model']['name']} on {suite.title}",
        summary=_summary(results),
        tables=tables + ([quoted] if quoted else []),
        figures=_figures(judged, f"Gain in {scores[0]}") if judged else [],
        items=_extremes(judged, {item.id: item for item in items}, output, scores),
    )


def _summary(results: dict[str, Any]) -> str:
    scored = results["overall"]["scored"]
    text = f"{scored} of {results['pictures']} pictures scored, seed {results['seed']}."
    if not results["complete"]:
        text += " Incomplete: pictures that failed are listed, and their scores are missing from the means."
    if results["judge"]:
        text += f" Rated by {results['judge']['judge']}, protocol {results['judge']['protocol']}."
    for name, reason in results["left_out"].items():
        text += f" Left out: {name}, since {reason}."
    return text + " Intervals are 95 %, by bootstrap over pictures."


def _scores_table(results: dict[str, Any], names: list[str]) -> Table:
    columns = ["task", "pictures"]
    for name in names:
        columns += [f"{name} before", name] if f"{name}_before" in results["overall"] else [name]
    groups = {**results["tasks"], "all pictures": results["overall"]}
    rows = [_scores_row(label, means, columns) for label, means in groups.items()]
    return Table(
        columns, rows, title="Scores", note=" · ".join(f"{k}: {v}" for k, v in results["protocols"].items())
    )


def _scores_row(label: str, means: dict[str, Any], columns: list[str]) -> list[Any]:
    cells: list[Any] = [label, means["pictures"]]
    for column in columns[2:]:
        mean = means.get(column.replace(" before", "_before"))
        if mean is None:
            cells.append(None)
        elif column.endswith(" before"):
            cells.append(mean["mean"])
        else:
            shown = [format_cell(mean[key]) for key in ("mean", "low", "high")]
            cells.append("{} [{}, {}]".format(*shown))
    return cells


def _with_gain(rows: Sequence[dict[str, Any]], names: list[str]) -> list[tuple[dict[str, Any], float]]:
    """Rows with their gain in the first metric (better is positive), worst first.

    Left out are pictures that were perfect before, such as the clean ones of a suite: they cannot gain.
    """
    if not names:
        return []
    name, before = names[0], f"{names[0]}_before"
    metric = None if name in ("RS", "FS") else get_metric(name)
    sign = -1 if metric and metric.direction == "lower" else 1
    perfect = metric.range[0 if sign < 0 else 1] if metric else None
    known = [row for row in rows if row.get(name) is not None and not row["error"]]
    judged = [
        (row, sign * (row[name] - (row.get(before) or 0.0))) for row in known if row.get(before) != perfect
    ]
    return sorted(judged, key=lambda pair: pair[1])


def _figures(judged: list[tuple[dict[str, Any], float]], title: str) -> list[str]:
    figures = [histogram([gain for _, gain in judged], f"{title} of each picture")]
    gains: dict[str, list[float]] = {}
    for row, gain in judged:
        gains.setdefault(row["task"], []).append(gain)
    if len(gains) > 1:
        means = sorted(
            ((task, *bootstrap(values)) for task, values in gains.items()), key=lambda mean: mean[1]
        )
        figures.append(interval_plot(means, f"{title} of each task, worst first, with 95 % intervals"))
    return figures


def _extremes(
    judged: list[tuple[dict[str, Any], float]], items: dict[str, Item], output: Path, names: list[str]
) -> list[Comparison]:
    half = min(_SHOWN, len(judged) // 2)
    ends = [("Worst", judged[:half]), ("Best", judged[::-1][: len(judged) - half][:_SHOWN])]
    return [
        Comparison(
            title=row["id"],
            before=items[row["id"]].lq,
            after=output / "restored" / f"{row['id']}.png",
            reference=items[row["id"]].gt,
            caption=row["task"],
            numbers={f"gain in {names[0]}": gain, **{name: row.get(name) for name in names}},
            group=f"{group} cases by {names[0]}",
        )
        for group, chosen in ends
        for row, gain in chosen
    ]
