"""What whoever runs the demo decides; a Space sets it by environment variables."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ggt_hub.errors import DemoError


@dataclass(frozen=True)
class Settings:
    """The few choices there are.

    Attributes:
        models: what `RestorerPipeline.from_pretrained` takes, as `name` or `name@revision`; the first is the one
            that a visitor meets.
        datasets: what may be browsed: `samples`, or whatever `ggt_hub.load_dataset` takes.
        max_megapixels: the largest picture that is accepted, and the largest result.
        max_megabytes: the largest file that is accepted.
        time_limit: seconds after which a restoration is given up.
        keep_seconds: pictures of visitors, and results, are deleted when they are this old.
        queue_size: how many calls may wait; further ones are told to come back.
    """

    models: tuple[str, ...] = ("compact",)
    datasets: tuple[str, ...] = ("samples", "ggt-100k", "realir-bench")
    max_megapixels: float = 16.0
    max_megabytes: int = 50
    time_limit: float = 120.0
    keep_seconds: int = 600
    queue_size: int = 20

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read `GGT_HUB_MODELS` and `GGT_HUB_DATASETS` (separated by commas), and the three limits.

        `GGT_HUB_MODELS=RealRestorer/RealRestorer,compact` is what a Space on ZeroGPU sets.

        Raises:
            DemoError: if a limit is not a number.
        """
        chosen: dict[str, Any] = {}
        for name, read in _READERS.items():
            variable = f"GGT_HUB_{name.upper()}"
            text = environment.get(variable, "").strip()
            try:
                chosen |= {name: read(text)} if text else {}
            except ValueError as error:
                raise DemoError(f"{variable} is {text!r}: give a number") from error
        return cls(**chosen)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


_READERS: dict[str, Callable[[str], Any]] = {
    "models": _names,
    "datasets": _names,
    "max_megapixels": float,
    "max_megabytes": int,
    "time_limit": float,
}
