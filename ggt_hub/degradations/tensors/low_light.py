"""Low light on tensors."""

from torch import Tensor

from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.light import DISPLAY_GAMMA
from ggt_hub.degradations.low_light import LowLight
from ggt_hub.degradations.tensors.batch import Batch, Family
from ggt_hub.degradations.tensors.light import to_display


def _lacks(step: Drawn) -> str | None:
    assert isinstance(step.degradation, LowLight)  # noqa: S101
    return None if step.degradation.lifted else "lifted: false"


def _apply(batch: Batch) -> Tensor:
    casts = batch.tensor([step.parameters.get("cast", [0.0] * 3) for step in batch.steps])[:, :, None, None]
    light = batch.values("exposure") * batch.x ** (DISPLAY_GAMMA * batch.values("contrast")) * casts.exp()
    read = batch.values("read_noise") * batch.normals(3)
    shot = batch.values("shot_noise") * light.sqrt() * batch.normals(3)
    return to_display(light + read + shot)


LOW_LIGHT = Family(_lacks, _apply)
