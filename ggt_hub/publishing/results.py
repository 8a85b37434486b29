"""Results of `ggt-hub bench` in a model's repository: a table for its card, and entries that the Hub shows."""

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import parse_eval_result_entries

from ggt_hub.evaluation.results import read

RESULTS = ".eval_results"
"""The folder whose files the Hub shows beside the card and on leaderboards."""


def results_table(run: Path) -> str:
    """The scores of a finished run in Markdown: a row for each task, means with 95 % intervals.

    Raises:
        EvaluationError: if the folder holds no finished run.
    """
    results, _ = read(run)
    groups = {"all": results["overall"], **results["tasks"]}
    names = [name for name, mean in results["overall"].items() if isinstance(mean, dict)]
    lines = [_line(["", "pictures", *names]), _line(["---"] * (len(names) + 2))]
    for task, means in groups.items():
        scores = [_words(means.get(name)) for name in names]
        lines.append(_line([task, f"{means['scored']} of {means['pictures']}", *scores]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _words(mean: dict[str, Any] | None) -> str:
    if not mean or mean["mean"] is None:
        return ""
    if mean["low"] is None:  # of one picture
        return f"{mean['mean']:.4g}"
    return f"{mean['mean']:.4g} ({mean['low']:.4g} to {mean['high']:.4g})"


def check_results(path: str, source: Path) -> list[str]:
    """Find what the Hub would not understand in a file of `.eval_results`; empty for any other file."""
    if not path.startswith(f"{RESULTS}/"):
        return []
    try:
        entries = parse_eval_result_entries(yaml.safe_load(source.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError) as error:
        return [f"{path} is not a list of results: {type(error).__name__} {error}"]
    return [
        f"{path} names {entry.dataset_id!r}, which is no id on the Hub"
        for entry in entries
        if entry.dataset_id.count("/") != 1
    ]
