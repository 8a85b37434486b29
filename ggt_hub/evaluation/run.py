"""One restorer over one suite: restore (resumable), score, and write what was found."""

import importlib.metadata
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from tqdm import tqdm

from ggt_hub.commit import RECORDS, commit_bytes, commit_json
from ggt_hub.errors import EvaluationError, GGTHubError, MetricError
from ggt_hub.evaluation import results
from ggt_hub.evaluation.rating import rate, rating_protocols
from ggt_hub.evaluation.suite import Item, Suite, as_rgb, content_hash
from ggt_hub.files import fingerprint, seed_of
from ggt_hub.images import encode_image, read_image
from ggt_hub.metrics import available, compute, get_metric
from ggt_hub.vlm import Judge

_LIBRARIES = ("ggt-hub", "torch", "diffusers", "numpy", "opencv-python-headless", "pillow")


@dataclass(frozen=True)
class Scoring:
    """What is measured besides the suite's own metrics.

    Attributes:
        metrics: names of metrics; None for the suite's.
        weights: folder with the weights of perceptual metrics.
        judge: rates each picture before and after for RS and FS; None leaves them out.
    """

    metrics: tuple[str, ...] | None = None
    weights: Path | None = None
    judge: Judge | None = None


def run_suite(
    suite: Suite,
    pipe: Any,
    output: Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    scoring: Scoring | None = None,
    arguments: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Restore and score a suite.

    Started by `accelerate launch` on several devices (`torchrun` on CPUs), each restores its share and the first
    one scores. What is
    restored already is not restored again, unless the picture, the model or a setting has changed. A picture
    that fails is counted and listed, and makes the result incomplete.

    Args:
        suite: what is restored.
        pipe: a restorer, or any callable of the same contract.
        output: folder for `restored/`, `scores.parquet`, `results.json`, `.eval_results/` and `report.html`.
        seed: of the run; each picture has a generator of its own.
        limit: only the first so many pictures.
        scoring: what is measured.
        arguments: further arguments of the restorer's call.

    Returns:
        The content of `results.json`; on other processes than the first an empty dict.

    Raises:
        EvaluationError: if the suite is empty.
        HubError: if the suite's data set cannot be had.
        MetricError: if a metric is unknown.
        JudgeError: if the judge fails for good; its replies are kept.
    """
    scoring, arguments = scoring or Scoring(), arguments or {}
    results.check_output(output)
    state = processes()
    names: list[str] = []
    left_out: dict[str, str] = {}
    revision = suite.exact_revision()
    if state.is_main_process:  # the one that scores
        names, left_out = available([*(scoring.metrics or suite.metrics)], scoring.weights)
    settings = {"model": model_identity(pipe), "seed": seed, "arguments": arguments}
    items = list(islice(suite.items(), limit))
    if not items:
        raise EvaluationError(f"the suite {suite.name} holds no picture: look at {suite.source}")
    share = items[state.process_index :: state.num_processes]
    for item in tqdm(share, desc="restoring", unit="picture", disable=not state.is_main_process):
        _restore(item, pipe, output, settings, seed, arguments)
    state.wait_for_everyone()
    if not state.is_main_process:
        return {}
    rows = [
        _score(item, output, names, scoring.weights) for item in tqdm(items, desc="scoring", unit="picture")
    ]
    protocols = {name: get_metric(name).protocol for name in names}
    if scoring.judge:
        left_out |= rate(rows, items, output, scoring.judge, scoring.weights)
        protocols |= rating_protocols(scoring.judge)
    record = {
        "suite": suite.name,
        "title": suite.title,
        "source": Path(suite.source).name if Path(suite.source).is_dir() else suite.source,
        "revision": revision,
        **settings,
        "limit": limit,
        "protocols": protocols,
        "left_out": left_out,
        "judge": scoring.judge.identity if scoring.judge else None,
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    return results.write(rows, items, record, suite, output)


def processes() -> PartialState:
    """The process that this is, of those that `accelerate launch` or `torchrun` started; and its device."""
    # Accelerate takes processes without an accelerator for strangers to one another, unless told.
    cpu = not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=cpu, timeout=timedelta(days=7))  # one may have much more left to do than another


def model_identity(pipe: Any) -> dict[str, str]:
    """The restorer's class, name and revision, and the hash of its files where it has some."""
    path = Path(str(getattr(pipe, "name_or_path", "") or type(pipe).__name__))
    identity = {"class": type(pipe).__name__, "name": path.name}
    if path.parent.name == "snapshots":  # of the Hub's cache: models--owner--name/snapshots/commit
        repository = path.parents[1].name.removeprefix("models--").replace("--", "/")
        identity |= {"name": repository, "revision": path.name}
    if path.is_dir():
        identity["fingerprint"] = fingerprint(path)
    elif path.is_file():
        identity["fingerprint"] = content_hash(path)[:16]
    return identity


def restored_path(item: Item, output: Path) -> Path:
    """Where an item's result lies."""
    return output / "restored" / f"{item.id}.png"


def _restore(
    item: Item, pipe: Any, output: Path, settings: dict[str, Any], seed: int, arguments: dict[str, Any]
) -> None:
    target = restored_path(item, output)
    record = output / RECORDS / f"{item.id}.json"
    known = _read_record(record)
    try:
        there = content_hash(target) if os.path.lexists(target) else None
        lq, hint = item.lq, _hint(item, pipe)
        made_from = {"lq_sha256": content_hash(lq), "hint": hint, "settings": settings}
        if there not in (None, known.get("output_sha256"), known.get("replaces")):
            raise EvaluationError(f"{target} is not what a run made, so it is not replaced: move it away")
        if there and there == known.get("output_sha256") and known.get("made_from") == made_from:
            return
        generator = torch.Generator().manual_seed(seed_of(item.id, seed))
        picture = read_image(lq)  # with all its bits
        result = pipe(picture, **({"task": hint} | arguments), generator=generator, output_type="np")
        data = encode_image(picture.with_rgb(result.images[0]), ".png").data
        # First the record, so that a kill in between does not make our own file look like somebody else's.
        made = {"made_from": made_from, "output_sha256": content_hash(data), "replaces": there}
        commit_json(record, made)
        target.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(target, data)
    except (GGTHubError, OSError, RuntimeError, ValueError, MemoryError) as error:
        commit_json(record, known | {"made_from": None, "error": str(error) or type(error).__name__})


def _read_record(record: Path) -> dict[str, Any]:
    try:
        return json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _hint(item: Item, pipe: Any) -> str | None:
    """The task to tell the restorer: none that it does not know, since blind it may still help."""
    description = getattr(pipe, "description", None)
    return item.hint if description is None or item.hint in description.tasks else None


def _score(item: Item, output: Path, names: Sequence[str], weights: Path | None) -> dict[str, Any]:
    """One row: the picture's scores before (`NAME_before`) and after restoration, or why there are none."""
    row: dict[str, Any] = {"id": item.id, "task": item.task, "error": None}
    try:
        target, lq = restored_path(item, output), item.lq
        record = _read_record(output / RECORDS / f"{item.id}.json")
        if record.get("made_from") is None or not target.exists():
            raise EvaluationError(record.get("error") or "it was not restored")
        row["lq_sha256"] = content_hash(lq)
        after, before = as_rgb(target), as_rgb(lq)
        gt = None if item.gt is None else as_rgb(item.gt)
        usable = [name for name in names if gt is not None or not get_metric(name).needs_reference]
        row |= score_picture(after, gt, usable, weights)
        if before.shape == after.shape:
            scores = score_picture(before, gt, usable, weights)
            row |= {f"{name}_before": score for name, score in scores.items()}
    except (GGTHubError, OSError) as error:
        row["error"] = str(error)
    return row


def score_picture(picture: Any, gt: Any, names: Sequence[str], weights: Path | None) -> dict[str, float]:
    """Scores of one picture.

    Raises:
        MetricError: if a metric cannot score it, or is not defined for it.
    """
    scores = {name: float(score[0]) for name, score in compute(names, picture, gt, weights=weights).items()}
    if undefined := [name for name, score in scores.items() if math.isnan(score)]:
        raise MetricError(f"{', '.join(undefined)} cannot be defined for this picture")
    return scores
