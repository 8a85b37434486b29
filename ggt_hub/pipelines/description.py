"""What a restorer can do, stated beforehand: so that nobody has to find out by running it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

from ggt_hub.errors import RestorerError
from ggt_hub.tasks import Task

Tiling = Literal["external", "internal", "none"]
Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """An argument of a restorer's call that not all restorers have.

    Attributes:
        default: what the call takes without it; its type is the option's: a whole number, a number (also of None
            without choices), or text.
        help: what it does, in a line.
        minimum: the smallest number; None for any.
        maximum: the largest number; None for any.
        choices: the texts that there are, for text.
        optional: whether None is a value too.
        slider: lowest and highest number that a page offers, and the step between; the lowest stands for None where
            that is the default. None: the page leaves it out.
    """

    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    slider: tuple[float, float, float] | None = None

    @property
    def kind(self) -> type:
        """What it takes: `int`, `float` or `str`."""
        if self.choices:
            return str
        return float if self.default is None else type(self.default)

    @property
    def whole(self) -> bool:
        """Whether it takes whole numbers only."""
        return self.kind is int

    def fits(self, value: Any) -> bool:
        """Whether a call takes the value."""
        if value is None or self.choices:
            return self.optional if value is None else value in self.choices
        number = isinstance(value, Integral if self.whole else Real) and not isinstance(value, bool)
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        return number and math.isfinite(value) and low <= value <= high

    def __str__(self) -> str:
        words = "a whole number" if self.whole else "a number"
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
        elif self.minimum is not None and self.maximum is not None:
            words += f" in {self.minimum:g}..{self.maximum:g}"
        elif self.minimum is not None:
            words += f" from {self.minimum:g} up"
        return words + (", or None" if self.optional else "")


@dataclass(frozen=True, kw_only=True)
class SizeRule:
    """The sizes in which a restorer's networks see pictures; the result has the size asked for in any case.

    Attributes:
        native: the side, in pixels, of the pictures that they were trained on; None for any.
        multiple: sides are padded, or brought, to a multiple of this inside the call ...
        minimum: ... and to this at least.
        aspect: the largest ratio of the sides that they take, a steeper picture is refused; None for any.
    """

    native: int | None = None
    multiple: int = 1
    minimum: int = 1
    aspect: int | None = None

    def side(self, pixels: int) -> int:
        """The smallest side of at least so many pixels that the networks take."""
        return -(-max(pixels, self.minimum) // self.multiple) * self.multiple

    def __str__(self) -> str:
        said = ["any"]
        if self.multiple > 1 or self.minimum > 1:
            said.append(f"worked on in multiples of {self.multiple}, from {self.side(1)} up")
        if self.aspect is not None:
            said.append(f"at most {self.aspect} times as long as wide")
        if self.native is not None:
            said.append(f"trained on {self.native}")
        return ", ".join(said)


@dataclass(frozen=True, kw_only=True)
class RestorerDescription:
    """The frozen description that each restorer carries.

    Attributes:
        tasks: the tasks it can be told; with none, a task makes no difference.
        upscales: the factors it supports; the first is the default.
        between_upscales: whether it also supports any number between the least and the largest of them.
        options: the further arguments of its call, by name.
        sizes: which sizes its networks see.
        tiling: `external` (cut here into tiles and blended), `internal` (the class has its own way), `none`.
        tile: default side of an external tile, in pixels; None restores in one piece unless asked.
        overlap: as `run_tiled` defines it; neighbouring tiles share twice as many pixels.
        takes_prompt: whether `prompt=` is supported.
        precisions: what its networks may compute in.
        prior_host: the component, and the module of it whose output a quality prior adds to, such as
            `restorer.conditioner`; None takes no prior.
        phases: the phases of a call, and the network that runs in each, for the planner of memory.
        memory: what it needs to run, in words with numbers.
    """

    tasks: tuple[Task, ...] = ()
    upscales: tuple[int, ...] = (1,)
    between_upscales: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)
    sizes: SizeRule = SizeRule()
    tiling: Tiling = "none"
    tile: int | None = None
    overlap: int = 0
    takes_prompt: bool = False
    precisions: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
    prior_host: str | None = None
    phases: Mapping[str, str] = field(default_factory=dict)
    memory: str = "not measured"

    def check_upscale(self, upscale: Any, who: str) -> None:
        """Refuse a factor that is not supported.

        Raises:
            RestorerError: for one; the message lists those that are.
        """
        number = isinstance(upscale, Real) and not isinstance(upscale, bool)
        between = (
            self.between_upscales and number and min(self.upscales) <= float(upscale) <= max(self.upscales)
        )
        if between or (number and upscale in self.upscales):
            return
        factors = ", ".join(map(str, self.upscales)) + (
            " and what is between" if self.between_upscales else ""
        )
        raise RestorerError(f"{who} cannot upscale by {upscale!r}: it supports {factors}")

    def check_precision(self, dtype: Any, who: str) -> None:
        """Refuse a dtype that the networks cannot compute in; one for each network is its class's to judge.

        Raises:
            RestorerError: for one; the message lists what is supported.
        """
        name = str(dtype).removeprefix("torch.")
        if dtype is not None and not isinstance(dtype, dict) and name not in self.precisions:
            raise RestorerError(f"{who} cannot work in {name}: it computes in {', '.join(self.precisions)}")

    def check_options(self, given: Mapping[str, Any], who: str) -> None:
        """Refuse options that the restorer lacks, and values that they do not take.

        Raises:
            RestorerError: for one; the message lists what is supported.
        """
        for name, value in given.items():
            if name not in self.options:
                known = ", ".join(f"{own} ({option})" for own, option in self.options.items())
                raise RestorerError(f"{who} has no option {name!r}: it has {known or 'none'}")
            if not self.options[name].fits(value):
                raise RestorerError(f"{name} is {value!r}: {who} takes {self.options[name]}")
