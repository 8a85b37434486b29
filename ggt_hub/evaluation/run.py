"""One restorer over one suite: restore (resumable), score, and write what was found."""

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from tqdm import tqdm

from ggt_hub.errors import EvaluationError, GGTHubError, ImageError
from ggt_hub.evaluation import results
from ggt_hub.evaluation.rating import rate
from ggt_hub.evaluation.suite import Item, Suite, content_hash
from ggt_hub.files import Job, fingerprint, write_json
from ggt_hub.images import read_image, write_image
from ggt_hub.metrics import METRICS, compute, get_metric
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

    Started by `accelerate launch` on several devices, each restores its share and the first one scores. What is
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
        MetricError: if a metric is unknown.
        JudgeError: if the judge fails for good; its replies are kept.
    """
    scoring, arguments = scoring or Scoring(), arguments or {}
    names = scoring.metrics or suite.metrics
    for name in names:
        get_metric(name)
    state = PartialState()
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
    if scoring.judge:
        rate(rows, items, output, scoring.judge, scoring.weights)
    record = {
        "suite": suite.name,
        "title": suite.title,
        "source": Path(suite.source).name if Path(suite.source).is_dir() else suite.source,
        "revision": suite.revision,
        **settings,
        "limit": limit,
        "protocols": {name: METRICS[name].protocol for name in names if name in METRICS},
        "judge": scoring.judge.identity if scoring.judge else None,
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    return results.write(rows, items, record, suite, output)


def model_identity(pipe: Any) -> dict[str, str]:
    """The restorer's class, name, and the hash of its files where it has some."""
    name = str(getattr(pipe, "name_or_path", "") or type(pipe).__name__)
    identity = {"class": type(pipe).__name__, "name": Path(name).name}
    return identity | ({"fingerprint": fingerprint(Path(name))} if Path(name).is_dir() else {})


def restored_path(item: Item, output: Path) -> Path:
    """Where an item's result lies."""
    return output / "restored" / f"{item.id}.png"


def _restore(
    item: Item, pipe: Any, output: Path, settings: dict[str, Any], seed: int, arguments: dict[str, Any]
) -> None:
    target = restored_path(item, output)
    record = output / ".ggt-hub" / f"{item.id}.json"
    try:
        made_from = {"lq_sha256": content_hash(item.lq), "hint": item.hint, "settings": settings}
        if target.exists() and record.exists() and json.loads(record.read_text())["made_from"] == made_from:
            return
        target.unlink(missing_ok=True)
        picture = read_image(item.lq)
        relative = Path(item.id)
        generator = torch.Generator().manual_seed(Job(relative, relative).seed(seed))
        restored = pipe(picture.to_pil(), **({"task": item.hint} | arguments), generator=generator).images[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        write_image(restored, target)
        write_json(record, {"made_from": made_from})
    except (GGTHubError, OSError, RuntimeError, ValueError, MemoryError) as error:
        write_json(record, {"made_from": None, "error": str(error) or type(error).__name__})


def _score(item: Item, output: Path, names: Sequence[str], weights: Path | None) -> dict[str, Any]:
    """One row: the picture's scores before (`NAME_before`) and after restoration, or why there are none."""
    row: dict[str, Any] = {"id": item.id, "task": item.task, "error": None}
    try:
        target = restored_path(item, output)
        if not target.exists():
            reason = json.loads((output / ".ggt-hub" / f"{item.id}.json").read_text()).get("error")
            raise EvaluationError(reason or "it was not restored")
        after, before = as_rgb(target), as_rgb(item.lq)
        gt = None if item.gt is None else as_rgb(item.gt)
        usable = [name for name in names if gt is not None or not get_metric(name).needs_reference]
        for name, scores in compute(usable, after, gt, weights=weights).items():
            row[name] = float(scores[0])
        if before.shape == after.shape:
            for name, scores in compute([n for n in usable if n in row], before, gt, weights=weights).items():
                row[f"{name}_before"] = float(scores[0])
        if undefined := [name for name, value in row.items() if isinstance(value, float) and np.isnan(value)]:
            row["error"] = f"{', '.join(undefined)} cannot be defined for this picture"
    except (GGTHubError, OSError) as error:
        row["error"] = str(error)
    return row


def as_rgb(source: Any) -> np.ndarray[Any, Any]:
    """A picture as `H x W x 3`, uint8.

    Raises:
        ImageError: if it cannot be read.
    """
    if source is None:
        raise ImageError("there is no picture")
    return np.asarray(read_image(source).to_pil().convert("RGB"))
