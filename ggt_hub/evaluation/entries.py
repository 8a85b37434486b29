"""What the Hub shows of a run: `.eval_results/` in a model's repository, `eval.yaml` in that of the data set.

The Hub ranks results only of data sets on its list of benchmarks; what that takes is in
`docs/concepts/benchmarks.md`.
"""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from ggt_hub.commit import check_results, committed_result
from ggt_hub.evaluation.suite import Suite
from ggt_hub.metrics import get_metric

FRAMEWORK = "ggt-hub"
"""What `evaluation_framework` is to say once the Hub's list holds it."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HOME = "https://pypi.org/project/ggt-hub/"


def write_entries(results: dict[str, Any], suite: Suite, output: Path) -> None:
    """Write entries for a model's repository, if the run is over all of a data set on the Hub, at a known commit.

    Those of an earlier run that were written there and are true no more are removed.
    """
    name = f".eval_results/{suite.name}.yaml"
    entries = _entries(results, suite) if _is_whole(results, suite) else []
    if not entries:
        if (output / name).exists():
            check_results(output, [name])
            (output / name).unlink()
        return
    with committed_result(output, name) as path:
        path.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries)), encoding="utf-8")


def benchmark_yaml(suite: Suite) -> str:
    """The `eval.yaml` with which a data set's repository declares a suite a benchmark: a task for each metric."""
    protocols = {name: get_metric(name).protocol for name in suite.metrics}
    protocols |= dict.fromkeys(suite.rated, "from a judge's ratings before and after; see the entry's notes")
    tasks = [
        {"id": name, "config": "default", "split": suite.split, "description": protocol}
        for name, protocol in protocols.items()
    ]
    content = {
        "name": suite.title,
        "description": f"Real-world image restoration; scored by `ggt-hub bench run {suite.name}`.",
        "evaluation_framework": FRAMEWORK,
        "tasks": tasks,
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _is_whole(results: dict[str, Any], suite: Suite) -> bool:
    is_known = bool(_COMMIT.fullmatch(results["revision"] or ""))
    is_uncut = not results["crop_border"] and not results["crop_to_fit"]
    return results["complete"] and results["limit"] is None and suite.is_from_hub and is_known and is_uncut


def _entries(results: dict[str, Any], suite: Suite) -> list[EvalResultEntry]:
    model = results["model"]
    is_on_hub = "revision" in model
    version = importlib.metadata.version("ggt-hub")
    return [
        EvalResultEntry(
            str(suite.repository),
            name,
            round(results["overall"][name]["mean"], 6),
            dataset_revision=results["revision"],
            date=results["date"][:10],
            source_url=f"https://huggingface.co/{model['name']}/tree/{model['revision']}"
            if is_on_hub
            else _HOME,
            source_name=f"ggt-hub {version}, bench run {suite.name}",
            notes=results["protocols"][name],
        )
        for name in (*suite.metrics, *suite.rated)  # the tasks of `benchmark_yaml`
        if results["overall"].get(name, {}).get("mean") is not None
    ]
