"""Resizing on tensors: one matrix for the rows and one for the columns, down and up again in one."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.resampling import resampled
from ggt_hub.degradations.resize import Resize
from ggt_hub.degradations.tensors.batch import Batch, Family


def _lacks(step: Drawn) -> str | None:
    assert isinstance(step.degradation, Resize)  # noqa: S101
    return None if step.degradation.enlarge else "enlarge: false"


def _apply(batch: Batch) -> Tensor:
    rows, columns = (
        batch.tensor([_matrix(side, **_told(step)) for step in batch.steps]) for side in batch.x.shape[2:]
    )
    return (rows[:, None] @ batch.x @ columns[:, None].mT).clamp(0, 1)


def _told(step: Drawn) -> dict[str, object]:
    return {name: step.parameters[name] for name in ("scale", "down", "up")}


@lru_cache(maxsize=64)  # the columns of a square batch are as its rows
def _matrix(side: int, scale: float, down: str, up: str) -> NDArray[np.float32]:
    """What shrinking and enlarging do to a column of pixels: the CPU path's own filters, tried on the identity."""
    small = max(1, round(side * scale))
    identity = np.repeat(np.eye(side, dtype=np.float32)[..., None], 3, axis=2)
    shrunk = resampled(identity, (side, small), down)
    return np.ascontiguousarray(resampled(shrunk, (side, side), up)[..., 0])


RESIZE = Family(_lacks, _apply)
