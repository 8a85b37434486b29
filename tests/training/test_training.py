"""Training: samples that do not depend on order, and a run that resumes exactly."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.utils import set_seed
from PIL import Image
from safetensors.torch import load_file

from ggt_hub.commit import previous
from ggt_hub.data.reading.mixture import Mixture
from ggt_hub.errors import DatasetError, TrainingError
from ggt_hub.training import Recipe, Stage, load_recipe, train
from ggt_hub.training import run as module
from ggt_hub.training.objectives.codebooks import CodebooksObjective
from ggt_hub.training.objectives.compact import CompactObjective
from ggt_hub.training.run import computes_in_bfloat16
from tests.photographs import photograph
from tests.training.objectives.tiny import RECIPES, scored

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "clean").mkdir()
    for side in (96, 128):
        Image.fromarray(photograph(side)).save(tmp_path / "clean" / f"{side}.png")
    tiny = {"channels": [8, 8, 8], "blocks": [1, 1, 1], "condition_width": 8}
    recipe = replace(load_recipe("compact"), model=tiny, ema_decay=0.5)
    data = {str(tmp_path / "clean"): 1.0}
    return staged(recipe, data=data, crop=32, batch=2, steps=6, warmup_steps=2)


def staged(recipe: Recipe, **changes: object) -> Recipe:
    """The recipe with other fields of its stages."""
    return replace(recipe, stages=tuple(replace(stage, **changes) for stage in recipe.stages))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_dark_in_recipes_of_0_1_means_what_it_meant(recipe: Recipe, tmp_path: Path) -> None:
    step = "{family: low_light, exposure: [0.6, 0.05]"
    groups = []
    for group in (f"dark: true, steps: [{step}}}]", f"steps: [{step}, lifted: false}}]"):
        content = f"model: {{}}\nimages: x\ngroups:\n  dark: {{share: 1, task: noise, {group}}}\n"
        (tmp_path / "recipe.yaml").write_text(content)
        groups.append(load_recipe(tmp_path / "recipe.yaml").stages[0].groups["dark"])
    (old_step,), (step_now,) = (group.preset.steps for group in groups)
    assert old_step == step_now
    assert not step_now.degradation.lifted


def test_a_stopped_run_continues_exactly(recipe: Recipe, tmp_path: Path) -> None:
    whole = weights(train(recipe, tmp_path / "whole", cpu=True))
    train(staged(recipe, steps=6), tmp_path / "parts", cpu=True, max_minutes=None)
    assert same(weights(tmp_path / "parts" / "model"), whole)

    class Stopped(Exception):
        pass

    original = module._Run._update

    def stop_after_three(run: module._Run, *arguments: Any) -> None:
        if run.step == 3:
            run.save()
            raise Stopped
        original(run, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Run, "_update", stop_after_three)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "broken", cpu=True)
    resumed = weights(train(recipe, tmp_path / "broken", cpu=True))
    assert same(resumed, whole)


def test_training_reduces_the_error(recipe: Recipe, tmp_path: Path) -> None:
    noisy = {"noise": recipe.stages[0].groups["noise"]}
    longer = staged(replace(recipe, ema_decay=0.9), groups=noisy, steps=150, batch=8, learning_rate=3e-3)
    train(longer, tmp_path / "run", cpu=True)
    gain = float((tmp_path / "run/progress.txt").read_text().split("noise ")[-1].split()[0])
    assert gain > 0.3  # of all 120 steps, the untrained first ones included


def test_init_from_starts_with_those_weights(recipe: Recipe, tmp_path: Path) -> None:
    first = train(recipe, tmp_path / "first", cpu=True)
    still = staged(recipe, learning_rate=0.0)
    second = train(
        still, tmp_path / "second", cpu=True, init_from=first / "diffusion_pytorch_model.safetensors"
    )
    assert same(weights(first), weights(second))
    with pytest.raises(TrainingError, match="cannot start from"):
        train(recipe, tmp_path / "third", cpu=True, init_from=tmp_path / "missing.safetensors")


def test_max_minutes_ends_a_run(recipe: Recipe, tmp_path: Path) -> None:
    endless = staged(recipe, steps=10**6)
    train(endless, tmp_path / "run", cpu=True, max_minutes=0.05)
    steps = int((tmp_path / "run/progress.txt").read_text().split()[0])
    assert 0 < steps < 10**4


def test_recipes_that_cannot_be_used(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no recipe at compcat: give a YAML file, or one of compact"):
        load_recipe("compcat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no photographs under"):
        train(recipe.with_data({str(tmp_path / "empty"): 1.0}), tmp_path / "run", cpu=True)
    groups = load_recipe("compact").stages[0].groups
    assert np.isclose(sum(group.share for group in groups.values()), 1.0)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux says what its processor can do")
def test_bfloat16_is_used_where_the_processor_has_it() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert computes_in_bfloat16(cpu=True) == bool({"avx512_bf16", "amx_bf16"} & set(flags))


def test_an_output_that_is_no_run_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/model/thesis.txt").write_text("mine")
    with pytest.raises(TrainingError, match="was there before any run"):
        train(recipe, tmp_path / "run", cpu=True)
    assert (tmp_path / "run/model/thesis.txt").read_text() == "mine"


def test_a_run_of_another_recipe_is_left_alone(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a network is built; more steps or another rate are the same run, and states of before have no name."""
    train(staged(recipe, steps=1), tmp_path / "run", cpu=True)
    clock = tmp_path / "run/state/clock.json"
    with monkeypatch.context() as patch:
        patch.setattr(CompactObjective, "build", lambda *_: pytest.fail("it was built"))
        wider = replace(recipe, model=recipe.model | {"condition_width": 16})
        with pytest.raises(
            TrainingError, match=r"run is the run of another recipe, with model .*: 8.* and not"
        ):
            train(wider, tmp_path / "run", cpu=True)
        with pytest.raises(TrainingError, match="with base None and not kontext: choose another --output"):
            train(recipe.with_settings({"base": "models/kontext"}), tmp_path / "run", cpu=True)
    train(staged(recipe, steps=2, learning_rate=1e-4), tmp_path / "run", cpu=True)
    told = json.loads(clock.read_text())
    assert told["step"] == 2
    clock.write_text(json.dumps({name: told[name] for name in ("step", "seconds")}))
    train(staged(recipe, steps=3), tmp_path / "run", cpu=True)
    assert json.loads(clock.read_text())["step"] == 3


