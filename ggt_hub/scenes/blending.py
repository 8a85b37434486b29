"""The published networks that blend, where there are any: SynNet mixes reflections, UniDemoire's refines moire."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ggt_hub.errors import HubError
from ggt_hub.scenes.networks import Network

Array = NDArray[np.float32]

REFINED_SIDE = 512
"""The refiner's pictures are squares of this side, as its authors have them."""


class Mixer(Network):
    """SynNet (Wen et al., CVPR 2019), which says how much of a reflection is seen where."""

    def weights(self, first: Array, second: Array) -> Array:
        """The weight of the second picture, for each pixel and channel: height x width x 3, 0..1.

        Args:
            first: what is behind the glass, height x width x 3, 0..1.
            second: what is before it, of the same size.

        Raises:
            DegradationError: if a side is below 8 pixels.
        """
        return _asked(self._net, first, second)

    @cached_property
    def _net(self) -> Any:
        from ggt_hub.models import SynNet

        return self.load(SynNet.from_pretrained).eval()


class Refiner(Network):
    """UniDemoire's refinement (Yang et al., AAAI 2025), which gives a blended moire the colours of a real one."""

    def refined(self, blended: Array) -> Array:
        """The picture times the network's gain, stretched to 0..1 as published (least value to 0, largest to 1).

        Args:
            blended: 512 x 512 x 3, 0..1.
        """
        product = blended * _asked(self._net, blended)
        low, high = float(product.min()), float(product.max())
        refined: Array = (product - np.float32(low)) / np.float32(high - low + 1e-6)
        return refined

    @cached_property
    def _net(self) -> Any:
        from ggt_hub.models import MoireRefiner

        return self.load(MoireRefiner.from_pretrained).eval()


_KINDS: dict[str, type[Mixer | Refiner]] = {"SynNet": Mixer, "MoireRefiner": Refiner}


def find_blender(source: str | Path) -> Mixer | Refiner:
    """A network that blends, by what its `config.json` says it is.

    Raises:
        HubError: if it cannot be had, or is another network.
    """
    found = Network.find(source)
    name = json.loads((found.folder / "config.json").read_text(encoding="utf-8")).get("_class_name")
    if name not in _KINDS:
        raise HubError(
            f"{source} holds {name or 'no known network'}, which blends nothing: give a folder with one of "
            f"{', '.join(_KINDS)}, as `ggt-hub convert synnet|unidemoire SRC DST` writes them"
        )
    return _KINDS[name](found.source, found.folder, found.identity)


def _asked(network: Any, *pictures: Array) -> Array:
    import torch

    tensors = [
        torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32))[None]
        for picture in pictures
    ]
    with torch.inference_mode():
        answer: Array = cv2.merge([*network(*tensors)[0].numpy()])
    return answer
