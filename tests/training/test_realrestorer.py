"""The recipe `realrestorer`: two stages on any editor, what they see, and what they leave alone."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from PIL import Image
from safetensors.torch import load_file

from ggt_hub.errors import DatasetError, TrainingError
from ggt_hub.training import Recipe, load_recipe, plan, train
from ggt_hub.training import run as module
from ggt_hub.training.objectives import Loss
from ggt_hub.training.objectives.flow import FlowObjective
from ggt_hub.training.reading import open_mixtures
from tests.documents import lay_out_desk
from tests.photographs import photograph
from tests.pipelines.tiny_editors import tiny_qwen_edit
from tests.pipelines.tiny_realrestorer import tiny_pipeline
from tests.tiny_kontext import save_tiny_kontext


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    desk = lay_out_desk(tmp_path / "desk")
    base = str(save_tiny_kontext(tmp_path / "kontext"))
    data = {str(desk / "photos"): 1.0, str(desk / "my-pairs"): 1.0}
    return load_recipe("realrestorer", "tiny").with_settings({"base": base}).with_data(data)


def staged(recipe: Recipe, **changes: Any) -> Recipe:
    return replace(recipe, stages=tuple(replace(stage, **changes) for stage in recipe.stages))


def stop_after(steps: int, recipe: Recipe, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a run that is killed when it has saved that many steps."""
    update = module._Run._update

    def stopping(run: module._Run, *arguments: Any) -> None:
        update(run, *arguments)
        if run.step == steps - 1:
            run.step = steps
            run.save()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module._Run, "_update", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, output, cpu=True)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def test_the_stages_are_the_published_ones() -> None:
    recipe = load_recipe("realrestorer")
    transfer, tuning = recipe.stages
    told = ("learning_rate", "last_learning_rate", "weight_decay", "batch", "steps", "synthetic", "frozen")
    assert [getattr(transfer, name) for name in told] == [1e-5, 1e-5, 0, 16, 500, 1, 0]
    assert [getattr(tuning, name) for name in told] == [1e-5, 0, 0.01, 32, 1500, 0.2, 0.25]
    assert (recipe.betas, recipe.largest_gradient, recipe.model) == ((0.9, 0.95), 1, {"weights": "full"})
    for stage in recipe.stages:
        assert (stage.warmup_steps, stage.buckets, stage.balanced) == (100, ((1024, 1024),), True)
        assert {name: (kind.share, kind.preset.task) for name, kind in stage.groups.items()} == {
            task: (1, task)
            for task in (
                "blur", "compression", "moire", "low_light", "noise", "flare", "reflection", "haze", "rain"
            )
        }  # fmt: skip


def test_each_stage_sees_its_share_of_synthetic_pairs(recipe: Recipe) -> None:
    """Within three deviations of 300 draws."""
    transfer, tuning = open_mixtures(recipe, needs_quality=False)
    assert {transfer[number].group for number in range(100)} <= set(transfer.damage)
    pairs = sum(tuning[number].severities is None for number in range(300))
    assert abs(pairs - 240) < 3 * np.sqrt(300 * 0.8 * 0.2)
    pairs_alone = recipe.with_data({name: 1.0 for name in recipe.stages[0].data if "pairs" in name})
    with pytest.raises(DatasetError, match=r"no clean pictures among .*my-pairs, and 100% of a stage"):
        open_mixtures(pairs_alone, needs_quality=False)


@pytest.mark.parametrize("kind", ["kontext", "qwen", "realrestorer"])
def test_a_tiny_run_ends_with_a_lora_that_loads(recipe: Recipe, kind: str, tmp_path: Path) -> None:
    if kind != "kontext":
        {"qwen": tiny_qwen_edit, "realrestorer": tiny_pipeline}[kind]().save_pretrained(tmp_path / "editor")
        recipe = recipe.with_settings({"base": str(tmp_path / "editor")})
    folder = train(recipe, tmp_path / "run", cpu=True)
    pipe = FlowObjective.build({"rank": 2}, recipe.settings | {"bfloat16": False}).editor.pipe
    pipe.transformer.delete_adapters("default")
    pipe.load_lora_weights(folder)
    ours = weights(folder)
    loaded = {name: weight for name, weight in pipe.transformer.named_parameters() if "lora_" in name}
    assert len(loaded) == len(ours) and any(tensor.any() for tensor in ours.values())
    for name, weight in loaded.items():
        key = name.replace("default_0", "default").replace(".", "/")
        assert torch.equal(weight, ours[f"tensors.{key}"]), name


