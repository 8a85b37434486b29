"""Chains: families one after the other, one of several, in any order, or again and again."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from numpy.random import Generator
from pydantic import AfterValidator

from ggt_hub.degradations.base import Degradation, Parameters, Sample
from ggt_hub.errors import DegradationError
from ggt_hub.scenes import NOTHING, Assets


@dataclass(frozen=True)
class Drawn:
    """One application of a family: how it is set up, and what was drawn for it."""

    degradation: Degradation
    parameters: Parameters

    def record(self) -> Parameters:
        """Plain JSON: `family`, the parameters, and the `settings` that are not the family's defaults."""
        family = self.degradation
        settings = {f.name: getattr(family, f.name) for f in fields(family)}
        changed = {f.name: settings[f.name] for f in fields(family) if settings[f.name] != f.default}
        return {
            "family": family.name,
            **self.parameters,
            **({"settings": _plain(changed)} if changed else {}),
        }


def _plain(settings: dict[str, Any]) -> Parameters:
    """As JSON gives them back: tuples as lists, paths as words."""
    plain: Parameters = json.loads(json.dumps(settings, default=str))
    return plain


def apply_steps(sample: Sample, steps: Iterable[Drawn]) -> Sample:
    """Damage a sample by one step after the other.

    Raises:
        DegradationError: if they leave `lq` at a size that is no whole fraction of that of `gt`.
    """
    for step in steps:
        sample = step.degradation.apply(sample, step.parameters)
    _ = sample.scale
    return sample


def severities(steps: Iterable[Drawn]) -> dict[str, float]:
    """What the families say of their severity, together.

    Deviations of noise add up as squares; of all else the worst counts.
    """
    together: dict[str, float] = {}
    for step in steps:
        for name, severity in step.degradation.severity(step.parameters).items():
            add = np.hypot if name == "noise" else max
            together[name] = float(add(together.get(name, 0.0), severity))
    return together


@dataclass(frozen=True, kw_only=True)
class Link(ABC):
    """A part of a chain.

    Attributes:
        probability: the chance (0..1) that it is applied.
    """

    probability: Annotated[float, Ge(0), Le(1)] = 1.0

    def draw(self, rng: Generator, severity: float | None, assets: Assets = NOTHING) -> Iterator[Drawn]:
        """Draw what is applied; a severity of None is drawn for each family, uniformly."""
        if rng.random() < self.probability:
            yield from self._draw(rng, severity, assets)

    @abstractmethod
    def _draw(self, rng: Generator, severity: float | None, assets: Assets) -> Iterator[Drawn]: ...


@dataclass(frozen=True, kw_only=True)
class Step(Link):
    """A family."""

    degradation: Degradation

    def _draw(self, rng: Generator, severity: float | None, assets: Assets) -> Iterator[Drawn]:
        if severity is None:
            severity = float(rng.random())
        parameters = self.degradation.draw(rng, severity)
        yield Drawn(self.degradation, self.degradation.choose(rng, parameters, assets))


@dataclass(frozen=True, kw_only=True)
class OneOf(Link):
    """One of its links, with equal chance unless it has shares.

    Attributes:
        shares: how often each is taken; they need not sum to 1.
    """

    links: tuple[Link, ...]
    shares: tuple[Annotated[float, Ge(0)], ...] = ()

    def __post_init__(self) -> None:
        if self.shares and (len(self.shares) != len(self.links) or not sum(self.shares)):
            raise DegradationError(
                f"one_of has {len(self.links)} steps and the shares {list(self.shares)}: give one for "
                "each, not all 0"
            )

    def _draw(self, rng: Generator, severity: float | None, assets: Assets) -> Iterator[Drawn]:
        yield from self.links[self._place(rng)].draw(rng, severity, assets)

    def _place(self, rng: Generator) -> int:
        if not self.shares:
            return int(rng.integers(len(self.links)))
        return int(rng.choice(len(self.links), p=np.array(self.shares) / sum(self.shares)))


def _ascending(times: tuple[int, int]) -> tuple[int, int]:
    if times[0] > times[1]:
        raise ValueError("the fewest come first")
    return times


Times = Annotated[tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)]], AfterValidator(_ascending)]
"""Fewest and most."""


@dataclass(frozen=True, kw_only=True)
class Shuffle(Link):
    """All its links, or some of them, in an order that is drawn.

    Attributes:
        take: fewest and most that are taken, with equal chance; none: all.
    """

    links: tuple[Link, ...]
    take: Times | tuple[()] = ()

    def _draw(self, rng: Generator, severity: float | None, assets: Assets) -> Iterator[Drawn]:
        order = rng.permutation(len(self.links))
        if self.take:
            order = order[: rng.integers(self.take[0], self.take[1] + 1)]
        for place in order:
            yield from self.links[place].draw(rng, severity, assets)


@dataclass(frozen=True, kw_only=True)
class Repeat(Link):
    """All its links in order, several times; each round draws anew.

    Attributes:
        times: fewest and most rounds, with equal chance.
    """

    links: tuple[Link, ...]
    times: Times

    def _draw(self, rng: Generator, severity: float | None, assets: Assets) -> Iterator[Drawn]:
        for _ in range(int(rng.integers(self.times[0], self.times[1] + 1))):
            for link in self.links:
                yield from link.draw(rng, severity, assets)


GROUPS: dict[str, type[OneOf | Shuffle | Repeat]] = {"one_of": OneOf, "shuffle": Shuffle, "repeat": Repeat}
"""What groups of links are called in the files of presets."""
