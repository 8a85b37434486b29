"""Any metric of pyiqa by its name there, `pyiqa:NAME`, where the extra `iqa` is installed."""

from functools import cache
from math import inf
from pickle import UnpicklingError
from typing import Any

import torch

from ggt_hub.errors import MetricError, MetricUnavailableError
from ggt_hub.metrics.metric import Metric
from ggt_hub.metrics.pictures import Pictures, Scores, as_tensor, score_each, score_pairs


def pyiqa_metric(name: str) -> Metric:
    """Describe pyiqa's metric `name`; its weights are downloaded at the first score.

    Raises:
        MetricUnavailableError: if pyiqa is not installed.
        MetricError: if pyiqa has no such metric.
    """
    try:
        import pyiqa
        from pyiqa.default_model_configs import DEFAULT_CONFIGS
    except ImportError as error:
        raise MetricUnavailableError(
            f"pyiqa:{name} needs pyiqa, licensed for non-commercial use: pip install 'ggt-hub[iqa]'"
        ) from error
    config = DEFAULT_CONFIGS.get(name)
    if config is None:
        raise MetricError(f"pyiqa has no metric {name!r}: pyiqa.list_models() names those it has")
    compares = config["metric_mode"] == "FR"

    def pairs(restored: Pictures, gt: Pictures) -> Scores:
        return score_pairs(restored, gt, lambda x, y: _score(name, x, y))

    def singles(pictures: Pictures) -> Scores:
        return score_each(pictures, lambda x: _score(name, x))

    return Metric(
        name=f"pyiqa:{name}",
        function=pairs if compares else singles,
        direction="lower" if config.get("lower_better") else "higher",
        range=(-inf, inf),
        pyiqa=name,
        needs_reference=compares,
        protocol=f"pyiqa {pyiqa.__version__}, its own defaults",
        mean=None if compares else lambda pictures: _mean(name, pictures),
    )


@cache
def load_pyiqa(name: str, device: str = "cpu", as_loss: bool = False) -> Any:
    """The metric as pyiqa makes it, with its weights; `as_loss` keeps gradients and gives means of batches.

    Raises:
        MetricUnavailableError: if pyiqa cannot load them.
    """
    import pyiqa

    try:
        return pyiqa.create_metric(name, device=device, as_loss=as_loss)
    except (OSError, RuntimeError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        raise MetricUnavailableError(f"pyiqa cannot load the weights of {name} ({reason})") from error


def _score(name: str, *pictures: Any) -> torch.Tensor:
    tensors = [as_tensor(picture) / 255 for picture in pictures]
    return load_pyiqa(name, str(tensors[0].device))(*tensors)


def _mean(name: str, pictures: torch.Tensor) -> torch.Tensor:
    return load_pyiqa(name, str(pictures.device), as_loss=True)(pictures)
