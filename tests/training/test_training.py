"""Training: samples that do not depend on order, and a run that resumes exactly."""

import hashlib
import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ggt_hub.commit import previous
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.errors import TrainingError
from ggt_hub.models.compact_restorer import ESTIMATES, TASKS
from ggt_hub.training import Recipe, load_recipe, samples, train
from ggt_hub.training.loop import _computes_in_bfloat16
from ggt_hub.training.recipe import Group
from ggt_hub.training.samples import DamagedCrops
from tests.photographs import photograph


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "clean").mkdir()
    for side in (96, 128):
        Image.fromarray(photograph(side)).save(tmp_path / "clean" / f"{side}.png")
    tiny = {"channels": [8, 8, 8], "blocks": [1, 1, 1], "condition_width": 8}
    small = {"model": tiny, "crop": 32, "batch": 2, "steps": 6, "warmup_steps": 2, "ema_decay": 0.5}
    return replace(load_recipe("compact"), images=tmp_path / "clean", **small)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_sample_i_is_the_same_whatever_came_before(recipe: Recipe) -> None:
    forward, alone = DamagedCrops(recipe, 40), DamagedCrops(recipe, 40)
    samples = [forward[i] for i in range(40)]
    for i in (39, 0, 17):
        again = alone[i]
        assert all(torch.equal(samples[i][key].nan_to_num(), again[key].nan_to_num()) for key in again)
    assert len({sample["lq"].numpy().tobytes() for sample in samples}) == 40


def test_the_samples_of_the_shipped_recipe_are_those_of_0_1(recipe: Recipe) -> None:
    """All that a sample holds, by hash: 240 cover every group."""
    recorded = json.loads((Path(__file__).parent / "recorded_samples.json").read_text())
    samples = list(DamagedCrops(recipe, len(recorded)))
    assert {int(sample["group"]) for sample in samples} == set(range(len(recipe.groups)))
    parts = [b"".join(sample[key].numpy().tobytes() for key in sorted(sample)) for sample in samples]
    assert [hashlib.sha256(part).hexdigest() for part in parts] == recorded


def test_dark_in_recipes_of_0_1_means_what_it_meant(recipe: Recipe, tmp_path: Path) -> None:
    step = "{family: low_light, exposure: [0.6, 0.05]"
    groups = []
    for group in (f"dark: true, steps: [{step}}}]", f"steps: [{step}, lifted: false}}]"):
        content = f"model: {{}}\nimages: x\ngroups:\n  dark: {{share: 1, task: noise, {group}}}\n"
        (tmp_path / "recipe.yaml").write_text(content)
        groups.append(load_recipe(tmp_path / "recipe.yaml").groups["dark"])
    (old_step,), (step_now,) = (group.preset.steps for group in groups)
    assert old_step == step_now
    assert not step_now.degradation.lifted


@pytest.mark.parametrize(
    ("severity", "targets"),
    [
        ({}, [0.0, 0.0, 0.0, 0.0]),
        ({"resize": 0.5, "noise": 0.25}, [0.25, 0.0, 0.0, 0.5]),  # in the order of ESTIMATES
        ({"noise": 0.25, "haze": 0.1}, [np.nan] * 4),
    ],
)
def test_damage_that_the_estimator_has_no_word_for_is_not_clean(severity: dict, targets: list) -> None:
    assert ESTIMATES == ("noise", "compression", "blur", "resize")
    np.testing.assert_array_equal(samples._targets(severity), targets)


def test_damage_that_makes_pictures_smaller_is_refused(recipe: Recipe) -> None:
    small = {"family": "resize", "enlarge": False, "scale": [0.5, 0.5]}
    group = Group(share=1.0, preset=parse_preset("x", {"task": "general", "steps": [small]}))
    with pytest.raises(TrainingError, match="group tiny: its damage makes pictures smaller"):
        _ = DamagedCrops(replace(recipe, groups={"tiny": group}), 1)[0]


def test_samples_are_what_their_group_says(recipe: Recipe) -> None:
    names = list(recipe.groups)
    brighter = defaultdict(list)
    for sample in DamagedCrops(recipe, 300):
        name = names[sample["group"]]
        assert sample["lq"].shape == sample["gt"].shape == (3, 32, 32)
        assert torch.equal(sample["lq"] * 255, (sample["lq"] * 255).round())  # an 8-bit picture
        assert bool(sample["lift"]) == (name in ("low_light", "backlit"))
        brighter[name].append(float(sample["gt"].mean() - sample["lq"].mean()))
        if name == "low_light":
            assert TASKS[sample["task"]] == "low_light"
        if name == "clean":
            assert (sample["lq"] - sample["gt"]).abs().max() <= 0.5 / 255 + 1e-6
            assert torch.equal(sample["severity"], torch.zeros(4))
        if name == "compression":
            assert 0.08 <= sample["severity"][ESTIMATES.index("compression")] <= 0.94
    assert set(brighter) == set(names)
    assert np.mean(brighter["low_light"]) > 0.1
    assert np.mean(brighter["dark"]) < 0.01  # the target stays as dark as the input