def test_all_of_the_transformer_learns_in_bfloat16_and_is_kept_in_float32(
    recipe: Recipe, tmp_path: Path
) -> None:
    settings = recipe.settings | {"bfloat16": True, "checkpointing": True}
    whole = replace(recipe, model={"weights": "full"}, settings=settings, stages=recipe.stages[:1])
    learned = FluxTransformer2DModel.from_pretrained(train(whole, tmp_path / "run", cpu=True))
    base = FluxTransformer2DModel.from_pretrained(tmp_path / "kontext/transformer").state_dict()
    for name, weight in learned.named_parameters():
        assert weight.dtype == torch.float32 and not torch.equal(weight, base[name]), name


def test_a_run_stopped_in_the_second_stage_continues_exactly(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(train(recipe, tmp_path / "whole", cpu=True))
    stop_after(6, recipe, tmp_path / "parts", monkeypatch)
    parts = weights(train(recipe, tmp_path / "parts", cpu=True))
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


@pytest.fixture
def aspects(recipe: Recipe, tmp_path: Path) -> Recipe:
    """On pairs of three aspects, one of which covers no bucket."""
    for number, (height, width) in enumerate([(70, 64), (60, 100), (100, 60), (64, 40)]):
        for side in ("lq", "gt"):
            (tmp_path / "aspects" / side).mkdir(parents=True, exist_ok=True)
            pixels = np.ascontiguousarray(photograph(100)[:height, :width])
            Image.fromarray(pixels).save(tmp_path / f"aspects/{side}/{number}.png")
    pairs = staged(recipe, synthetic=None, batch=3, at_once=2, steps=5, frozen=0.0)
    return pairs.with_data({str(tmp_path / "aspects"): 1.0})


def test_pieces_of_several_aspects_have_one_size_and_a_stopped_run_continues_exactly(
    aspects: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, forward = list[tuple[int, ...]](), FlowObjective.forward

    def noted(objective: Any, batch: dict[str, torch.Tensor]) -> Loss:
        sizes.append(tuple(batch["gt"].shape))
        return forward(objective, batch)

    monkeypatch.setattr(FlowObjective, "forward", noted)
    whole = weights(train(aspects, tmp_path / "whole", cpu=True))
    assert [size[0] for size in sizes] == [2, 1] * 10
    assert {size[2:] for size in sizes} == {(64, 64), (48, 80), (80, 48)}
    straight, sizes[:] = [*sizes], []
    stop_after(6, aspects, tmp_path / "parts", monkeypatch)
    assert json.loads((tmp_path / "parts/state/reading-1-of-1.json").read_text())["waiting"]
    parts = weights(train(aspects, tmp_path / "parts", cpu=True))
    assert sizes == straight
    (skipped,) = (json.loads(line) for line in (tmp_path / "parts/skipped.jsonl").read_text().splitlines())
    reason = "40x64 pixels cover none of the buckets 64x64, 80x48, 48x80"
    assert skipped == {"source": str(tmp_path / "aspects"), "row": "3", "reason": reason}
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_sizes_that_fit_no_bucket_are_said_before_a_network_is_read(
    aspects: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FlowObjective, "build", lambda *_: pytest.fail("the base was read"))
    large = staged(aspects, buckets=((128, 128), (160, 96)))
    told = r"none of the 4 pictures of .*aspects can be used, such as \d: \d+x\d+ pixels cover none of"
    with pytest.raises(DatasetError, match=told + " the buckets 128x128, 160x96"):
        train(large, tmp_path / "run", cpu=True)
    assert not (tmp_path / "run").exists()


def test_the_plan_counts_the_buckets(aspects: Recipe) -> None:
    line = plan(aspects).splitlines()[0]
    assert "buckets of 4 looked at: 64x64 1, 80x48 1, 48x80 1" in line
    assert "1 of 4 cover none of the buckets 64x64, 80x48, 48x80" in line
    assert "stage 1: 5 steps of 3 pictures of 64x64, 80x48, 48x80, learning rate" in plan(aspects)


def test_frozen_blocks_stay_in_their_stage_alone(recipe: Recipe, tmp_path: Path) -> None:
    """Also where weights decay, which would move them without a gradient."""
    _, tuning = recipe.stages
    moving = replace(recipe, ema_decay=0.0)
    still = replace(moving, stages=(replace(tuning, frozen=0.5, weight_decay=0.5),))
    torch.manual_seed(0)
    FlowObjective.build(recipe.model, recipe.settings).export(tmp_path / "begin")
    begin = weights(tmp_path / "begin")
    made = weights(train(still, tmp_path / "run", cpu=True, init_from=tmp_path / "begin"))
    stayed = {name for name in made if torch.equal(made[name], begin[name])}
    first = [f"single_transformer_blocks/{number}/" for number in (0, 1)]
    assert stayed == {name for name in made if any(block in name for block in first)} != set()
    free = replace(moving, stages=(replace(tuning, weight_decay=0.5),) * 1)
    moved = weights(
        train(staged(free, frozen=0.0), tmp_path / "free", cpu=True, init_from=tmp_path / "begin")
    )
    assert not any(torch.equal(moved[name], begin[name]) for name in moved)


def test_gradients_of_pieces_add_up_to_those_of_the_batch(recipe: Recipe, tmp_path: Path) -> None:
    at_once = staged(recipe, at_once=None, batch=4, steps=2)
    whole = weights(train(at_once, tmp_path / "whole", cpu=True))
    pieces = weights(train(staged(at_once, at_once=3), tmp_path / "pieces", cpu=True))
    for name, tensor in whole.items():
        # Float32 sums in another order; Adam's first steps are as large for small gradients as for large ones.
        assert (tensor - pieces[name]).norm() <= 1e-2 * tensor.norm() + 1e-6, name


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run_and_no_checkpoint_holds_it(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    longer, update = replace(recipe, stages=(replace(recipe.stages[0], steps=11),)), module._Run._update
    forward = FlowObjective.forward

    def saving(run: module._Run, *arguments: Any) -> None:
        if run.step == 5:
            run.save()
        run.objective.now = run.step
        update(run, *arguments)

    def failing(objective: Any, batch: dict[str, torch.Tensor]) -> Loss:
        loss = forward(objective, batch)
        if objective.now != 9:  # the last before the tenth step's check: no later loss tells of it
            return loss
        if where == "loss":
            return loss._replace(value=loss.value * float("nan"))
        loss.value.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    monkeypatch.setattr(module._Run, "_update", saving)
    monkeypatch.setattr(FlowObjective, "forward", failing)
    with pytest.raises(TrainingError, match=r"NaN or infinite at step 10 or shortly before"):
        train(longer, tmp_path / "run", cpu=True)
    assert (tmp_path / "run/progress.txt").read_text().splitlines()[-1].startswith("5 ")
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run/model").values())
    monkeypatch.setattr(FlowObjective, "forward", forward)
    again = weights(train(longer, tmp_path / "run", cpu=True))
    assert all(tensor.isfinite().all() for tensor in again.values())


def test_a_base_that_no_editor_knows_is_refused_before_anything_is_written(
    recipe: Recipe, tmp_path: Path
) -> None:
    tiny_sdxl = tmp_path / "sdxl"
    tiny_sdxl.mkdir()
    (tiny_sdxl / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    with pytest.raises(TrainingError, match="sdxl is a StableDiffusionXLPipeline"):
        train(recipe.with_settings({"base": str(tiny_sdxl)}), tmp_path / "run", cpu=True)
    assert not (tmp_path / "run").exists()


def test_a_network_without_blocks_cannot_be_frozen(tmp_path: Path) -> None:
    desk = lay_out_desk(tmp_path)
    tiny = {"channels": [8, 8, 8], "blocks": [1, 1, 1], "condition_width": 8}
    compact = replace(load_recipe("compact"), model=tiny).with_data({str(desk / "photos"): 1.0})
    with pytest.raises(TrainingError, match=r"CompactRestorer has no blocks .* freeze 0\.5"):
        train(staged(compact, frozen=0.5), tmp_path / "run", cpu=True)


def test_the_plan_counts_what_the_run_will_see(recipe: Recipe) -> None:
    photos, pairs = recipe.stages[0].data
    lines = plan(staged(recipe, buckets=(), crop=208, steps=100), processes=2).splitlines()
    assert lines[0] == f"{photos}: 1 clean pictures; 256x256 to 256x256 pixels"
    told = "192x192 to 256x256 pixels; general 2; 1 of 2 below a crop of 208"
    assert lines[1] == f"{pairs}: 2 pairs; {told}"
    assert lines[2] == "stage 1: 100 steps of 4 crops of 208 pixels, learning rate 0.001 to 0.001"
    assert lines[3] == f"  {photos}: 100%, 400 examples, 400 times each"
    assert lines[6:8] == [
        f"  {photos}: 20%, 160 examples, 160 times each",
        f"  {pairs}: 80%, 640 examples, 320 times each",
    ]
    assert Counter(lines[4].split()[3:][1::2]) == Counter(["11%,"] * 8 + ["11%"])
    assert lines[-1] == "in all: 200 steps; at 1 s a step 0.056 h, at 10 s 0.56 h"
