"""Weights divided between two processes: what is learned is what one process learns, and a stopped run goes on."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from diffusers import FluxKontextPipeline, FluxTransformer2DModel
from safetensors.torch import load_file

from ggt_hub.errors import TrainingError
from ggt_hub.training import Recipe, load_recipe, plan, run, train
from ggt_hub.training.memory import describe
from ggt_hub.training.objectives import load_objective
from ggt_hub.training.objectives.flow import FlowObjective
from tests.documents import lay_out_desk
from tests.tiny_kontext import save_tiny_kontext

ROOT = Path(__file__).parents[2]
WAYS = ("lora", "full")
STEPS = 4

# Losses are noted by each process. The second stage freezes blocks, which have no moments then.
TOLD = """\
objective: flow
settings: {{base: {base}, bfloat16: false, checkpointing: {checkpointing}}}
model: {{weights: {weights}, rank: 2}}
data: {{{desk}/my-pairs: 1}}
aligned: true
crop: 64
batch: {batch}
at_once: 1
warmup_steps: 2
learning_rate: 1.0e-3
largest_gradient: 0.05
ema_decay: 0.5
shard: {shard}
validation: {{suite: {desk}/my-pairs, every: 4, pictures: 1,
             arguments: {{num_inference_steps: 2, size_level: 32}}}}
stages:
  - {{steps: 1}}
  - {{steps: 3, frozen: 0.5}}
"""

PROGRAM = """
import json, os, sys
from pathlib import Path
from ggt_hub.training import load_recipe, run, train
from ggt_hub.training.objectives.flow import FlowObjective

root, rank, losses = Path(sys.argv[1]), os.environ["RANK"], []
forward, update = FlowObjective.forward, run._Run._update

def noted(this, batch):
    loss = forward(this, batch)
    losses.append(loss.value.item())
    return loss

def stopping(this, *arguments):
    if this.step == 2:
        this.save()
        raise InterruptedError
    update(this, *arguments)

FlowObjective.forward = noted
run.Accelerator.end_training = lambda _: None  # it would end the talk between processes, which the next run needs
for way in sys.argv[2:]:
    recipe = load_recipe(root / f"{way}.yaml")
    losses.clear()
    train(recipe, root / way, cpu=True)
    (root / f"{way}-{rank}.json").write_text(json.dumps(losses))
    run._Run._update = stopping
    try:
        train(recipe, root / f"{way}-parts", cpu=True)
    except InterruptedError:
        run._Run._update = update
    train(recipe, root / f"{way}-parts", cpu=True)
"""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def way(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return sum(float((a[name] - b[name]).square().sum()) for name in a) ** 0.5


def write(root: Path, name: str, **changes: Any) -> Path:
    told = {
        "base": root / "kontext",
        "desk": root / "desk",
        "checkpointing": "true",
        "batch": 2,
        "shard": "true",
    }
    (root / f"{name}.yaml").write_text(TOLD.format(**told | changes))
    return root / f"{name}.yaml"


def launch(processes: int, *arguments: Any) -> subprocess.CompletedProcess:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *launcher, *map(str, arguments)]
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=here)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two processes: a run of LoRA and one of the whole transformer, each also stopped and gone on with."""
    root = tmp_path_factory.mktemp("sharded")
    lay_out_desk(root / "desk")
    save_tiny_kontext(root / "kontext")
    for name in WAYS:
        write(root, name, weights=name)
    (root / "program.py").write_text(PROGRAM)
    done = launch(2, root / "program.py", root, *WAYS)
    assert done.returncode == 0, done.stderr[-5000:]
    return root


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    lay_out_desk(tmp_path / "desk")
    save_tiny_kontext(tmp_path / "kontext")
    return load_recipe(write(tmp_path, "lora", weights="lora"))


