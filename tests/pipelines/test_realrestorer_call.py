"""Whole calls of RealRestorer: the published ones, lists, seeds, tiles and bad input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ggt_hub import RestorerPipeline
from ggt_hub.errors import ImageError, RestorerError, TaskError
from ggt_hub.pipelines.realrestorer import RealRestorerPipeline, inputs, instruction, prompts
from ggt_hub.pipelines.realrestorer.denoising import Guidance
from ggt_hub.pipelines.realrestorer.geometry import pack, unpack
from ggt_hub.pipelines.realrestorer.inputs import Draws
from ggt_hub.pipelines.realrestorer.tiles import Tiles, tiled_autoencoder
from tests.golden import BUNDLE, difference, document, tensors
from tests.pipelines.tiny_realrestorer import tiny_pipeline

QUICK: dict[str, Any] = {"num_inference_steps": 2, "size_level": 48}
EDITS = ("edit_cfg", "edit_cfg_axis1", "edit_no_cfg", "edit_truncate")


@pytest.fixture(scope="module")
def pipe() -> RealRestorerPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def bundle() -> RestorerPipeline:
    loaded = RestorerPipeline.from_pretrained(BUNDLE)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def picture(width: int = 70, height: int = 50, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents_of(pipe: RealRestorerPipeline, image: Any, **options: Any) -> list[Tensor]:
    return pipe(image, **{**QUICK, **options}, output_type="latent").images


def unchanged(step: int, time: Tensor, latents: Tensor, embeds: Any) -> tuple[Tensor, Any]:
    return latents, embeds


def levels(found: Image.Image, wanted: Any) -> int:
    return int(np.abs(np.asarray(found).astype(int) - np.asarray(wanted).astype(int)).max())


# The published call


@pytest.mark.parametrize("name", EDITS)
def test_published_calls_are_reproduced(bundle: RealRestorerPipeline, name: str, monkeypatch) -> None:
    call, io = document("pipeline/calls.json")[name], tensors(f"pipeline/{name}.safetensors")
    # The reference draws the posterior from another generator, so its noise is handed in.
    draws = [Draws(io["in.initial_noise"], io["in.posterior_noise"])]
    monkeypatch.setattr("ggt_hub.pipelines.realrestorer.inputs.draw", lambda *_: draws)
    bundle.register_to_config(reference_axis=call["reference_axis"])
    options = {"prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "size_level"}
    options |= {"timesteps_truncate", "process_norm_power"}
    after: list[Tensor] = []
    restored = bundle(
        Image.fromarray(io["in.image_uint8_hwc"].numpy()),
        **{key: value for key, value in call.items() if key in options},
        callback_on_step_end=lambda _, step, time, shown: after.append(shown["latents"]) or {},
    ).images[0]
    wanted = [io[f"mid.latents_after_{step}"] for step in range(call["num_inference_steps"])]
    # Another processor made them: 1e-5 is reached. The picture is two levels off at most, because the reference
    # rounds to 8 bits before it resizes.
    assert [difference(*pair) < 5e-5 for pair in zip(after, wanted, strict=True)] == [True] * 4
    assert levels(restored, io["out.image_uint8_hwc"]) <= 2


@torch.no_grad()
def test_denoising_without_a_picture_is_as_published(bundle: RealRestorerPipeline) -> None:
    call, io = document("pipeline/calls.json")["text_to_image"], tensors("pipeline/text_to_image.safetensors")
    cpu = torch.device("cpu")
    read = [
        prompts.read(bundle.text_encoder, bundle.processor, call[name], None, cpu)
        for name in ("prompt", "negative_prompt")
    ]
    embeds = torch.stack([states for states, _ in read]), torch.stack([mask for _, mask in read])
    assert difference(embeds[0], io["mid.prompt_embeds"]) < 5e-5
    assert torch.equal(embeds[1], io["mid.prompt_mask"])
    tiles = Tiles.of(3, 4, 4)
    bundle.set_schedule(4, tiles.tokens)
    guidance = Guidance(scale=call["guidance_scale"])
    noise = pack(io["in.initial_noise"])
    tokens = bundle.denoise(noise, None, embeds, tiles, guidance, unchanged)
    assert difference(unpack(tokens, 3, 4), io["mid.latents_before_decode"]) < 5e-5


@pytest.mark.parametrize(
    "slip", [{"guidance_scale": 3.01}, {"model_guidance": 3.501}, {"sigmas": [1, 0.751, 0.5, 0.25]}]
)
def test_the_tolerance_of_the_published_calls_shows_a_slip(bundle, slip: dict, monkeypatch) -> None:
    io = tensors("pipeline/edit_cfg.safetensors")
    draws = [Draws(io["in.initial_noise"], io["in.posterior_noise"])]
    monkeypatch.setattr("ggt_hub.pipelines.realrestorer.inputs.draw", lambda *_: draws)
    call = {"num_inference_steps": 4, "size_level": 64, "task": "blur", **slip}
    found = bundle(Image.fromarray(io["in.image_uint8_hwc"].numpy()), **call, output_type="latent").images[0]
    assert difference(pack(found[None]), io["mid.latents_after_3"]) > 5e-5


def test_the_first_draw_of_a_seeded_generator_is_the_published_noise(bundle: RealRestorerPipeline) -> None:
    from ggt_hub.pipelines.realrestorer.inputs import draw

    call, io = document("pipeline/calls.json")["edit_cfg"], tensors("pipeline/edit_cfg.safetensors")
    drawn = draw([picture(64, 48)], [seeded(call["seed"])], 1, 16, None, "sample")
    assert torch.equal(drawn[0].noise, io["in.initial_noise"])


# What one generator decides


def test_one_generator_reproduces_the_whole_call(pipe: RealRestorerPipeline) -> None:
    torch.manual_seed(1)
    first = pipe(picture(), **QUICK, generator=seeded(3)).images[0]
    torch.manual_seed(2)
    assert levels(first, pipe(picture(), **QUICK, generator=seeded(3)).images[0]) == 0
    assert levels(first, pipe(picture(), **QUICK, generator=seeded(4)).images[0]) > 0


def test_posterior_is_sampled_unless_its_mode_is_asked(pipe: RealRestorerPipeline) -> None:
    noise = torch.zeros(1, 16, 4, 6)
    sampled = [latents_of(pipe, picture(), latents=noise, generator=seeded(s))[0] for s in (1, 2)]
    modes = [
        latents_of(pipe, picture(), latents=noise, generator=seeded(s), posterior="mode")[0] for s in (1, 2)
    ]
    assert not torch.equal(*sampled) and torch.equal(*modes)


# Lists


def test_a_list_gives_what_its_pictures_give_alone(pipe: RealRestorerPipeline) -> None:
    pictures = [picture(70, 50, 1), picture(40, 90, 2), picture(70, 50, 3)]
    tasks = ["haze", "rain", "blur"]
    together = latents_of(pipe, pictures, task=tasks, generator=[seeded(i) for i in range(3)])
    for i, one in enumerate(pictures):
        alone = latents_of(pipe, one, task=tasks[i], generator=seeded(i))[0]
        assert difference(together[i], alone) < 1e-4  # sums over a batch round differently
    shown = pipe(pictures, **QUICK, task=tasks, generator=[seeded(i) for i in range(3)]).images
    assert [one.size for one in shown] == [(70, 50), (40, 90), (70, 50)]
    for i, one in enumerate(pictures):
        assert levels(shown[i], pipe(one, **QUICK, task=tasks[i], generator=seeded(i)).images[0]) <= 1


def test_grouping_by_size_does_not_change_the_draws(pipe: RealRestorerPipeline) -> None:
    a, b, c = picture(70, 50, 1), picture(40, 90, 2), picture(70, 50, 3)
    mixed = latents_of(pipe, [a, b, c], generator=seeded(5))
    generator = seeded(5)
    one_by_one = [latents_of(pipe, one, generator=generator)[0] for one in (a, b, c)]
    assert all(difference(*pair) < 1e-4 for pair in zip(mixed, one_by_one, strict=True))


def test_several_results_of_one_picture_follow_each_other(pipe: RealRestorerPipeline) -> None:
    pictures, generators = [picture(seed=1), picture(seed=2)], [seeded(1), seeded(2)]
    four = latents_of(pipe, pictures, num_images_per_prompt=2, generator=generators)
    assert len(four) == 4 and not torch.equal(four[0], four[1])
    alone = latents_of(pipe, pictures[1], num_images_per_prompt=2, generator=seeded(2))
    assert difference(torch.stack(four[2:]), torch.stack(alone)) < 1e-4
    first_only = latents_of(pipe, pictures[1], generator=seeded(2))[0]
    assert difference(four[2], first_only) < 1e-4


# What the model is told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, instruction("general", "en")),
        ({"task": "moire"}, "Please remove the moiré patterns from the image"),
        ({"task": "haze", "language": "zh"}, "请将图像去雾。"),
        ({"prompt": "make it nice", "task": "haze"}, "make it nice"),
        ({"prompt": ""}, ""),
    ],
)
def test_task_language_and_prompt_choose_the_instruction(pipe, options: dict, told: str, monkeypatch) -> None:
    texts: list[str] = []
    original = prompts.read
    monkeypatch.setattr(prompts, "read", lambda *given: texts.append(given[2]) or original(*given))
    latents_of(pipe, picture(), **options)
    assert texts == [told] if told == "" else texts == [told, ""]  # the empty one is the negative prompt


@pytest.mark.parametrize("off", [None, -1])
def test_without_guidance_a_step_takes_one_pass(
    pipe: RealRestorerPipeline, off: int | None, monkeypatch
) -> None:
    rows: list[int] = []
    original = pipe.transformer.forward
    spy = lambda hidden_states, **rest: rows.append(len(hidden_states)) or original(hidden_states, **rest)  # noqa: E731
    monkeypatch.setattr(pipe.transformer, "forward", spy)
    latents_of(pipe, picture(), guidance_scale=off)
    assert rows == [1, 1]
    latents_of(pipe, picture(), guidance_scale=3.0)
    assert rows == [1, 1, 2, 2]


def test_given_prompt_embeddings_replace_the_text_encoder(pipe: RealRestorerPipeline) -> None:
    wanted = latents_of(pipe, picture(), task="rain", generator=seeded())[0]
    working = picture().resize((48, 32), Image.Resampling.LANCZOS)
    with torch.no_grad():
        states, mask = pipe.encode_prompt([working, working], [instruction("rain"), ""])
    bare = RealRestorerPipeline(**{**pipe.components, "text_encoder": None, "processor": None})
    bare.set_progress_bar_config(disable=True)
    found = latents_of(
        bare,
        picture(),
        generator=seeded(),
        prompt_embeds=states[:1],
        prompt_embeds_mask=mask[:1],
        negative_prompt_embeds=states[1:],
        negative_prompt_embeds_mask=mask[1:],
    )[0]
    assert difference(found, wanted) < 1e-6
    with pytest.raises(RestorerError, match="no text encoder: pass prompt_embeds, or load it with one"):
        bare(picture(), **QUICK)


# Tiles


def stub_velocity(pipe: RealRestorerPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transformer whose velocity depends on the reference alone, token by token."""

    def forward(hidden_states: Tensor, **_: Any) -> tuple[Tensor]:
        target, reference = hidden_states.chunk(2, dim=1)
        return (torch.cat([torch.sin(3 * reference) + 0.1, target], dim=1),)

    monkeypatch.setattr(pipe.transformer, "forward", forward)


