"""The page of a leaderboard: a table for each task, the best first, each row against the one above it."""

import importlib.metadata
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggt_hub.evaluation.published import published_table
from ggt_hub.evaluation.rows import Row, score_names, scored
from ggt_hub.evaluation.statistics import FEWEST, holm, swap_test
from ggt_hub.evaluation.suite import Suite
from ggt_hub.metrics import SET_METRICS, get_metric
from ggt_hub.reports import Table, write_report
from ggt_hub.reports.page import format_cell

_ALL = "all pictures"
_CLEAR = 0.05
_ARROWS = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Entry:
    """A row of the leaderboard.

    Attributes:
        label: what it is called.
        about: the `results.json` of its run.
        rows: the scores of its run.
    """

    label: str
    about: dict[str, Any]
    rows: list[Row]

    def means(self, task: str) -> dict[str, Any]:
        """Its means over a task, or over all pictures."""
        return dict(self.about["overall"] if task == _ALL else self.about["tasks"][task])


def write_page(
    path: Path,
    suite: Suite,
    entries: Sequence[Entry],
    history: Sequence[dict[str, Any]],
    voted: Sequence[Table],
) -> None:
    """Write the page; one table is shown at a time, chosen by task."""
    about = entries[0].about
    tasks = [_ALL, *about["tasks"]] if len(about["tasks"]) > 1 else [_ALL]
    tables = [task_table(entries, task) for task in tasks]
    quoted = published_table(suite, about)
    write_report(
        path,
        title=f"Leaderboard: {about['title']}",
        summary=_summary(entries),
        tables=[
            *tables,
            *_sets_tables(entries),
            *voted,
            _cost_table(entries),
            *([quoted] if quoted else []),
            _history_table(history),
        ],
    )


def task_table(entries: Sequence[Entry], task: str) -> Table:
    """The best first by the first metric; a mark where a row differs clearly from the one above it.

    The differences are paired, picture by picture, and tested by swaps; p is corrected for all of the table (Holm).
    """
    names = [name for name in score_names(entries[0].rows, before=False) if name in entries[0].means(task)]
    sign = -1 if get_metric(names[0]).direction == "higher" else 1
    ranked = sorted(entries, key=lambda entry: (sign * entry.means(task)[names[0]]["mean"], entry.label))
    tested = [(at, name) for at in range(1, len(ranked)) for name in names]
    p_values = holm([_chance(ranked[at - 1], ranked[at], name, task) for at, name in tested])
    count = min(entries[0].means(task)[name]["count"] for name in names)
    clear = {place: p < _CLEAR and count >= FEWEST for place, p in zip(tested, p_values, strict=True)}
    shown = dict(zip(tested, p_values, strict=True))
    rows = [
        [
            entry.label,
            *(_cell(entry.means(task)[n], shown.get((at, n)), clear.get((at, n), False)) for n in names),
        ]
        for at, entry in enumerate(ranked)
    ]
    columns = ["model", *(f"{name} {_ARROWS[get_metric(name).direction]}" for name in names)]
    protocols = " · ".join(f"{name}: {entries[0].about['protocols'][name]}" for name in names)
    note = f"{count} pictures. * differs from the row above by more than chance. {protocols}"
    return Table(columns, rows, title=f"Scores, {task}", note=note, choice=task)


def card(suite: Suite) -> str:
    """README.md of the Space."""
    return f"""---
title: {json.dumps("Leaderboard: " + suite.title)}
emoji: 🏁
colorFrom: indigo
colorTo: gray
sdk: static
app_file: index.html
license: apache-2.0
short_description: Restorers by one protocol, each score checked
---

# Leaderboard: {suite.title}

Restorers over the same pictures, by one protocol, in one table. `leaderboard.json` holds what the page shows
with the hash of every picture, `history.json` the means of each date; `table.md`, `table.csv` and `table.tex`
are the table.

A submission is the folder that `ggt-hub bench run {suite.name}` writes, pictures included. Its means are computed
from its rows, every hash is checked, and every picture is scored again, by
ggt-hub {importlib.metadata.version("ggt-hub")}:

```bash
ggt-hub leaderboard build RUN1 RUN2 --output leaderboard
```
"""


def _chance(above: Entry, here: Entry, name: str, task: str) -> float:
    values = [
        {row["id"]: row[name] for row in scored(entry.rows, name) if task in (_ALL, row["task"])}
        for entry in (above, here)
    ]
    return swap_test([*values[0].values()], [values[1][picture] for picture in values[0]])


def _cell(mean: dict[str, Any], p: float | None, is_clear: bool) -> str:
    shown = format_cell(mean["mean"])
    if mean["low"] is not None:
        shown += f"\n[{format_cell(mean['low'])}, {format_cell(mean['high'])}]"
    return shown if p is None else f"{shown}\np={p:.2g}{' *' if is_clear else ''}"


def _summary(entries: Sequence[Entry]) -> str:
    about = entries[0].about
    of = "" if about["limit"] is None else f", the first {about['limit']} of the suite"
    revision = f", revision {about['revision'][:12]}" if about["revision"] else ""
    return (
        f"{len(entries)} rows over the same {about['pictures']} pictures{of}{revision}, by one protocol. Every "
        "hash was checked and every picture scored again. Intervals are 95 %, by bootstrap (BCa) over pictures; "
        "p of each row against the one above it by swapping pairs, corrected for the table (Holm). What other "
        "networks find in the pictures (AP, mIoU) is not here."
    )


def _sets_tables(entries: Sequence[Entry]) -> list[Table]:
    """Distances of all restored pictures to all references, and of the pictures as they came; none without any."""
    names = [name for name in SET_METRICS if any(name in entry.about["sets"] for entry in entries)]
    if not names:
        return []
    columns = [f"{name} {_ARROWS[SET_METRICS[name].direction]}" for name in names]
    rows = [
        [
            entry.label,
            *(entry.about["sets"].get(name, {}).get(side) for name in names for side in ("after", "before")),
        ]
        for entry in sorted(
            entries, key=lambda one: one.about["sets"].get(names[0], {}).get("after", math.inf)
        )
    ]
    note = "Without intervals: one number is of all pictures. " + " · ".join(
        f"{name}: {SET_METRICS[name].protocol}" for name in names
    )
    both = [column for name in columns for column in (name, f"{name.split()[0]} before")]
    return [Table(["model", *both], rows, title="Distances of the whole set", note=note)]


def _cost_table(entries: Sequence[Entry]) -> Table:
    columns = ["model", "s / picture", "memory (GiB)", "parameters (M)", "multiply-adds (G)", "device", "run"]
    scales = {"seconds": 1.0, "peak_memory": 2.0**30, "parameters": 1e6, "multiply_adds": 1e9}
    rows = [
        [
            entry.label,
            *(_scaled(entry.about["cost"].get(key), scale) for key, scale in scales.items()),
            f"{entry.about['device']}, torch {entry.about['versions']['torch']}",
            entry.about["date"][:10],
        ]
        for entry in sorted(entries, key=lambda entry: entry.label)
    ]
    note = (
        "As submitted: times of different machines do not compare. Memory is of the device, on a CPU of the whole "
        "process, libraries and all. Multiply-adds are of the first picture."
    )
    return Table(columns, rows, title="What a picture costs", note=note)


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value / scale


def _history_table(history: Sequence[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for one in history for means in one["means"].values() for name in means))
    rows = [
        [one["date"][:10], label, *(means.get(name) for name in names)]
        for one in reversed(history)
        for label, means in one["means"].items()
    ]
    return Table(
        ["date", "model", *names],
        rows,
        title="History",
        note="Means over all pictures, by the day of the build.",
    )
