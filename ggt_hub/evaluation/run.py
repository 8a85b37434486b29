"""One restorer over one suite: restore (resumable), score, and write what was found."""

import importlib.metadata
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from tqdm import tqdm

from ggt_hub.commit import RECORDS, commit_bytes, commit_json
from ggt_hub.errors import EvaluationError, GGTHubError
from ggt_hub.evaluation import results
from ggt_hub.evaluation.effort import count_multiply_adds, count_parameters, measured
from ggt_hub.evaluation.rating import DIRECTIONS, degradations, rate, rating_protocols
from ggt_hub.evaluation.rows import OTHER_SIZE, Row, fail, new_row, put, without_paths
from ggt_hub.evaluation.scoring import Scoring, said
from ggt_hub.evaluation.set_scores import SetScorer, score_sets, set_scorers
from ggt_hub.evaluation.suite import Item, Suite, as_rgb, content_hash
from ggt_hub.files import fingerprint, seed_of
from ggt_hub.images import encode_image, read_image
from ggt_hub.metrics import SET_METRICS, available, get_metric

_LIBRARIES = ("ggt-hub", "torch", "diffusers", "numpy", "opencv-python-headless", "pillow")


def run_suite(
    suite: Suite,
    pipe: Any,
    output: Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    scoring: Scoring | None = None,
    arguments: dict[str, Any] | None = None,
    alone: bool = False,
) -> dict[str, Any]:
    """Restore and score a suite.

    Started by `accelerate launch` on several devices (`torchrun` on CPUs), each restores its share and the first
    one scores. What is
    restored already is not restored again, unless the picture, the model or a setting has changed. A picture
    that fails, or that a metric cannot score, is counted and listed, makes the result incomplete and stays out of
    that metric's mean alone. A metric that cannot be had here leaves the result incomplete, too.

    Args:
        suite: what is restored.
        pipe: a restorer, or any callable of the same contract.
        output: folder for `restored/`, `scores.parquet`, `results.json`, `report.html` and, where the Hub may show
            them, `.eval_results/`.
        seed: of the run; each picture has a generator of its own.
        limit: only the first so many pictures.
        scoring: what is measured.
        arguments: further arguments of the restorer's call.
        alone: only the first of several processes calls this, and restores all.

    Returns:
        The content of `results.json`; on other processes than the first an empty dict.

    Raises:
        EvaluationError: if the suite is empty, or its downstream task lacks something.
        HubError: if the suite's data set or the network of its task cannot be had.
        MetricError: if a metric is unknown.
        JudgeError: if the judge fails for good; its replies are kept.
    """
    scoring, arguments = scoring or Scoring(), arguments or {}
    results.check_output(output)
    state = processes()
    names: list[str] = []
    scorers: list[SetScorer] = []
    left_out: dict[str, str] = {}
    revision = suite.exact_revision()
    if state.is_main_process:  # the one that scores
        asked = scoring.metrics or suite.metrics
        names, left_out = available([name for name in asked if name not in SET_METRICS], scoring.weights)
        of_sets = [name for name in asked if name in SET_METRICS]
        scorers, missing = set_scorers(suite, of_sets, scoring, state.device)
        left_out |= missing
    settings = {"model": model_identity(pipe), "seed": seed, "arguments": arguments}
    items = list(islice(suite.items(), limit))
    check_ids(items, suite)
    if scoring.judge and state.is_main_process:
        scoring.judge.probe([partial(getattr, item, "lq") for item in items[:3]], degradations(items[:3]))
    counted = items[0].id if state.is_main_process else None
    share = items if alone else items[state.process_index :: state.num_processes]
    for item in tqdm(share, desc="restoring", unit="picture", disable=not state.is_main_process):
        _restore(item, pipe, output, settings, seed, arguments, counted=item.id == counted)
    if not alone:
        state.wait_for_everyone()
    if not state.is_main_process:
        return {}
    rows = [_score(item, output, names, scoring) for item in tqdm(items, desc="scoring", unit="picture")]
    protocols = scoring.protocols(names)
    directions: dict[str, str] = {name: get_metric(name).direction for name in names}
    sets, missing = score_sets(scorers, items, rows, partial(restored_path, output=output))
    left_out |= missing
    for scorer in scorers:
        protocols |= scorer.protocols
        directions |= scorer.directions
    noise = None
    if scoring.judge:
        missing, noise = rate(rows, items, output, scoring)
        left_out |= missing
        protocols |= rating_protocols(scoring.judge)
        directions |= DIRECTIONS
    record = {
        "suite": suite.name,
        "title": suite.title,
        "source": Path(suite.source).name if Path(suite.source).is_dir() else suite.source,
        "revision": revision,
        **settings,
        "limit": limit,
        "crop_border": scoring.crop_border,
        "crop_to_fit": scoring.crop_to_fit,
        "protocols": protocols,
        "directions": directions,
        "sets": sets,
        "left_out": {name: without_paths(reason) for name, reason in left_out.items()},
        "judge": scoring.judge.identity if scoring.judge else None,
        "judge_noise": noise,
        "cost": _cost(items, output, pipe, state.device),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": _device_name(state.device),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    return results.write(rows, items, record, suite, output)


def check_ids(items: Sequence[Item], suite: Suite) -> None:
    """Refuse a suite without pictures, or in which two would be stored under one name.

    Raises:
        EvaluationError: naming the first.
    """
    if not items:
        raise EvaluationError(f"the suite {suite.name} holds no picture: look at {suite.source}")
    twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise EvaluationError(
            f"{len(twice)} ids of {suite.name} stand for several pictures, such as {twice[0]!r}: make them unique"
        )


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
    item: Item,
    pipe: Any,
    output: Path,
    settings: dict[str, Any],
    seed: int,
    arguments: dict[str, Any],
    *,
    counted: bool,
) -> None:
    """Restore a picture; one that is `counted` once more, to count multiply-adds without disturbing its time."""
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
        picture = read_image(lq)  # with all its bits

        def restored() -> Any:
            generator = torch.Generator().manual_seed(seed_of(item.id, seed))
            return pipe(picture, **({"task": hint} | arguments), generator=generator, output_type="np")

        with measured() as effort:
            result = restored()
        if counted:
            effort |= {"multiply_adds": count_multiply_adds(restored), "size": [*picture.pixels.shape[:2]]}
        data = encode_image(picture.with_rgb(result.images[0]), ".png").data
        # First the record, so that a kill in between does not make our own file look like somebody else's.
        made = {"made_from": made_from, "output_sha256": content_hash(data), "replaces": there, **effort}
        commit_json(record, made)
        target.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(target, data)
    except Exception as error:  # noqa: BLE001  a restorer may be anybody's code; it fails for this picture alone
        commit_json(record, known | {"made_from": None, "error": said(error)})