def test_one_tile_equals_the_published_call_at_that_size(pipe: RealRestorerPipeline) -> None:
    square = picture(48, 48)
    untiled = latents_of(pipe, square, generator=seeded())[0]
    for tile in (48, 64, 0):
        assert difference(latents_of(pipe, square, generator=seeded(), tile=tile)[0], untiled) < 1e-6
    options = {**QUICK, "generator": seeded()}
    assert (
        levels(
            pipe(square, **options).images[0],
            pipe(square, **{**options, "generator": seeded()}, tile=48).images[0],
        )
        == 0
    )


@torch.no_grad()
def test_tiles_equal_the_whole_where_the_velocity_is_local(pipe: RealRestorerPipeline, monkeypatch) -> None:
    stub_velocity(pipe, monkeypatch)
    rows, columns = 9, 14
    noise, reference = torch.randn(2, 1, rows * columns, 64, generator=seeded())
    embeds = torch.zeros(2, 8, 32), torch.ones(2, 8, dtype=torch.long)
    restored = []
    for side in (4, 16):
        tiles = Tiles.of(rows, columns, side)
        pipe.set_schedule(4, 16)
        restored.append(pipe.denoise(noise, reference, embeds, tiles, Guidance(), unchanged))
    assert len(Tiles.of(rows, columns, 4)) > 4
    assert difference(*restored) < 1e-5


