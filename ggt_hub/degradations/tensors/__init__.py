"""Damage on batches of tensors, on any device: the same parameters as the CPU path, which tests hold it to.

For training where a GPU would wait for the CPU. Whatever has no home here is refused by name, never done otherwise.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.tensors.batch import Batch, Family
from ggt_hub.degradations.tensors.blur import BLUR
from ggt_hub.degradations.tensors.compression import COMPRESSION
from ggt_hub.degradations.tensors.haze import HAZE
from ggt_hub.degradations.tensors.low_light import LOW_LIGHT
from ggt_hub.degradations.tensors.noise import NOISE
from ggt_hub.degradations.tensors.resize import RESIZE
from ggt_hub.errors import DegradationError

__all__ = ["BATCHED", "apply_batch", "lacks"]

BATCHED: dict[str, Family] = {
    "blur": BLUR,
    "noise": NOISE,
    "compression": COMPRESSION,
    "low_light": LOW_LIGHT,
    "resize": RESIZE,
    "haze": HAZE,
}
"""The families that run on tensors."""


def lacks(step: Drawn) -> str | None:
    """What of a step runs on the CPU alone (a family, or a kind or setting of it); None where all runs here."""
    name = step.degradation.name
    if name not in BATCHED:
        return name
    missing = BATCHED[name].lacks(step)
    return None if missing is None else f"{name} ({missing})"


def apply_batch(
    clean: Tensor,
    chains: Sequence[Sequence[Drawn]],
    *,
    depth: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Damage each picture by its own chain; steps of the same family and place run together.

    Args:
        clean: (B, 3, H, W), 0..1, on any device.
        chains: for each picture, what a preset's or family's `draw` gave.
        depth: (B, 1, H, W), 0 (nearest) .. 1 (farthest), for haze; None guesses it on the CPU, as there.
        generator: of the pictures' device; draws random fields there, in no time, other ones of the same law. None
            draws those of the CPU path from the steps' seeds, on the CPU: so results agree value by value.

    Returns:
        The damaged pictures, in the shape, type and place of the clean ones.

    Raises:
        DegradationError: before any work, if a step runs on the CPU alone, or there is not one chain a picture.
    """
    if len(chains) != len(clean):
        raise DegradationError(f"there are {len(clean)} pictures and {len(chains)} chains: give one for each")
    missing = sorted({what for chain in chains for step in chain if (what := lacks(step))})
    if missing:
        raise DegradationError(
            f"not on tensors: {', '.join(missing)}: take other kinds, or damage these pictures by `degrade`"
        )
    x = undamaged = clean.float()
    for place in range(max(map(len, chains), default=0)):
        done = x.clone()
        for name, numbers in _by_family(chains, place).items():
            steps = [chains[number][place] for number in numbers]
            known = None if depth is None else depth[numbers]
            batch = Batch(x[numbers], steps, undamaged[numbers], known, generator)
            done[numbers] = BATCHED[name].apply(batch)
        x = done
    return x.to(clean.dtype)


def _by_family(chains: Sequence[Sequence[Drawn]], place: int) -> dict[str, list[int]]:
    """Which pictures meet which family at a place of their chains."""
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for number, chain in enumerate(chains):
        if place < len(chain):
            numbers[chain[place].degradation.name].append(number)
    return numbers
