"""Training of DreamClear (arXiv 2410.18666): noise and its variance, predicted beside a frozen backbone."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from annotated_types import Ge, Le
from diffusers import AutoencoderKL, DDPMScheduler, PixArtTransformer2DModel
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, T5EncoderModel

from ggt_hub.converters.dreamclear import published_scheduler
from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import TrainingError
from ggt_hub.models import DreamClearTransformer2DModel, SwinIR
from ggt_hub.pipelines.dreamclear.captions import clean
from ggt_hub.pipelines.dreamclear.sizes import MULTIPLE, enlarged
from ggt_hub.settings import checked
from ggt_hub.training.objectives.base import Loss, Objective, building
from ggt_hub.training.objectives.compact import to_tensor

TRAINED = ("controlnet_", "cross_de", "am_", "c_embedder_", "x_embedder_")
"""Beginnings of the names of what is trained; the backbone stays as it is."""

_TIMES = 1000
_HALF_BIN = 1 / 255
_TAIL = 0.999  # beyond it a bin has no outer edge
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Settings:
    """Of the objective.

    Attributes:
        parts: folder of a DreamClear in our own layout, whose autoencoder, pre-cleaner and, if there is one, text
            encoder are taken, and whose transformer training begins with. Without it they are small and random, to
            try the program out. Without a text encoder all captions are the learned empty one.
        backbone: folder of a stock PixArt transformer; the backbone begins with it, and the two stacks with
            copies.
        dropping: chance that a caption is replaced by the learned empty one.
        coupled: whether the pictures of a batch see each other in the attention between the stacks, as those of
            one GPU do in the published training.
        checkpointing: compute layers again in the backward pass rather than keep what they gave.
    """

    parts: Path | None = None
    backbone: Path | None = None
    dropping: Annotated[float, Ge(0), Le(1)] = 0.5
    coupled: bool = True
    checkpointing: bool = False


@dataclass(frozen=True)
class Pairs:
    """What a batch holds of an example.

    Pictures `lq` (enlarged to the size of `gt`, of 8 bits) and `gt`, (3, side, side), 0..1; all that is drawn: the
    `time` 0..999, `noise` and `posterior` (4, side / 8, side / 8), and whether the caption is `dropped`; and, if
    there is a tokenizer, the caption's `ids` and `mask` (length,). An example without a caption has it dropped.

    Attributes:
        dropping: see `Settings`.
        tokenizer: of the text encoder, if there is one.
        length: of captions, in tokens.
    """

    dropping: float
    tokenizer: Any = None
    length: int = 0

    def __call__(self, example: Example) -> dict[str, Tensor]:
        """Make it.

        Raises:
            TrainingError: if the sides of the ground truth are not multiples of 64.
        """
        lq, gt = example.cut()
        height, width = gt.shape[:2]
        if height % MULTIPLE or width % MULTIPLE:
            raise TrainingError(
                f"{example.group}: crops of the ground truth have {width}x{height} pixels: choose a crop with "
                f"which both are multiples of {MULTIPLE}"
            )
        levels = np.rint(lq * 255).astype(np.uint8)
        draws, shape = example.rng, (2, 4, height // 8, width // 8)
        noise, posterior = torch.from_numpy(draws.standard_normal(shape, np.float32))
        drawn = draws.random() < self.dropping
        return {
            "lq": to_tensor(enlarged(Image.fromarray(levels), (width, height))),
            "gt": to_tensor(gt),
            "time": torch.tensor(draws.integers(_TIMES)),
            "noise": noise,
            "posterior": posterior,
            "dropped": torch.tensor(drawn or example.prompt is None),
            **self._read(example.prompt),
        }

    def _read(self, prompt: str | None) -> dict[str, Tensor]:
        if self.tokenizer is None:
            return {}
        sizes = {"padding": "max_length", "max_length": self.length, "truncation": True}
        found = self.tokenizer(clean(prompt) if prompt else "", **sizes)
        mask = found["attention_mask"] if prompt else [1] * self.length
        return {"ids": torch.tensor(found["input_ids"]), "mask": torch.tensor(mask)}


class DreamClearObjective(Objective):
    """The squared error of the noise, and how far the variance is from that of the posterior."""

    network: DreamClearTransformer2DModel

    def __init__(
        self,
        network: DreamClearTransformer2DModel,
        vae: AutoencoderKL,
        pre_cleaner: SwinIR,
        settings: Settings,
        text_encoder: Any = None,
        tokenizer: Any = None,
    ) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        self.prepare = Pairs(settings.dropping, tokenizer, network.config.caption_length)
        self.text_encoder = None if text_encoder is None else text_encoder.requires_grad_(False).eval()
        self.vae, self.pre_cleaner = (
            vae.requires_grad_(False).eval(),
            pre_cleaner.requires_grad_(False).eval(),
        )
        self.diffusion = Diffusion(published_scheduler())
        for name, weight in network.named_parameters():
            weight.requires_grad_(name.startswith(TRAINED))
        if settings.checkpointing:
            network.enable_gradient_checkpointing()

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From arguments of `DreamClearTransformer2DModel`; what is not given is that of parts or backbone."""
        told = Settings(**checked(Settings, settings, "settings of the dreamclear objective", TrainingError))
        with building(model):
            return cls(_network(model, told), *_frozen(told.parts), told, *_reading(told.parts))

    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch, see `Pairs`; the gain is how far the noise is above its error."""
        with torch.no_grad(), torch.autocast(batch["lq"].device.type, enabled=False):
            reference = self.pre_cleaner(batch["lq"]).clamp(0, 1)
            lq, reference = (self._encoded(pictures).mode() for pictures in (batch["lq"], reference))
            gt = self._encoded(batch["gt"])
            target = gt.mean + gt.std * batch["posterior"]
        scale = self.vae.config.scaling_factor
        latents = scale * target, scale * lq, scale * reference
        terms = self.terms(*latents, batch["time"], batch["noise"], *self._captions(batch))
        told = {name: value.mean() for name, value in terms.items()}
        gain = 10 * (batch["noise"].square().mean((1, 2, 3)) / (terms["mse"].detach() + 1e-8)).log10()
        return Loss(terms["mse"].mean() + terms["vb"].mean(), gain, told)

    def terms(
        self,
        target: Tensor,
        lq: Tensor,
        reference: Tensor,
        time: Tensor,
        noise: Tensor,
        caption: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The terms `mse` and `vb` of the loss, (B,) each, whose sum is it.

        Args:
            target: latents of good pictures, (B, 4, H, W).
            lq: latents of the poor ones.
            reference: latents of what the pre-cleaner makes of them.
            time: 0..999, (B,).
            noise: what the target gets of it, (B, 4, H, W).
            caption: states of the text encoder, (B, length, width); None is the learned empty one.
            mask: what is read of them.
        """
        noisy = self.diffusion.noisy(target, noise, time)
        told = self.network.embed_conditions(lq, reference, caption, mask)
        group = None if self.settings.coupled else 1
        predicted = self.network(noisy, time, conditions=told, group=group).sample
        return {
            "mse": (predicted[:, :4] - noise).square().mean((1, 2, 3)),
            "vb": self.diffusion.variational(target, noisy, time, predicted),
        }

    @torch.no_grad()
    def _captions(self, batch: dict[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """States of the captions, the learned empty one for those that are dropped, and their mask."""
        if self.text_encoder is None:
            return None, None
        states = self.text_encoder(batch["ids"], attention_mask=batch["mask"])[0].float()
        empty = self.network.y_embedding.expand_as(states)
        return torch.where(batch["dropped"][:, None, None], empty, states), batch["mask"]

    def _encoded(self, pictures: Tensor) -> Any:
        return self.vae.encode(pictures * 2 - 1).latent_dist


class Diffusion:
    """Gaussian diffusion with a learned range of variance (Nichol and Dhariwal, arXiv 2102.09672, section 3.1).

    Its tables are of all 1,000 times, in float64.
    """

    def __init__(self, scheduler: DDPMScheduler) -> None:
        self.betas = scheduler.betas.double()
        self.kept = torch.cumprod(1 - self.betas, dim=0)  # of the signal, squared

    @cached_property
    def tables(self) -> Mapping[str, Tensor]:
        """What is needed at each time, (1000,) each."""
        before = torch.cat([self.kept.new_ones(1), self.kept[:-1]])
        posterior = self.betas * (1 - before) / (1 - self.kept)
        posterior[0] = posterior[1]  # where there is nothing before, it would be zero
        return {
            "signal": self.kept.sqrt(),
            "noise": (1 - self.kept).sqrt(),
            "of_target": self.betas * before.sqrt() / (1 - self.kept),
            "of_noisy": (1 - before) * (1 - self.betas).sqrt() / (1 - self.kept),
            "least": posterior.log(),
            "most": self.betas.log(),
        }

    def noisy(self, target: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The target with the noise of its time, (B, C, H, W)."""
        return self._at("signal", time) * target + self._at("noise", time) * noise

    def variational(self, target: Tensor, noisy: Tensor, time: Tensor, predicted: Tensor) -> Tensor:
        """The variational bound of each latent in bits per number, (B,), whose gradient reaches the variance alone.

        Args:
            target: latents (B, C, H, W).
            noisy: they with noise.
            time: 0..999, (B,).
            predicted: noise and variance, (B, 2 C, H, W); -1..1 of the latter span the range.
        """
        noise, variance = predicted.float().chunk(2, dim=1)
        guessed = (noisy - self._at("noise", time) * noise.detach()) / self._at("signal", time)
        mean, right = (
            self._at("of_target", time) * clean + self._at("of_noisy", time) * noisy
            for clean in (guessed, target)
        )
        least, most = self._at("least", time), self._at("most", time)
        share = (variance + 1) / 2
        log_variance = share * most + (1 - share) * least
        divergence = 0.5 * (
            log_variance
            - least
            - 1
            + (least - log_variance).exp()
            + (right - mean).square() * (-log_variance).exp()
        )
        likelihood = _log_likelihood(target, mean, 0.5 * log_variance)
        nats = torch.where(time == 0, -likelihood.mean((1, 2, 3)), divergence.mean((1, 2, 3)))
        return nats / np.log(2)

    def _at(self, name: str, time: Tensor) -> Tensor:
        return self.tables[name][time.cpu()].float().to(time.device)[:, None, None, None]


def _log_likelihood(target: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Of numbers in bins of 1 / 127.5 under a Gaussian, whose outermost bins are open."""
    centred, inverse = target - mean, (-log_scale).exp()
    above = _cumulative(inverse * (centred + _HALF_BIN))
    below = _cumulative(inverse * (centred - _HALF_BIN))
    inside = torch.where(target < -_TAIL, above, torch.where(target > _TAIL, 1 - below, above - below))
    return inside.clamp(min=_SMALLEST).log()


def _cumulative(x: Tensor) -> Tensor:
    """The distribution function of a standard normal variable, by the usual approximation."""
    return 0.5 * (1 + (np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)).tanh())


def _network(model: dict[str, Any], told: Settings) -> DreamClearTransformer2DModel:
    """The transformer that training begins with."""
    if told.parts is not None and (told.parts / "transformer").is_dir():
        return DreamClearTransformer2DModel.from_pretrained(told.parts / "transformer", **model).float()
    if told.backbone is None:
        network = DreamClearTransformer2DModel(**model)
    else:
        stock = PixArtTransformer2DModel.from_pretrained(told.backbone)
        shared = (
            "num_attention_heads",
            "attention_head_dim",
            "num_layers",
            "sample_size",
            "caption_channels",
        )
        network = DreamClearTransformer2DModel(**{name: stock.config[name] for name in shared} | model)
        unknown = network.load_state_dict(stock.state_dict(), strict=False).unexpected_keys
        if unknown:
            raise ValueError(f"{told.backbone} has {unknown[0]}, which no backbone of DreamClear's has")
    network.begin_from_backbone()
    return network


def _frozen(parts: Path | None) -> tuple[AutoencoderKL, SwinIR]:
    """Autoencoder and pre-cleaner."""
    if parts is not None:
        vae = AutoencoderKL.from_pretrained(parts / "vae").float()
        return vae, SwinIR.from_pretrained(parts / "pre_cleaner").float()
    sizes = {"block_out_channels": (8,) * 4, "norm_num_groups": 4, "layers_per_block": 1}
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, **sizes
    )
    return vae, SwinIR(8, (2,), (2,), num_feat=8)


def _reading(parts: Path | None) -> tuple[Any, Any]:
    """Text encoder and tokenizer, where there are some."""
    if parts is None or not (parts / "text_encoder").is_dir():
        return None, None
    encoder = T5EncoderModel.from_pretrained(parts / "text_encoder", use_safetensors=True)
    return encoder, AutoTokenizer.from_pretrained(parts / "tokenizer", trust_remote_code=False)
