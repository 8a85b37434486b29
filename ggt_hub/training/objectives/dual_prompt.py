"""GenIR's dual-prompt tuning of a text-to-image pipeline (arXiv 2410.18666, section 3.2).

Pairs of a good picture and one that the pipeline itself has spoilt teach what "A <positive> image." and
"A <negative> image." mean: the vectors of these tokens and the denoiser's attention learn by the usual loss of
latent diffusion. How many tokens the paper has is not known; what they begin with is words, as there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Ge
from diffusers import DDPMScheduler
from diffusers.utils import convert_state_dict_to_diffusers
from safetensors.torch import save_file
from torch import Tensor, nn

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import HubError, RestorerError, TrainingError
from ggt_hub.models import DualPrompt
from ggt_hub.models.dual_prompt import TokensBeside
from ggt_hub.pipelines.text_to_image import (
    SIDES,
    Encoder,
    Tuned,
    encoders_of,
    open_text_to_image,
    token_file,
)
from ggt_hub.settings import checked
from ggt_hub.training.objectives.base import Loss, Objective
from ggt_hub.training.objectives.compact import to_tensor

_LONGEST_CAPTION = 1000  # bytes; encoders read far fewer
_TIMESTEPS = 1000
_TOKENS = {side: f"<genir-{side}>" for side in SIDES}
_ATTENTION = ("to_k", "to_q", "to_v", "to_out.0")


@dataclass(frozen=True)
class Settings:
    """Of the objective.

    Attributes:
        pipeline: folder or id on the Hub (ID@REVISION) of a text-to-image pipeline with a U-Net.
        positive, negative: words that the tokens begin with.
    """

    pipeline: str
    positive: str = "4k, highly detailed, professional photograph"
    negative: str = "deformation, low quality, over-smooth"


@dataclass(frozen=True)
class Model:
    """What is learned.

    Attributes:
        positive, negative: vectors of each side.
        attention: changes of the attention of low rank, or all of its weights.
        rank: of these changes.
    """

    positive: Annotated[int, Ge(1)] = 8
    negative: Annotated[int, Ge(1)] = 8
    attention: Literal["lora", "full"] = "lora"
    rank: Annotated[int, Ge(1)] = 16


def prepare(example: Example) -> dict[str, Tensor]:
    """`positive` and `negative` (3, crop, crop), 0..1, the `caption` as bytes, the `seed` of timestep and noise.

    Raises:
        TrainingError: if the two differ in size.
    """
    negative, positive = example.cut()
    if negative.shape != positive.shape:
        raise TrainingError(f"{example.source}: a good and a bad picture of a pair must be of one size")
    caption = (example.prompt or "").encode()[:_LONGEST_CAPTION].ljust(_LONGEST_CAPTION, b"\0")
    return {
        "positive": to_tensor(positive),
        "negative": to_tensor(negative),
        "caption": torch.frombuffer(bytearray(caption), dtype=torch.uint8),
        "seed": torch.tensor(int(example.rng.integers(2**62))),
    }


class DualPromptObjective(Objective):
    """The squared error of the predicted noise, for the good picture and for the bad one, each with its prompt."""

    network: DualPrompt

    def __init__(self, pipe: Any, model: Model, settings: Settings) -> None:
        super().__init__()
        # The pipeline is no part of this module, so that checkpoints hold what is learned alone.
        self._pipe = [pipe]
        self.tuned = Tuned(settings.pipeline, _TOKENS["positive"], _TOKENS["negative"], model.attention)
        self.prepare = prepare
        self.schedule = DDPMScheduler.from_config(pipe.scheduler.config, num_train_timesteps=_TIMESTEPS)
        for part in (pipe.vae, pipe.unet, *(encoder.model for encoder in encoders_of(pipe))):
            part.requires_grad_(False)
        pipe.unet.enable_gradient_checkpointing()
        learned = _add_tokens(pipe, model, settings) | _open_attention(pipe.unet, model)
        self.network = DualPrompt.of(learned)

    @property
    def pipe(self) -> Any:
        """The pipeline, which uses what is learned."""
        return self._pipe[0]

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From what is learned, and the pipeline that learns it."""
        told = Settings(**checked(Settings, settings, "settings of the dual_prompt objective", TrainingError))
        shape = Model(**checked(Model, model, "model of the dual_prompt objective", TrainingError))
        try:
            return cls(open_text_to_image(told.pipeline), shape, told)
        except (RestorerError, HubError) as error:
            raise TrainingError(str(error)) from error

    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch, see `prepare`."""
        pictures = torch.cat([batch[side] for side in SIDES])
        captions = [bytes(row.tolist()).rstrip(b"\0").decode("utf-8", "ignore") for row in batch["caption"]]
        prompts = [prompt for side in zip(*map(self.tuned.prompts, captions), strict=True) for prompt in side]
        self._move_to(pictures.device)
        drawn = [self._draw(int(seed), pictures.shape[-2:]) for seed in batch["seed"]]
        noise = torch.stack([noise for noise, _, _ in drawn]).to(pictures.device)
        spread = torch.stack([spread for _, spread, _ in drawn]).to(pictures.device)
        steps = torch.tensor([step for _, _, step in drawn], device=pictures.device).repeat(2)
        noise, spread = noise.repeat(2, 1, 1, 1), spread.repeat(2, 1, 1, 1)
        latents = self._encode(pictures, spread)
        noisy = self.schedule.add_noise(latents, noise, steps)
        target = noise
        if self.schedule.config.prediction_type == "v_prediction":
            target = self.schedule.get_velocity(latents, noise, steps)
        found = self._predict(noisy, steps, prompts, pictures.shape[-2:])
        error = (found.float() - target).square().mean((1, 2, 3))
        each = error.view(2, -1)
        gain = 10 * (target.square().mean((1, 2, 3)) / error.detach()).log10().view(2, -1).mean(0)
        terms = {side: value.detach() for side, value in zip(SIDES, each.mean(1), strict=True)}
        return Loss(error.mean(), gain, terms)

    def _draw(self, seed: int, size: torch.Size) -> tuple[Tensor, Tensor, int]:
        """Of one example: the noise, how the latent is spread, and the timestep; the same for both pictures."""
        rng = torch.Generator().manual_seed(seed)
        scale = self.pipe.vae_scale_factor
        shape = (self.pipe.vae.config.latent_channels, size[0] // scale, size[1] // scale)
        noise, spread = torch.randn(shape, generator=rng), torch.randn(shape, generator=rng)
        return noise, spread, int(torch.randint(_TIMESTEPS, (), generator=rng))

    def _encode(self, pictures: Tensor, spread: Tensor) -> Tensor:
        """Latents, drawn from the posterior."""
        vae = self.pipe.vae
        with torch.no_grad(), torch.autocast(pictures.device.type, enabled=False):
            found = vae.encode(2 * pictures.float() - 1).latent_dist
            return (found.mean + found.std * spread) * vae.config.scaling_factor

    def _predict(self, noisy: Tensor, steps: Tensor, prompts: list[str], size: torch.Size) -> Tensor:
        """What the denoiser says, asked as the stock pipeline asks it."""
        found = self.pipe.encode_prompt(
            prompts, device=noisy.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        told = {}
        if self.pipe.unet.config.addition_embed_type == "text_time":  # SDXL
            whole = torch.tensor([*size, 0, 0, *size], device=noisy.device, dtype=noisy.dtype)
            told = {"text_embeds": found[2], "time_ids": whole.repeat(len(noisy), 1)}
        return self.pipe.unet(
            noisy, steps, encoder_hidden_states=found[0], added_cond_kwargs=told, return_dict=False
        )[0]

    def _move_to(self, device: torch.device) -> None:
        if self.pipe.device != device:
            self.pipe.to(device)

    def export(self, folder: Path) -> None:
        """Write the tokens and the attention as stock pipelines load them, and the network as training does."""
        super().export(folder)
        self.tuned.save(folder)
        for encoder in encoders_of(self.pipe):
            for side in SIDES:
                vectors = self.network[f"{side}.{encoder.name}"].detach().cpu().contiguous()
                save_file({_TOKENS[side]: vectors}, folder / token_file(side, encoder.name))
        if self.tuned.attention == "full":
            self.pipe.unet.save_pretrained(folder / "unet")
            return
        from peft.utils import get_peft_model_state_dict

        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.pipe.unet))
        self.pipe.save_lora_weights(folder, unet_lora_layers=layers)


def _add_tokens(pipe: Any, model: Model, settings: Settings) -> dict[str, nn.Parameter]:
    """Give each encoder the tokens of both sides, by the stock call, and put learned rows in their places."""
    learned: dict[str, nn.Parameter] = {}
    for encoder in encoders_of(pipe):
        beside = []
        for side in SIDES:
            vectors = _first_vectors(encoder, getattr(settings, side), getattr(model, side))
            first = len(encoder.tokenizer)
            pipe.load_textual_inversion(
                {_TOKENS[side]: vectors}, text_encoder=encoder.model, tokenizer=encoder.tokenizer
            )
            learned[f"{side}.{encoder.name}"] = nn.Parameter(vectors.clone())
            beside.append((first, learned[f"{side}.{encoder.name}"]))
        table = encoder.model.get_input_embeddings().requires_grad_(False)
        encoder.model.set_input_embeddings(TokensBeside(table, beside))
    return learned


def _first_vectors(encoder: Encoder, words: str, count: int) -> Tensor:
    """Vectors of some words, (count, width), begun again where there are fewer."""
    text = " ".join(words.replace(",", " ").split())
    ids = encoder.tokenizer(text, add_special_tokens=False).input_ids
    if not ids:
        raise TrainingError(
            "the words that tokens begin with are empty: give some, as settings of dual_prompt"
        )
    chosen = [ids[place % len(ids)] for place in range(count)]
    return encoder.model.get_input_embeddings().weight[chosen].detach().float().clone()


def _open_attention(unet: nn.Module, model: Model) -> dict[str, nn.Parameter]:
    """The parameters of the attention that learn, by their names in the denoiser."""
    if model.attention == "lora":
        try:
            from peft import LoraConfig
        except ImportError as error:
            raise TrainingError(
                "attention of low rank needs peft: pip install 'ggt-hub[curation]', or attention: full"
            ) from error
        unet.add_adapter(
            LoraConfig(r=model.rank, lora_alpha=model.rank, target_modules=[*_ATTENTION])  # type: ignore[operator]
        )
        chosen = {name: weight for name, weight in unet.named_parameters() if "lora_" in name}
    else:
        inside = (".attn1.", ".attn2.")
        chosen = {
            name: weight for name, weight in unet.named_parameters() if any(part in name for part in inside)
        }
    for weight in chosen.values():
        weight.requires_grad_(True)
    return chosen
