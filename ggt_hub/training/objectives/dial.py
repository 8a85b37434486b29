"""Training of the compact restorer's quality prior: towards targets of low and high quality, told how good each is.

Photographs alone do not teach it: nearly all are good, and a prior that saw them did nothing. So each target is a
variant of the photograph, softened or sharpened, and its quality is that of the whole photograph plus what the
variant changes of the experts' verdict on the crop (IQPIR, arXiv 2603.29773, has natural targets alone).
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import cv2
import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from ggt_hub.data.reading.mixture import Example
from ggt_hub.degradations.base import Array
from ggt_hub.errors import MetricError, TrainingError
from ggt_hub.metrics.quality import FREE_EXPERTS, expert_scores, quality, shipped_scale
from ggt_hub.models import CompactRestorer, QualityPrior
from ggt_hub.models.compact_restorer import TASKS
from ggt_hub.models.low_rank import changed_weights
from ggt_hub.pipelines import CompactRestorerPipeline, RestorerPipeline
from ggt_hub.pipelines.layouts import BUNDLED
from ggt_hub.settings import checked
from ggt_hub.training.objectives.base import Loss, Objective, building
from ggt_hub.training.objectives.compact import FLOOR, check_sizes, gain, squared_error, to_tensor

Weight = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Settings:
    """Of the objective.

    Attributes:
        soften: the largest standard deviation of the blur of a variant, in pixels.
        sharpen: the largest amount of the unsharp mask of a variant, whose radius is one pixel.
        texture: weight of the texture's loss where the target's quality is 1; it grows with the quality.
        straight: weight of how far the table's rows are from a straight line: ten free ones would not come out in
            order.
        restorer: folder of the compact restorer's weights; those in the package if not given.
    """

    soften: Weight = 1.6
    sharpen: Weight = 0.3
    texture: Weight = 1.0
    straight: Weight = 0.1
    restorer: Path = BUNDLED / "compact/restorer"


@dataclass(frozen=True)
class Targets:
    """What a batch holds: `lq` and `target` (3, crop, crop), 0..1, and the target's `quality`, 0..1.

    Attributes:
        soften, sharpen: see `Settings`.
    """

    soften: float
    sharpen: float

    def __call__(self, example: Example) -> dict[str, Tensor]:
        """Make it.

        Raises:
            TrainingError: if `lq` is smaller than `gt`.
            DatasetError: if the data set says nothing of quality.
        """
        check_sizes(example)
        known = example.known_quality
        lq, gt = example.cut()
        target = variant(gt, self.soften, self.sharpen, example.rng.uniform(-1, 1))
        told = np.clip(known + _verdict(target) - _verdict(gt), 0, 1)
        return {
            "lq": to_tensor(np.rint(lq * 255) / 255),
            "target": to_tensor(target),
            "quality": torch.tensor(told, dtype=torch.float32),
        }


def variant(gt: Array, soften: float, sharpen: float, level: float) -> Array:
    """A picture blurred (level -1..0) or sharpened (0..1); itself at 0."""
    if level == 0:
        return gt
    if level < 0:
        return cv2.GaussianBlur(gt, (0, 0), max(0.05, -level * soften))
    detail = gt - cv2.GaussianBlur(gt, (0, 0), 1.0)
    return np.clip(gt + np.float32(level * sharpen) * detail, 0, 1)


def _verdict(crop: Array) -> float:
    """Of the free experts, 0..1; 0 where a crop has no texture that they could judge."""
    levels = np.rint(crop * 255).astype(np.uint8)
    try:
        return quality(expert_scores(levels, FREE_EXPERTS), shipped_scale())
    except MetricError:
        return 0.0


class DialObjective(Objective):
    """The logarithm of each picture's squared error, and how the statistics of its texture differ."""

    network: QualityPrior
    needs_quality = True

    def __init__(self, network: QualityPrior, restorer: CompactRestorer, settings: Settings) -> None:
        super().__init__()
        self.network, self.prepare = network, Targets(settings.soften, settings.sharpen)
        self.restorer, self.settings = restorer.requires_grad_(False), settings

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From the `rank` of a prior; the rest follows from the restorer."""
        told = Settings(**checked(Settings, settings, "settings of the dial objective", TrainingError))
        with building(model):
            restorer = CompactRestorer.from_pretrained(told.restorer).float()
            return cls(QualityPrior.of(restorer, **model), restorer, told)

    def restoring(self) -> AbstractContextManager[RestorerPipeline]:
        """See `Objective.restoring`; the prior is for who asks for a `quality`."""
        return nullcontext(CompactRestorerPipeline(self.restorer, quality_prior=self.network))

    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch, see `Targets`."""
        lq, target, told, restorer = batch["lq"], batch["target"], batch["quality"], self.restorer
        with torch.no_grad():
            blind = torch.full((len(lq),), TASKS.index("general"), device=lq.device)
            c = restorer.condition(restorer.estimator(lq), blind, torch.ones(len(lq), device=lq.device))
        weights = changed_weights(restorer, self.network.changes())
        restored = functional_call(restorer, weights, (lq, c + self.network(told))).float()
        error = squared_error(restored, target)
        unlike = (texture(restored) - texture(target)).abs().mean((1, 2, 3))
        bent = self.network.table.weight.diff(n=2, dim=0).square().sum()
        value = ((error + FLOOR).log() + self.settings.texture * told * unlike).mean()
        return Loss(value + self.settings.straight * bent, gain(squared_error(lq, target), error))


def texture(pictures: Tensor) -> Tensor:
    """The statistics of fine detail around each place of pictures (B, 3, H, W), 0..1: (B, 14, h, w).

    At full size and at half: of the brightness without its local mean, and divided by its local contrast, the mean
    size and the mean products with four neighbours, as Mittal et al. (BRISQUE, 2012) have them for the whole
    picture; of the local contrast itself the logarithm, and its mean size there.
    """
    grey = 255 * (pictures * pictures.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    full, half = _statistics(grey), _statistics(F.avg_pool2d(grey, 2))
    return torch.cat([full, F.interpolate(half, full.shape[2:], mode="nearest")], dim=1)


def _statistics(grey: Tensor) -> Tensor:
    mean = _around(grey)
    contrast = (_around(grey.square()) - mean.square()).clamp(min=1e-3).sqrt()
    normal = (grey - mean) / (contrast + 1)
    neighbours = [normal * normal.roll(shift, (2, 3)) for shift in ((0, 1), (1, 0), (1, 1), (1, -1))]
    maps = torch.cat([normal.abs(), normal.square(), *neighbours, (contrast + 1).log()], dim=1)
    return F.avg_pool2d(maps, 16, stride=8)


def _around(x: Tensor) -> Tensor:
    """The mean around each pixel: a Gaussian of 7x7, sigma 7/6."""
    window = torch.exp(-((torch.arange(7, device=x.device, dtype=x.dtype) - 3) ** 2) / (2 * (7 / 6) ** 2))
    window = window / window.sum()
    x = F.pad(x, (3, 3, 3, 3), mode="reflect")
    return F.conv2d(F.conv2d(x, window.view(1, 1, 1, 7)), window.view(1, 1, 7, 1))