def _read_record(record: Path) -> dict[str, Any]:
    try:
        return json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _hint(item: Item, pipe: Any) -> str | None:
    """The task to tell the restorer: none that it does not know, since blind it may still help."""
    description = getattr(pipe, "description", None)
    return item.hint if description is None or item.hint in description.tasks else None


def _score(item: Item, output: Path, names: Sequence[str], scoring: Scoring) -> Row:
    """One row: the picture's scores before (`NAME_before`) and after restoration, or why there are none."""
    row = new_row(item.id, item.task)
    try:
        target = restored_path(item, output)
        record = _read_record(output / RECORDS / f"{item.id}.json")
        if record.get("made_from") is None or not target.exists():
            raise EvaluationError(record.get("error") or "it was not restored")
        lq, truth = item.lq, item.gt
        row |= {"lq_sha256": content_hash(lq), "gt_sha256": None if truth is None else content_hash(truth)}
        row["output_sha256"] = content_hash(target)
        after, before = as_rgb(target), as_rgb(lq)
        gt = None if truth is None else as_rgb(truth)
    except (GGTHubError, OSError) as error:
        fail(row, names, str(error))
        return row
    scoring.score(row, after, gt, names)
    if before.shape == after.shape:
        scoring.score(row, before, gt, names, "_before")
    else:
        for name in names:
            put(row, f"{name}_before", None, OTHER_SIZE)
    return row


def _cost(items: Sequence[Item], output: Path, pipe: Any, device: torch.device) -> dict[str, Any]:
    """What a picture cost: seconds, the most memory in bytes and whose it is, the network's parameters.

    Multiply-adds are of the first picture, whose height and width stand beside them.
    It stands beside the scores, not in their table, which is the same whenever the run is repeated.
    """
    records = {item.id: _read_record(output / RECORDS / f"{item.id}.json") for item in items}
    known = {name: record for name, record in records.items() if record.get("seconds") is not None}
    seconds = {name: record["seconds"] for name, record in known.items()}
    return {
        "seconds": sum(seconds.values()) / len(seconds) if seconds else None,
        "peak_memory": max((record["peak_memory"] for record in known.values()), default=None),
        "memory_of": "device" if device.type == "cuda" else "process",
        "parameters": count_parameters(pipe),
        "multiply_adds": records[items[0].id].get("multiply_adds"),
        "multiply_adds_of": records[items[0].id].get("size"),
        "seconds_per_picture": seconds,
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
