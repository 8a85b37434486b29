"""DreamClear's memory plan against the full-size networks, run without numbers."""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import dreamclear_gpu as benchmark
from ggt_hub.errors import RestorerError
from ggt_hub.models import DreamClearTransformer2DModel, SwinIR
from ggt_hub.pipelines.dreamclear import DreamClearPipeline, MemoryConfig
from ggt_hub.pipelines.dreamclear.memory import _PRE_CLEANER, PHASES, demand
from ggt_hub.pipelines.offload import blocks_of
from tests.pipelines.live_bytes import fused_attention, peak_bytes
from tests.pipelines.tiny_dreamclear import tiny_pipeline, tiny_transformer

GB = 10**9


@pytest.fixture(scope="module")
def published() -> DreamClearPipeline:
    """All networks at full size, on `meta`, without a text encoder."""
    return benchmark.full_pipeline(torch.device("meta"))


@pytest.fixture(scope="module")
def hollow() -> tuple[FakeTensorMode, DreamClearTransformer2DModel]:
    """The transformer at full size without numbers, and the mode in which it is so."""
    with FakeTensorMode() as mode:
        return mode, DreamClearTransformer2DModel().to(torch.float16)


@pytest.fixture(autouse=True)
def _fused(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "takes_what" in request.node.name:
        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", fused_attention)
        home = "ggt_hub.models.dreamclear_transformer"
        monkeypatch.setattr(f"{home}._overflowed", lambda _: False)  # there are no numbers to look at


@pytest.mark.parametrize(("side", "guided"), [(512, True), (1024, False), (1024, True)])
def test_denoising_takes_what_the_plan_says(
    hollow: tuple[FakeTensorMode, DreamClearTransformer2DModel],
    published: DreamClearPipeline,
    side: int,
    guided: bool,
) -> None:
    mode, network = hollow

    def run() -> None:
        latent = torch.empty(2 if guided else 1, 4, side // 8, side // 8)
        told = (torch.empty(1, 120, 4096), torch.empty(1, 120), True) if guided else ()
        conditions = network.embed_conditions(latent[:1], latent[:1], *told)
        network(latent, torch.tensor(999), conditions=conditions)

    with mode:
        found = peak_bytes(run, network)
    config = MemoryConfig.of(published, pixels=side**2, guided=guided)
    planned = demand(config, published.description.phases).working["denoise"]
    assert 0.95 * planned <= found <= 1.05 * planned  # captions and the predicted noise are not counted


def test_the_pre_cleaner_takes_what_the_plan_says() -> None:
    with FakeTensorMode():
        network = SwinIR()
        found = peak_bytes(lambda: network(torch.empty(1, 3, 512, 512)), network)
    assert found <= _PRE_CLEANER * 512**2 + 4 * 3 * 512**2 <= 1.05 * found


def test_plans_keep_within_their_budgets(published: DreamClearPipeline) -> None:
    for budget in (80, 24, 16):
        assert published.plan_memory(budget * GB).device <= budget * GB
    assert published.plan_memory(16 * GB).offload == "none"  # 4.8 GB of weights
    with pytest.raises(RestorerError, match=r"DreamClear does not fit into 2\.0 GB: it needs"):
        published.plan_memory(2 * GB)


def test_a_plan_knows_whether_there_is_a_caption_and_how_large_a_piece_is(
    published: DreamClearPipeline,
) -> None:
    told, untold = (
        demand(MemoryConfig.of(published, guided=guided), published.description.phases).working
        for guided in (True, False)
    )
    assert told["denoise"] > 1.7 * untold["denoise"] and told["decode"] == untold["decode"]
    with_caption = {"prompt_embeds": torch.zeros(1)}
    whole = published.plan_memory(80 * GB, tile=0, picture=(1024, 1024), upscale=4, **with_caption)
    assert whole.device > published.plan_memory(80 * GB, **with_caption).device
    with pytest.raises(RestorerError, match=r"plan with picture=\(width, height\)"):
        published.plan_memory(80 * GB, tile=0)


def test_phases_are_those_whose_networks_are_there(published: DreamClearPipeline) -> None:
    assert set(published.description.phases) == set(PHASES) - {"describe", "read"}
    assert set(tiny_pipeline().description.phases) == set(PHASES) - {"describe"}


def test_blocks_are_streamed_in_the_order_in_which_they_run() -> None:
    network, ran = tiny_transformer(), []
    blocks = blocks_of(network)
    for block in blocks:
        block.register_forward_pre_hook(lambda module, _: ran.append(module))
    latent = torch.zeros(1, 4, 8, 8)
    network(latent, torch.tensor(5), condition_lq=latent, condition_reference=latent)
    assert len(blocks) == 2 * 6 and all(a is b for a, b in zip(ran, blocks, strict=True))


def test_the_benchmark_counts_what_the_paper_takes(published: DreamClearPipeline) -> None:
    assert benchmark.operations(published, 1024, True) == pytest.approx(54.3e12, rel=0.01)
    lines = benchmark.table([]).splitlines()
    assert len(lines) == 2 + len(benchmark.CASES) and all("not measured" in line for line in lines[2:])


def test_the_benchmark_runs_small(tmp_path: Any) -> None:
    output = tmp_path / "found.json"
    benchmark.main(["--tiny", "--device", "cpu", "--output", str(output), "--only", "1024, no caption"])
    (found,) = benchmark.json.loads(output.read_text())
    assert found["tiny"] and found["steps"] == 4 and found["fifty_steps_s"] > found["then_s"]
