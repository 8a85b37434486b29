"""Training of the compact restorer."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError
from ggt_hub.models import CompactRestorer
from ggt_hub.models.compact_restorer import ESTIMATES, TASKS, apply_curve
from ggt_hub.pipelines import CompactRestorerPipeline, RestorerPipeline
from ggt_hub.settings import checked
from ggt_hub.training.objectives.base import Loss, Objective, building

FLOOR = 5e-4
"""Added to the squared error before its logarithm.

Without the logarithm strong noise drowns subtle damage; with a much smaller floor (3e-5 was tried) nearly clean
pictures drown everything else. At this one the gradients of both are of one size.
"""


@dataclass(frozen=True)
class Batches:
    """What a batch holds.

    `lq` and `gt` (3, crop, crop) 0..1; `task` index into the network's TASKS (`general` when not told); `severity`
    (4,) targets of the estimator, NaN where unknown; `lift` whether the exposure is to change; `strength` how much
    of the restoration is asked for, 1 for most.

    Attributes:
        hint: chance (0..1) that the network is told the task.
    """

    hint: Annotated[float, Ge(0), Le(1)] = 0.25

    def __call__(self, example: Example) -> dict[str, Tensor]:
        """Make it.

        Raises:
            TrainingError: if `lq` is smaller than `gt`.
        """
        check_sizes(example)
        rng = example.rng
        lift = example.task == "low_light"
        told = lift or rng.random() < self.hint
        task = example.task if told and example.task in TASKS else "general"
        strength = rng.uniform(0.3, 1.0) if rng.random() < 0.125 else 1.0
        lq, gt = example.cut()
        return {
            "lq": to_tensor(np.rint(lq * 255) / 255),
            "gt": to_tensor(gt),
            "task": torch.tensor(TASKS.index(task)),
            "severity": torch.tensor(_targets(example.severities), dtype=torch.float32),
            "lift": torch.tensor(lift),
            "strength": torch.tensor(strength, dtype=torch.float32),
        }


class CompactObjective(Objective):
    """The logarithm of each picture's squared error, and the squared error of what the estimator says."""

    network: CompactRestorer

    def __init__(self, network: CompactRestorer, prepare: Batches) -> None:
        super().__init__()
        self.network, self.prepare = network, prepare

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From arguments of `CompactRestorer`, and `hint`."""
        prepare = Batches(**checked(Batches, settings, "settings of the compact objective", TrainingError))
        with building(model):
            return cls(CompactRestorer(**model), prepare)

    def restoring(self) -> AbstractContextManager[RestorerPipeline]:
        """See `Objective.restoring`."""
        return nullcontext(CompactRestorerPipeline(self.network))

    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch, see `Batches`."""
        lq, gt, network = batch["lq"], batch["gt"], self.network
        unchanged = torch.ones(len(lq), 2, device=lq.device)
        curve = torch.where(batch["lift"][:, None], network.exposure(lq), unchanged)
        strength = batch["strength"]
        estimates = network.estimator(apply_curve(lq, curve).clamp(0, 1)).float()
        c = network.condition(estimates.detach(), batch["task"], strength)
        restored = network(lq, c, curve, strength[:, None, None, None]).float()
        target = lq + strength[:, None, None, None] * (gt - lq)
        error = squared_error(restored, target)
        known = ~batch["severity"].isnan()
        # The square, not the absolute value: most severities are 0, and so is their median.
        wrong = ((estimates - batch["severity"].nan_to_num()).square() * known).mean()
        return Loss((error + FLOOR).log().mean() + 4 * wrong, gain(squared_error(lq, gt), error))


def squared_error(pictures: Tensor, others: Tensor) -> Tensor:
    """The mean for each of (B, C, H, W): (B,)."""
    return (pictures - others).square().mean((1, 2, 3))


def gain(before: Tensor, after: Tensor) -> Tensor:
    """How much smaller squared errors (B,), of pictures 0..1, have become: in dB, without gradient."""
    return 10 * ((before + 1e-6) / (after.detach() + 1e-6)).log10()


def _targets(severities: dict[str, float] | None) -> list[float]:
    """Targets of the estimator, in the order of its ESTIMATES: what is not there is 0.

    All are open (NaN) of a stored pair, and where the families name damage that the estimator has no word for: how
    much of it looks like noise or blur, nobody knows.
    """
    if severities is None or set(severities) - set(ESTIMATES):
        return [float("nan")] * len(ESTIMATES)
    return [severities.get(name, 0.0) for name in ESTIMATES]


def check_sizes(example: Example) -> None:
    """Refuse a pair whose sides differ.

    Raises:
        TrainingError: if `lq` is smaller than `gt`.
    """
    if example.lq.shape != example.gt.shape:
        raise TrainingError(
            f"{example.group}: lq is smaller than gt, and the network keeps the size of a picture: leave these "
            "pairs out; in a chain of damage, take the step with `enlarge: false` out"
        )


def to_tensor(image: np.ndarray) -> Tensor:
    """A picture (H, W, 3) as (3, H, W), float32."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32))
