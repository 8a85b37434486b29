"""Metrics as modules of the `evaluate` library: what `spaces/metrics/` publishes is a thin face over this.

Pictures do not pass through the library's Arrow writer (125 ms a pair): they are scored as they are added, and
only the numbers are kept until `compute`. Several processes (`num_process`) are therefore not supported.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np

from ggt_hub.errors import MetricError
from ggt_hub.metrics.fs import Aggregate, fs, mean_fs, rs
from ggt_hub.metrics.of_sets import SET_METRICS, SetMetric
from ggt_hub.metrics.registry import METRICS, compute

CITATION = "ggt-hub, https://pypi.org/project/ggt-hub/"
AGGREGATES: dict[str, Aggregate] = {
    "realir-code": "mean of products",
    "realir-paper": "product of means",
    "strict": "mean of products",
}


class PictureMetric(evaluate.Metric):
    """A module that scores pictures by functions of `ggt_hub.metrics`.

    `predictions` and `references` are batches as those functions take them: lists of arrays or PIL images of
    mixed sizes, or tensors. `evaluate.load(path, "psnr-y,ssim-y")` chooses other names than the module's own.
    """

    names: ClassVar[tuple[str, ...]]
    inputs: ClassVar[tuple[str, ...]] = ("predictions", "references")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.num_process > 1:
            raise MetricError(
                f"{self.name} works in one process: leave out num_process and gather the scores"
            )
        self._added: dict[str, list[float]] = {}

    def _info(self) -> evaluate.MetricInfo:
        known = METRICS | SET_METRICS
        protocols = "\n".join(f"{name}: {known[name].protocol}" for name in self.chosen if name in known)
        return evaluate.MetricInfo(
            description=f"{inspect.getdoc(type(self))}\n{protocols}",
            citation=CITATION,
            inputs_description="Lists of pictures (arrays, PIL images) of mixed sizes, or tensors N x C x H x W.",
            features=datasets.Features({name: datasets.Value("float64") for name in self.inputs}),
        )

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the metrics: those given as the configuration, or the module's own."""
        given = self.config_name if self.config_name not in (None, "default") else ""
        return tuple(name.strip() for name in given.split(",")) if given else self.names

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Score one picture; further arguments as those of `add_batch`, for one picture.

        The plural names, under which `evaluate.combine` hands a picture on, mean the same here.
        """
        one = {"predictions": prediction, "references": reference}
        given = {name: value for name, value in (one | kwargs).items() if value is not None}
        self.add_batch(**{name: [value] if name in self.inputs else value for name, value in given.items()})

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Score a batch; `weights` is the folder with the weights of perceptual metrics.

        Raises:
            MetricError: if it holds no picture, or a metric is not defined for one: a mean would be NaN. Nothing of
                the batch is kept then.
        """
        if predictions is None or len(predictions) == 0:
            raise MetricError(f"{self.name} was given no picture: pass predictions")
        scores = {
            name: [float(score) for score in of_all]
            for name, of_all in self.score(predictions, references, **kwargs).items()
        }
        for name, values in scores.items():
            if wrong := [index for index, value in enumerate(values) if not math.isfinite(value)]:
                raise MetricError(f"{name} is not defined for picture {wrong[0]}: leave it out")
        for name, values in scores.items():
            self._added.setdefault(name, []).extend(values)

    def score(self, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
        """Scores of a batch by name."""
        return dict(
            compute(self.chosen, predictions, references if "references" in self.inputs else None, **options)
        )

    def compute(
        self, *, predictions: Any = None, references: Any = None, per_picture: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Mean of each metric over all that was added, and forget it.

        Args:
            predictions: a last batch, or all pictures at once.
            references: theirs.
            per_picture: also give all scores, as `NAME_per_picture`.
            **kwargs: as for `add_batch`.

        Raises:
            MetricError: if nothing was added.
        """
        if predictions is not None:
            self.add_batch(predictions=predictions, references=references, **kwargs)
        if not self._added:
            raise MetricError(f"{self.name} was given no picture: pass predictions, or add some first")
        added, self._added = self._added, {}
        return self.summary(added) | (
            {f"{name}_per_picture": scores for name, scores in added.items()} if per_picture else {}
        )

    def summary(self, added: dict[str, list[float]]) -> dict[str, float]:
        """Means of what was added."""
        return {name: float(np.mean(scores)) for name, scores in added.items()}


class RealIRScore(PictureMetric):
    """RS and FS from ratings that a judge has given; the configuration names the protocol (`realir-code`)."""

    inputs = ("predictions", "references", "ratings_before", "ratings_after")

    @property
    def chosen(self) -> tuple[str, ...]:
        """LPIPS, whatever the configuration."""
        return ("lpips",)

    @property
    def aggregate(self) -> Aggregate:
        """How the protocol averages."""
        protocol = "realir-code" if self.config_name in (None, "default") else self.config_name
        if protocol not in AGGREGATES:
            raise MetricError(f"unknown protocol {protocol!r}: there are {', '.join(AGGREGATES)}")
        return AGGREGATES[protocol]

    def score(  # type: ignore[override]
        self,
        predictions: Any,
        references: Any,
        *,
        ratings_before: Sequence[float],
        ratings_after: Sequence[float],
        **options: Any,
    ) -> dict[str, Any]:
        """LPIPS against the degraded input, RS and FS of each picture; `references` are the degraded inputs."""
        rise = rs(ratings_before, ratings_after)
        distance = super().score(predictions, references, **options)["lpips"]
        if len(rise) != len(distance):
            raise MetricError(
                f"{len(rise)} ratings for {len(distance)} pictures: give one before and one after each"
            )
        return {"lpips": distance, "rs": rise, "fs": fs(np.asarray(distance), rise)}

    def summary(self, added: dict[str, list[float]]) -> dict[str, float]:
        """Means of LPIPS and RS, and FS as the protocol averages it."""
        means = super().summary(added)
        return means | {"fs": mean_fs(added["lpips"], added["rs"], self.aggregate)}


class SetDistance(PictureMetric):
    """A module that compares sets of pictures, whose numbers may differ; there are no scores of single ones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if unknown := [name for name in self.chosen if name not in SET_METRICS]:
            raise MetricError(f"{unknown[0]!r} is no metric of sets: there are {', '.join(SET_METRICS)}")
        self._seen: list[SetMetric] = []

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add pictures to the sets; `weights` is the folder with the weights of Inception v3.

        Raises:
            MetricError: if it holds no picture.
        """
        if all(side is None or len(side) == 0 for side in (predictions, references)):
            raise MetricError(f"{self.name} was given no picture: pass predictions and references")
        self._seen = self._seen or [SET_METRICS[name](**kwargs) for name in self.chosen]
        for metric in self._seen:
            metric.update(
                [] if predictions is None else predictions, [] if references is None else references
            )

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, Any]:
        """The distances of all that was added, and forget it.

        Args:
            predictions: last pictures of one set, or all at once.
            references: likewise, of the other.
            **kwargs: as for `add_batch`.

        Raises:
            MetricError: if a set holds fewer than two pictures.
        """
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references, **kwargs)
        if not self._seen:
            raise MetricError(f"{self.name} was given no picture: pass predictions and references")
        seen, self._seen = self._seen, []
        return {metric.name: metric.compute() for metric in seen}
