"""`degrade` and `replay`: names, files, severities and what comes back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ggt_hub.degradations import FAMILIES, Preset, degrade, degrade_pair, load_preset, replay
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.errors import DegradationError, TaskError
from ggt_hub.images import read_image
from ggt_hub.tasks import TASKS
from tests.degradations.tiny import every_preset
from tests.photographs import photograph


@every_preset
def test_seeds_differ_and_the_task_is_recorded(preset: Preset) -> None:
    pictures = [degrade(photograph(64), preset, seed=seed)[0].tobytes() for seed in range(6)]
    assert len(set(pictures)) > 3  # a chain may skip all its steps for a seed or two
    assert degrade(photograph(64), preset)[1]["task"] == preset.task in TASKS


def test_the_severity_is_exact_and_recorded() -> None:
    record = degrade(photograph(64), "noise", severity=0.25, seed=7)[1]
    assert record["steps"][0]["sigma"] == 15
    assert (record["severity"], record["seed"], record["preset"]) == (0.25, 7, "noise")
    web = degrade(photograph(64), "web", severity=0.5, seed=7)[1]["steps"]  # the ranges of the preset's file
    assert web[0]["scale"] == pytest.approx((0.9 + 0.35) / 2)


def test_the_picture_comes_back_as_it_was_given() -> None:
    array = photograph()
    assert isinstance(degrade(array, "noise")[0], np.ndarray)
    pil = Image.fromarray(array).convert("LA")
    assert degrade(pil, "noise")[0].mode == "LA"
    assert np.array_equal(np.asarray(degrade(pil, "noise")[0])[..., 1], np.asarray(pil)[..., 1])
    deep = array.astype(np.uint16) * 257
    assert degrade(deep, "blur")[0].dtype == np.uint16


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 4), (5, 9), (9, 5, 2), (6, 7, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pictures_of_any_sort_keep_it(name: str, shape: tuple[int, ...], kind: type) -> None:
    """Grey or colour, with or without alpha, 8 or 16 bits, as small as they come; alpha is left as it is."""
    picture = np.random.default_rng(0).integers(1, np.iinfo(kind).max, shape, dtype=kind)
    for seed in range(4):
        damaged, record = degrade(picture, name, severity=0.8, seed=seed)
        assert damaged.dtype == kind
        assert damaged.shape[:2] == shape[:2]
        if len(shape) == 3:
            assert np.array_equal(damaged[..., -1], picture[..., -1])
        assert np.array_equal(replay(picture, record), damaged)


def test_a_file_is_read_as_any_picture(tmp_path: Path) -> None:
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    from_file, _ = degrade(tmp_path / "a.png", "web", seed=5)
    assert np.array_equal(from_file.pixels, degrade(photograph(), "web", seed=5)[0])


def test_a_preset_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "phone.yaml"
    path.write_text("task: noise\nsteps: [{family: noise, sigma: [7, 9]}]\n")
    _, record = degrade(photograph(64), path, severity=0.5)
    assert (record["preset"], record["task"], record["steps"][0]["sigma"]) == ("phone", "noise", 8)
    first = load_preset(path).sha256
    path.write_text("task: noise\nsteps: [{family: noise, sigma: [7, 11]}]\n")
    assert degrade(photograph(64), str(path), severity=0.5)[1]["steps"][0]["sigma"] == 9
    assert (
        load_preset(path).sha256
        != first
        == parse_preset("phone", {"task": "noise", "steps": [{"family": "noise", "sigma": [7, 9]}]}).sha256
    )


def test_damage_may_make_lq_smaller_and_cut_gt() -> None:
    steps = [{"family": "resize", "enlarge": False, "scale": [0.25, 0.25], "down": ["area"]}]
    preset = parse_preset("small", {"task": "general", "steps": steps})
    alpha = np.maximum(photograph(64)[..., :1], 1)  # where it is 0 colours are filled in
    picture = read_image(np.dstack([photograph(64), alpha])[:62, :63])
    lq, gt, record = degrade_pair(picture, preset)
    assert (lq.size, gt.size) == ((15, 15), (60, 60))
    assert np.array_equal(np.asarray(gt), np.dstack([photograph(64), alpha])[:60, :60])
    blocks = photograph(64)[:60, :60].reshape(15, 4, 15, 4, 3).mean(axis=(1, 3))
    assert np.abs(lq.pixels - blocks).max() <= 0.5 + 1e-4
    assert np.array_equal(replay(picture, record).pixels, lq.pixels)
    lq, gt, _ = degrade_pair(picture, "noise")
    assert gt is picture


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "task: noise\nsteps: [{family: noise, sgima: [1, 2]}]",
            "noise: there is no field 'sgima', only sigma",
        ),
        ("task: noise\nsteps: [{one_of: []}]", "preset 'my': one_of must not be empty"),
        ("task: noise\nsteps: [{one_of: 3}]", "preset 'my': one_of must be a list, not 3"),
        ("task: noise\nsteps: [{shuffle: [{family: fog}]}]", "names the family 'fog': there are blur"),
        ("task: noise\nsteps: [{family: [noise]}]", r"names the family \['noise'\]: there are blur"),
        ("task: noise\nsteps: [{repeat: [{family: noise}]}]", "repeat: the field 'times' is missing"),
        (
            "task: noise\nsteps: [{repeat: [{family: noise}], times: [3, 1]}]",
            r"repeat: times: .*the fewest come first, not \[3, 1\]",
        ),
        ("task: noise\nsteps: [{repeat: [{family: noise}], times: [-1, 1]}]", r"times\[0\]: .*not -1"),
        (
            "task: noise\nsteps: [{shuffle: [{family: noise}], probability: 2}]",
            "shuffle: probability: .*not 2",
        ),
        ("task: noise\nsteps: [{shuffle: [{family: noise}], times: [1, 2]}]", "no field 'times', only"),
        ("task: noise", "it needs the fields `task` and `steps`"),
        ("- 1", "does not consist of `name: value` lines"),
        ("task: fog\nsteps: []", "unknown task 'fog'"),
    ],
)
def test_what_is_wrong_in_a_preset_is_said(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "my.yaml").write_text(content)
    with pytest.raises((DegradationError, TaskError), match=message):
        load_preset(tmp_path / "my.yaml")


def test_errors_name_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(
        DegradationError, match=r"no degradation named 'fog': there are blur, .*web, or give a YAML"
    ):
        degrade(photograph(64), "fog")
    with pytest.raises(DegradationError, match=r"none\.yaml cannot be read"):
        degrade(photograph(64), tmp_path / "none.yaml")
    for severity in (1.5, -0.1, float("nan")):
        with pytest.raises(DegradationError, match=f"severity is {severity}: it must lie in 0..1"):
            degrade(photograph(64), "noise", severity=severity)
    with pytest.raises(DegradationError, match="seed is -1"):
        degrade(photograph(64), "noise", seed=-1)
    with pytest.raises(DegradationError, match="names the family 'fog'"):
        replay(photograph(64), {"steps": [{"family": "fog"}]})
    with pytest.raises(DegradationError, match="settings of noise in the record: there is no field 'sgima'"):
        replay(photograph(64), {"steps": [{"family": "noise", "settings": {"sgima": 1}}]})
