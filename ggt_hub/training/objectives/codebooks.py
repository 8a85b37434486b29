"""Training of the autoencoder and its codebooks: the first stage of IQPIR (arXiv 2603.29773), and of CodeFormer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import MetricUnavailableError, TrainingError
from ggt_hub.metrics.lpips import load_lpips
from ggt_hub.models import PatchDiscriminator, VQAutoencoder
from ggt_hub.models.vq_autoencoder import Reconstruction
from ggt_hub.settings import checked
from ggt_hub.training.objectives.base import Loss, Objective, Turns, building
from ggt_hub.training.objectives.compact import check_sizes, to_tensor

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, 0..1."""

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""A reconstruction and its picture, (B, 3, H, W), -1..1, to a scalar."""


@dataclass(frozen=True)
class Settings:
    """Of the objective.

    Attributes:
        perceptual: the distance beside L1: `lpips` (on VGG, its weights downloaded at first use), a folder with
            those weights, or `none`.
        game_from: the step from which the discriminator learns and is learned from.
        game_weight: of the adversarial loss, times what balances it against the reconstruction's.
        critic: arguments of the discriminator.
    """

    perceptual: str = "lpips"
    game_from: Annotated[int, Ge(0)] = 30_000
    game_weight: Annotated[float, Ge(0)] = 0.8
    critic: dict[str, int] = field(default_factory=dict)


class Terms(NamedTuple):
    """What the autoencoder's loss is the sum of: scalars."""

    pixels: Tensor
    perceptual: Tensor
    common: Tensor
    hq: Tensor
    game: Tensor


def prepare(example: Example) -> dict[str, Tensor]:
    """`gt` (3, crop, crop), -1..1, and its `quality`; what is damaged is not looked at."""
    check_sizes(example)
    _, gt = example.cut()
    return {"gt": 2 * to_tensor(gt) - 1, "quality": torch.tensor(example.known_quality)}


class CodebooksObjective(Objective):
    """L1, a perceptual distance, the losses of both books, and the hinge game against a discriminator."""

    in_bfloat16: ClassVar[bool] = False  # the nearest of 1024 codes would often be another
    needs_quality: ClassVar[bool] = True
    network: VQAutoencoder

    def __init__(
        self,
        network: VQAutoencoder,
        critic: PatchDiscriminator,
        perceptual: Perceptual | None,
        told: Settings,
    ) -> None:
        super().__init__()
        self.network, self.critic, self.told, self.prepare = network, critic, told, prepare
        self._perceptual = perceptual  # of a network that learns nothing: no part of this module
        self._made = torch.empty(0)  # what the critic is to judge

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From arguments of `VQAutoencoder`, and `Settings`."""
        told = Settings(**checked(Settings, settings, "settings of the codebooks objective", TrainingError))
        with building(model):
            network, critic = VQAutoencoder(**model), PatchDiscriminator(**told.critic)
        return cls(network, critic, perceptual_distance(told.perceptual), told)

    def learners(self) -> dict[str, list[nn.Parameter]]:
        """The autoencoder, and the discriminator."""
        return super().learners() | {"critic": list(self.critic.parameters())}

    def turns(self, step: int) -> Turns:
        """The autoencoder alone at first, later both."""
        if step < self.told.game_from:
            return {"network": {}}
        return {"network": {"plays": True}, "critic": {"judges": True}}

    def forward(self, batch: dict[str, Tensor], plays: bool = False, judges: bool = False) -> Loss:
        """The loss of a batch of `prepare`: of the autoencoder, in the game if it `plays`; or of the critic.

        The gain of a reconstruction is its PSNR. The critic judges what the autoencoder made in its turn before.
        """
        self.critic.requires_grad_(judges)
        gt = batch["gt"]
        if judges:
            real, fake = self.verdicts(gt, self._made)
            return Loss(real + fake, None, {"real": real, "fake": fake})
        found = self.network(gt, batch["quality"])
        self._made = found.image.detach()
        terms = self.terms(gt, found, plays)
        error = (found.image.detach().clamp(-1, 1) - gt).square().mean((1, 2, 3)) / 4
        return Loss(torch.stack(terms).sum(), -10 * (error + 1e-8).log10(), terms._asdict())

    def terms(self, gt: Tensor, found: Reconstruction, plays: bool) -> Terms:
        """The parts of the autoencoder's loss.

        The adversarial part is `game_weight lambda (-mean D(x))`, lambda the ratio of gradients at the generator's
        last convolution (VQGAN, arXiv 2012.09841, equation 7), between 0 and 1.
        """
        pixels, none = F.l1_loss(found.image, gt), gt.new_zeros(())
        perceptual = none if self._perceptual is None else self._perceptual(found.image, gt)
        game = none
        if plays:
            game = -self.critic(found.image).mean()
            game = self.told.game_weight * self._balance(pixels + perceptual, game) * game
        return Terms(pixels, perceptual, found.common.loss.mean(), found.hq_loss, game)

    def _balance(self, reconstruction: Tensor, game: Tensor) -> Tensor:
        last = self.network.last_layer
        own, other = (
            torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, game)
        )
        return (own / (other + 1e-4)).clamp(0, 1)

    def verdicts(self, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """Both hinges of the critic's loss: of pictures, and of reconstructions."""
        return F.relu(1 - self.critic(real)).mean(), F.relu(1 + self.critic(made)).mean()


def perceptual_distance(name: str) -> Perceptual | None:
    """LPIPS as CodeFormer calls it: ImageNet's mean and deviation are taken away before LPIPS takes its own.

    Args:
        name: as `Settings.perceptual`.

    Raises:
        TrainingError: if the weights cannot be had.
    """
    if name == "none":
        return None
    try:
        network = load_lpips("vgg", None if name == "lpips" else Path(name))
    except MetricUnavailableError as error:
        raise TrainingError(
            f"the perceptual loss has no weights: {error}; here `--perceptual FOLDER` names it, and "
            "`--perceptual none` trains without"
        ) from error

    def distance(made: Tensor, gt: Tensor) -> Tensor:
        network.to(made.device)
        mean, deviation = (made.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
        first, second = (
            network.features(127.5 * (((picture + 1) / 2 - mean) / deviation + 1)) for picture in (made, gt)
        )
        return network.compare(first, second).mean()

    return distance
