"""The objective of told parts: what it takes out of a file that holds several."""

import math
from pathlib import Path

import pytest
import torch

from ggt_hub.errors import TrainingError
from ggt_hub.models import ToldParts
from ggt_hub.pipelines.layouts import BUNDLED
from ggt_hub.training.objectives.compact import FLOOR
from ggt_hub.training.objectives.told import ToldObjective
from tests.training.objectives.tiny import tiny_restorer

SHIPPED = BUNDLED / "compact/parts/diffusion_pytorch_model.safetensors"


def of_the_package(task: str, rank: int) -> ToldObjective:
    return ToldObjective.build({"rank": rank, "width": 12}, {"task": task})


@pytest.mark.parametrize(("task", "rank"), [("rain", 5), ("haze", 0)])
def test_a_part_starts_from_its_own_among_those_that_ship(task: str, rank: int) -> None:
    objective = of_the_package(task, rank)
    objective.start_from(SHIPPED)
    shipped = ToldParts.from_pretrained(SHIPPED.parent).float().state_dict()
    own = {name: tensor for name, tensor in shipped.items() if name.startswith(f"parts.{task}.")}
    assert objective.network.state_dict().keys() == own.keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in objective.network.state_dict().items())


def test_a_file_without_the_task_names_those_that_it_has(tmp_path: Path) -> None:
    ToldParts({"haze": 0, "flare": 0}, width=12).save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    with pytest.raises(TrainingError, match="task 'rain': the file has parts for flare, haze; name another"):
        of_the_package("rain", 5).start_from(weights)
    tiny_restorer().save_pretrained(tmp_path / "other")
    with pytest.raises(TrainingError, match="the file has parts for none"):
        of_the_package("rain", 5).start_from(tmp_path / "other/diffusion_pytorch_model.safetensors")


def test_a_part_of_another_rank_does_not_fit() -> None:
    with pytest.raises(TrainingError, match=r"(?s)cannot start from .*size mismatch"):
        of_the_package("rain", 4).start_from(SHIPPED)


@pytest.mark.parametrize(("error", "floor"), [(1e-3, 1e-5), (0.1, FLOOR)])
def test_a_clean_floor_counts_for_pictures_that_were_clean(error: float, floor: float) -> None:
    """A part that was never trained gives back what it is given, so the error stays."""
    objective = ToldObjective.build({"rank": 0, "width": 12}, {"task": "haze", "clean_floor": 1e-5})
    gt = torch.full((1, 3, 32, 32), 0.5)
    loss = float(objective({"lq": gt + error, "gt": gt}).value)
    assert loss == pytest.approx(math.log(error**2 + floor), abs=1e-4)
