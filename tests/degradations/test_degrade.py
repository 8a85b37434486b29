"""`degrade` and `replay`: same recipe and seed, same bytes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ggt_hub.degradations import degrade, list_presets, load_preset, replay
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.errors import DegradationError, TaskError
from ggt_hub.tasks import TASKS
from tests.photographs import photograph


@pytest.mark.parametrize("name", list_presets())
def test_a_recipe_replays_to_the_same_bytes_after_json(name: str) -> None:
    for seed in range(4):
        damaged, recipe = degrade(photograph(), name, seed=seed)
        assert np.array_equal(replay(photograph(), json.loads(json.dumps(recipe))), damaged)
        again, _ = degrade(photograph(), name, seed=seed)
        assert np.array_equal(again, damaged)


@pytest.mark.parametrize("name", list_presets())
def test_seeds_differ_and_the_task_is_recorded(name: str) -> None:
    pictures = [degrade(photograph(), name, seed=seed)[0].tobytes() for seed in range(6)]
    assert len(set(pictures)) > 3  # a chain may skip all its steps for a seed or two
    assert degrade(photograph(), name)[1]["task"] == load_preset(name).task in TASKS


def test_strength_sets_the_severity_exactly() -> None:
    recipe = degrade(photograph(), "noise", strength=0.5, seed=7)[1]
    assert recipe["steps"][0]["sigma"] == pytest.approx((3 + 60) / 2)


def test_the_picture_comes_back_as_it_was_given() -> None:
    array = photograph()
    assert isinstance(degrade(array, "noise")[0], np.ndarray)
    pil = Image.fromarray(array).convert("LA")
    assert degrade(pil, "noise")[0].mode == "LA"
    assert np.array_equal(np.asarray(degrade(pil, "noise")[0])[..., 1], np.asarray(pil)[..., 1])
    deep = array.astype(np.uint16) * 257
    assert degrade(deep, "blur")[0].dtype == np.uint16


def test_a_file_is_read_as_any_picture(tmp_path: Path) -> None:
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    from_file, _ = degrade(tmp_path / "a.png", "web", seed=5)
    assert np.array_equal(from_file.pixels, degrade(photograph(), "web", seed=5)[0])


def test_errors_name_what_there_is() -> None:
    with pytest.raises(DegradationError, match=r"no degradation named 'fog': there are blur, .*web"):
        degrade(photograph(), "fog")
    with pytest.raises(DegradationError, match=r"strength is 1.5: it must lie in 0..1"):
        degrade(photograph(), "noise", strength=1.5)
    with pytest.raises(DegradationError, match="names the family 'fog'"):
        replay(photograph(), {"steps": [{"family": "fog"}]})
    with pytest.raises(DegradationError, match=r"noise: there is no field 'sgima', only sigma"):
        parse_preset("mine", {"task": "noise", "steps": [{"family": "noise", "sgima": [1, 2]}]})
    with pytest.raises(TaskError, match="unknown task 'fog'"):
        parse_preset("mine", {"task": "fog", "steps": []})
