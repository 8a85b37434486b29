"""A call of DreamClear: what it is told, in which order, and what diffusers' features do to it."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler
from torch import Tensor
from transformers import BatchFeature

from ggt_hub import RestorerPipeline
from ggt_hub.errors import RestorerError
from ggt_hub.models import QualityPrior
from ggt_hub.pipelines.dreamclear import DreamClearPipeline, captions, steps
from ggt_hub.pipelines.dreamclear.captions import QUESTION
from tests.golden_dreamclear import difference
from tests.photographs import photograph
from tests.pipelines.tiny_dreamclear import LENGTH, tiny_pipeline

IMAGE = photograph(24)[:18]


@pytest.fixture
def pipe() -> DreamClearPipeline:
    return tiny_pipeline()


def restore(pipe: DreamClearPipeline, image: Any = IMAGE, **options: Any) -> Tensor:
    """Latents of a short seeded call."""
    call: dict[str, Any] = {
        "num_inference_steps": 2,
        "generator": torch.Generator().manual_seed(0),
        **options,
    }
    return pipe(image, output_type="latent", **call).images[0]


def caption(seed: int = 0) -> Tensor:
    return torch.randn(1, LENGTH, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _plain_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cleaning needs libraries that may be absent; it has tests of its own."""
    monkeypatch.setattr("ggt_hub.pipelines.dreamclear.captions.clean", str.lower)


# What is told about a picture


def test_without_a_caption_the_learned_empty_one_is_told_and_nothing_reads(pipe: DreamClearPipeline) -> None:
    bare = DreamClearPipeline(
        **{**pipe.components, "text_encoder": None, "tokenizer": None},
    )
    bare.set_progress_bar_config(disable=True)
    found = restore(bare)
    assert torch.equal(found, restore(pipe))
    empty = pipe.transformer.y_embedding[None]
    # As the pair of captions that guidance sees, whose halves are then equal; sums are taken in another order.
    assert difference(restore(pipe, prompt_embeds=empty), found) < 1e-4
    assert torch.equal(restore(pipe, guidance_scale=9.0), found)


def test_a_prompt_goes_before_embeddings_and_those_before_a_captioner(pipe: DreamClearPipeline) -> None:
    class Describing:
        def ask(self, image_png: bytes, system: str, question: str, later: tuple = ()) -> str:
            assert question == QUESTION and image_png.startswith(b"\x89PNG")
            asked.append(question)
            return "a dog\non grass"

    asked: list[str] = []
    told = restore(pipe, prompt="A cat", prompt_embeds=caption())
    states, mask = pipe.encode_prompt(["a cat"])
    assert torch.equal(told, restore(pipe, prompt_embeds=states, prompt_attention_mask=mask))
    pipe.use_captioner(Describing())
    assert torch.equal(told, restore(pipe, prompt="A cat")) and not asked
    embedded = restore(pipe, prompt_embeds=caption())
    assert not torch.equal(embedded, told) and not asked
    described = restore(pipe)
    assert asked == [QUESTION] and torch.equal(described, restore(pipe, prompt="a dog on grass"))
    pipe.use_captioner(None)
    assert not torch.equal(restore(pipe), described)


def test_what_is_not_read_of_a_caption_makes_no_difference(pipe: DreamClearPipeline) -> None:
    """The padding of the caption, and so far of the empty one, which has its mask."""
    mask = torch.tensor([[1] * 5 + [0] * (LENGTH - 5)])
    states, other = caption(), caption()
    other[:, 5:] = 7.0
    one = restore(pipe, prompt_embeds=states, prompt_attention_mask=mask)
    stored = {
        "prompt_embeds": states[None],
        "prompt_attention_mask": mask[None, None],
    }  # as features are stored
    assert torch.equal(one, restore(pipe, **stored))
    assert torch.equal(one, restore(pipe, prompt_embeds=other, prompt_attention_mask=mask))
    with torch.no_grad():
        pipe.transformer.y_embedding[5:] += 3.0
    assert torch.equal(one, restore(pipe, prompt_embeds=states, prompt_attention_mask=mask))
    with torch.no_grad():
        pipe.transformer.y_embedding[:5] += 3.0
    assert not torch.equal(one, restore(pipe, prompt_embeds=states, prompt_attention_mask=mask))


