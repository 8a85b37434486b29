"""What device memory a run needs, by arithmetic on the shapes of its networks, before any of them is loaded."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch

from ggt_hub.errors import TrainingError

Shapes = Mapping[str, tuple[int, ...]]

GB = 10**9
CARDS = (24, 48, 80)
"""GB of the cards that a plan speaks of."""

_LEARNED = 20  # bytes: the number, its gradient, two moments and the average, each in float32
_BLOCK = (
    34  # what a block keeps for its backward pass, per token and number of its width, in 16 bits: 34 bytes
)
_CROPS = (768, 512)
_NOT_LINEAR = ("embed_tokens", "shared.", "token_embedding", "position_embedding")


@dataclass(frozen=True)
class Training:
    """What is trained, and how, as far as memory depends on it.

    Attributes:
        parts: shapes of the tensors of each network, by the names of a pipeline's components.
        adapted: ends of the names of the layers that changes of low rank are for.
        text: tokens of an instruction.
        full: whether all of the transformer is learned.
        rank: of the changes otherwise.
        crop: side of the largest picture, or of a square as large, in pixels.
        at_once: pictures that are computed at once.
        bfloat16, eight_bits, checkpointing: as the settings of the objective `flow`.
        shares: processes among which the transformer is divided; 1 where each has all of it.
    """

    parts: Mapping[str, Shapes]
    adapted: tuple[str, ...]
    text: int
    full: bool
    rank: int
    crop: int
    at_once: int
    bfloat16: bool = True
    eight_bits: bool = False
    checkpointing: bool = True
    shares: int = 1

    @property
    def weights(self) -> int:
        """Bytes of what is not learned: the autoencoder in float32, the rest as the settings say."""
        frozen = {
            name: sum(self._bytes(name, key, shape) for key, shape in shapes.items())
            for name, shapes in self.parts.items()
            if not (self.full and name == "transformer")
        }
        divided = frozen.pop("transformer", 0)
        return sum(frozen.values()) + math.ceil(divided / self.shares)

    @property
    def learned(self) -> int:
        """Bytes of what is learned, with its gradient, two moments and the average, in float32."""
        return math.ceil(_LEARNED * self._learned_numbers / self.shares)

    @property
    def _learned_numbers(self) -> int:
        transformer = self.parts["transformer"]
        if self.full:
            return sum(math.prod(shape) for shape in transformer.values())
        layers = [
            shape
            for name, shape in transformer.items()
            if name.removesuffix(".weight").endswith(self.adapted)
        ]
        return self.rank * sum(sum(shape) for shape in layers if len(shape) == 2)

    @property
    def gathered(self) -> int:
        """Bytes of what of a divided transformer is whole at once: two blocks, and all that is in no block.

        The second block comes while the first is computed (FSDP2, `fully_shard`). Where all is learned, each number
        has a gradient besides, and both are in float32; changes of low rank are too small to count.
        """
        if self.shares == 1:
            return 0
        sizes: dict[str, int] = {}
        for name, shape in self.parts["transformer"].items():
            block = ".".join(name.split(".")[:2]) if "transformer_blocks." in name else ""
            size = 8 * math.prod(shape) if self.full else self._bytes("transformer", name, shape)
            sizes[block] = sizes.get(block, 0) + size
        return sizes.pop("", 0) + sum(sorted(sizes.values())[-2:])

    @property
    def kept(self) -> int:
        """Bytes kept for the backward pass: s b h (2 n + 34) with checkpointing, 34 s b h n without.

        For s tokens, b pictures, n blocks of width h in 16 bits, attention computed piece by piece (Korthikanti et
        al., arXiv 2205.05198, sections 4.1 and 5).
        """
        transformer = self.parts["transformer"]
        width = next(
            shape[0] for name, shape in transformer.items() if name in ("x_embedder.weight", "img_in.weight")
        )
        blocks = {tuple(name.split(".")[:2]) for name in transformer if "transformer_blocks." in name}
        tokens = 2 * (self.crop**2 // 256) + self.text
        of_block = 2 * len(blocks) + _BLOCK if self.checkpointing else _BLOCK * len(blocks)
        return tokens * self.at_once * width * of_block * (1 if self.bfloat16 else 2)

    @property
    def total(self) -> int:
        """Bytes on each device."""
        return self.weights + self.learned + self.gathered + self.kept

    def smaller(self) -> Iterator[tuple[str, "Training"]]:
        """Ways to need less, each besides those before it, in the words of a recipe."""
        changes: list[tuple[str, dict[str, Any]]] = [
            ("at_once: 1", {"at_once": 1}),
            ("model: {weights: lora}", {"full": False}),
            ("settings: {checkpointing: true}", {"checkpointing": True}),
            ("settings: {eight_bits: true}", {"eight_bits": True}),
            *((f"crop: {side} or buckets as large", {"crop": side}) for side in _CROPS if side < self.crop),
        ]
        words, now = {}, self
        for said, change in changes:
            changed = replace(now, **change)
            if changed != now:
                words[next(iter(change))] = said
                yield ", ".join(words.values()), (now := changed)

    def fitting(self, size: int) -> str | None:
        """What has to be changed for `size` bytes, "" for nothing; None if nothing helps."""
        if self.total <= size:
            return ""
        return next((words for words, smaller in self.smaller() if smaller.total <= size), None)

    def _bytes(self, part: str, name: str, shape: tuple[int, ...]) -> int:
        wide = 4 if part == "vae" or not self.bfloat16 else 2
        in_eight = self.eight_bits and part.startswith(("transformer", "text_encoder"))
        if in_eight and len(shape) == 2 and not any(one in name for one in _NOT_LINEAR):
            return math.prod(shape) + wide * shape[0]
        return wide * math.prod(shape)


def describe(training: Training) -> Iterator[str]:
    """What is needed, and what would fit the usual cards, in words."""
    yield (
        f"memory: {_gb(training.total)} on each device, by arithmetic: {_gb(training.weights)} of frozen weights, "
        f"{_gb(training.learned)} of what is learned, {_gb(training.kept)} kept for the backward pass"
        + (
            f", {_gb(training.gathered)} gathered from {training.shares} processes"
            if training.gathered
            else ""
        )
    )
    for card in CARDS:
        found = training.fitting(card * GB)
        words = "nothing of this base fits" if found is None else f"fits with {found}" if found else "fits"
        yield f"  {card} GB: {words}"


def check_fits(training: Training, cpu: bool) -> None:
    """Refuse a run that is larger than the device, or than main memory where there is none.

    Raises:
        TrainingError: saying what would fit.
    """
    size = device_bytes(cpu)
    found = training.fitting(size)
    if found == "":
        return
    way = (
        f"it fits with {found} in the recipe"
        if found
        else "no setting makes this base small enough: choose another"
    )
    raise TrainingError(
        f"this run needs about {_gb(training.total)}, and there are {_gb(size)}: {way}; `--dry-run` says more"
    )


def device_bytes(cpu: bool) -> int:
    """Bytes of the accelerator's memory, or of main memory where there is none or it is not to be used."""
    if torch.cuda.is_available() and not cpu:
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return psutil.virtual_memory().total


def _gb(size: int) -> str:
    return f"{size / GB:.1f} GB" if size < 10 * GB else f"{size / GB:.0f} GB"
