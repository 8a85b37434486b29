"""What whoever runs the demo decides; a Space sets it by environment variables."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
        max_uploads: how many files one visitor may send within `keep_seconds`.
        hosts: names by which the server may be called, beside its own and addresses; `*` allows all.
    """

    models: tuple[str, ...] = ("compact",)
    datasets: tuple[str, ...] = ("samples", "ggt-100k", "realir-bench")
    max_megapixels: float = 16.0
    max_megabytes: int = 50
    time_limit: float = 120.0
    keep_seconds: int = 600
    queue_size: int = 20
    max_uploads: int = 100
    hosts: tuple[str, ...] = ()

    @classmethod
    def on_own_machine(cls) -> Self:
        """For one person at their own machine: photographs of 50 megapixels, and the time that they take."""
        return cls(max_megapixels=64.0, max_megabytes=500, time_limit=3600.0, max_uploads=1000)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, defaults: "Settings | None" = None
    ) -> "Settings":
        """Read `GGT_HUB_MODELS`, `GGT_HUB_DATASETS`, `GGT_HUB_HOSTS` (separated by commas), and the limits.

        `GGT_HUB_MODELS=RealRestorer/RealRestorer,compact` is what a Space on ZeroGPU sets.

        Raises:
            DemoError: if a limit is not a number above zero, or a list is empty.
        """
        chosen: dict[str, Any] = {}
        if "SPACE_ID" in environment:  # the Hub stands before it, and names it in several ways
            chosen["hosts"] = ("*",)
        for name, read in _READERS.items():
            variable = f"GGT_HUB_{name.upper()}"
            text = environment.get(variable, "").strip()
            if text:
                chosen[name] = read(variable, text)
        return replace(defaults or cls(), **chosen)


def _names(variable: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise DemoError(f"{variable} is {text!r}: give names, separated by commas")
    return names


def _number(variable: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise DemoError(f"{variable} is {text!r}: give a number above 0")
    return number


def _whole(variable: str, text: str) -> int:
    number = _number(variable, text)
    if number != int(number):
        raise DemoError(f"{variable} is {text!r}: give a whole number")
    return int(number)


_READERS: dict[str, Callable[[str, str], Any]] = {
    "models": _names,
    "datasets": _names,
    "hosts": _names,
    "max_megapixels": _number,
    "max_megabytes": _whole,
    "max_uploads": _whole,
    "time_limit": _number,
}
