"""Fitting a restorer into the memory of a device: a budget in, a plan out, by one planner for all restorers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import torch
from torch import nn

from ggt_hub.errors import RestorerError, TooLittleMemoryError
from ggt_hub.pipelines.offload import Offload, pinned_size

if TYPE_CHECKING:
    from ggt_hub.pipelines.base import RestorerPipeline

PROCESS_BYTES = 970_000_000
"""Of Python with the libraries, before the first picture: 0.96 GB measured."""

PICTURE_BYTES = 25
"""Of the picture as read, restored and written, for each of its pixels."""

Placement = Literal["none", "model", "group"]
"""All networks on the device; one at a time, the others in main memory; one at a time, streamed by block."""


@dataclass(frozen=True)
class Weights:
    """Bytes of a network.

    Attributes:
        whole: of all of it.
        least: that are on the device at least when it is streamed.
    """

    whole: int
    least: int


def weights_of(pipe: "RestorerPipeline") -> dict[str, Weights]:
    """Those of a restorer's networks, none of them streamed."""
    sizes = {
        name: sum(weight.nbytes for weight in net.parameters()) for name, net in networks_of(pipe).items()
    }
    return {name: Weights(size, size) for name, size in sizes.items()}


def networks_of(pipe: "RestorerPipeline") -> dict[str, nn.Module]:
    """The components that are networks."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


@dataclass(frozen=True)
class Demand:
    """What a call takes of a device's memory.

    Attributes:
        weights: of each network, by name.
        phases: the network that runs in each phase of the call, as the restorer's description has it.
        working: bytes that each phase works with, beyond weights.
        spare: bytes beyond what is counted, for each placement in which the restorer can run, the fastest first.
        margin: what all of it is multiplied by.
    """

    weights: Mapping[str, Weights]
    phases: Mapping[str, str]
    working: Mapping[str, int]
    spare: Mapping[Placement, float]
    margin: float = 1.0

    def peak(self, placement: Placement, room: Mapping[str, int]) -> int:
        """Bytes at the peak, where so much of each network may be on the device when it is streamed."""
        whole = {name: weights.whole for name, weights in self.weights.items()}
        present = {
            "none": dict.fromkeys(self.phases, sum(whole.values())),
            "model": {phase: whole.get(name, 0) for phase, name in self.phases.items()},
            "group": {phase: room.get(name, 0) for phase, name in self.phases.items()},
        }[placement]
        peak = max(present[phase] + self.working[phase] for phase in self.phases)
        return int((peak + self.spare[placement]) * self.margin)

    def room(self, placement: Placement, budget: int) -> dict[str, int]:
        """Bytes of each network that may be on the device: what the budget leaves, at least what it needs."""
        room = {}
        for name, weights in self.weights.items():
            working = max(
                (self.working[phase] for phase in self.phases if self.phases[phase] == name), default=0
            )
            left = budget / self.margin - self.spare[placement] - working
            room[name] = int(min(weights.whole, max(left, weights.least)))
        return room


@dataclass(frozen=True)
class Plan:
    """How to run within a budget.

    Attributes:
        offload: `none`: all networks stay on the device; `model`: one at a time; `group`: one at a time, and of
            those that are too large only so many blocks as fit, the others streamed in as they are needed.
        device: bytes of device memory at the peak, as PyTorch reserves it.
        host: bytes of main memory that hold what is not on the device; pinned where it is a GPU.
        room: with `group`, bytes of weights that may be on the device at once, for each network.
        only: the kind of device that it holds for (`cpu`); None for any.
    """

    offload: Placement
    device: int
    host: int
    room: Mapping[str, int] = field(default_factory=dict)
    only: str | None = None

    @classmethod
    def of(cls, demand: Demand, placement: Placement, budget: int = 0, **further: Any) -> Self:
        """The plan for one placement; streaming fills the budget."""
        room = demand.room(placement, budget)
        waiting = [] if placement == "none" else [weights.whole for weights in demand.weights.values()]
        return cls(
            offload=placement,
            device=demand.peak(placement, room),
            host=sum(map(pinned_size, waiting)),
            room=room if placement == "group" else {},
            **further,
        )

    def __str__(self) -> str:
        how = {"none": "all on the device", "model": "one network at a time", "group": "streamed by block"}
        return (
            f"{how[self.offload]}: {self.device / 1e9:.1f} GB on the device, "
            f"{self.host / 1e9:.1f} GB of main memory"
        )

    def prepare(self, pipe: Any) -> None:
        """What is done to the networks before they are placed: nothing, unless a restorer's own plan says so."""

    def apply(self, pipe: "RestorerPipeline", device: torch.device | str) -> None:
        """Bring the pipeline to the device as planned.

        While networks are pinned, main memory holds the one that is being copied twice.

        Raises:
            RestorerError: if the plan does not hold for such a device.
        """
        device = torch.device(device)
        if self.only not in (None, device.type):
            raise RestorerError(
                f"what {type(pipe).__name__} takes of memory is measured on a {self.only}, not on {device.type}: "
                "leave out --memory"
            )
        if pipe.offload is not None:  # of another plan
            pipe.offload.end()
            pipe.offload = None
        if device.type == "cuda":  # segments that grow are not left in pieces
            torch.cuda.memory._set_allocator_settings("expandable_segments:True")
        self.prepare(pipe)
        if self.offload == "none":
            pipe.to(device)
        else:
            networks = networks_of(pipe)
            pipe.offload = Offload(networks, device, {name: self.room.get(name) for name in networks})


AnyPlan = TypeVar("AnyPlan", bound=Plan)


def fastest(plans: Sequence[AnyPlan], budget: int, who: str, advice: str) -> AnyPlan:
    """The first of the plans that keeps within `budget` bytes.

    Raises:
        TooLittleMemoryError: if none does; the message names the smallest budget that would, and gives `advice`.
    """
    for plan in plans:
        if plan.device <= budget:
            return plan
    least = min(plan.device for plan in plans) / 1e9
    raise TooLittleMemoryError(
        f"{who} does not fit into {budget / 1e9:.1f} GB: it needs {least:.1f} GB {advice}"
    )


def parse_memory(text: str) -> int:
    """Bytes of a text such as `16GB` (10^9 each) or `16GiB` (2^30 each).

    Raises:
        RestorerError: if it is nothing of the kind.
    """
    units = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG]i?B)", text.strip())
    if match is None:
        raise RestorerError(f"memory {text!r}: write a number and a unit ({', '.join(units)}), such as 16GB")
    return int(float(match[1]) * units[match[2]])