def test_tiles_equal_one_piece_where_the_velocity_is_local(pipe: RealRestorerPipeline, monkeypatch) -> None:
    stub_velocity(pipe, monkeypatch)
    whole, tiled = (latents_of(pipe, picture(140, 90), generator=seeded(), tile=tile)[0] for tile in (0, 48))
    assert difference(whole, tiled) < 1e-5


def test_the_autoencoder_is_tiled_beyond_its_native_size(pipe: RealRestorerPipeline) -> None:
    with tiled_autoencoder(pipe.vae, Tiles.of(90, 130, 40)):
        assert (pipe.vae.use_tiling, pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size) == (
            True,
            1024,
            128,
        )
    with tiled_autoencoder(pipe.vae, Tiles.of(150, 230, 80)):
        assert pipe.vae.tile_sample_min_size == 1280
    with tiled_autoencoder(pipe.vae, Tiles.of(40, 40, 40)):
        assert not pipe.vae.use_tiling


def test_tiles_restore_at_the_pictures_own_size(pipe: RealRestorerPipeline) -> None:
    odd = picture(77, 61)
    assert pipe(odd, num_inference_steps=1, tile=32).images[0].size == (77, 61)
    assert latents_of(pipe, odd, tile=32)[0].shape == (16, 8, 10)  # 80 x 64 after padding


