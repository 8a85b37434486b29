"""What a family's work on tensors is given: pictures, one step for each, and where random numbers come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor

from ggt_hub.degradations.chains import Drawn
from ggt_hub.errors import DegradationError
from ggt_hub.scenes import procedural


@dataclass
class Batch:
    """Pictures that meet the same family.

    Attributes:
        x: (B, 3, H, W), 0..1, on any device.
        steps: one for each picture.
        clean: the pictures before any damage; depth is guessed of them where it is not given.
        depth: (B, 1, H, W), 0 (nearest) .. 1, or None.
        generator: draws random fields on the device; None draws those of the CPU path, from each step's seed.
    """

    x: Tensor
    steps: Sequence[Drawn]
    clean: Tensor
    depth: Tensor | None = None
    generator: torch.Generator | None = None
    _rngs: list[Generator] = field(default_factory=list, init=False)

    def values(self, name: str) -> Tensor:
        """A parameter of each step: (B, 1, 1, 1)."""
        return self.tensor([step.parameters[name] for step in self.steps]).view(-1, 1, 1, 1)

    def tensor(self, values: object) -> Tensor:
        """Numbers beside the pictures, on their device, as float32."""
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.x.device)

    def normals(self, channels: int) -> Tensor:
        """Independent normal numbers of unit deviation: (B, channels, H, W)."""
        if self.generator is not None:
            shape = len(self.steps), channels, *self.x.shape[2:]
            return torch.randn(shape, generator=self.generator, device=self.x.device)
        return self._drawn(lambda rng, shape: rng.standard_normal(shape, dtype=np.float32), channels)

    def uniforms(self, channels: int) -> Tensor:
        """Independent numbers, evenly from 0 to 1: (B, channels, H, W)."""
        if self.generator is not None:
            shape = len(self.steps), channels, *self.x.shape[2:]
            return torch.rand(shape, generator=self.generator, device=self.x.device)
        return self._drawn(lambda rng, shape: rng.random(shape, dtype=np.float32), channels)

    def depths(self) -> Tensor:
        """Of all pictures, as given, or as the CPU path guesses them: (B, 1, H, W).

        Raises:
            DegradationError: if a step's depth is by a network, and none is given.
        """
        if self.depth is not None:
            return self.depth
        networks = {by for step in self.steps if (by := step.parameters.get("depth_by"))}
        if networks:
            raise DegradationError(
                f"the depth is by {', '.join(sorted(networks))}: give what it says as `depth`"
            )
        guesses = [procedural.depth(one) for one in self.clean.permute(0, 2, 3, 1).cpu().numpy()]
        return self.tensor(np.stack(guesses))[:, None]

    def _drawn(
        self, draw: Callable[[Generator, tuple[int, ...]], NDArray[np.float32]], channels: int
    ) -> Tensor:
        self._rngs = self._rngs or [default_rng(step.parameters["seed"]) for step in self.steps]
        fields = [draw(rng, (*self.x.shape[2:], channels)) for rng in self._rngs]
        return self.tensor(np.stack(fields)).permute(0, 3, 1, 2)


class Family(NamedTuple):
    """What a family can do on tensors.

    Attributes:
        lacks: names what of a step runs on the CPU alone; None where nothing does.
        apply: damages a batch: (B, 3, H, W), 0..1.
    """

    lacks: Callable[[Drawn], str | None]
    apply: Callable[[Batch], Tensor]
