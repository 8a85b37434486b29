"""Sizes, packing, positions, schedule, guidance and tiles of RealRestorer, each on its own."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from ggt_hub.images import read_image
from ggt_hub.pipelines.realrestorer.denoising import Guidance, damping
from ggt_hub.pipelines.realrestorer.geometry import (
    pack,
    pad,
    position_ids,
    resize,
    resize_pixels,
    unpack,
    working_size,
)
from ggt_hub.pipelines.realrestorer.inputs import to_tensor
from ggt_hub.pipelines.realrestorer.tiles import Tiles
from tests.golden import difference, document, tensors
from tests.pipelines.tiny_realrestorer import tiny_pipeline


def image(tensor: torch.Tensor) -> Image.Image:
    return Image.fromarray(tensor.numpy())


def test_working_sizes_are_the_published_ones() -> None:
    for case in document("preprocess/sizes.json")["cases"]:
        for level in (512, 768, 1024):
            assert working_size(case["width"], case["height"], level) == tuple(case[f"size_level_{level}"])


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_resampling_there_and_back_is_exact(case: str) -> None:
    io = {
        name.removeprefix(f"{case}."): value
        for name, value in tensors("preprocess/pixels.safetensors").items()
    }
    given, resized = image(io["in_uint8_hwc"]), image(io["resized_uint8_hwc"])
    assert np.array_equal(resize(given, resized.size, Image.Resampling.LANCZOS), resized)
    assert torch.equal(to_tensor(resized), io["tensor_0_1"][0])
    restored = image(io["back_to_uint8"])
    wanted = io["resized_back_uint8_hwc"].numpy()
    assert np.array_equal(resize(restored, given.size, Image.Resampling.BICUBIC), wanted)
    # Floats are resized here, where the reference rounds before, between and after the two directions.
    floats = resize_pixels(io["tensor_0_1"][0].permute(1, 2, 0).numpy(), given.size)
    assert floats.dtype == np.float32 and np.abs(floats * 255 - wanted).max() < 1.5


def test_the_width_is_resampled_before_the_height() -> None:
    """One call would leave the order to Pillow: 12 takes this one, 13 the cheaper one."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (90, 40, 3), dtype=np.uint8))
    apart = picture.resize((64, 90), Image.Resampling.LANCZOS).resize((64, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(resize(picture, (64, 32), Image.Resampling.LANCZOS), apart)


def test_packing_positions_and_quantisation_are_the_published_ones() -> None:
    io = tensors("preprocess/pixels.safetensors")
    assert torch.equal(pack(io["pack.in"]), io["pack.out"])
    assert torch.equal(unpack(io["pack.out"], 3, 2), io["pack.in"])
    assert torch.equal(position_ids(3, 2, 0), io["ids.target_h3_w2"][0])
    assert torch.equal(position_ids(3, 2, 1), io["ids.reference_axis1_h3_w2"][0])
    pixels = io["quantise.in"].clamp(0, 1).permute(1, 2, 0).numpy()
    found = read_image(pixels).with_rgb(pixels).to_pil()
    assert np.array_equal(found, io["quantise.out_uint8_hwc"])


def test_rotary_tables_are_the_published_ones() -> None:
    from diffusers.models.embeddings import apply_rotary_emb
    from diffusers.models.transformers.transformer_flux import FluxPosEmbed

    io = tensors("rope/rope.safetensors")
    for axes in ((16, 56, 56), (4, 6, 6)):
        cosine, sine = FluxPosEmbed(theta=10_000, axes_dim=axes)(io["in.ids"][0])
        wanted = io["out.rope_" + "_".join(map(str, axes))][0, 0]
        assert difference(cosine[:, ::2], wanted[..., 0, 0]) < 1e-6
        assert difference(sine[:, ::2], wanted[..., 1, 0]) < 1e-6
    for name in "qk":
        rotated = apply_rotary_emb(io[f"in.{name}"], (cosine, sine), sequence_dim=1)
        assert difference(rotated, io[f"out.{name}_rotated_4_6_6"]) < 1e-6


def test_schedules_are_the_published_ones() -> None:
    pipe = tiny_pipeline()
    for case in document("scheduler/schedules.json")["cases"]:
        pipe.set_schedule(case["num_inference_steps"], case["image_seq_len"])
        assert difference(pipe.scheduler.sigmas, torch.tensor(case["timesteps"])) < 1e-6


def test_a_chain_of_steps_is_the_published_one() -> None:
    pipe, io = tiny_pipeline(), tensors("scheduler/step.safetensors")
    pipe.set_schedule(4, io["in.sample"].shape[1])
    assert difference(pipe.scheduler.sigmas, io["in.timesteps"]) < 1e-6
    sample = io["in.sample"]
    for step, time in enumerate(pipe.scheduler.timesteps):
        sample = pipe.scheduler.step(io[f"in.velocity_{step}"], time, sample, return_dict=False)[0]
        assert difference(sample, io[f"out.sample_after_{step}"]) < 1e-6


def test_long_schedules_take_every_step() -> None:
    """The reference looks its place up by rounded time, and collides from 100 steps on."""
    pipe = tiny_pipeline()
    pipe.set_schedule(150, 4096)
    sample = torch.ones(1, 1, 1)
    for time in pipe.scheduler.timesteps:
        sample = pipe.scheduler.step(torch.ones(1, 1, 1), time, sample, return_dict=False)[0]
    assert pipe.scheduler.sigmas.unique().numel() == 151
    assert difference(sample, torch.zeros(1, 1, 1)) < 1e-5  # velocity 1 from time 1 to 0


@pytest.mark.parametrize("scale", [1.0, 3.0, 4.5])
def test_guidance_is_the_published_one(scale: float) -> None:
    io = tensors("guidance/guidance.safetensors")
    guidance = Guidance(scale=scale, truncate=0.93, power=0.4)
    damped, plain = (guidance.join(io["in.cond"], io["in.uncond"], time) for time in (0.95, 0.9))
    assert difference(damped, io[f"out.normalised_scale{scale}"]) < 1e-6 * 5  # values of order 5
    assert difference(plain, io[f"out.plain_scale{scale}"]) < 1e-6 * 5


def test_damping_is_the_published_one() -> None:
    io = tensors("guidance/guidance.safetensors")
    for power in (0.4, 0.7):
        assert difference(damping(io["in.norm_values"], power), io[f"out.divisor_values_k{power}"]) < 1e-6


@pytest.mark.parametrize(("scale", "on"), [(None, False), (-1, False), (1.0, True), (3.0, True)])
def test_guidance_costs_a_second_pass_only_where_asked(scale: float | None, on: bool) -> None:
    assert Guidance(scale=scale).on is on


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (9, 8), (8, 40), (33, 17), (100, 61)])
def test_tiles_cover_the_grid_and_share_what_they_promise(rows: int, columns: int) -> None:
    tiles = Tiles.of(rows, columns, 8)
    covered = torch.zeros(rows, columns)
    windows = list(tiles.windows())
    for down, across in windows:
        assert (down.stop - down.start, across.stop - across.start) == (tiles.height, tiles.width)
        covered[down, across] += 1
    assert len(windows) == len(tiles)
    assert covered.min() == 1 and covered.shape == (rows, columns)
    for one, other in zip(
        sorted({w.start for _, w in windows}), sorted({w.start for _, w in windows})[1:], strict=False
    ):
        assert other - one <= tiles.width - tiles.overlap