def test_the_schedule_follows_the_tile_and_the_prompt_the_whole_picture(pipe, monkeypatch) -> None:
    seen: list[tuple[int, int]] = []
    original = prompts.see
    monkeypatch.setattr(prompts, "see", lambda *given: seen.append(given[2].size) or original(*given))
    latents_of(pipe, picture(96, 64), tile=32)
    tiled = pipe.scheduler.sigmas.clone()
    pipe.set_schedule(2, 4)
    assert torch.equal(tiled, pipe.scheduler.sigmas)
    assert seen == [(96, 64)]


def test_tiling_leaves_the_autoencoder_as_it_was(pipe: RealRestorerPipeline) -> None:
    before = pipe.vae.use_tiling, pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size
    latents_of(pipe, picture(96, 64), tile=32)
    assert (pipe.vae.use_tiling, pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size) == before


# Callbacks


def test_a_callback_sees_each_step_and_may_change_the_latents(pipe: RealRestorerPipeline) -> None:
    steps: list[int] = []

    def wipe(
        pipeline: RealRestorerPipeline, step: int, time: Tensor, shown: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        steps.append(step)
        return {"latents": torch.zeros_like(shown["latents"])}

    assert latents_of(pipe, picture(), callback_on_step_end=wipe)[0].abs().max() == 0
    assert steps == [0, 1]


def test_interrupting_leaves_out_the_remaining_steps(pipe: RealRestorerPipeline) -> None:
    steps: list[int] = []

    def stop(
        pipeline: RealRestorerPipeline, step: int, time: Tensor, shown: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        steps.append(step)
        pipeline._interrupt = True
        return {}

    assert latents_of(pipe, picture(), num_inference_steps=5, callback_on_step_end=stop) == [None]
    assert steps == [0]


@pytest.mark.parametrize("output_type", ["pil", "np", "latent"])
@pytest.mark.parametrize(("after", "finished"), [(0, 0), (1, 1), (2, 1), (3, 2), (5, 3)])
def test_what_an_interrupted_call_did_not_finish_is_none(
    pipe: RealRestorerPipeline, after: int, finished: int, output_type: str
) -> None:
    """Three sizes, two steps each: they run one after the other."""
    calls: list[int] = []

    def stop(pipeline: RealRestorerPipeline, *_: Any) -> dict[str, Tensor]:
        calls.append(1)
        pipeline._interrupt = len(calls) > after
        return {}

    pictures = [picture(70, 50), picture(50, 70), picture(60, 60)]
    images = pipe(pictures, **QUICK, callback_on_step_end=stop, output_type=output_type).images
    assert [image is not None for image in images] == [number < finished for number in range(3)]
    assert len(calls) == after + 1
    assert None not in pipe(pictures, **QUICK).images


def test_guidance_may_be_turned_off_while_the_call_runs(pipe: RealRestorerPipeline, monkeypatch) -> None:
    rows: list[int] = []
    original = pipe.transformer.forward
    spy = lambda hidden_states, **rest: rows.append(len(hidden_states)) or original(hidden_states, **rest)  # noqa: E731
    monkeypatch.setattr(pipe.transformer, "forward", spy)

    def off(pipeline: RealRestorerPipeline, step: int, *_: Any) -> dict[str, Tensor]:
        pipeline._guidance_scale = None if step == 0 else pipeline._guidance_scale
        return {}

    options = {"generator": seeded(), "num_inference_steps": 3}
    latents_of(pipe, [picture(70, 50), picture(50, 70)], **options, callback_on_step_end=off)
    assert rows == [2, 1, 1] * 2  # every picture begins with what the call was given


def test_another_scale_set_in_a_callback_is_the_one_that_counts(pipe: RealRestorerPipeline) -> None:
    def turn(pipeline: RealRestorerPipeline, *_: Any) -> dict[str, Tensor]:
        pipeline._guidance_scale = 9.0
        return {}

    def keep(pipeline: RealRestorerPipeline, *_: Any) -> dict[str, Tensor]:
        return {}

    options = {"generator": seeded(), "timesteps_truncate": 1.0}
    turned = latents_of(pipe, picture(), **options, callback_on_step_end=turn)[0]
    options["generator"] = seeded()
    kept = latents_of(pipe, picture(), **options, callback_on_step_end=keep)[0]

    # Scale s gives u + s * (c - u): the last step moves by (9 - 3) / (s' - 3) times as much as with another s'.
    def half(pipeline: RealRestorerPipeline, *_: Any) -> dict[str, Tensor]:
        pipeline._guidance_scale = 6.0
        return {}

    options["generator"] = seeded()
    between = latents_of(pipe, picture(), **options, callback_on_step_end=half)[0]
    assert difference(turned, kept) > 1e-3
    assert difference(turned - kept, 2 * (between - kept)) < 1e-5


def test_guidance_cannot_be_turned_on_without_a_negative_prompt(pipe: RealRestorerPipeline) -> None:
    def on(pipeline: RealRestorerPipeline, *_: Any) -> dict[str, Tensor]:
        pipeline._guidance_scale = 3.0
        return {}

    with pytest.raises(RestorerError, match="began without a negative prompt"):
        latents_of(pipe, picture(), guidance_scale=None, callback_on_step_end=on)


def test_a_callback_may_change_what_the_model_is_told(pipe: RealRestorerPipeline) -> None:
    """From the first step on it is what the other prompt gives from there."""
    (working,) = pipe.prepare_image(picture(), size_level=48)
    states, mask = pipe.encode_prompt([working], ["another prompt"])
    shapes: list[dict[str, tuple[int, ...]]] = []

    def change(pipeline: RealRestorerPipeline, step: int, time: Tensor, shown: dict[str, Tensor]) -> dict:
        shapes.append({name: tuple(tensor.shape) for name, tensor in shown.items()})
        latents = shown["latents"] if step else torch.ones_like(shown["latents"])
        return {"latents": latents, "prompt_embeds": states, "prompt_embeds_mask": mask}

    def ones(pipeline: RealRestorerPipeline, step: int, time: Tensor, shown: dict[str, Tensor]) -> dict:
        return {} if step else {"latents": torch.ones_like(shown["latents"])}

    names = ("latents", "prompt_embeds", "prompt_embeds_mask", "negative_prompt_embeds")
    options = {"generator": seeded(), "task": "rain"}
    found = latents_of(
        pipe, picture(), **options, callback_on_step_end=change, callback_on_step_end_tensor_inputs=names
    )[0]
    options = {"generator": seeded(), "prompt": "another prompt"}
    wanted = latents_of(pipe, picture(), **options, callback_on_step_end=ones)[0]
    assert difference(found, wanted) < 1e-6
    assert shapes[0] == {
        "latents": (1, 6, 64),
        "prompt_embeds": (1, 640, 32),
        "prompt_embeds_mask": (1, 640),
        "negative_prompt_embeds": (1, 640, 32),
    }


@pytest.mark.parametrize("wrong", [torch.zeros(1, 3), None, 5])
def test_a_callback_that_returns_no_such_tensor_is_told_so(pipe: RealRestorerPipeline, wrong: Any) -> None:
    with pytest.raises(RestorerError, match=r"callback_on_step_end returned latents as .*\(1, 6, 64\)"):
        latents_of(pipe, picture(), callback_on_step_end=lambda *_: {"latents": wrong})


def test_the_current_time_is_known_while_a_call_runs(pipe: RealRestorerPipeline) -> None:
    times: list[float] = []
    watch = lambda pipeline, *_: times.append(float(pipeline.current_timestep)) or {}  # noqa: E731
    latents_of(pipe, picture(), callback_on_step_end=watch)
    assert times == [float(time) for time in pipe.scheduler.timesteps] and times[0] == 1000
    assert pipe.current_timestep is None


# What diffusers' users bring along


def test_sigmas_take_the_place_of_the_number_of_steps(pipe: RealRestorerPipeline) -> None:
    even = latents_of(pipe, picture(), num_inference_steps=4, generator=seeded())[0]
    given = latents_of(pipe, picture(), sigmas=[1.0, 0.75, 0.5, 0.25], generator=seeded())[0]
    assert difference(even, given) < 1e-6
    steps: list[int] = []
    latents_of(
        pipe, picture(), sigmas=(0.9, 0.3, 0.1), callback_on_step_end=lambda _, s, *__: steps.append(s)
    )
    assert steps == [0, 1, 2]
    shift = np.exp(0.5 + (6 - 256) * (1.15 - 0.5) / (4096 - 256))
    wanted = [shift / (shift + 1 / sigma - 1) for sigma in (0.9, 0.3, 0.1)]
    assert np.abs(pipe.scheduler.sigmas.numpy() - [*wanted, 0]).max() < 1e-6


def test_prepared_latents_are_what_a_call_draws(pipe: RealRestorerPipeline) -> None:
    noise = pipe.prepare_latents(1, 16, 32, 48, generator=seeded(3))
    assert noise.shape == (1, 16, 4, 6) and noise.dtype == torch.float32
    given = latents_of(pipe, picture(), latents=noise, posterior="mode")[0]
    assert torch.equal(given, latents_of(pipe, picture(), generator=seeded(3), posterior="mode")[0])
    pair = pipe.prepare_latents(2, 16, 32, 48, torch.float64, generator=[seeded(3), seeded(4)])
    assert pair.dtype == torch.float64 and torch.equal(pair[0].float(), noise[0])
    with pytest.raises(
        RestorerError, match=r"latents of shape \(16, 4, 6\): this picture needs \(16, 8, 6\)"
    ):
        pipe.prepare_latents(1, 16, 64, 48, latents=noise)


def test_prompts_are_encoded_by_a_pipeline_that_can_do_nothing_else(pipe: RealRestorerPipeline) -> None:
    wanted = latents_of(pipe, picture(), task="rain", generator=seeded())[0]
    reader = RealRestorerPipeline(None, None, None, None, pipe.text_encoder, pipe.processor)
    working = reader.prepare_image(picture(), size_level=48)
    states, mask = reader.encode_prompt(working * 2, [instruction("rain"), ""])
    assert not states.requires_grad
    named = inputs.named((states, mask), 2)
    bare = RealRestorerPipeline(**{**pipe.components, "text_encoder": None, "processor": None})
    bare.set_progress_bar_config(disable=True)
    assert difference(latents_of(bare, picture(), generator=seeded(), **named)[0], wanted) < 1e-6


def test_negative_prompts_are_one_for_all_or_one_each(pipe: RealRestorerPipeline, monkeypatch) -> None:
    texts: list[str] = []
    original = prompts.read
    monkeypatch.setattr(prompts, "read", lambda *given: texts.append(given[2]) or original(*given))
    latents_of(pipe, picture(), prompt="a", negative_prompt=None)
    assert texts == ["a", ""]
    texts.clear()
    two = [picture(seed=1), picture(seed=2)]
    found = latents_of(pipe, two, prompt="a", negative_prompt=["b", "c"], generator=[seeded(1), seeded(2)])
    assert texts == ["a", "a", "b", "c"]
    alone = latents_of(pipe, two[1], prompt="a", negative_prompt="c", generator=seeded(2))[0]
    assert difference(found[1], alone) < 1e-4


# Numbers that overflow


def nan(module: torch.nn.Module, _: Any, output: Any) -> Any:
    return (torch.full_like(output[0], torch.nan),) if isinstance(output, tuple) else output * torch.nan


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (lambda pipe: pipe.text_encoder.language_model.norm, "the text encoder overflowed"),
        (lambda pipe: pipe.vae.encoder, "encoding the picture overflowed"),
        (lambda pipe: pipe.connector.token_embedder, "denoising overflowed"),
        (lambda pipe: pipe.transformer.proj_out, "denoising overflowed"),
        (lambda pipe: pipe.vae.decoder, "decoding the picture overflowed"),
    ],
)
def test_a_picture_of_nan_is_not_presented_as_restored(find: Callable, message: str) -> None:
    pipe = tiny_pipeline()
    find(pipe).register_forward_hook(nan)
    with pytest.raises(RestorerError, match=message):
        pipe(picture(), **QUICK)


