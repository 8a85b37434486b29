"""Training of the detector: one kind of damage a picture, or none."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError
from ggt_hub.models import Detector
from ggt_hub.models.detector import DETECTED, judged
from ggt_hub.training.objectives.base import Loss, Objective
from ggt_hub.training.objectives.compact import to_tensor


def prepare(example: Example, crop: int) -> dict[str, Tensor]:
    """`lq` (3, crop, crop), 0..1; `label`, 0 for nothing, else the place of its task in `DETECTED` + 1; `severity`.

    Raises:
        TrainingError: if the task is neither one of `DETECTED` nor `general`, which stands for nothing.
    """
    if example.task != "general" and example.task not in DETECTED:
        raise TrainingError(f"{example.group}: the detector knows {', '.join(DETECTED)}, not {example.task}")
    lq, _ = example.cut(crop)
    label = 0 if example.task == "general" else 1 + DETECTED.index(example.task)
    severity = min(1.0, max((example.severities or {}).values(), default=0.0))
    return {
        "lq": to_tensor(np.rint(lq * 255) / 255),
        "label": torch.tensor(label),
        "severity": torch.tensor(severity, dtype=torch.float32),
    }


class DetectorObjective(Objective):
    """Cross entropy, and the squared error of the severity of what is there."""

    network: Detector

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self.network, self.prepare = network, prepare

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From arguments of `Detector`; there are no settings."""
        if settings:
            raise TrainingError(f"the detector has no settings, such as {next(iter(settings))!r}")
        try:
            return cls(Detector(**model))
        except (TypeError, ValueError, RuntimeError) as error:
            raise TrainingError(f"the recipe's model {model} cannot be built: {error}") from error

    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch, see `prepare`; the gain is 10 where it was right, 0 where it was not."""
        logits, severities = judged(self.network, batch["lq"])
        there = batch["label"] > 0
        told = severities.gather(1, (batch["label"] - 1).clamp(min=0)[:, None])[:, 0]
        wrong = ((told - batch["severity"]).square() * there).mean()
        right = logits.argmax(1) == batch["label"]
        return Loss(F.cross_entropy(logits, batch["label"]) + wrong, 10.0 * right.float())
