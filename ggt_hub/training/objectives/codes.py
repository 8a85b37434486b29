"""Training of the code predictor: CodeFormer, and the second stage of IQPIR (arXiv 2603.29773)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.data.reading.mixture import Example
from ggt_hub.errors import MetricError, TrainingError
from ggt_hub.metrics import as_loss, get_metric
from ggt_hub.models import CodeFormer, VQAutoencoder
from ggt_hub.models.code_former import COMMON, HQ, Prediction
from ggt_hub.settings import checked
from ggt_hub.training.objectives.base import Loss, Objective, building, check_kind
from ggt_hub.training.objectives.compact import check_sizes, to_tensor

Score = Callable[[Tensor], Tensor]
"""Pictures (B, 3, H, W), 0..1, to how good they are on the mean: a scalar, about 0..1."""


@dataclass(frozen=True)
class Settings:
    """Of the objective.

    Attributes:
        codebooks: folder of the autoencoder that the first stage has trained.
        feature_weight: of the squared difference between the encoder's features and those of the right codes.
        code_weight: of the cross-entropy of each book.
        quality_weight: of the quality loss; 0 leaves it out.
        quality_form: what it is of the quality q of what is restored: `negative` -q, as the paper has it, or
            `hinge` max(0, 1 - q), as the released code.
        experts: what q is the mean of: metrics with a gradient (`as_loss`), each with the scores that count as 0
            and as 1.
        zero_table: whether the table of qualities begins at zero, so that one never seen changes nothing. As
            published it begins at unit noise.
    """

    codebooks: Path | None = None
    feature_weight: Annotated[float, Ge(0)] = 1.0
    code_weight: Annotated[float, Ge(0)] = 0.5
    quality_weight: Annotated[float, Ge(0)] = 0.0
    quality_form: Literal["negative", "hinge"] = "negative"
    zero_table: bool = False
    experts: dict[str, tuple[float, float]] = field(default_factory=lambda: {"brisque": (50.21, -4.93)})


class Terms(NamedTuple):
    """What the loss is the sum of: scalars, each with its weight."""

    feature: Tensor
    common: Tensor
    hq: Tensor
    quality: Tensor


def prepare(example: Example) -> dict[str, Tensor]:
    """`lq` (of 8 bits) and `gt` (3, crop, crop), -1..1, and the `quality` of the latter."""
    check_sizes(example)
    lq, gt = example.cut()
    return {
        "lq": 2 * to_tensor(np.rint(lq * 255) / 255) - 1,
        "gt": 2 * to_tensor(gt) - 1,
        "quality": torch.tensor(example.known_quality),
    }


class CodesObjective(Objective):
    """The codes and features of good pictures from poor ones; and how good what they decode to is.

    Books and generator stay as the first stage has left them. The right codes are those that its encoder,
    `teacher`, gives for the ground truth, as it is in the batch; published training stores them beforehand.

    The quality loss is the discrete optimisation of the paper: the generator sees entries of the books alone, and
    its gradient passes straight to the encoder and to the table of qualities.
    """

    in_bfloat16: ClassVar[bool] = False  # the nearest of 1024 codes would often be another
    needs_quality: ClassVar[bool] = True
    network: CodeFormer

    def __init__(self, network: CodeFormer, autoencoder: VQAutoencoder, score: Score, told: Settings) -> None:
        super().__init__()
        self.network, self.teacher = network, autoencoder.encoder.requires_grad_(False)
        self.told, self.prepare, self._score = told, prepare, score
        for part in (network.generator, network.fuse_convs_dict, *network.books):
            part.requires_grad_(False)

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From arguments of `CodeFormer` besides those of its autoencoder, which are the codebooks'."""
        told = Settings(**checked(Settings, settings, "settings of the codes objective", TrainingError))
        autoencoder = first_stage(told.codebooks)
        arguments = signature(CodeFormer).parameters
        shape = {name: value for name, value in autoencoder.config.items() if name in arguments}
        with building(model):
            network = CodeFormer(**shape, **model)
        network.load_state_dict(autoencoder.state_dict(), strict=False)  # all that it has, the network has
        if told.zero_table and network.config.bins is not None:
            nn.init.zeros_(network.score_embed.weight)
        return cls(network, autoencoder, scorer(told.experts), told)

    def start_from(self, weights: Path) -> None:
        """As in the contract; what was trained for other codebooks does not fit."""
        own = [book.embedding.weight.clone() for book in self.network.books]
        super().start_from(weights)
        if not all(
            torch.equal(book.embedding.weight, its) for book, its in zip(self.network.books, own, strict=True)
        ):
            raise TrainingError(
                f"cannot start from {weights}: it was trained for other --codebooks than those given"
            )

    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch, see `prepare`; the gain is how far features are above their error."""
        quality = None if self.network.config.bins is None else batch["quality"]
        codes = self.codes(batch["gt"])
        found = self.network.predict(batch["lq"], quality)
        terms = self.terms(found, codes)
        right = (found.codes == codes).float().mean()
        target = self._features(found, codes)
        error = (target - found.feature.detach()).square().mean((1, 2, 3))
        gain = 10 * (target.square().mean((1, 2, 3)) / (error + 1e-8)).log10()
        return Loss(torch.stack(terms).sum(), gain, terms._asdict() | {"right": right})

    @torch.no_grad()
    def codes(self, gt: Tensor) -> Tensor:
        """The right codes of pictures (B, 3, H, W): (B, tokens), or (B, tokens, 2) with two books."""
        z = self.teacher(gt)
        found = [book(z).codes.flatten(1) for book in self.network.books]
        return found[0] if len(found) == 1 else torch.stack(found, dim=-1)

    def terms(self, found: Prediction, codes: Tensor) -> Terms:
        """The parts of the loss, where `codes` are right."""
        feature = self.told.feature_weight * F.mse_loss(found.feature, self._features(found, codes))
        if codes.ndim == 3:
            common, hq = (_wrong(found.logits[..., book], codes[..., book]) for book in (COMMON, HQ))
        else:
            common, hq = _wrong(found.logits, codes), feature.new_zeros(())
        weight = self.told.code_weight
        return Terms(feature, weight * common, weight * hq, self._quality(found))

    @torch.no_grad()
    def _features(self, found: Prediction, codes: Tensor) -> Tensor:
        return self.network.code_features(codes, found.feature.shape[-2:])

    def _quality(self, found: Prediction) -> Tensor:
        weight = self.told.quality_weight
        if weight == 0:
            return found.feature.new_zeros(())
        restored = self.network.decode(found, found.codes)
        score = self._score(((restored + 1) / 2).clamp(0, 1))
        return weight * (F.relu(1 - score) if self.told.quality_form == "hinge" else -score)


def first_stage(folder: Path | None) -> VQAutoencoder:
    """The autoencoder in a folder.

    Raises:
        TrainingError: if none is given, there is another network, or codes cannot be predicted for its books.
    """
    if folder is None:
        raise TrainingError(
            "codes are learned for the codebooks of a first stage: name its folder `model/` with --codebooks"
        )
    check_kind(folder, VQAutoencoder.__name__)
    try:
        autoencoder = VQAutoencoder.from_pretrained(folder).float()
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(f"the codebooks in {folder} cannot be loaded: {error}") from error
    if autoencoder.config.hq_codes not in (None, autoencoder.config.codes):
        raise TrainingError(f"the two books in {folder} differ in length: codes are predicted for both alike")
    return autoencoder


def scorer(experts: Mapping[str, tuple[float, float]]) -> Score:
    """The mean of experts, each 0 at its first number, 1 at its second, linear between and beyond.

    Raises:
        TrainingError: if one is unknown or has no gradient, or its numbers are equal.
    """
    try:
        losses = {name: as_loss(name) for name in experts}
    except MetricError as error:
        raise TrainingError(f"experts of the quality loss: {error}") from error
    if not experts or any(worst == best for worst, best in experts.values()):
        raise TrainingError(
            f"experts of the quality loss: each needs two different numbers, not {dict(experts)}"
        )

    def score(pictures: Tensor) -> Tensor:
        parts = []
        for name, (worst, best) in experts.items():
            sign = 1 if get_metric(name).direction == "lower" else -1
            parts.append((sign * losses[name](pictures) - worst) / (best - worst))
        return torch.stack(parts).mean().to(pictures.dtype)

    return score


def _wrong(logits: Tensor, codes: Tensor) -> Tensor:
    """The cross-entropy of logits (B, tokens, K)."""
    return F.cross_entropy(logits.mT, codes)
