"""The objective of the quality dial: its targets, how good they are said to be, and its loss."""

import math

import cv2
import numpy as np
import pytest
import torch
from numpy.random import default_rng

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import DatasetError
from ggt_hub.models import QualityPrior
from ggt_hub.training.objectives.dial import DialObjective, Settings, Targets, texture, variant
from tests.training.objectives.tiny import tiny_restorer


def textured(side: int = 48) -> np.ndarray:
    noise = default_rng(0).uniform(0, 1, (side, side, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 1.0) * 1.5 - 0.25


def example(quality: float | None) -> Example:
    gt = np.clip(textured(), 0, 1)
    return Example(gt, gt, "noise", {}, "noise", 0, default_rng(1), "photographs", quality)


def test_a_variant_is_blurred_by_its_level_or_sharpened_and_itself_between() -> None:
    gt = textured() * 0.5 + 0.25
    assert np.array_equal(variant(gt, 1.6, 0.3, 0.0), gt)
    assert np.array_equal(variant(gt, 1.6, 0.3, -0.5), cv2.GaussianBlur(gt, (0, 0), 0.8))
    detail = gt - cv2.GaussianBlur(gt, (0, 0), 1.0)
    sharper = np.clip(gt + np.float32(0.15) * detail, 0, 1)
    assert np.array_equal(variant(gt, 1.6, 0.3, 0.5), sharper)


def test_the_quality_told_is_that_of_the_photograph_plus_what_the_variant_changes() -> None:
    class Levels:
        """A generator whose next level is known."""

        def __init__(self, level: float) -> None:
            self.level = level

        def integers(self, *_: object, **__: object) -> np.ndarray:
            return np.zeros(2, int)

        def uniform(self, *_: object) -> float:
            return self.level

    def told(level: float, quality: float) -> float:
        one = example(quality)
        object.__setattr__(one, "rng", Levels(level))
        return float(Targets(soften=1.6, sharpen=0.3)(one)["quality"])

    assert told(0.0, 0.5) == 0.5
    softened = told(-1.0, 0.9)
    assert softened < 0.6  # the experts see a blur of 1.6 pixels at once
    assert told(-1.0, 0.8) == pytest.approx(softened - 0.1, abs=1e-6)
    assert told(-1.0, 0.0) == 0.0


def test_a_picture_of_unknown_quality_is_refused() -> None:
    with pytest.raises(DatasetError, match="photographs does not say how good its pictures are"):
        Targets(soften=1.6, sharpen=0.3)(example(None))


def test_texture_does_not_change_with_brightness_and_does_with_blur() -> None:
    pictures = torch.from_numpy(np.clip(textured(64), 0, 1).transpose(2, 0, 1).copy())[None] * 0.5 + 0.2
    assert torch.allclose(texture(pictures), texture(pictures + 0.1), atol=2e-3)  # float32, squares of 255
    blurred = torch.from_numpy(cv2.GaussianBlur(pictures[0].permute(1, 2, 0).numpy(), (0, 0), 1.5)).permute(
        2, 0, 1
    )
    apart = (texture(pictures) - texture(blurred[None])).mean((0, 2, 3))
    assert apart[6] > 0.2 and apart[13] > 0.1  # local contrast is lost at full size and at half
    assert texture(pictures).shape == (1, 14, 7, 7)


def test_the_loss_is_the_logarithm_of_the_error_the_texture_by_quality_and_the_bend_of_the_table() -> None:
    restorer = tiny_restorer()
    network = QualityPrior.of(restorer)
    objective = DialObjective(network, restorer, Settings(texture=0.0, straight=0.5))
    lq = torch.from_numpy(np.clip(textured(), 0, 1).transpose(2, 0, 1).copy())[None]
    batch = {"lq": lq, "target": lq, "quality": torch.tensor([0.95])}
    with torch.no_grad():
        plain = objective(batch).value
        blind = restorer.condition(restorer.estimator(lq), torch.tensor([4]), torch.ones(1))
        error = (restorer(lq, blind) - lq).square().mean()
        assert float(plain) == pytest.approx(math.log(float(error) + 5e-4), abs=1e-5)
        network.table.weight[0] = 1.0  # a bin that is not asked for: only its bend is felt, once
        width = network.config["width"]
        assert float(objective(batch).value - plain) == pytest.approx(0.5 * width, rel=1e-5)
        network.table.weight.zero_()
        objective.settings = Settings(texture=2.0)
        restored = restorer(lq, blind)
        unlike = float((texture(restored) - texture(lq)).abs().mean())
        assert float(objective(batch).value - plain) == pytest.approx(2.0 * 0.95 * unlike, rel=1e-4)
        batch["quality"] = torch.tensor([0.0])
        assert float(objective(batch).value) == pytest.approx(float(plain), abs=1e-6)
