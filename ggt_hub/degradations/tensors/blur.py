"""Blur on tensors: the kernels of the CPU path, each picture with its own."""

import numpy as np
import torch
from torch import Tensor

from ggt_hub.degradations.blur import kernel
from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.tensors.batch import Batch, Family
from ggt_hub.degradations.tensors.filters import Border, convolved


def _lacks(step: Drawn) -> str | None:
    return "frames" if step.parameters["kind"] == "frames" else None


def _apply(batch: Batch) -> Tensor:
    blurred = torch.empty_like(batch.x)
    borders = np.array([_border(step) for step in batch.steps])
    for border in ("symmetric", "reflect"):
        places = np.flatnonzero(borders == border).tolist()
        if places:
            kernels = [kernel(batch.steps[place].parameters) for place in places]
            blurred[places] = convolved(batch.x[places], kernels, border)
    return blurred.clamp(0, 1)


def _border(step: Drawn) -> Border:
    """As `Blur.apply` has it for each kind."""
    parameters = step.parameters
    is_round = parameters["kind"] == "gaussian" and "size" in parameters
    return "reflect" if is_round or parameters["kind"] in ("path", "sinc") else "symmetric"


BLUR = Family(_lacks, _apply)