@pytest.mark.parametrize("name", WAYS)
def test_two_processes_with_divided_weights_learn_what_one_learns(
    root: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece of a batch has the same loss, and the exported average is the same.

    Sums in another order are the difference: losses were 2e-7 apart, weights 2.5e-6 of the way that they went.
    """
    losses, forward = [], FlowObjective.forward

    def noted(objective: Any, batch: Any) -> Any:
        loss = forward(objective, batch)
        losses.append(loss.value.item())
        return loss

    one = load_recipe(write(root, f"{name}-one", weights=name, batch=4, shard="false"))
    still = replace(one, stages=(replace(one.stages[0], steps=1, learning_rate=1e-30),))
    start = weights(train(still, tmp_path / "start", cpu=True))
    monkeypatch.setattr(FlowObjective, "forward", noted)
    alone = weights(train(one, tmp_path / "run", cpu=True))
    of_steps = [losses[place : place + 4] for place in range(0, 4 * STEPS, 4)]
    for rank in range(2):
        wanted = [loss for step in of_steps for loss in step[2 * rank : 2 * rank + 2]]
        assert json.loads((root / f"{name}-{rank}.json").read_text()) == pytest.approx(wanted, rel=1e-5)
    for step in (0, STEPS):
        seen = [
            json.loads((folder / f"validation/{step:06d}/results.json").read_text())
            for folder in (root / name, tmp_path / "run")
        ]
        assert seen[0]["pictures"] == 1 and not seen[0]["failed"]
        scores = [one["overall"]["psnr"]["mean"] for one in seen]
        assert scores[0] == pytest.approx(scores[1], rel=1e-3)  # of pictures of 8 bits
    together = weights(root / name / "model")
    assert alone.keys() == together.keys()
    assert way(alone, together) < 1e-4 * way(alone, start)


@pytest.mark.parametrize("name", WAYS)
def test_a_stopped_run_with_divided_weights_continues_exactly(root: Path, name: str) -> None:
    for whole in (root / name / "model").glob("*.safetensors"):
        parts = load_file(root / f"{name}-parts/model" / whole.name)
        assert all(torch.equal(parts[key], tensor) for key, tensor in load_file(whole).items())


def test_what_divided_weights_give_is_loaded_as_any(root: Path) -> None:
    """By stock classes; a LoRA for `load_lora_weights` has the same numbers as the form that training reads."""
    transformer = FluxTransformer2DModel.from_pretrained(root / "full/model")
    made = weights(root / "full/model")
    assert all(torch.equal(made[name], tensor) for name, tensor in transformer.state_dict().items())
    learned = weights(root / "lora/model")
    pipe = FluxKontextPipeline.from_pretrained(root / "kontext")
    pipe.load_lora_weights(root / "lora/model")
    loaded = {name: weight for name, weight in pipe.transformer.named_parameters() if "lora_" in name}
    assert len(loaded) == len(learned)
    for name, weight in loaded.items():
        key = name.replace("default_0", "default").replace(".", "/")
        assert torch.equal(weight, learned[f"tensors.{key}"]), name


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_any_number_of_processes_goes_on(root: Path, name: str, tmp_path: Path) -> None:
    """Three read what two wrote, have nothing left to do, and export the same."""
    shutil.copytree(root / name, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/model")
    done = launch(3, "-m", "ggt_hub", "train", root / f"{name}.yaml", "--cpu", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr[-5000:]
    ours, theirs = weights(tmp_path / "run/model"), weights(root / name / "model")
    assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items())


@pytest.mark.slow
def test_all_processes_take_the_state_before_where_one_cannot_read_its_part(
    root: Path, tmp_path: Path
) -> None:
    shutil.copytree(root / "lora-parts", tmp_path / "run")
    part = tmp_path / "run/state/shards/__1_0.distcp"
    part.write_bytes(part.read_bytes()[:3000])
    done = launch(2, "-m", "ggt_hub", "train", root / "lora.yaml", "--cpu", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr[-5000:]
    assert "so the one before is" in done.stderr and "cannot read its part" in done.stderr
    again, before = weights(tmp_path / "run/model"), weights(root / "lora/model")
    assert all(torch.equal(again[key], tensor) for key, tensor in before.items())


@pytest.mark.slow
def test_two_processes_that_each_have_all_weights_learn_what_one_learns(root: Path, tmp_path: Path) -> None:
    """LoRA by plain DDP, in place of divided weights: from the same examples, but for the order of sums."""
    two = write(root, "ddp", weights="lora", shard="false")
    done = launch(2, "-m", "ggt_hub", "train", two, "--cpu", "--output", tmp_path / "two")
    assert done.returncode == 0, done.stderr[-5000:]
    together, divided = weights(tmp_path / "two/model"), weights(root / "lora/model")
    size = sum(float(tensor.square().sum()) for tensor in divided.values()) ** 0.5
    assert way(together, divided) < 1e-4 * size


def test_a_run_is_not_gone_on_with_in_the_other_way(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "lora", tmp_path / "run")
    whole = replace(load_recipe(root / "lora.yaml"), shard=False)
    with pytest.raises(TrainingError, match="another recipe, with shard True and not False"):
        train(whole, tmp_path / "run", cpu=True)


def test_what_cannot_be_divided_is_refused_before_anything_is_loaded(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FlowObjective, "build", lambda *_: pytest.fail("it was built"))
    with pytest.raises(
        TrainingError, match=r"--shard divides .* there is one: start several, with `torchrun"
    ):
        train(recipe, tmp_path / "run", cpu=True)
    monkeypatch.setattr(run.Accelerator, "num_processes", 2)
    monkeypatch.setattr(run.Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(TrainingError, match="give it MULTI_GPU, and this command --shard"):
        train(replace(recipe, shard=False), tmp_path / "run", cpu=True)
    assert not (tmp_path / "run").exists()


def test_networks_that_are_not_divided_say_so(tmp_path: Path) -> None:
    tiny = {"channels": [8, 8, 8], "blocks": [1, 1, 1], "condition_width": 8}
    compact = load_objective("compact").build(tiny, {})
    with pytest.raises(TrainingError, match="a CompactRestorer is not divided among processes"):
        compact.shard(torch.device("cpu"))
    eight = {"base": str(save_tiny_kontext(tmp_path / "kontext")), "eight_bits": True}
    with pytest.raises(TrainingError, match="a base in 8 bits is not divided"):
        FlowObjective.build({"rank": 2}, eight).shard(torch.device("cpu"))


def test_the_plan_knows_how_many_share(recipe: Recipe) -> None:
    """Of a transformer that is learned whole; two blocks are gathered at once, and what is in no block."""
    recipe = replace(recipe, model={"weights": "full"})
    told = [line for line in plan(recipe, processes=4).splitlines() if line.startswith("memory")]
    needs = run.needed_memory(recipe, 4, download=False)
    assert needs is not None and told == [next(describe(needs))] and "gathered from 4 processes" in told[0]
    alone = replace(needs, shares=1)
    transformer = FluxTransformer2DModel.from_pretrained(Path(recipe.settings["base"]) / "transformer")
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    sizes = sorted(sum(weight.numel() for weight in block.parameters()) for block in blocks)
    everything = sum(weight.numel() for weight in transformer.parameters())
    assert needs.learned == alone.learned / 4 == 5 * everything
    assert needs.gathered == 8 * (everything - sum(sizes) + sum(sizes[-2:]))
    assert needs.weights == alone.weights and needs.kept == alone.kept
    lora = replace(needs, full=False, bfloat16=False)
    frozen = sum(weight.nbytes for weight in transformer.parameters())
    assert replace(lora, shares=1).weights - lora.weights == frozen * 3 / 4
    assert lora.gathered == needs.gathered / 2 and alone.gathered == 0
