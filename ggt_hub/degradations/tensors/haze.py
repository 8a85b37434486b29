"""Haze by depth on tensors."""

import numpy as np
from torch import Tensor

from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.haze import airlight
from ggt_hub.degradations.tensors.batch import Batch, Family
from ggt_hub.degradations.tensors.filters import convolved, gaussian


def _lacks(step: Drawn) -> str | None:
    if step.parameters["kind"] == "fog" or "textures" in step.parameters:
        return "fog"
    return None


def _apply(batch: Batch) -> Tensor:
    through = (-batch.values("beta") * batch.depths() ** batch.values("gamma")).exp()
    through = convolved(through, [gaussian(1.0)] * len(batch.steps), "reflect").clamp(0.05, 1)
    told = [[step.parameters[name] for name in ("beta", "jitter", "tint")] for step in batch.steps]
    air = batch.tensor(np.stack([airlight(*one) for one in told]))[:, :, None, None]
    return (batch.x * through + air * (1 - through)).clamp(0, 1)


HAZE = Family(_lacks, _apply)
