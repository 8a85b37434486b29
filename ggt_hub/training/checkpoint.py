"""The state of a run on disk: two of them are kept, and either can be resumed."""

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from ggt_hub.commit import RECORDS, commit_json, previous, swap_folder, to_json
from ggt_hub.errors import TrainingError
from ggt_hub.training.reading import Reading
from ggt_hub.training.sharding import Shards

STATE, MODEL = "state", "model"
_SHARDS = "shards"

Clock = dict[str, float]
"""`step` and `seconds`: how far a run is."""

Identity = dict[str, Any]
"""What a run learns, as far as no other may go on with its state."""


def check_output(output: Path, identity: Identity) -> None:
    """Refuse a folder whose `model/` or `state/` no run has written, or a run that learns something else.

    Raises:
        TrainingError: naming what is there.
    """
    clocks = [state / "clock.json" for state in (output / STATE, previous(output / STATE))]
    for clock in clocks:
        _check_same(output, _made_by(clock), json.loads(to_json(identity)))
    if any(clock.is_file() for clock in clocks):
        return
    for name in (MODEL, STATE):
        if os.path.lexists(output / name):
            raise TrainingError(
                f"{output / name} was there before any run, so it is not replaced: choose another --output"
            )


def _made_by(clock: Path) -> Identity:
    """What the run of a state learns; empty of a state that is not there, damaged, or older than that note."""
    try:
        return dict(json.loads(clock.read_text(encoding="utf-8")).get("made_by", {}))
    except (OSError, ValueError, AttributeError, TypeError):  # a damaged state is told when it is read
        return {}


def _check_same(output: Path, made_by: Identity, identity: Identity) -> None:
    others = [name for name in made_by if made_by[name] != identity.get(name)]
    if others:
        told = ", ".join(f"{name} {made_by[name]} and not {identity.get(name)}" for name in others)
        raise TrainingError(f"{output} is the run of another recipe, with {told}: choose another --output")


def save_state(
    accelerator: Accelerator,
    learned: EMAModel | Shards,
    reading: Reading,
    clock: Mapping[str, Any],
    output: Path,
) -> None:
    """Write `state/`, whole or not at all, and keep the one before; called by all processes.

    Args:
        accelerator: which knows what was prepared: networks and optimisers, unless they are divided.
        learned: what it does not know, the average; or, where weights are divided, all that is learned.
        reading: how far it is.
        clock: how far the run is, and what made it.
        output: of the run.
    """
    unfinished = output / f"{RECORDS}-unfinished-state"  # one name for all processes
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(unfinished))
    if reading.has_state:
        commit_json(_of_process(accelerator, unfinished), reading.state_dict())
    if isinstance(learned, Shards):
        learned.save(unfinished / _SHARDS)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if isinstance(learned, EMAModel):
            torch.save(learned.state_dict(), unfinished / "ema.pt")
        commit_json(unfinished / "clock.json", clock)
        swap_folder(unfinished, output / STATE, keep=True)
    accelerator.wait_for_everyone()


def load_state(
    accelerator: Accelerator, learned: EMAModel | Shards, reading: Reading, output: Path
) -> Clock | None:
    """Load the newest state that is whole; None only where there has never been one; arguments as `save_state`.

    Raises:
        TrainingError: if there are states, but none can be read.
    """
    newest = output / STATE
    reasons = []
    for state in (newest, previous(newest)):
        if not state.is_dir():
            continue
        try:
            return _load(accelerator, learned, reading, state)
        except Exception as error:  # noqa: BLE001 - a damaged file can make the readers raise nearly anything
            reasons.append(f"{state}: {str(error).strip().splitlines()[0] if str(error) else error!r}")
            warnings.warn(f"this state cannot be resumed, so the one before is: {reasons[-1]}", stacklevel=2)
    if reasons:
        raise TrainingError(
            f"no state can be resumed ({'; '.join(reasons)}): "
            "give another --output, or remove both to start anew"
        )
    return None


def _load(accelerator: Accelerator, learned: EMAModel | Shards, reading: Reading, state: Path) -> Clock:
    clock = json.loads((state / "clock.json").read_text(encoding="utf-8"))
    if reading.has_state:
        reading.load_state_dict(json.loads(_of_process(accelerator, state).read_text(encoding="utf-8")))
    if isinstance(learned, Shards):
        learned.load(state / _SHARDS)
        accelerator.load_state(str(state))
    else:
        average = torch.load(state / "ema.pt", weights_only=True)
        accelerator.load_state(str(state))
        learned.load_state_dict(average)
    return {"step": clock["step"], "seconds": clock["seconds"]}


def _of_process(accelerator: Accelerator, state: Path) -> Path:
    """Where a process keeps how far its reading is."""
    return state / f"reading-{accelerator.process_index + 1}-of-{accelerator.num_processes}.json"
