"""What a run leaves behind: scores of each picture, and the summary with intervals."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ggt_hub.commit import check_results, committed_result, to_json
from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.entries import write_entries
from ggt_hub.evaluation.report import write_run_report
from ggt_hub.evaluation.rows import Row, applies, columns, has_scores, problems, score_names, scored
from ggt_hub.evaluation.statistics import Combine, bootstrap
from ggt_hub.evaluation.suite import Item, Suite
from ggt_hub.metrics import fs
from ggt_hub.metrics.fs import Aggregate

SCORES, SUMMARY, REPORT = "scores.parquet", "results.json", "report.html"


def write(
    rows: Sequence[Row], items: Sequence[Item], record: dict[str, Any], suite: Suite, output: Path
) -> dict[str, Any]:
    """Write `scores.parquet`, `results.json`, `report.html` and, where the Hub may show them, `.eval_results/`.

    Returns:
        The content of `results.json`.
    """
    aggregate = record["judge"]["aggregate"] if record["judge"] else None
    results = record | {"pictures": len(rows), **summarise(rows, aggregate, record["left_out"])}
    with committed_result(output, SCORES) as path:
        pq.write_table(pa.table(columns(rows)), path)
    with committed_result(output, SUMMARY) as path:
        path.write_text(to_json(results), encoding="utf-8")
    write_entries(results, suite, output)
    with committed_result(output, REPORT) as path:
        write_run_report(rows, items, results, suite, output, path)
    return results


def check_output(output: Path) -> None:
    """Refuse a folder in which files lie where results belong, unless an earlier run wrote them.

    Raises:
        WriteError: naming the first.
    """
    check_results(output, [SCORES, SUMMARY, REPORT])


def summarise(
    rows: Sequence[Row], aggregate: Aggregate | None = None, left_out: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Means with 95 % BCa intervals, over all pictures and for each task.

    Each score is over the pictures that it could score: `count` of `of`. `complete` says whether these were all,
    and `failed` lists the others with their reasons.

    Args:
        rows: one for each picture.
        aggregate: how the judge's protocol averages FS.
        left_out: metrics that could not be had, with the reasons.
    """
    failed = {row["id"]: reason for row in rows if (reason := problems(row))}
    tasks = dict.fromkeys(row["task"] for row in rows)
    return {
        "complete": not failed and not left_out,
        "failed": failed,
        "overall": _means(rows, aggregate),
        "tasks": {task: _means([row for row in rows if row["task"] == task], aggregate) for task in tasks},
    }


def read(folder: Path) -> tuple[dict[str, Any], list[Row]]:
    """The results of a finished run.

    Raises:
        EvaluationError: if the folder holds none.
    """
    if not (folder / SUMMARY).is_file() or not (folder / SCORES).is_file():
        raise EvaluationError(f"there are no results in {folder}: name the --output folder of a bench run")
    results = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return results, pq.read_table(folder / SCORES).to_pylist()


def means_of(rows: Sequence[Row], name: str, aggregate: Aggregate | None) -> tuple[Any, Combine]:
    """The values of a score, a line for each picture, and what makes one number of their means."""
    if name == "FS" and aggregate == "product of means":
        return [(row["lpips_to_input"], row["RS"]) for row in rows], fs
    return [row[name] for row in rows], np.asarray


def _means(rows: Sequence[Row], aggregate: Aggregate | None) -> dict[str, Any]:
    means: dict[str, Any] = {
        "pictures": len(rows),
        "scored": sum(problems(row) is None and has_scores(row) for row in rows),
    }
    for name in score_names(rows):
        expected = [row for row in rows if applies(row, name)]
        if not expected:
            continue
        known = scored(rows, name)
        values, combine = means_of(known, name, aggregate)
        interval = bootstrap(values, combine=combine)._asdict()
        means[name] = {key: value if math.isfinite(value) else None for key, value in interval.items()}
        means[name] |= {"count": len(known), "of": len(expected)}
    return means
