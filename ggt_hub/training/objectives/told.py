"""Training of one told part of the compact restorer, whose own weights stay as they are."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from annotated_types import Gt
from torch import Tensor

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError
from ggt_hub.models import CompactRestorer, ToldParts
from ggt_hub.models.compact_restorer import told_condition
from ggt_hub.pipelines import CompactRestorerPipeline, RestorerPipeline
from ggt_hub.pipelines.layouts import BUNDLED
from ggt_hub.settings import checked
from ggt_hub.training.objectives.base import Loss, Objective, building
from ggt_hub.training.objectives.compact import FLOOR, check_sizes, gain, squared_error, to_tensor


@dataclass(frozen=True)
class Settings:
    """Of the objective.

    Attributes:
        task: what the part is for.
        restorer: folder of the compact restorer's weights; those in the package if not given.
        clean_floor: added to the squared error of pictures that had less than that before, in place of `FLOOR`:
            with a small one they stay as they are. Damage that is hard to tell from none is then left alone, too.
    """

    task: str
    restorer: Path = BUNDLED / "compact/restorer"
    clean_floor: Annotated[float, Gt(0)] = FLOOR


def prepare(example: Example) -> dict[str, Tensor]:
    """`lq` and `gt`, (3, crop, crop), 0..1."""
    check_sizes(example)
    lq, gt = example.cut()
    return {"lq": to_tensor(np.rint(lq * 255) / 255), "gt": to_tensor(gt)}


class ToldObjective(Objective):
    """The logarithm of each picture's squared error, as for the compact restorer itself."""

    network: ToldParts

    def __init__(self, network: ToldParts, restorer: CompactRestorer, clean_floor: float = FLOOR) -> None:
        super().__init__()
        self.network, self.prepare, self.clean_floor = network, prepare, clean_floor
        self.restorer = restorer.requires_grad_(False)

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From `rank` and `width` of a part; the rest follows from the restorer."""
        told = Settings(**checked(Settings, settings, "settings of the told objective", TrainingError))
        with building(model):
            restorer = CompactRestorer.from_pretrained(told.restorer).float()
            shape = {name: restorer.config[name] for name in ("channels", "blocks")}
            rest = {name: value for name, value in model.items() if name != "rank"}
            network = ToldParts(ranks={told.task: int(model.get("rank", 8))}, **shape, **rest)
        return cls(network, restorer, told.clean_floor)

    def select(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The part of this task: the file that ships holds the parts of all tasks.

        Raises:
            TrainingError: if the file has none for it.
        """
        (task,) = self.network.tasks
        own = {name: tensor for name, tensor in tensors.items() if name.startswith(f"parts.{task}.")}
        if not own:
            there = sorted({name.split(".")[1] for name in tensors if name.startswith("parts.")})
            raise TrainingError(
                f"no weights to start from for the task {task!r}: the file has parts for "
                f"{', '.join(there) or 'none'}; name another, or start without --init-from"
            )
        return own

    def restoring(self) -> AbstractContextManager[RestorerPipeline]:
        """See `Objective.restoring`; the part is for who tells its task."""
        return nullcontext(CompactRestorerPipeline(self.restorer, parts=self.network))

    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch, see `prepare`."""
        lq, gt = batch["lq"], batch["gt"]
        (task,) = self.network.tasks
        restored = self.network(lq, task, self.restorer, told_condition(self.restorer, lq)).float()
        error, before = squared_error(restored, gt), squared_error(lq, gt)
        floor = torch.where(before > self.clean_floor, FLOOR, self.clean_floor)
        return Loss((error + floor).log().mean(), gain(before, error))