def test_infinity_is_not_presented_as_white(pipe: RealRestorerPipeline) -> None:
    with pytest.raises(RestorerError, match="denoising overflowed"):
        pipe(picture(), **QUICK, callback_on_step_end=lambda *a: {"latents": a[3]["latents"] + torch.inf})
    with pytest.raises(RestorerError, match="overflowed"):
        latents_of(pipe, picture(), latents=torch.full((1, 16, 4, 6), torch.nan))


# Output


@pytest.mark.parametrize("output_type", ["np", "pt"])
def test_arrays_and_tensors_hold_what_the_image_holds(pipe: RealRestorerPipeline, output_type: str) -> None:
    shown = np.asarray(pipe(picture(), **QUICK, generator=seeded()).images[0], np.float32)
    found = pipe(picture(), **QUICK, generator=seeded(), output_type=output_type).images[0]
    found = found if output_type == "np" else found.permute(1, 2, 0).numpy()
    assert found.dtype == np.float32 and np.array_equal(np.rint(found * 255), shown)
    assert len(np.unique(found)) > 2 * 256  # floats, not levels


def test_a_16_bit_picture_comes_back_with_more_than_8_bits(pipe: RealRestorerPipeline) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (50, 70, 3), dtype=np.uint16)
    restored = pipe.read_images(deep)[0].with_rgb(
        pipe(deep, **QUICK, generator=seeded(), output_type="np").images[0]
    )
    assert restored.pixels.dtype == np.uint16 and len(np.unique(restored.pixels)) > 2 * 256


