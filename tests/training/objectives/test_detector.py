"""What the detector learns from."""

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError
from ggt_hub.models import Detector
from ggt_hub.training.objectives.detector import DetectorObjective, prepare

GREY = np.full((32, 32, 3), 0.5, np.float32)


def example(task: str, severities: dict | None) -> Example:
    return Example(GREY, GREY, task, severities, "x", 0, default_rng(0))


@pytest.mark.parametrize(
    ("task", "severities", "label", "severity"),
    [
        ("general", {}, 0, 0.0),
        ("blur", {"blur": 0.4}, 1, 0.4),
        ("rain", {"rain": 0.7, "haze": 0.2}, 9, 0.7),
        ("noise", {"noise": 1.2}, 5, 1.0),
        ("haze", None, 8, 0.0),
    ],
)
def test_labels_and_severities(task: str, severities: dict | None, label: int, severity: float) -> None:
    held = prepare(example(task, severities), 32)
    assert (int(held["label"]), float(held["severity"])) == (label, pytest.approx(severity))


def test_a_task_that_it_does_not_know_is_named() -> None:
    with pytest.raises(TrainingError, match=r"x: the detector knows blur, .*, not snow"):
        prepare(example("snow", {}), 32)


def test_the_loss_is_cross_entropy_and_the_error_of_what_is_there() -> None:
    torch.manual_seed(0)
    objective = DetectorObjective(Detector(width=4))
    batch = {
        "lq": torch.rand(2, 3, 32, 32),
        "label": torch.tensor([0, 3]),
        "severity": torch.tensor([0.0, 0.9]),
    }
    logits = torch.zeros(2, 10)
    logits[1, 3] = 2.0
    objective.network.forward = lambda patches, small: (logits, torch.full((2, 9), 0.4))
    loss = objective(batch)
    entropy = (np.log(10) + np.log(9 + np.exp(2)) - 2) / 2
    assert loss.value.item() == pytest.approx(entropy + 0.25 / 2, abs=1e-5)  # nothing is there in the first
    assert loss.gain.tolist() == [10.0, 10.0]