def test_captions_that_cannot_be_read_are_refused(pipe: DreamClearPipeline) -> None:
    with pytest.raises(RestorerError, match=f"has 101 tokens: {LENGTH} are read, so shorten it"):
        restore(pipe, prompt="x" * 100)
    with pytest.raises(RestorerError, match=r"list with one for each picture \(1\)"):
        restore(pipe, prompt=["a", "b"])
    with pytest.raises(RestorerError, match="comes without prompt_embeds"):
        restore(pipe, prompt_attention_mask=torch.ones(1, LENGTH))
    with pytest.raises(RestorerError, match=rf"1 pictures need \(1, {LENGTH}, width\)"):
        restore(pipe, prompt_embeds=torch.zeros(1, 3, 16))
    bare = tiny_pipeline(text=False)
    with pytest.raises(RestorerError, match="has no text encoder for a prompt"):
        restore(bare, prompt="a cat")


def test_captions_of_several_pictures_are_their_own(pipe: DreamClearPipeline) -> None:
    pictures = [IMAGE, IMAGE[::-1].copy()]
    generators = [torch.Generator().manual_seed(n) for n in (1, 2)]
    both = pipe(
        pictures, prompt=["a", "b"], num_inference_steps=2, generator=generators, output_type="latent"
    ).images
    for number, (picture, text) in enumerate(zip(pictures, ("a", "b"), strict=True)):
        alone = restore(pipe, picture, prompt=text, generator=torch.Generator().manual_seed(number + 1))
        assert torch.equal(alone, both[number])


# Options


