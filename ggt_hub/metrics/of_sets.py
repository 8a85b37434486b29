"""FID and KID: how far one set of pictures is from another, whichever picture belongs to which.

The state of both is what was seen of each set; two of them merge, so that several processes may share the pictures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from ggt_hub.errors import MetricError
from ggt_hub.metrics.inception import SIDE, WEIGHTS, load_inception, resized
from ggt_hub.metrics.pictures import Pictures, as_batches

Network = Callable[[Tensor], Tensor]
_AT_ONCE = 32
_SUBSETS, _SUBSET = 100, 1000


class SetMetric:
    """What two sets of pictures have in common: their features, by Inception v3 unless a network is given.

    Args:
        weights: folder with the weights of Inception v3; None downloads them.
        network: takes pictures (N, 3, 299, 299), float32, 0..255, and gives features (N, D) in place of it.

    Raises:
        MetricUnavailableError: if the weights or torchvision cannot be had.
    """

    name: str
    protocol: str
    direction: Literal["higher", "lower"] = "lower"
    weights: tuple[str, ...] = (WEIGHTS,)

    def __init__(self, weights: str | Path | None = None, network: Network | None = None) -> None:
        self._network = network or load_inception(Path(weights) if weights else None)

    def update(self, restored: Pictures, gt: Pictures) -> None:
        """Add pictures to both sets; they may differ in number and size, and one of them may be empty.

        Args:
            restored: pictures to score; arrays or tensors as in `ggt_hub.metrics.pictures`.
            gt: pictures as they should be; those of the restored ones or others.

        Raises:
            MetricError: if something is no picture.
        """
        for pictures, is_real in ((restored, False), (gt, True)):
            for batch in as_batches(pictures):
                for part in resized(batch).split(_AT_ONCE):
                    with torch.inference_mode():
                        self._add(self._network(part), is_real)

    def merge(self, other: Self) -> None:
        """Take what another one has seen, as if it had been given to this one afterwards."""
        raise NotImplementedError

    def compute(self) -> float:
        """The distance of all that was seen.

        Raises:
            MetricError: if a set holds fewer than two pictures.
        """
        raise NotImplementedError

    def _add(self, features: Tensor, is_real: bool) -> None:
        raise NotImplementedError

    def _check(self, *counts: int) -> None:
        if min(counts) < 2:
            raise MetricError(
                f"{self.name} compares sets of 2 pictures or more; there are {counts[0]} and {counts[1]}"
            )


@dataclass
class _Moments:
    """Of features (N, D): how many, their sum, and the sum of their outer products, float64."""

    count: int = 0
    total: Tensor | float = 0.0
    products: Tensor | float = 0.0

    def add(self, count: int, total: Tensor | float, products: Tensor | float) -> None:
        self.count += count
        self.total = self.total + total
        self.products = self.products + products

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        mean = torch.as_tensor(self.total) / self.count
        return mean, (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)


class Fid(SetMetric):
    """Fréchet distance of two sets' features, taken for normal (Heusel et al. 2017, equation 6)."""

    name = "fid"
    protocol = (
        f"Inception v3 of 2015, 2048 features; pictures resized to {SIDE}x{SIDE} by Pillow's bicubic without "
        "rounding, as clean-fid; biased upwards for few pictures"
    )

    def __init__(self, weights: str | Path | None = None, network: Network | None = None) -> None:
        super().__init__(weights, network)
        self._restored, self._real = _Moments(), _Moments()

    def _add(self, features: Tensor, is_real: bool) -> None:
        features = features.double()
        (self._real if is_real else self._restored).add(len(features), features.sum(0), features.T @ features)

    def merge(self, other: Self) -> None:
        """Take what another one has seen: equal to seeing all, but for the order of a sum in float64."""
        for own, further in ((self._restored, other._restored), (self._real, other._real)):
            own.add(further.count, further.total, further.products)

    def compute(self) -> float:
        """The distance, 0 or more.

        Raises:
            MetricError: if a set holds fewer than two pictures.
        """
        self._check(self._restored.count, self._real.count)
        (mean, covariance), (real_mean, real_covariance) = (
            moments.mean_and_covariance() for moments in (self._restored, self._real)
        )
        # tr sqrt(AB) = tr sqrt(sqrt(A) B sqrt(A)), which is symmetric: its eigenvalues are real, and surely found.
        root = _root(covariance)
        shared = torch.linalg.eigvalsh(root @ real_covariance @ root).clamp_min(0).sqrt().sum()
        spread = covariance.trace() + real_covariance.trace() - 2 * shared
        return max(0.0, float((mean - real_mean).square().sum() + spread))


class Kid(SetMetric):
    """Kernel distance of two sets' features: unbiased MMD² by the kernel (x·y / D + 1)³ (Bińkowski et al. 2018)."""

    name = "kid"
    protocol = (
        f"features as fid; unbiased squared MMD, kernel (x.y/2048 + 1)^3, mean of {_SUBSETS} subsets of "
        f"{_SUBSET} pictures or of all, if there are fewer, drawn from seed 0"
    )

    def __init__(self, weights: str | Path | None = None, network: Network | None = None) -> None:
        super().__init__(weights, network)
        self._restored: list[Tensor] = []
        self._real: list[Tensor] = []

    def _add(self, features: Tensor, is_real: bool) -> None:
        (self._real if is_real else self._restored).append(features)

    def merge(self, other: Self) -> None:
        """Take what another one has seen, as if it had been given to this one afterwards."""
        self._restored += other._restored
        self._real += other._real

    def compute(self) -> float:
        """The distance; unbiased, so that it is below 0 for half of all equal sets.

        Raises:
            MetricError: if a set holds fewer than two pictures.
        """
        self._check(*(sum(map(len, side)) for side in (self._restored, self._real)))
        restored, real = torch.cat(self._restored).double(), torch.cat(self._real).double()
        size = min(_SUBSET, len(restored), len(real))
        if size == len(restored) == len(real):
            return _squared_mmd(restored, real)
        generator = torch.Generator().manual_seed(0)

        def subset(features: Tensor) -> Tensor:
            return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)]

        distances = [_squared_mmd(real=subset(real), restored=subset(restored)) for _ in range(_SUBSETS)]
        return sum(distances) / _SUBSETS


def fid(
    restored: Pictures, gt: Pictures, *, weights: str | Path | None = None, network: Network | None = None
) -> float:
    """FID of two sets of pictures; see `Fid`, whose arguments and errors these are."""
    return _distance(Fid(weights, network), restored, gt)


def kid(
    restored: Pictures, gt: Pictures, *, weights: str | Path | None = None, network: Network | None = None
) -> float:
    """KID of two sets of pictures; see `Kid`, whose arguments and errors these are."""
    return _distance(Kid(weights, network), restored, gt)


SET_METRICS: dict[str, type[SetMetric]] = {metric.name: metric for metric in (Fid, Kid)}
"""Metrics of sets, by name; those of single pictures are in `METRICS`."""


def _distance(metric: SetMetric, restored: Pictures, gt: Pictures) -> float:
    metric.update(restored, gt)
    return metric.compute()


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _squared_mmd(restored: Tensor, real: Tensor) -> float:
    """Equation 4 of Bińkowski et al., for equal numbers of both."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    count = len(real)
    within = sum(
        (own.sum() - own.trace()) / (count - 1) for own in (kernel(restored, restored), kernel(real, real))
    )
    return float((within - 2 * kernel(restored, real).sum() / count) / count)
