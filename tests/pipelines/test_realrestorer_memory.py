"""The memory plan against the full-size networks on `meta`, and tiles against the memory they promise."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

from benchmarks import realrestorer_gpu as benchmark
from ggt_hub.converters.realrestorer import build_autoencoder, build_denoiser
from ggt_hub.errors import RestorerError
from ggt_hub.pipelines.offload import (
    CHUNK,
    Offload,
    pack,
    pinned_size,
    rest,
    size_of,
    streamed_blocks,
)
from ggt_hub.pipelines.placement import parse_memory
from ggt_hub.pipelines.realrestorer import RealRestorerPipeline
from ggt_hub.pipelines.realrestorer.denoising import Guidance
from ggt_hub.pipelines.realrestorer.memory import (
    MemoryConfig,
    Part,
    _activations,
    _plan,
    plan_memory,
)
from ggt_hub.pipelines.realrestorer.tiles import Tiles
from tests.golden import difference, document
from tests.pipelines.live_bytes import fused_attention, peak_bytes
from tests.pipelines.tiny_realrestorer import tiny_pipeline

GB = 10**9


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


@pytest.fixture(scope="module")
def published() -> dict[str, nn.Module]:
    """All networks at full size, on `meta`."""
    keys = document("published_keys.json")
    shapes = {part: {name: tuple(shape) for name, shape in keys[part].items()} for part in keys}
    denoiser = build_denoiser(shapes["transformer"], {})
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 3584,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "intermediate_size": 18944,
            "vocab_size": 152064,
        },
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 3584,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    )
    with torch.device("meta"):
        text_encoder = Qwen2_5_VLModel(config)
    networks = {**denoiser, **build_autoencoder(shapes["vae"], {}), "text_encoder": text_encoder}
    return {name: net if name == "vae" else net.to(torch.bfloat16) for name, net in networks.items()}


def test_published_sizes_are_those_of_the_networks(published: dict[str, nn.Module]) -> None:
    assert {name: Part.of(network) for name, network in published.items()} == MemoryConfig().parts


@pytest.mark.parametrize(("side", "rows"), [(512, 2), (1024, 1), (1024, 2)])
def test_denoising_takes_what_the_plan_says(published, monkeypatch, side: int, rows: int) -> None:
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", fused_attention)
    transformer, tokens = published["transformer"], 2 * (side // 16) ** 2
    inputs = {
        "hidden_states": meta(rows, tokens, 64),
        "encoder_hidden_states": meta(rows, 640, 4096),
        "pooled_projections": meta(rows, 768),
        "timestep": meta(rows, dtype=torch.float32),
        "guidance": meta(rows, dtype=torch.float32),
        "img_ids": meta(tokens, 3, dtype=torch.float32),
        "txt_ids": meta(640, 3, dtype=torch.float32),
    }
    found = peak_bytes(lambda: transformer(**inputs), transformer)
    planned = _activations(MemoryConfig(pixels=side * side, guided=rows == 2, steps=0))["denoise"]
    assert found <= planned <= 1.1 * found


@pytest.mark.parametrize("side", [512, 1024])
def test_the_autoencoder_takes_what_the_plan_says(published, monkeypatch, side: int) -> None:
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", fused_attention)
    vae, wide = published["vae"], torch.float32
    encoding = peak_bytes(lambda: vae.encode(meta(1, 3, side, side, dtype=wide)).latent_dist, vae)
    decoding = peak_bytes(lambda: vae.decode(meta(1, 16, side // 8, side // 8, dtype=wide)), vae)
    # What was measured on a GPU is 1.65 of what `meta` has: convolutions have workspaces there.
    planned = _activations(MemoryConfig(pixels=side * side))["decode"] / 1.65
    assert max(encoding, decoding) <= planned <= 1.05 * decoding


def test_the_connector_takes_what_the_plan_says(published, monkeypatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", fused_attention)
    connector = published["connector"]
    run = lambda: connector(meta(2, 640, 3584), meta(28, 2, dtype=torch.float32), meta(2, 640))  # noqa: E731
    found = peak_bytes(run, connector)
    assert found <= 1.1 * _activations(MemoryConfig())["connect"] <= 1.2 * found


@pytest.mark.parametrize("float8", [False, True])
@pytest.mark.parametrize("budget", [80, 55, 48, 40, 32, 24, 16, 14])
def test_a_plan_keeps_within_its_budget_and_is_the_fastest_that_does(float8: bool, budget: int) -> None:
    config = MemoryConfig(float8=float8)
    plan = plan_memory(config, budget * GB)
    assert plan.device <= budget * GB and plan.float8 is float8
    faster = ("none", "model", "group")[: ("none", "model", "group").index(plan.offload)]
    assert all(_plan(config, offload).device > budget * GB for offload in faster)


# Measured on one H200 with torch 2.11: random weights of full size, 1024x1024, 28 guided steps; GB reserved.
MEASURED = [("none", False, 48.9), ("model", False, 28.9), ("none", True, 33.3), ("group", False, 11.6)]


@pytest.mark.parametrize(("offload", "float8", "reserved"), MEASURED)
def test_a_plan_is_a_little_more_than_what_was_measured(offload, float8: bool, reserved: float) -> None:
    """The driver takes half a gigabyte more than PyTorch reserves; more than a tenth on top would be waste."""
    planned = _plan(MemoryConfig(float8=float8), offload).device / GB
    assert reserved + 0.5 < planned < 1.1 * (reserved + 0.5)


def test_a_24_gb_card_keeps_as_many_blocks_as_fit() -> None:
    plan = plan_memory(MemoryConfig(), 24 * GB)
    assert plan.offload == "group" and not plan.float8
    assert 23.9 * GB < plan.device <= 24 * GB
    part = MemoryConfig().parts["transformer"]
    assert 0.4 < plan.room["transformer"] / (2 * part.parameters) < 0.8
    assert plan.room["connector"] == 2 * MemoryConfig().parts["connector"].parameters  # whole: it fits


def test_more_pictures_and_larger_ones_need_more() -> None:
    pipe = tiny_pipeline()
    one, two, three, four = (
        pipe.plan_memory(8 * GB, **options).device
        for options in (
            {"tile": 512, "picture": (2048, 2048)},
            {"tile": 512, "picture": (2048, 4096)},
            {"tile": 512, "picture": (2048, 4096), "pictures": 2},
            {"tile": 512, "picture": (2048, 4096), "pictures": 2, "num_images_per_prompt": 2},
        )
    )
    assert one < two < three < four
    whole = pipe.plan_memory(8 * GB, tile=0, picture=(1024, 2048)).device
    assert whole > pipe.plan_memory(8 * GB, size_level=1440).device  # 1440 squared is slightly less
    with pytest.raises(RestorerError, match=r"plan with picture=\(width, height\)"):
        pipe.plan_memory(8 * GB, tile=0)
    assert pipe.plan_memory(8 * GB, tile=512) == pipe.plan_memory(8 * GB, tile=512, picture=(4096, 4096))


def test_what_is_pinned_is_planned_with_what_pinning_adds() -> None:
    weights = sum((4 if n == "vae" else 2) * part.parameters for n, part in MemoryConfig().parts.items())
    for offload in ("model", "group"):
        host = _plan(MemoryConfig(), offload).host
        assert weights < host < 1.04 * weights  # 68 GB were measured where each tensor is rounded up
    assert _plan(MemoryConfig(), "none").host == 0


def test_compiling_is_not_for_what_is_streamed_and_says_what_it_costs() -> None:
    plan = plan_memory(MemoryConfig(compile=True), 80 * GB)
    assert str(plan).endswith("; compiled: about 20 s once on an H200, then 0.8 of the time")
    with pytest.raises(RestorerError, match="compiled, which cannot be streamed"):
        plan_memory(MemoryConfig(compile=True), 24 * GB)


def test_what_does_not_fit_names_the_smallest_budget_that_would() -> None:
    with pytest.raises(
        RestorerError, match=r"does not fit into 2.0 GB: it needs 13.2 GB with everything streamed"
    ):
        plan_memory(MemoryConfig(), 2 * GB)
    smallest = _plan(MemoryConfig(), "group").device
    assert plan_memory(MemoryConfig(), smallest).device == smallest


@pytest.mark.parametrize(
    ("text", "size"), [("16GB", 16 * GB), ("16 GiB", 2**34), ("500MB", 5 * 10**8), ("1.5GB", 15 * 10**8)]
)
def test_memory_is_read_from_text(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "16", "16gb", "lots", "-1GB"])
def test_text_that_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(RestorerError, match="write a number and a unit"):
        parse_memory(text)


def test_tiles_of_a_large_picture_cost_only_its_own_latents_more() -> None:
    """Measured where 1024 stands for 4 x 4 tokens, and 4096 for 16 x 16; computed at full size below."""
    pipe, peaks = tiny_pipeline(), []
    embeds = torch.zeros(2, 8, 32), torch.ones(2, 8, dtype=torch.long)
    for rows in (16, 64):
        noise, reference = torch.randn(2, 1, rows * rows, 64)
        pipe.set_schedule(1, 256)
        run = lambda n=noise, r=reference, s=rows: pipe.denoise(  # noqa: E731
            n, r, embeds, Tiles.of(s, s, 16), Guidance(), lambda step, time, *kept: kept
        )
        peaks.append(peak_bytes(run, pipe.transformer, pipe.connector))
    buffer = 64 * 64 * 64 * 4  # one set of latents of the whole picture
    # Two sums and their quotient, the scheduler's step and its result: five sets at once.
    assert peaks[1] - peaks[0] <= 5 * buffer


def test_tiles_of_a_large_picture_at_full_size() -> None:
    one = _plan(MemoryConfig(), "none").device
    many = _plan(MemoryConfig(picture=4096 * 4096), "none").device
    latents = 4096 * 4096 // 256 * 64 * 4
    buffers = 5 * latents + 2 * 4096 * 4096 * 3 * 4  # and the pixels, twice
    assert many - one <= 1.6 * 1.02 * buffers  # with what is reserved beyond, and the margin
    assert many - one < 0.8 * GB


PHOTO = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0)).numpy().transpose(1, 2, 0)


def restored(pipe: RealRestorerPipeline, **options: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    call = {"num_inference_steps": 2, "size_level": 48, "output_type": "latent", "generator": generator}
    return pipe(PHOTO, **{**call, **options}).images[0]


def test_a_plan_is_applied_and_the_pipeline_still_runs() -> None:
    pipe = tiny_pipeline()
    exact = restored(pipe)
    plan = plan_memory(MemoryConfig.of(pipe, float8=True), 4 * GB)
    plan.apply(pipe, "cpu")
    weights = pipe.transformer.transformer_blocks[0].attn.to_q.weight
    assert weights.dtype == torch.float8_e4m3fn
    assert pipe.transformer.transformer_blocks[0].attn.norm_q.weight.dtype == torch.float32
    assert 0 < difference(restored(pipe), exact) < 0.5  # 3 bits of mantissa, values of order 1


@pytest.mark.parametrize("float8", [False, True])
@pytest.mark.parametrize("offload", ["model", "group"])
def test_networks_come_and_go_and_the_result_is_the_same(offload, float8: bool) -> None:
    plain, pipe = tiny_pipeline(), tiny_pipeline()
    config = MemoryConfig.of(pipe, float8=float8)
    _plan(config, "none").apply(plain, "cpu")
    plan = _plan(config, offload)
    plan.apply(pipe, "cpu")
    running: list[str] = []
    for name in ("text_encoder", "connector", "transformer"):
        network = getattr(pipe, name)
        waits = next(network.parameters()).data_ptr()
        network.register_forward_hook(
            lambda net, *_, n=name, at=waits: (
                running.append(n) if next(net.parameters()).data_ptr() != at else None
            )
        )
    wanted = restored(plain)
    assert torch.equal(restored(pipe), wanted)
    # Each of them ran on a copy, not on what waits in main memory.
    assert running == ["text_encoder"] * 2 + ["connector"] + ["transformer"] * 2
    assert torch.equal(restored(pipe), wanted)
    saved = {name: value.clone() for name, value in pipe.transformer.state_dict().items()}
    for name, value in plain.transformer.state_dict().items():
        assert torch.equal(saved[name], value)


@pytest.mark.parametrize("offload", ["model", "group"])
def test_weights_that_change_while_they_wait_are_the_ones_that_run(offload) -> None:
    plain, pipe = tiny_pipeline(), tiny_pipeline()
    _plan(MemoryConfig.of(pipe), offload).apply(pipe, "cpu")
    restored(pipe)
    for one in (plain, pipe):
        one.transformer.proj_out.weight.data = one.transformer.proj_out.weight.data * 1.5  # put in its place
        one.transformer.single_transformer_blocks[1].proj_out.weight.data *= 1.5  # changed in place
        one.transformer.transformer_blocks[0].attn.to_q.weight.data = torch.ones(32, 32)
    wanted = restored(plain)
    assert not torch.equal(wanted, restored(tiny_pipeline()))
    assert torch.equal(restored(pipe), wanted) and torch.equal(restored(pipe), wanted)


def test_what_is_added_to_a_network_comes_with_it() -> None:
    """Such as a LoRA: what runs is a copy of it too, as everything on a device is."""
    network = nn.Linear(2, 2)
    offload = Offload({"net": network}, torch.device("cpu"), {})
    network.lora = nn.Parameter(torch.ones(3))
    waits = network.lora.data_ptr()
    network(torch.ones(1, 2))
    assert network.lora.data_ptr() != waits
    offload.leave()
    assert network.lora.data_ptr() == waits and torch.equal(network.lora, torch.ones(3))


def test_one_plan_takes_the_place_of_another() -> None:
    pipe = tiny_pipeline()
    wanted = restored(pipe)
    for offload in ("group", "model", "group", "none"):
        _plan(MemoryConfig.of(pipe), offload).apply(pipe, "cpu")
        assert torch.equal(restored(pipe), wanted)
        assert (pipe.offload is None) is (offload == "none")
    assert not any(block._forward_hooks for block in pipe.transformer.single_transformer_blocks)
    assert not hasattr(pipe.transformer, "_hf_hook")


def test_a_failed_call_leaves_the_networks_able_to_run() -> None:
    pipe = tiny_pipeline()
    wanted = restored(pipe)
    _plan(MemoryConfig.of(pipe), "group").apply(pipe, "cpu")

    def fail(*_: Any) -> dict:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        restored(pipe, callback_on_step_end=fail)
    assert torch.equal(restored(pipe), wanted)


def test_blocks_that_do_not_fit_are_streamed_one_ahead() -> None:
    """Ten blocks of 400 bytes; with room for seven, three of which pass, six are streamed in turn."""
    network = nn.Module()
    network.blocks = nn.ModuleList(nn.Linear(10, 10, bias=False) for _ in range(10))
    network.head = nn.Linear(10, 10, bias=False)
    room = size_of([network.head]) + 7 * 400
    streamed = streamed_blocks(network, room)
    assert [list(network.blocks).index(block) for block in streamed] == [0, 1, 3, 5, 6, 8]
    assert streamed_blocks(network, None) == [] == streamed_blocks(network, 11 * 400)
    assert len(streamed_blocks(network, 0)) == 10
    network.forward = lambda x: [x := block(x) for block in network.blocks][-1]
    weights = {id(block): block.weight.detach().clone() for block in network.blocks}
    Offload({"net": network}, torch.device("cpu"), {"net": room})
    waiting = {id(block): block.weight.data_ptr() for block in network.blocks}
    away: list[int] = []
    for block in network.blocks:
        block.register_forward_pre_hook(
            lambda *_: away.append(sum(b.weight.data_ptr() == waiting[id(b)] for b in network.blocks))
        )
    network(torch.ones(1, 10))
    assert away and min(away) >= 4  # of six streamed blocks, this and the next are here
    assert all(torch.equal(block.weight, weights[id(block)]) for block in network.blocks)


def test_what_waits_is_packed_into_few_buffers() -> None:
    assert pack([5, 4, 3, 2, 1, 0], 6) == [[0, 4], [1, 3], [2]]
    assert pack([9, 2], 6) == [[0], [1]]
    tensors = [torch.randn(3, 5), torch.randn(7).bfloat16(), torch.arange(4), torch.tensor(2.0)]
    copies = rest(tensors, pinned=False)
    assert all(torch.equal(copy, tensor) for copy, tensor in zip(copies, tensors, strict=True))
    assert len({copy.untyped_storage().data_ptr() for copy in copies}) == 1
    assert pinned_size(CHUNK) == CHUNK and pinned_size(CHUNK + 5) == CHUNK + 8


def test_a_plan_reads_well() -> None:
    assert str(plan_memory(MemoryConfig(), 32 * GB)) == (
        "weights as loaded, one network at a time: 30.4 GB on the device, 41.1 GB of main memory"
    )


def test_the_card_states_what_the_plan_computes_and_what_was_measured(tmp_path: Path) -> None:
    card = Path(__file__).parents[2] / "model_cards/realrestorer.md"
    copy = tmp_path / "card.md"
    copy.write_text(card.read_text(encoding="utf-8"), encoding="utf-8")
    benchmark.main(["--card", str(copy)])
    assert copy.read_text(encoding="utf-8") == card.read_text(encoding="utf-8")
    rows = [line for line in card.read_text(encoding="utf-8").splitlines() if " GB |" in line]
    assert len(rows) == 6 and f"| {_plan(MemoryConfig(), 'none').device / GB:.1f} GB | - |" in rows[0]


def test_the_benchmark_measures_what_it_is_asked_to(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    asked = [
        "--tiny",
        "--device",
        "cpu",
        "--only",
        "bf16 model",
        "--only",
        "bf16 group",
        "--only",
        "float8 none",
    ]
    benchmark.main([*asked, "--output", str(output)])
    results = json.loads(output.read_text())
    assert [result["run"] for result in results] == [
        "bf16 model",
        "bf16 group",
        "bf16 group 24 GB",
        "float8 none",
    ]
    assert all("failed" not in result and result["then_s"] > 0 for result in results)
    assert "not measured" in benchmark.table(results)  # small networks are not taken for the published ones
    full = [
        {**results[0], "tiny": False, "card": "a GPU", "torch": "2.0", "then_s": 9.5, "reserved_gb": 29.1}
    ]
    assert "| 9.5 s, 29.1 GB reserved on a GPU, torch 2.0 |" in benchmark.table(full)


def test_the_first_runs_compare_every_placement_on_one_card() -> None:
    names = [name for name, _, _ in benchmark.cases(tiny_pipeline)]
    assert names[:3] == ["bf16 none", "bf16 model", "bf16 group"]