def test_each_option_changes_the_result(pipe: DreamClearPipeline) -> None:
    plain = restore(pipe)
    for options in (
        {"num_inference_steps": 3},
        {"start_timestep": 500},
        {"start_from_reference": False},
        {"scheduler": "dpmsolver"},
        {"reference": photograph(64)},
        {"generator": torch.Generator().manual_seed(1)},
    ):
        assert not torch.equal(restore(pipe, **options), plain), options
    told = restore(pipe, prompt_embeds=caption())
    assert not torch.equal(restore(pipe, prompt_embeds=caption(), guidance_scale=2.0), told)

    def pixels(color_fix: str | None) -> np.ndarray:
        given = {"num_inference_steps": 1, "generator": torch.Generator().manual_seed(0)}
        return pipe(IMAGE, color_fix=color_fix, output_type="np", **given).images[0]

    found = [pixels(color_fix) for color_fix in (None, "wavelet", "adain")]
    assert np.array_equal(pixels("none"), found[0])
    assert all(not np.array_equal(found[a], found[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_any_factor_from_1_to_4_enlarges(pipe: DreamClearPipeline) -> None:
    for factor, size in ((1, (24, 18)), (1.5, (36, 27)), (2.3, (55, 41)), (4.0, (96, 72))):
        image = pipe(IMAGE, upscale=factor, num_inference_steps=1).images[0]
        assert image.size == size
    for wrong in (0.5, 4.1, float("nan"), "2", True):
        with pytest.raises(RestorerError, match="it supports 4, 1, 2, 3 and what is between"):
            restore(pipe, upscale=wrong)


def test_noise_to_start_with_can_be_given(pipe: DreamClearPipeline) -> None:
    noise = torch.randn(4, 8, 16, generator=torch.Generator().manual_seed(5))
    first = restore(pipe, latents=[noise], num_inference_steps=1)
    assert torch.equal(first, restore(pipe, latents=noise[None], num_inference_steps=1))
    with pytest.raises(RestorerError, match=r"this picture needs \(4, 8, 16\)"):
        restore(pipe, latents=[noise[:, :4]])
    with pytest.raises(RestorerError, match="2 entries in latents for 1 pictures"):
        restore(pipe, latents=[noise, noise])


def test_tiles_that_cannot_be_cut_are_refused(pipe: DreamClearPipeline) -> None:
    for options, message in (
        ({"tile": 24}, "multiples of 16 and 8"),
        ({"tile": 64, "tile_overlap": 12}, "multiples of 16 and 8"),
        ({"tile": 64, "tile_overlap": 64}, "it is less than tile, which is 64"),
    ):
        with pytest.raises(RestorerError, match=message):
            restore(pipe, **options)


def test_a_solver_takes_the_schedule_of_the_pipeline(pipe: DreamClearPipeline) -> None:
    """Many steps of a solver without noise end nearly where more of them end."""
    runs = [restore(pipe, scheduler="dpmsolver", num_inference_steps=count) for count in (20, 80)]
    assert float((runs[0] - runs[1]).norm() / runs[1].norm()) < 0.1
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    assert torch.equal(restore(pipe, num_inference_steps=20), runs[0])


# Callbacks


def test_a_callback_sees_each_step_and_may_change_it(pipe: DreamClearPipeline) -> None:
    seen: list[tuple[int, int]] = []

    def look(pipeline: Any, step: int, time: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        assert pipeline.num_timesteps == 3 and int(pipeline.current_timestep) == int(time)
        seen.append((step, int(time)))
        return {"latents": tensors["latents"] * 0}

    found = restore(pipe, callback_on_step_end=look, num_inference_steps=3)
    assert seen == [(0, 999), (1, 500), (2, 0)] and not found.any()
    with pytest.raises(RestorerError, match="no prompt_embeds here, only latents"):
        restore(pipe, callback_on_step_end_tensor_inputs=["prompt_embeds"])


def test_a_callback_may_change_the_guidance_of_the_steps_to_come(pipe: DreamClearPipeline) -> None:
    def more(pipeline: Any, step: int, time: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        pipeline._guidance_scale += 1
        return {}

    given = {"prompt_embeds": caption(), "num_inference_steps": 3, "guidance_scale": 2.0}
    assert not torch.equal(restore(pipe, callback_on_step_end=more, **given), restore(pipe, **given))
    restore(pipe, callback_on_step_end=more, **given)
    assert pipe.guidance_scale == 2.0 + pipe.num_timesteps


def test_a_captioner_of_transformers_is_shown_the_pre_cleaned_picture_and_asked() -> None:
    class Processor:
        def apply_chat_template(self, conversation: Any, **how: Any) -> Any:
            (turn,) = conversation
            shown, question = turn["content"]
            assert question["text"] == QUESTION and how["add_generation_prompt"] and how["tokenize"]
            seen.append(np.asarray(shown["image"]))
            return BatchFeature({"input_ids": torch.tensor([[7, 8]])})

        def batch_decode(self, tokens: Tensor, skip_special_tokens: bool) -> list[str]:
            return [f"tokens {tokens[0].tolist()}\n end "]

    class Captioner:
        def generate(self, input_ids: Tensor, max_new_tokens: int, do_sample: bool) -> Tensor:
            assert not do_sample
            return torch.cat([input_ids, torch.tensor([[1, 2]])], dim=1)

    seen: list[np.ndarray] = []
    picture = photograph(32).astype(np.float32) / 255
    told = captions.describe(picture, Captioner(), Processor(), None, torch.device("cpu"))
    assert told == "tokens [1, 2] end" and np.array_equal(seen[0], photograph(32))


def test_what_is_interrupted_or_not_begun_is_none(pipe: DreamClearPipeline) -> None:
    calls = []

    def stop(pipeline: Any, step: int, time: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append(step)
        pipeline._interrupt = len(calls) == 4
        return {}

    images = pipe([IMAGE] * 3, num_inference_steps=3, callback_on_step_end=stop).images
    assert [image is None for image in images] == [False, True, True] and len(calls) == 4
    assert pipe(IMAGE, num_inference_steps=1).images[0] is not None


# Features of diffusers


def test_a_lora_changes_the_result_by_its_scale_and_leaves_again(
    pipe: DreamClearPipeline, tmp_path: Path
) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    plain = restore(pipe)
    pipe.transformer.add_adapter(
        LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    )
    state = get_peft_model_state_dict(pipe.transformer)
    pipe.save_lora_weights(tmp_path, transformer_lora_layers=state)
    fresh = tiny_pipeline()
    fresh.load_lora_weights(tmp_path, adapter_name="mine")
    whole = restore(fresh)
    assert torch.equal(whole, restore(pipe)) and not torch.equal(whole, plain)
    halved = restore(fresh, attention_kwargs={"scale": 0.5})
    assert not torch.equal(halved, whole)
    assert torch.equal(restore(fresh, attention_kwargs={"scale": 0.0}), plain)
    fresh.unload_lora_weights()
    assert torch.equal(restore(fresh), plain)


def test_a_quality_prior_adds_to_the_modulation(pipe: DreamClearPipeline) -> None:
    plain, prior = restore(pipe), QualityPrior.of(pipe.transformer)
    pipe.register_modules(quality_prior=prior)
    assert torch.equal(restore(pipe, quality=0.9), plain)  # new, it adds nothing
    with torch.no_grad():
        prior.table.weight.normal_(generator=torch.Generator().manual_seed(0))
    good, poor = restore(pipe, quality=0.95), restore(pipe, quality=0.05)
    assert not torch.equal(good, poor) and torch.equal(restore(pipe), plain)
    told = restore(pipe, quality=0.95, prompt_embeds=caption())  # for both halves of the pair
    assert not torch.equal(told, restore(pipe, prompt_embeds=caption()))


@pytest.mark.parametrize("offload", ["none", "model", "group"])
def test_where_the_networks_wait_makes_no_difference(offload: Any) -> None:
    from ggt_hub.pipelines.dreamclear.memory import MemoryConfig, demand
    from ggt_hub.pipelines.placement import Plan

    pipe = tiny_pipeline()
    wanted = [restore(pipe, prompt="a cat"), restore(pipe)]
    asked = demand(MemoryConfig.of(pipe), pipe.description.phases)
    Plan.of(asked, offload).apply(pipe, "cpu")
    for _ in range(2):
        assert torch.equal(restore(pipe, prompt="a cat"), wanted[0])
        assert torch.equal(restore(pipe), wanted[1])
    if offload == "group":
        pipe.offload.end()
        assert torch.equal(restore(pipe), wanted[1])


def test_accelerates_offloading_works_too() -> None:
    pipe, other = tiny_pipeline(), tiny_pipeline()
    from accelerate import cpu_offload

    wanted = restore(pipe)
    cpu_offload(other.transformer, torch.device("cpu"), offload_buffers=True)
    assert other.transformer.y_embedding.is_meta
    assert torch.equal(restore(other), wanted)


def test_the_solver_the_size_and_the_parts_are_saved(pipe: DreamClearPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["minimum_size"] == 64
    assert index["transformer"] == ["ggt_hub.models", "DreamClearTransformer2DModel"]
    assert index["pre_cleaner"] == ["ggt_hub.models", "SwinIR"]
    loaded = RestorerPipeline.from_pretrained(tmp_path, dtype=torch.float16)
    kinds = {loaded.vae.dtype, loaded.pre_cleaner.dtype}
    assert kinds == {torch.float32} and loaded.transformer.dtype == torch.float16
    assert loaded.text_encoder.dtype == torch.bfloat16  # T5's states exceed what float16 holds


def test_parts_of_two_releases_are_refused(pipe: DreamClearPipeline) -> None:
    vae = AutoencoderKL(latent_channels=8, norm_num_groups=4, block_out_channels=(4,))
    with pytest.raises(
        RestorerError, match="number of the autoencoder's channels is 8, the transformer reads 4"
    ):
        DreamClearPipeline(**{**pipe.components, "vae": vae})


# Large pictures


def smooth(side: int) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / side
    return np.stack([rows, columns, (rows + columns) / 2], axis=-1).astype(np.float32)


def textured(side: int) -> np.ndarray:
    return np.clip(smooth(side) + np.random.default_rng(0).normal(0, 0.1, (side, side, 3)), 0, 1).astype(
        np.float32
    )


@pytest.mark.parametrize("make", [smooth, textured])
def test_no_seam_shows(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    """Mean absolute difference across borders of tiles and pieces, against that of neighbouring columns."""
    monkeypatch.setattr(steps, "PIECE", 128)
    monkeypatch.setattr(steps, "_SHARED", 32)
    pipe = tiny_pipeline()
    found = pipe(
        make(256),
        upscale=1,
        tile=128,
        color_fix=None,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images[0]
    for axis in (0, 1):
        steps_across = np.abs(np.diff(found, axis=axis)).mean(axis=(1 - axis, 2))
        # Tiles begin at 0, 96 and 128 and end at 128, 224 and 256; pieces begin at 0, 64 and 128.
        for border in (64, 96, 128, 192, 224):
            around = np.r_[steps_across[border - 9 : border - 1], steps_across[border : border + 8]]
            assert steps_across[border - 1] < 1.05 * around.mean()  # reached: 0.96, and no more in one piece
    whole = pipe(
        make(256),
        upscale=1,
        tile=0,
        color_fix=None,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images[0]
    assert not np.array_equal(found, whole)


def test_networks_never_see_more_than_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what a device holds does not depend on how large a picture is."""
    monkeypatch.setattr(steps, "PIECE", 128)
    monkeypatch.setattr(steps, "_SHARED", 32)
    pipe, seen = tiny_pipeline(), set()
    watched = {
        "pre_cleaner": pipe.pre_cleaner,
        "encoder": pipe.vae.encoder,
        "decoder": pipe.vae.decoder,
        "transformer": pipe.transformer,
    }
    for name, network in watched.items():
        network.register_forward_pre_hook(lambda _, given, n=name: seen.add((n, *given[0].shape[2:])))
    pipe(photograph(96), upscale=4, tile=128, num_inference_steps=1)
    assert {shape for shape in seen if shape[0] == "transformer"} == {("transformer", 16, 16)}
    assert all(max(height, width) <= (16 if name == "decoder" else 128) for name, height, width in seen)


def test_a_huge_picture_is_refused_before_anything_is_allocated(pipe: DreamClearPipeline) -> None:
    pipe.pre_cleaner = pipe.vae = None  # would be needed first
    picture = np.zeros((5000, 5000, 3), np.uint8)
    with pytest.raises(RestorerError, match="more than 268 megapixels"):
        restore(pipe, picture)


def test_copies_are_independent(pipe: DreamClearPipeline) -> None:
    other = copy.deepcopy(pipe.transformer)
    with torch.no_grad():
        other.proj_out.weight.zero_()
    assert restore(pipe).abs().sum() > 0


def test_another_pipeline_shares_the_networks(pipe: DreamClearPipeline, tmp_path: Path) -> None:
    other = DreamClearPipeline.from_pipe(pipe)
    assert other.transformer is pipe.transformer and other.config.minimum_size == 64
    assert torch.equal(restore(other), restore(pipe))
    pipe.save_pretrained(tmp_path)
    trained = tiny_pipeline(seed=1).transformer
    loaded = RestorerPipeline.from_pretrained(tmp_path, transformer=trained, minimum_size=128)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.transformer is trained and restore(loaded).shape == (4, 16, 24)


@pytest.mark.parametrize("size", ["10GB", "100KB"])
def test_a_variant_is_loaded_where_it_is_there(pipe: DreamClearPipeline, tmp_path: Path, size: str) -> None:
    other = tiny_pipeline(seed=1)
    pipe.save_pretrained(tmp_path, max_shard_size=size)
    other.save_pretrained(tmp_path, variant="fp16", max_shard_size=size)
    for wanted, variant in ((pipe, None), (other, "fp16")):
        found, wanted = (
            restore(one) for one in (RestorerPipeline.from_pretrained(tmp_path, variant=variant), wanted)
        )
        # Weights lie elsewhere in memory, and sums are taken in another order where they are not aligned.
        assert difference(found, wanted) < 1e-4 * float(wanted.abs().max())


def test_damaged_files_are_refused(pipe: DreamClearPipeline, tmp_path: Path) -> None:
    def damaged(name: str, content: bytes | str) -> str:
        folder = tmp_path / name.replace("/", "-")
        pipe.save_pretrained(folder)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(RestorerError) as caught:
            RestorerPipeline.from_pretrained(folder)
        return str(caught.value)

    assert "is damaged or cut off" in damaged("transformer/diffusion_pytorch_model.safetensors", b"\x00" * 9)
    config = {"_class_name": "DreamClearTransformer2DModel", "control_layers": 10**9}
    assert "has control_layers 1000000000" in damaged("transformer/config.json", json.dumps(config))
    assert "is not JSON" in damaged("vae/config.json", "{")
