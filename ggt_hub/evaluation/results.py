"""What a run leaves behind: scores of each picture, the summary with intervals, entries for a model card."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from ggt_hub.commit import check_results, committed_result, to_json
from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.report import write_run_report
from ggt_hub.evaluation.statistics import bootstrap
from ggt_hub.evaluation.suite import Item, Suite
from ggt_hub.metrics import fs
from ggt_hub.metrics.fs import Aggregate

Row = dict[str, Any]
SCORES, SUMMARY, REPORT = "scores.parquet", "results.json", "report.html"
NOT_SCORES = ("id", "task", "error", "lq_sha256")
"""Columns of `scores.parquet` that say what a row is about."""


def write(
    rows: Sequence[Row], items: Sequence[Item], record: dict[str, Any], suite: Suite, output: Path
) -> dict[str, Any]:
    """Write `scores.parquet`, `results.json`, `.eval_results/` and `report.html`.

    Returns:
        The content of `results.json`.
    """
    aggregate = record["judge"]["aggregate"] if record["judge"] else None
    results = record | {"pictures": len(rows), **summarise(rows, aggregate)}
    columns = dict.fromkeys(key for row in rows for key in row)
    with committed_result(output, SCORES) as path:
        pq.write_table(pa.table({key: [row.get(key) for row in rows] for key in columns}), path)
    with committed_result(output, SUMMARY) as path:
        path.write_text(to_json(results), encoding="utf-8")
    _write_entries(results, suite, output)
    with committed_result(output, REPORT) as path:
        write_run_report(rows, items, results, suite, output, path)
    return results


def check_output(output: Path) -> None:
    """Refuse a folder in which files lie where results belong, unless an earlier run wrote them.

    Raises:
        WriteError: naming the first.
    """
    check_results(output, [SCORES, SUMMARY, REPORT])


def summarise(rows: Sequence[Row], aggregate: Aggregate | None = None) -> dict[str, Any]:
    """Means with 95 % bootstrap intervals, over all pictures and for each task.

    A score is over the pictures that could be scored; `complete` says whether these were all, and `failed`
    lists the others with their reasons.

    Args:
        rows: one for each picture.
        aggregate: how the judge's protocol averages FS.
    """
    failed = {row["id"]: row["error"] for row in rows if row["error"]}
    tasks = dict.fromkeys(row["task"] for row in rows)
    return {
        "complete": not failed,
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


def _means(rows: Sequence[Row], aggregate: Aggregate | None) -> dict[str, Any]:
    scored = [row for row in rows if not row["error"]]
    names = dict.fromkeys(key for row in scored for key in row if key not in NOT_SCORES)
    means: dict[str, Any] = {"pictures": len(rows), "scored": len(scored)}
    for name in names:
        known = [row for row in scored if row.get(name) is not None]
        if name == "FS" and aggregate == "product of means":
            interval = bootstrap([(row["lpips_to_input"], row["RS"]) for row in known], combine=fs)
        else:
            interval = bootstrap([row[name] for row in known])
        means[name] = interval._asdict() | {"count": len(known)}
    return means


def _write_entries(results: dict[str, Any], suite: Suite, output: Path) -> None:
    """Entries for a model card's repository; only of complete results on all of a data set on the Hub."""
    if not results["complete"] or results["limit"] is not None or suite.repository is None:
        return
    entries = [
        EvalResultEntry(
            suite.repository,
            name,
            round(mean["mean"], 6),
            dataset_revision=results["revision"],
            notes=results["protocols"].get(name),
        )
        for name, mean in results["overall"].items()
        if isinstance(mean, dict) and not name.endswith("_before")
    ]
    with committed_result(output, f".eval_results/{suite.name}.yaml") as path:
        path.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries)), encoding="utf-8")
