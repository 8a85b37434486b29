"""A small classifier that tells good pictures from spoilt ones, and the stage that lets it decide."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from annotated_types import Ge, Gt, Le, MultipleOf
from torch import Tensor
from torch.nn import functional as F

from ggt_hub.commit import commit_json
from ggt_hub.curation.stage import Context, Deciding, Dropped, Kept, Learning, Outcome, Row
from ggt_hub.files import seed_of
from ggt_hub.images.shown import shown_rgb

_HELD_OUT = 10  # every tenth picture is kept for measuring
_CROPS = 9
Side = Annotated[int, Ge(32), MultipleOf(32)]


@dataclass(frozen=True)
class LearnQuality(Learning):
    """A small ResNet from scratch on crops of good and of spoilt pictures; which one the paper has is not known.

    Attributes:
        crop: side of a crop, in pixels.
        pairs: that are looked at, at most; their files are kept in memory.
        steps: of the training.
        batch: crops of good pictures in a step, and of spoilt ones.
        learning_rate: of Adam.
    """

    crop: Side = 224
    pairs: Annotated[int, Ge(1)] = 500
    steps: Annotated[int, Ge(1)] = 1000
    batch: Annotated[int, Ge(1)] = 16
    learning_rate: Annotated[float, Gt(0)] = 1e-3

    name: ClassVar[str] = "learn-quality"
    needs: ClassVar[tuple[str, ...]] = ("positive", "negative")

    def learn(self, rows: Iterable[Row], context: Context, working: Path, folder: Path) -> dict[str, Any]:
        """Train; `quality.json` says on how many pictures, and how many of others it tells right."""
        pairs = [(row["positive"], row["negative"]) for row in islice(rows, self.pairs)]
        held = pairs[::_HELD_OUT] if len(pairs) >= _HELD_OUT else []
        learned = [pair for n, pair in enumerate(pairs) if n % _HELD_OUT or not held]
        with torch.random.fork_rng():
            torch.manual_seed(context.seed)
            network = self._trained(learned, np.random.default_rng(seed_of(self.name, context.seed)))
        right = [
            (probability(network, data, self.crop) >= 0.5) == is_good
            for pair in held
            for data, is_good in zip(pair, (True, False), strict=True)
        ]
        report = {
            "pictures": 2 * len(learned),
            "held_out": len(right),
            "right": sum(right) / len(right) if right else None,
            "crop": self.crop,
        }
        network.save_pretrained(folder)
        commit_json(folder / "quality.json", report)
        return report

    def _trained(self, pairs: list[tuple[bytes, bytes]], rng: np.random.Generator) -> Any:
        from transformers import ResNetConfig, ResNetForImageClassification

        network = ResNetForImageClassification(
            ResNetConfig(
                embedding_size=32,
                hidden_sizes=[32, 64, 96, 128],
                depths=[1, 1, 1, 1],
                layer_type="basic",
                num_labels=2,
            )
        ).train()
        optimiser = torch.optim.Adam(network.parameters(), self.learning_rate)
        labels = torch.tensor([1] * self.batch + [0] * self.batch)
        for _ in range(self.steps):
            chosen = rng.integers(len(pairs), size=self.batch)
            crops = [self._crop(pairs[n][side], rng) for side in (0, 1) for n in chosen]
            loss = F.cross_entropy(network(torch.stack(crops)).logits, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return network.eval()

    def _crop(self, data: bytes, rng: np.random.Generator) -> Tensor:
        pixels = _at_least(_read(data), self.crop)
        top, left = (int(rng.integers(extent - self.crop + 1)) for extent in pixels.shape[:2])
        piece = pixels[top : top + self.crop, left : left + self.crop]
        return _to_input(piece[:, ::-1] if rng.random() < 0.5 else piece)


@dataclass(frozen=True)
class Filter(Deciding):
    """Pictures that the classifier finds good.

    Attributes:
        least: probability, 0..1; the paper does not state it.
    """

    least: Annotated[float, Ge(0), Le(1)] = 0.5

    name: ClassVar[str] = "filter"
    needs: ClassVar[tuple[str, ...]] = ("picture",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {"quality": pa.float64()}
    uses: ClassVar[tuple[str, ...]] = ("learn-quality",)

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep those, with their probability."""
        network, crop = _opened(context.learned["learn-quality"])
        found = [probability(network, row["picture"], crop) for row in rows]
        return [
            Kept({"quality": value})
            if value >= self.least
            else Dropped("low quality", f"{value:.3f} of {self.least:g}")
            for value in found
        ]


def probability(network: Any, data: bytes, crop: int) -> float:
    """How probably a picture is good: the mean over nine crops, spread evenly."""
    pixels = _at_least(_read(data), crop)
    places = [
        [round((extent - crop) * n / (math.isqrt(_CROPS) - 1)) for n in range(math.isqrt(_CROPS))]
        for extent in pixels.shape[:2]
    ]
    crops = [_to_input(pixels[t : t + crop, left : left + crop]) for t in places[0] for left in places[1]]
    with torch.inference_mode():
        return float(network(torch.stack(crops)).logits.softmax(1)[:, 1].mean())


@lru_cache(1)  # a folder's name tells what it was learned of
def _opened(folder: Path) -> tuple[Any, int]:
    from transformers import ResNetForImageClassification

    crop = json.loads((folder / "quality.json").read_text(encoding="utf-8"))["crop"]
    return ResNetForImageClassification.from_pretrained(folder).eval(), crop


@lru_cache(256)
def _read(data: bytes) -> np.ndarray:
    return shown_rgb(data)


def _at_least(pixels: np.ndarray, side: int) -> np.ndarray:
    """Mirrored at the edges where a picture is smaller than a crop."""
    short = [max(0, side - extent) for extent in pixels.shape[:2]]
    return np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric") if any(short) else pixels


def _to_input(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 127.5 - 1