def test_a_tuple_comes_back_where_it_is_asked_for(pipe: RealRestorerPipeline) -> None:
    (images,) = pipe(picture(), **QUICK, return_dict=False)
    assert images[0].size == (70, 50)


def test_latents_decode_to_the_picture(pipe: RealRestorerPipeline) -> None:
    square = picture(48, 48)
    latent = latents_of(pipe, square, generator=seeded())[0]
    with torch.no_grad():
        pixels = pipe.decode(latent[None])[0]
    shown = pipe(square, **QUICK, generator=seeded(), output_type="pt").images[0]
    assert difference(pixels, shown) < 1e-6


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_transparent_pictures_come_back_as_such(pipe: RealRestorerPipeline, mode: str) -> None:
    restored = pipe(picture().convert(mode), **QUICK).images[0]
    assert restored.mode == mode and restored.size == (70, 50)


# Bad input

Refusal = tuple[dict[str, Any], type[Exception], str]
REFUSALS: list[Refusal] = [
    ({"image": None}, RestorerError, "give one as the first argument"),
    ({"image": []}, RestorerError, "the list of pictures is empty"),
    ({"image": 7}, ImageError, "int"),
    ({"task": "dust"}, TaskError, "unknown task 'dust'"),
    ({"task": ["rain", "haze"]}, RestorerError, "2 entries in task for 1 pictures"),
    ({"language": "de"}, RestorerError, "language is 'de': RealRestorerPipeline takes one of en, zh"),
    ({"prompt": 5}, RestorerError, "prompt is 5: give text, or a list of texts"),
    ({"upscale": 2}, RestorerError, "cannot upscale by 2: it supports 1"),
    ({"output_type": "jpeg"}, RestorerError, "choose one of"),
    ({"tile": 100}, RestorerError, "give a multiple of 16 from 32 up, or 0"),
    ({"tile": 16}, RestorerError, "give a multiple of 16 from 32 up, or 0"),
    ({"tile": -64}, RestorerError, "tile is -64"),
    ({"num_inference_steps": 0}, RestorerError, "num_inference_steps is 0"),
    ({"size_level": 2.5}, RestorerError, "size_level is 2.5"),
    ({"num_images_per_prompt": 0}, RestorerError, "num_images_per_prompt is 0"),
    (
        {"posterior": "mean"},
        RestorerError,
        "posterior is 'mean': RealRestorerPipeline takes one of sample, mode",
    ),
    ({"latents": torch.zeros(1, 16, 9, 9)}, RestorerError, r"latents of shape \(16, 9, 9\)"),
    ({"latents": torch.zeros(2, 16, 4, 6)}, RestorerError, "2 latents: give one for each of 1 results"),
    ({"generator": [torch.Generator(), torch.Generator()]}, RestorerError, "2 generators for 1 pictures"),
    ({"prompt_embeds": torch.zeros(1, 640, 32)}, RestorerError, "prompt_embeds_mask belong together"),
    ({"callback_on_step_end_tensor_inputs": ["states"]}, RestorerError, "no states here, only latents"),
    (
        {"callback_on_step_end_tensor_inputs": ["negative_prompt_embeds"], "guidance_scale": None},
        RestorerError,
        "no negative_prompt_embeds here",
    ),
    ({"negative_prompt": ["a", "b"]}, RestorerError, "2 entries in negative_prompt for 1 pictures"),
    ({"negative_prompt": 5}, RestorerError, "negative_prompt is 5"),
    ({"sigmas": []}, RestorerError, "give times that fall"),
    ({"sigmas": [0.5, 0.7]}, RestorerError, "give times that fall"),
    ({"sigmas": [1.5, 0.7]}, RestorerError, "give times that fall"),
    ({"sigmas": [float("nan")]}, RestorerError, "give times that fall"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSALS, ids=lambda value: str(value)[:40])
def test_bad_input_is_one_clear_error(pipe, options: dict, error: type[Exception], message: str) -> None:
    options = {"image": picture(), **QUICK, **options}
    with pytest.raises(error, match=message):
        pipe(options.pop("image"), **options)


def test_mask_and_states_must_fit_each_other(pipe: RealRestorerPipeline) -> None:
    check: Callable[..., Any] = pipe
    with pytest.raises(RestorerError, match=r"1 pictures need \(1, tokens, width\) and \(1, tokens\)"):
        check(
            picture(), **QUICK, prompt_embeds=torch.zeros(2, 640, 32), prompt_embeds_mask=torch.ones(2, 640)
        )
