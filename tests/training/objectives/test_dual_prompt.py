"""Dual prompts on a tiny SDXL: what learns, what stays, and what stock pipelines make of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import nn

from ggt_hub.errors import RestorerError, TrainingError
from ggt_hub.pipelines.text_to_image import load_tuned, open_text_to_image
from ggt_hub.training.objectives.dual_prompt import DualPromptObjective
from tests.tiny_sdxl import save_tiny_sdxl, tiny_stable_diffusion

SIDE = 16


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


def built(sdxl: Path, attention: str = "lora") -> DualPromptObjective:
    torch.manual_seed(0)
    settings = {"pipeline": str(sdxl), "positive": "highly detailed photo", "negative": "blurry"}
    return DualPromptObjective.build(
        {"positive": 4, "negative": 2, "attention": attention, "rank": 2}, settings
    )


def batch(captions: tuple[str, ...] = ("a photo", "")) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, len(captions), 3, SIDE, SIDE, generator=rng)
    words = [torch.frombuffer(bytearray(c.encode().ljust(64, b"\0")), dtype=torch.uint8) for c in captions]
    return {
        "positive": pictures[0],
        "negative": pictures[1],
        "caption": torch.stack(words),
        "seed": torch.arange(len(captions)) + 5,
    }


def learn(objective: DualPromptObjective, steps: int) -> list[float]:
    """Losses of steps on one batch."""
    optimiser = torch.optim.Adam(objective.learners()["network"], 0.02)
    losses = []
    for _ in range(steps):
        loss = objective(batch()).value
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    return losses


def tables(pipe: Any) -> list[torch.Tensor]:
    both = [pipe.text_encoder, pipe.text_encoder_2]
    inputs = [encoder.get_input_embeddings() for encoder in both]
    return [getattr(table, "table", table).weight.detach().clone() for table in inputs]


def picture(pipe: Any, prompt: str, negative: str) -> torch.Tensor:
    return torch.from_numpy(
        pipe(
            prompt,
            negative_prompt=negative,
            height=SIDE,
            width=SIDE,
            num_inference_steps=3,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
        ).images[0]
    )


@pytest.mark.parametrize("attention", ["lora", "full"])
def test_tokens_and_attention_learn_and_every_other_weight_stays_by_the_bit(
    sdxl: Path, attention: str
) -> None:
    objective, stock = built(sdxl, attention), open_text_to_image(sdxl)
    before = {name: tensor.clone() for name, tensor in objective.network.state_dict().items()}
    losses = learn(objective, 20)
    assert losses[-1] < 0.95 * losses[0]
    changed = [not torch.equal(before[name], new) for name, new in objective.network.state_dict().items()]
    assert all(changed)
    for old, new in zip(tables(stock), tables(objective.pipe), strict=True):
        assert torch.equal(new[: len(old)], old)
    learned = {id(weight) for weight in objective.learners()["network"]}
    state = stock.unet.state_dict()
    for name, weight in objective.pipe.unet.named_parameters():
        if id(weight) not in learned:
            assert torch.equal(weight, state[name.replace(".base_layer", "")])


def test_tokens_begin_with_their_words(sdxl: Path) -> None:
    objective = built(sdxl)
    words = objective.pipe.tokenizer("highly detailed photo", add_special_tokens=False).input_ids
    rows = tables(objective.pipe)[0][[*words, words[0]]]
    assert torch.equal(objective.network["positive.text_encoder"], rows)
    assert objective.network["negative.text_encoder_2"].shape == (2, 16)


@pytest.mark.parametrize("attention", ["lora", "full"])
def test_a_stock_pipeline_loads_them_and_draws_the_same_picture(
    sdxl: Path, tmp_path: Path, attention: str
) -> None:
    objective = built(sdxl, attention)
    plain = picture(open_text_to_image(sdxl), *objective.tuned.prompts("a photo"))
    learn(objective, 5)
    objective.export(tmp_path)
    ours = picture(objective.pipe, *objective.tuned.prompts("a photo"))

    stock = StableDiffusionXLPipeline.from_pretrained(sdxl)
    for name, encoder, words in (
        ("text_encoder", stock.text_encoder, stock.tokenizer),
        ("text_encoder_2", stock.text_encoder_2, stock.tokenizer_2),
    ):
        for side in ("positive", "negative"):
            stock.load_textual_inversion(
                tmp_path, weight_name=f"{side}.{name}.safetensors", text_encoder=encoder, tokenizer=words
            )
    if attention == "lora":
        stock.load_lora_weights(tmp_path, weight_name="pytorch_lora_weights.safetensors")
    else:
        stock.unet = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    theirs = picture(stock, "A <genir-positive> image. a photo", "A <genir-negative> image. a photo")
    assert torch.equal(theirs, ours)
    assert not torch.allclose(theirs, plain, atol=1e-3)

    pipe = open_text_to_image(sdxl)
    tuned = load_tuned(pipe, tmp_path)
    assert torch.equal(picture(pipe, *tuned.prompts("a photo")), ours)


def test_the_loss_is_the_error_of_the_predicted_noise(sdxl: Path, tmp_path: Path) -> None:
    """Computed again with the stock pipeline and the tokens loaded; float32 sums in another order."""
    objective, held = built(sdxl), batch()
    found = objective(held)
    objective.export(tmp_path)
    pipe = open_text_to_image(sdxl)
    load_tuned(pipe, tmp_path)
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    errors = []
    for side in ("positive", "negative"):
        for number, caption in enumerate(("a photo", "")):
            rng = torch.Generator().manual_seed(5 + number)
            noise, spread = (torch.randn(4, 8, 8, generator=rng) for _ in range(2))
            step = torch.randint(1000, (), generator=rng)
            with torch.no_grad():
                latent = pipe.vae.encode(held[side][number][None] * 2 - 1).latent_dist
                latent = (latent.mean + latent.std * spread) * pipe.vae.config.scaling_factor
                text, _, pooled, _ = pipe.encode_prompt(
                    f"A <genir-{side}> image. {caption}", do_classifier_free_guidance=False
                )
                told = {"text_embeds": pooled, "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]])}
                noisy = schedule.add_noise(latent, noise[None], step[None])
                predicted = pipe.unet(noisy, step, text, added_cond_kwargs=told).sample
            errors.append((predicted - noise).square().mean())
    assert torch.allclose(found.value, torch.stack(errors).mean(), atol=1e-5)
    assert torch.allclose(found.terms["negative"], torch.stack(errors[2:]).mean(), atol=1e-5)


def test_a_pipeline_with_one_encoder_that_predicts_the_velocity_is_tuned_and_loaded(tmp_path: Path) -> None:
    tiny_stable_diffusion().save_pretrained(tmp_path / "sd")
    objective, held = built(tmp_path / "sd"), batch(("a photo",))
    seen: dict[str, torch.Tensor] = {}
    unet = objective.pipe.unet
    unet.register_forward_hook(
        lambda module, told, out: seen.update(noisy=told[0], steps=told[1], out=out[0])
    )
    found = objective(held)
    rng = torch.Generator().manual_seed(5)
    noise = torch.randn(4, 8, 8, generator=rng).expand(2, -1, -1, -1)
    schedule = DDPMScheduler.from_config(objective.pipe.scheduler.config)
    kept = schedule.alphas_cumprod[seen["steps"]].view(2, 1, 1, 1)
    latents = (seen["noisy"] - (1 - kept).sqrt() * noise) / kept.sqrt()
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * latents  # Salimans and Ho, 2022
    assert torch.allclose(found.value, (seen["out"] - velocity).square().mean(), rtol=1e-3)
    objective.export(tmp_path / "tuned")
    stock = StableDiffusionPipeline.from_pretrained(tmp_path / "sd", safety_checker=None)
    tuned = load_tuned(stock, tmp_path / "tuned")
    assert torch.equal(
        picture(stock, *tuned.prompts("a photo")), picture(objective.pipe, *tuned.prompts("a photo"))
    )


def test_what_has_no_table_of_tokens_or_is_no_pipeline_is_refused(sdxl: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "Flux2Pipeline"}')
    for source in (str(tmp_path), str(tmp_path / "missing"), "word"):
        with pytest.raises(TrainingError, match="text-to-image pipeline"):
            DualPromptObjective.build({}, {"pipeline": source})
    with pytest.raises(RestorerError, match="holds no dual prompts"):
        load_tuned(open_text_to_image(sdxl), tmp_path)
    with pytest.raises(TrainingError, match="words that tokens begin with are empty"):
        DualPromptObjective.build({}, {"pipeline": str(sdxl), "positive": ","})


def test_the_tokens_of_a_learned_table_alone_get_a_gradient(sdxl: Path) -> None:
    objective = built(sdxl)
    objective(batch()).value.backward()
    table = objective.pipe.text_encoder.get_input_embeddings()
    assert isinstance(table.table, nn.Embedding)
    assert table.table.weight.grad is None
    assert objective.network["positive.text_encoder"].grad.abs().sum() > 0
