"""Validation: a suite is restored and scored while a run goes on, with the averaged weights that users will get."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import nn

from ggt_hub.errors import TrainingError
from ggt_hub.evaluation import load_suite, run_suite
from ggt_hub.evaluation.run import restored_path
from ggt_hub.evaluation.suite import Item, as_rgb
from ggt_hub.training.objectives.base import Objective


@dataclass(frozen=True)
class Validation:
    """What a run is looked at by. It is so before the first step, every so many steps, and in the end.

    Attributes:
        suite: a name, or a folder, as `ggt-hub bench run` takes it.
        every: steps from one to the next.
        data: folder of the suite's pictures, where they are not downloaded by name.
        pictures: only the first so many.
        shown: how many of them the tracker is shown.
        arguments: further ones of the restorer's call.
    """

    suite: str
    every: Annotated[int, Ge(1)] = 1000
    data: Path | None = None
    pictures: Annotated[int, Ge(1)] | None = None
    shown: Annotated[int, Ge(0)] = 4
    arguments: dict[str, Any] = field(default_factory=dict)


class Validated(NamedTuple):
    """What was found.

    Attributes:
        scores: means by name; `NAME_before` is of the pictures as they came.
        pictures: by id, uint8 (height, width, 3): as it came, restored, and the reference where there is one,
            side by side.
    """

    scores: dict[str, float]
    pictures: dict[str, NDArray[np.uint8]]


def validate(told: Validation, objective: Objective, output: Path) -> Validated | None:
    """Restore and score the suite with the weights as they are; called by all processes.

    They share the pictures or, where weights are divided, compute each together.

    Draws no random numbers of the run's. A picture that fails is in the report and stays out of the means.

    Args:
        told: which suite, and how.
        objective: whose network is tried.
        output: folder for the restored pictures, their scores and the report.

    Returns:
        What was found; None in all processes but the first.

    Raises:
        TrainingError: if the objective makes no restorer, or every picture fails.
        EvaluationError: if there is no such suite, or it is empty.
    """
    suite = load_suite(told.suite, told.data)
    output.mkdir(parents=True, exist_ok=True)
    how: dict[str, Any] = {"limit": told.pictures, "arguments": told.arguments}
    with objective.restoring() as pipe, _evaluating(pipe), torch.random.fork_rng(), objective.led() as role:
        found = {} if role == "follows" else run_suite(suite, pipe, output, **how, alone=role == "leads")
    if not found:
        return None
    means = {name: about["mean"] for name, about in found["overall"].items() if isinstance(about, dict)}
    scores = {name: mean for name, mean in means.items() if mean is not None}
    if not scores:
        name, reason = next(iter(found["failed"].items()))
        raise TrainingError(
            f"none of the {found['pictures']} pictures of {suite.name} could be validated: {name}: {reason}; mend "
            "`validation` of the recipe, or leave it out"
        )
    shown = islice(suite.items(), min(told.shown, found["pictures"]))
    return Validated(
        scores, {item.id: _beside(item, output) for item in shown if restored_path(item, output).exists()}
    )


@contextmanager
def _evaluating(pipe: Any) -> Iterator[None]:
    """With all networks of a restorer set to evaluate, and without its progress bars."""
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    training = [module for part in parts for module in part.modules() if module.training]
    pipe.set_progress_bar_config(disable=True)
    for part in parts:
        part.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _beside(item: Item, output: Path) -> NDArray[np.uint8]:
    restored = as_rgb(restored_path(item, output))
    size = restored.shape[1], restored.shape[0]
    others = [as_rgb(item.lq), *([] if item.gt is None else [as_rgb(item.gt)])]
    before, *truth = (cv2.resize(one, size, interpolation=cv2.INTER_NEAREST) for one in others)
    return np.concatenate([before, restored, *truth], axis=1)