def test_a_damaged_state_gives_way_to_the_one_before(recipe: Recipe, tmp_path: Path) -> None:
    whole = weights(train(recipe, tmp_path / "run", cpu=True))
    train(staged(recipe, steps=4), tmp_path / "other", cpu=True)
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


def test_a_run_of_two_stages_stopped_in_the_second_continues_exactly(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second stage has its own crops and examples, and an optimiser that starts fresh."""
    (stage,) = recipe.stages
    two = replace(recipe, stages=(replace(stage, steps=3), replace(stage, steps=4, crop=48, batch=1)))
    shapes, indices = [], []
    update, example = module._Run._update, Mixture.__getitem__

    def watched(run: module._Run, batch: list, stage: Stage, step: int) -> None:
        shapes.append((tuple(batch[0]["lq"].shape), step, len(run.optimisers["network"].state)))
        update(run, batch, stage, step)

    monkeypatch.setattr(module._Run, "_update", watched)
    monkeypatch.setattr(
        Mixture, "__getitem__", lambda self, index: indices.append(index) or example(self, index)
    )
    whole = weights(train(two, tmp_path / "whole", cpu=True))
    assert [shape for shape, _, _ in shapes] == [(2, 3, 32, 32)] * 3 + [(1, 3, 48, 48)] * 4
    assert [step for _, step, _ in shapes] == [0, 1, 2, 0, 1, 2, 3]
    assert [bool(moments) for _, _, moments in shapes] == [False, True, True, False, True, True, True]
    assert indices == [*range(10)]

    def stopping(run: module._Run, batch: list, stage: Stage, step: int) -> None:
        if run.step == 5:
            run.save()
            raise KeyboardInterrupt
        update(run, batch, stage, step)

    monkeypatch.setattr(module._Run, "_update", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(two, tmp_path / "parts", cpu=True)
    monkeypatch.setattr(module._Run, "_update", update)
    assert same(weights(train(two, tmp_path / "parts", cpu=True)), whole)
    assert indices[-2:] == [8, 9]


def test_frozen_weights_stay_and_are_not_averaged(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = CompactObjective.build

    def with_frozen_head(*arguments: object) -> CompactObjective:
        objective = build(*arguments)
        objective.network.head.requires_grad_(False)
        return objective

    monkeypatch.setattr(CompactObjective, "build", with_frozen_head)
    torch.manual_seed(recipe.seed)
    made = weights(train(recipe, tmp_path / "run", cpu=True))
    set_seed(recipe.seed, device_specific=True)
    start = build(recipe.model, recipe.settings).network.state_dict()
    moved = {name.split(".")[0] for name in made if not torch.equal(made[name], start[name])}
    assert "head" not in moved
    assert {"tail", "estimator", "bottleneck"} <= moved


def test_the_learning_rate_warms_up_and_falls_along_a_cosine(recipe: Recipe, tmp_path: Path) -> None:
    (stage,) = recipe.stages
    stage = replace(stage, steps=8, warmup_steps=2, learning_rate=1.0)
    run = object.__new__(module._Run)
    run.seconds, run.limit = 0.0, float("inf")
    rates = [run._learning_rate(stage, step) for step in range(9)]
    cosine = [0.5 * (1 + np.cos(np.pi * step / 8)) for step in range(9)]
    np.testing.assert_allclose(rates, [0.5 * cosine[0], *cosine[1:]], atol=1e-12)
    ending = replace(stage, last_learning_rate=0.4)
    wanted = [0.5 * (0.6 * cosine[0] + 0.4), *(0.6 * part + 0.4 for part in cosine[1:])]
    np.testing.assert_allclose([run._learning_rate(ending, step) for step in range(9)], wanted, atol=1e-12)
    run.seconds, run.limit = 30.0, 40.0
    assert run._learning_rate(stage, 2) == pytest.approx(0.5 * (1 + np.cos(np.pi * 0.75)))
    assert run._learning_rate(replace(stage, warmup_steps=0), 0) == pytest.approx(
        0.5 * (1 + np.cos(np.pi * 0.75))
    )


def test_gains_are_means_of_what_each_group_gave() -> None:
    gains = module._Gains(["a", "b", "c"], torch.device("cpu"))
    gains.add(torch.tensor([0, 0, 1]), torch.tensor([1.0, 3.0, -2.0]))
    gains.add(torch.tensor([0]), torch.tensor([5.0]))
    assert gains.summary() == "a +3.00 b -2.00"  # 1000 pictures back, weights would be a third
    assert gains.weight.tolist() == pytest.approx([0.999 * 2 + 1, 1.0, 0.0])


def test_terms_are_means_of_the_steps_that_had_them() -> None:
    terms = module._Terms()
    terms.add({"pixels": torch.tensor(2.0)})
    terms.add({"pixels": torch.tensor(4.0), "game": torch.tensor(-1.0)})
    wanted = (0.99 * 2 + 4) / 1.99
    assert terms.summary() == f"pixels {wanted:.4g} game -1"


def test_two_processes_learn_what_one_learns_from_batches_twice_as_large(
    recipe: Recipe, tmp_path: Path
) -> None:
    """From the same examples; gradients are means over both, and sums over the pieces of a batch.

    Sums in another order are the difference, which AdamW's first steps enlarge: 0.6 % of the way was seen, and
    47 % where processes did not share their gradients.
    """
    text = f"""\
model: {json.dumps(recipe.model)}
data: {{{tmp_path / "clean"}: 1}}
crop: 32
batch: 2
at_once: 1
steps: 4
warmup_steps: 2
ema_decay: 0.5
groups:
  noise: {{share: 1, task: noise, steps: [{{family: noise, sigma: [20, 60]}}]}}
"""
    (tmp_path / "two.yaml").write_text(text)
    (tmp_path / "one.yaml").write_text(text.replace("batch: 2\nat_once: 1", "batch: 4"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = ["-m", "ggt_hub", "train", tmp_path / "two.yaml", "--cpu", "--output", tmp_path / "two"]
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    one = weights(train(load_recipe(tmp_path / "one.yaml"), tmp_path / "one", cpu=True))
    two = weights(tmp_path / "two/model")
    set_seed(recipe.seed, device_specific=True)
    start = CompactObjective.build(recipe.model, {}).network.state_dict()
    assert way(one, two) < 0.05 * way(one, start)


def test_workers_do_not_wait_for_threads_that_the_run_had_before_them(recipe: Recipe, tmp_path: Path) -> None:
    """Forked ones did, for ever: OpenCV's, once it had worked in the process that trains."""
    text = f"""\
model: {json.dumps(recipe.model)}
data: {{{tmp_path / "clean"}: 1}}
workers: 1
crop: 32
batch: 1
steps: 2
ema_decay: 0.5
groups:
  noise: {{share: 1, task: noise, steps: [{{family: noise, sigma: [20, 60]}}]}}
"""
    (tmp_path / "one.yaml").write_text(text)
    (tmp_path / "none.yaml").write_text(text.replace("workers: 1", "workers: 0"))
    program = """\
import sys
from pathlib import Path
import cv2, numpy as np
from ggt_hub.training import load_recipe, train
cv2.setNumThreads(2)
cv2.resize(np.zeros((1000, 1000, 3), np.float32), (2000, 2000))
train(load_recipe(sys.argv[1]), Path(sys.argv[2]), cpu=True)
"""
    command = [sys.executable, "-c", program, tmp_path / "one.yaml", tmp_path / "one"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    none = weights(train(load_recipe(tmp_path / "none.yaml"), tmp_path / "none", cpu=True))
    assert same(weights(tmp_path / "one/model"), none)


def way(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return sum(float((one[name] - other[name]).square().sum()) ** 0.5 for name in one)


@pytest.mark.slow
@pytest.mark.parametrize(("game_from", "share"), [(100, 0.05), (1, 0.4)])
def test_two_processes_play_the_game_that_one_plays(tmp_path: Path, game_from: int, share: float) -> None:
    """Alone, the autoencoder goes the same way (0.6 % apart): a discriminator without a gradient holds nobody up.

    In the game it normalises over the pictures of a process, so that 16 % are seen.
    """
    scored(tmp_path / "clean", photograph(96))
    text = RECIPES["codebooks"].replace("game_from: 1", f"game_from: {game_from}")
    for name, batch in (("one", 2), ("two", 1)):
        told = f"data: {{{tmp_path / 'clean'}: 1}}\n" + text.replace("batch: 2", f"batch: {batch}")
        (tmp_path / f"{name}.yaml").write_text(told)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = ["-m", "ggt_hub", "train", tmp_path / "two.yaml", "--cpu", "--output", tmp_path / "two"]
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    recipe = load_recipe(tmp_path / "one.yaml")
    one = weights(train(recipe, tmp_path / "one", cpu=True))
    set_seed(recipe.seed, device_specific=True)
    start = CodebooksObjective.build(recipe.model, recipe.settings).network.state_dict()
    assert way(one, weights(tmp_path / "two/model")) < share * way(one, start)
