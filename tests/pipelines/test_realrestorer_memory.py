"""The memory plan against the full-size networks on `meta`, and tiles against the memory they promise."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

from ggt_hub.converters.realrestorer import build_autoencoder, build_denoiser
from ggt_hub.errors import RestorerError
from ggt_hub.pipelines.realrestorer.denoising import Guidance
from ggt_hub.pipelines.realrestorer.memory import (
    MemoryConfig,
    Part,
    _activations,
    _plan,
    parse_memory,
    plan_memory,
)
from ggt_hub.pipelines.realrestorer.tiles import Tiles
from tests.golden import document
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
    planned = _activations(MemoryConfig(pixels=side * side))["decode"]
    assert max(encoding, decoding) <= planned <= 1.05 * decoding


def test_the_connector_takes_what_the_plan_says(published, monkeypatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", fused_attention)
    connector = published["connector"]
    run = lambda: connector(meta(2, 640, 3584), meta(28, 2, dtype=torch.float32), meta(2, 640))  # noqa: E731
    found = peak_bytes(run, connector)
    assert found <= 1.1 * _activations(MemoryConfig())["connect"] <= 1.2 * found


@pytest.mark.parametrize("float8", [False, True])
@pytest.mark.parametrize("budget", [80, 48, 32, 24, 16, 12, 8, 6])
def test_a_plan_keeps_within_its_budget_and_is_the_fastest_that_does(float8: bool, budget: int) -> None:
    config = MemoryConfig(float8=float8)
    plan = plan_memory(config, budget * GB)
    assert plan.device <= budget * GB and plan.float8 is float8
    faster = ("none", "model", "group")[: ("none", "model", "group").index(plan.offload)]
    assert all(_plan(config, offload).device > budget * GB for offload in faster)


def test_exact_weights_fit_24_gb_and_8_bit_weights_16_gb_without_streaming() -> None:
    assert not plan_memory(MemoryConfig(), 24 * GB).float8
    assert plan_memory(MemoryConfig(float8=True), 16 * GB).offload == "model"


def test_what_does_not_fit_names_the_smallest_budget_that_would() -> None:
    with pytest.raises(
        RestorerError, match=r"does not fit into 2.0 GB: it needs 4.3 GB with everything streamed"
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
    assert many - one <= 5 * latents + 2 * 4096 * 4096 * 3 * 4  # and the pixels, twice
    assert many - one < 0.6 * GB


def test_a_plan_is_applied_and_the_pipeline_still_runs() -> None:
    pipe = tiny_pipeline()
    plan = plan_memory(MemoryConfig.of(pipe, float8=True), 4 * GB)
    plan.apply(pipe, "cpu")
    weights = pipe.transformer.transformer_blocks[0].attn.to_q.weight
    assert weights.dtype == torch.float8_e4m3fn
    assert pipe.transformer.transformer_blocks[0].attn.norm_q.weight.dtype == torch.float32
    image = torch.rand(3, 48, 64).numpy().transpose(1, 2, 0)
    restored = pipe(image, num_inference_steps=1, size_level=48, output_type="np").images[0]
    assert restored.shape == (48, 64, 3) and restored.min() < restored.max()


def test_a_plan_reads_well() -> None:
    assert str(plan_memory(MemoryConfig(), 30 * GB)) == (
        "weights as loaded, one network at a time: 27.3 GB on the device, 40.7 GB of main memory"
    )


def test_the_card_states_what_the_plan_computes() -> None:
    card = (Path(__file__).parents[2] / "model_cards/realrestorer.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in card.splitlines() if " GB |" in line
    ]
    placements = {"all on the device": "none", "model offload": "model", "group offload, streamed": "group"}
    assert len(rows) == 6
    for weights, placement, device, host, *_ in rows:
        plan = _plan(MemoryConfig(float8=weights.startswith("8-bit")), placements[placement])
        assert device == f"{plan.device / GB:.1f} GB"
        assert host == (f"{plan.host / GB:.1f} GB" if plan.host else "-")
