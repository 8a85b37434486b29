"""How well words describe a picture, by any CLIP of transformers."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ggt_hub.errors import HubError
from ggt_hub.scenes.networks import Network

Pixels = NDArray[np.uint8]


class Likeness(NamedTuple):
    """A picture beside some texts.

    Attributes:
        shares: of each text, 0..1, all together 1: the softmax of CLIP's scaled cosines (arXiv 2103.00020, 3.1.2).
        cosines: of each text, -1..1.
    """

    shares: list[float]
    cosines: list[float]


class Clip(Network):
    """CLIP from a Hub id or a folder, loaded at the first question."""

    @classmethod
    def find(cls, source: str | Path) -> Self:
        """Find its files; those on the Hub are downloaded.

        Raises:
            HubError: as `Network.find`, and if they are of another network, whose places transformers would fill
                with random numbers.
        """
        found = super().find(source)
        kind = json.loads((found.folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind != "clip":
            raise HubError(f"{source} is of type {kind!r}, and not a CLIP: give the folder or Hub id of one")
        return found

    def likeness(self, pictures: Sequence[Pixels], texts: Sequence[str]) -> list[Likeness]:
        """Compare each picture with all texts.

        Args:
            pictures: 8-bit RGB, of any size.
            texts: in English, as CLIP was trained on.

        Raises:
            HubError: if its files cannot be loaded.
        """
        import torch

        processor, network = self._parts
        shown = [Image.fromarray(one) for one in pictures]
        asked = processor(text=[*texts], images=shown, return_tensors="pt", padding=True, truncation=True)
        with torch.inference_mode():
            scaled = network(**asked.to(network.device)).logits_per_image.double()
            cosines = scaled / network.logit_scale.exp().double()
        return [Likeness(*found) for found in zip(scaled.softmax(1).tolist(), cosines.tolist(), strict=True)]

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        import torch
        from transformers import CLIPModel, CLIPProcessor

        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = self.load(CLIPModel.from_pretrained).to(device).eval()
        return self.load(CLIPProcessor.from_pretrained), network