def test_blending_gives_back_what_was_cut() -> None:
    tokens, tiles = torch.randn(2, 33 * 17, 5), Tiles.of(33, 17, 8)
    assert len(tiles) > 1
    assert difference(tiles.blend(lambda _, window: tiles.cut(tokens, window), tokens), tokens) < 1e-6


def test_blending_fades_from_one_tile_to_the_next() -> None:
    tiles = Tiles.of(8, 30, 16)
    blended = tiles.blend(
        lambda number, _: torch.full((1, tiles.tokens, 1), float(number)), torch.zeros(1, 240, 1)
    )
    row = blended.unflatten(1, (8, 30))[0, 0, :, 0]
    assert row[0] == 0 and row[-1] == 1
    assert (row.diff() >= 0).all() and row.diff().max() <= 0.5


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 5), (70, 50)])
def test_padding_reaches_the_next_multiple_and_keeps_the_picture(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    padded = pad(picture)
    assert padded.width % 16 == 0 and padded.height % 16 == 0 and padded.width - picture.width < 16
    assert np.array_equal(padded.crop((0, 0, *size)), picture)


# By value, so that they hold without golden data


def test_damping_by_value() -> None:
    lengths = torch.tensor([0.0, 0.5, 1.0, 4.0, 32.0])
    assert difference(damping(lengths, 0.5), torch.tensor([1.0, 1.0, 1.0, 2.0, 32**0.5])) < 1e-6
    assert difference(damping(lengths, 0.4), torch.tensor([1.0, 1.0, 1.0, 4**0.4, 4.0])) < 1e-6


def test_guidance_by_value() -> None:
    """The difference (3, 4) has length 5; at power 0.5 it is divided by the root of 5, while the time is high."""
    unconditional = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    conditional = unconditional + torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    guidance = Guidance(scale=2.0, truncate=0.9, power=0.5)
    plain = torch.tensor([[7.0, 9.0], [1.6, 1.8]])
    damped = torch.tensor([[1 + 6 / 5**0.5, 1 + 8 / 5**0.5], [1.6, 1.8]])  # 0.5 is not longer than 1
    assert difference(guidance.join(conditional, unconditional, 0.91), damped) < 1e-6
    assert difference(guidance.join(conditional, unconditional, 0.9), plain) < 1e-6
    assert difference(guidance.join(conditional, unconditional, 0.1), plain) < 1e-6


def test_tile_weights_by_value() -> None:
    """They rise from each edge over the overlap: 1, 2, 3, 3, ..., the product of both directions."""
    weight = Tiles(rows=9, columns=20, height=5, width=8, overlap=3)._weight()[..., 0]
    down, across = torch.tensor([1.0, 2, 3, 2, 1]), torch.tensor([1.0, 2, 3, 3, 3, 3, 2, 1])
    assert torch.equal(weight, down[:, None] * across)


def test_two_tiles_are_blended_by_value() -> None:
    """Tiles of 0 and 1 that share 4 columns, each with the weight of its distance to its own edge."""
    tiles = Tiles(rows=1, columns=8, height=1, width=6, overlap=4)
    zeros = torch.zeros(1, 8, 1)
    blended = tiles.blend(lambda number, _: torch.full((1, 6, 1), float(number)), zeros)[0, :, 0]
    # Weights 1 2 3 3 2 1 from columns 0 and 2: at columns 2 to 5 they are 3:1, 3:2, 2:3 and 1:3.
    assert difference(blended, torch.tensor([0, 0, 1 / 4, 2 / 5, 3 / 5, 3 / 4, 1, 1])) < 1e-6


@pytest.mark.parametrize(
    ("rows", "columns", "side", "count", "size"),
    [
        (64, 64, 64, 1, (64, 64)),
        (65, 65, 64, 4, (37, 37)),  # one row more than a tile: four quarters, not four whole ones
        (65, 64, 64, 2, (37, 64)),
        (128, 64, 64, 3, (48, 64)),
        (120, 64, 64, 2, (64, 64)),
        (10, 300, 64, 6, (10, 57)),
        (3, 2, 2, 2, (2, 2)),
    ],
)
def test_tiles_are_no_larger_than_they_need_to_be(rows, columns, side, count, size) -> None:
    tiles = Tiles.of(rows, columns, side)
    assert (len(tiles), (tiles.height, tiles.width)) == (count, size)
    shared = {pair: set() for pair in ("down", "across")}
    for down, across in tiles.windows():
        shared["down"] |= {down.start}
        shared["across"] |= {across.start}
    for starts, tile in ((shared["down"], tiles.height), (shared["across"], tiles.width)):
        ordered = sorted(starts)
        assert all(later - earlier <= tile - tiles.overlap for earlier, later in itertools.pairwise(ordered))