def test_a_stopped_run_continues_exactly(recipe: Recipe, tmp_path: Path) -> None:
    whole = weights(train(recipe, tmp_path / "whole", cpu=True))
    train(replace(recipe, steps=6), tmp_path / "parts", cpu=True, max_minutes=None)
    assert same(weights(tmp_path / "parts" / "model"), whole)

    from ggt_hub.training import loop

    class Stopped(Exception):
        pass

    original = loop._Run._update

    def stop_after_three(run: loop._Run, batch: dict[str, torch.Tensor]) -> None:
        if run.step == 3:
            run.save()
            raise Stopped
        original(run, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Run, "_update", stop_after_three)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "broken", cpu=True)
    resumed = weights(train(recipe, tmp_path / "broken", cpu=True))
    assert same(resumed, whole)


def test_training_reduces_the_error(recipe: Recipe, tmp_path: Path) -> None:
    noisy = {"noise": recipe.groups["noise"]}
    longer = replace(recipe, groups=noisy, steps=150, batch=8, learning_rate=3e-3, ema_decay=0.9)
    train(longer, tmp_path / "run", cpu=True)
    gain = float((tmp_path / "run/progress.txt").read_text().split("noise ")[-1].split()[0])
    assert gain > 0.3  # of all 120 steps, the untrained first ones included


def test_init_from_starts_with_those_weights(recipe: Recipe, tmp_path: Path) -> None:
    first = train(recipe, tmp_path / "first", cpu=True)
    still = replace(recipe, learning_rate=0.0)
    second = train(
        still, tmp_path / "second", cpu=True, init_from=first / "diffusion_pytorch_model.safetensors"
    )
    assert same(weights(first), weights(second))
    with pytest.raises(TrainingError, match="cannot start from"):
        train(recipe, tmp_path / "third", cpu=True, init_from=tmp_path / "missing.safetensors")


def test_max_minutes_ends_a_run(recipe: Recipe, tmp_path: Path) -> None:
    endless = replace(recipe, steps=10**6)
    train(endless, tmp_path / "run", cpu=True, max_minutes=0.05)
    steps = int((tmp_path / "run/progress.txt").read_text().split()[0])
    assert 0 < steps < 10**4


def test_recipes_that_cannot_be_used(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no recipe at compcat: give a YAML file, or one of compact"):
        load_recipe("compcat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="no photographs under"):
        train(replace(recipe, images=tmp_path / "empty"), tmp_path / "run", cpu=True)
    assert np.isclose(sum(group.share for group in load_recipe("compact").groups.values()), 1.0)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux says what its processor can do")
def test_bfloat16_is_used_where_the_processor_has_it() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert _computes_in_bfloat16(cpu=True) == bool({"avx512_bf16", "amx_bf16"} & set(flags))


def test_photographs_are_seen_as_they_are_shown(recipe: Recipe, tmp_path: Path) -> None:
    """16-bit grey is not white, hidden colour is not learned."""
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    seen = samples._load(tmp_path / "grey.png")
    assert np.array_equal(seen[0, :, 1], np.arange(256))
    hidden = np.zeros((64, 64, 4), np.uint8)
    hidden[..., :3] = (255, 0, 255)
    hidden[16:48, 16:48] = (90, 120, 60, 255)
    Image.fromarray(hidden).save(tmp_path / "alpha.png")
    colours = set(map(tuple, samples._load(tmp_path / "alpha.png").reshape(-1, 3).tolist()))
    assert colours == {(255, 255, 255), (90, 120, 60)}


def test_what_cannot_be_learned_is_skipped_and_told(recipe: Recipe) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "notes.txt"):
        (recipe.images / name).write_bytes(b"\0\5\x16\7")
    (recipe.images / "broken.png").write_bytes(b"no picture")
    Image.fromarray(photograph(20)).save(recipe.images / "tiny.png")
    crops = DamagedCrops(recipe, 60)
    assert [path.name for path in crops.paths] == ["128.png", "96.png", "broken.png", "tiny.png"]
    with pytest.warns(UserWarning, match="that is skipped") as told:
        for index in range(60):
            crops[index]
    assert sorted(path.name for path in crops.skipped) == ["broken.png", "tiny.png"]
    assert len(told) == 2
    for path in crops.paths[:2]:
        path.unlink()
    with pytest.raises(TrainingError, match="none of the 2 photographs can be used"):
        _ = DamagedCrops(recipe, 1)[0]


def test_an_output_that_is_no_run_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/model/thesis.txt").write_text("mine")
    with pytest.raises(TrainingError, match="was there before any run"):
        train(recipe, tmp_path / "run", cpu=True)
    assert (tmp_path / "run/model/thesis.txt").read_text() == "mine"


def test_a_damaged_state_gives_way_to_the_one_before(recipe: Recipe, tmp_path: Path) -> None:
    whole = weights(train(recipe, tmp_path / "run", cpu=True))
    train(replace(recipe, steps=4), tmp_path / "other", cpu=True)
    (tmp_path / "other/state").rename(previous(tmp_path / "run/state").with_name("x"))
    shutil.rmtree(previous(tmp_path / "run/state"), ignore_errors=True)
    (tmp_path / "run/x").rename(previous(tmp_path / "run/state"))
    (tmp_path / "run/state/ema.pt").write_bytes(b"cut")
    with pytest.warns(UserWarning, match="the one before is"):
        again = weights(train(recipe, tmp_path / "run", cpu=True))
    assert again.keys() == whole.keys()
    (tmp_path / "run/state/ema.pt").write_bytes(b"cut")
    (previous(tmp_path / "run/state") / "ema.pt").write_bytes(b"cut")
    with pytest.warns(UserWarning), pytest.raises(TrainingError, match="no state can be resumed"):
        train(recipe, tmp_path / "run", cpu=True)
