"""Depth and masks by networks of transformers, from any Hub id or folder; loaded on first use, results kept."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ggt_hub.errors import HubError
from ggt_hub.scenes.procedural import from_inverse

Array = NDArray[np.float32]

_KEPT = 64
"""Results that are kept: several kinds of damage to one picture ask for its depth once."""


@dataclass(frozen=True)
class Network:
    """A network by what it was asked for, where its files lie, and how records name it.

    Attributes:
        source: Hub id or folder.
        folder: its files.
        identity: `id@commit`, or of a folder `name@` and the first digits of the SHA-256 of its weights.
    """

    source: str
    folder: Path
    identity: str

    @classmethod
    def find(cls, source: str | Path) -> Self:
        """Find a network's files; those on the Hub are downloaded.

        Raises:
            HubError: if it is neither a folder with `config.json` nor a repository that can be had.
        """
        folder = Path(source)
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise HubError(
                    f"{source} has no config.json: give the folder of a transformers model, or a Hub id"
                )
            return cls(str(source), folder, f"{folder.resolve().name}@{_weights_hash(folder)}")
        from ggt_hub.hub import snapshot

        folder = snapshot(str(source), allow_patterns=["*.json", "*.safetensors"])
        return cls(str(source), folder, f"{source}@{folder.name}")

    def load(self, load: Any) -> Any:
        """A part of it, by the class method that reads it from a folder.

        Raises:
            HubError: if it cannot be loaded.
        """
        try:
            return load(self.folder, local_files_only=True)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise HubError(
                f"{self.source} cannot be loaded as {type(self).__name__.lower()}: {reason}"
            ) from error

    @cached_property
    def _results(self) -> OrderedDict[str, Any]:
        return OrderedDict()

    def __call__(self, picture: Array) -> Any:
        """What the network says of a picture (height x width x 3, 0..1), from memory if it was asked before."""
        pixels = np.rint(picture * 255).astype(np.uint8)
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        if key not in self._results:
            self._results[key] = self._ask(Image.fromarray(pixels))
            if len(self._results) > _KEPT:
                self._results.popitem(last=False)
        return self._results[key]

    def _ask(self, picture: Image.Image) -> Any:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Another process loads the network by itself."""
        return {"source": self.source, "folder": self.folder, "identity": self.identity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class Depth(Network):
    """A network for monocular depth: MiDaS (DPT), Depth Anything, or any of `AutoModelForDepthEstimation`."""

    def _ask(self, picture: Image.Image) -> Array:
        import torch

        processor, network = self._parts
        with torch.inference_mode():
            found = network(**processor(images=picture, return_tensors="pt")).predicted_depth[0]
        values = found.float().cpu().numpy()
        depth = from_inverse(values, picture.height, picture.width)
        metric = getattr(network.config, "depth_estimation_type", "relative") == "metric"
        return 1 - depth if metric else depth

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        return self.load(AutoImageProcessor.from_pretrained), self.load(
            AutoModelForDepthEstimation.from_pretrained
        ).eval()


class Masks(Network):
    """A network that finds all regions of a picture: SAM, or any that transformers' mask generation takes."""

    def _ask(self, picture: Image.Image) -> NDArray[np.int32]:
        """Each mask is painted over the larger ones; what no mask covers is region 0."""
        masks = [np.asarray(mask, dtype=bool) for mask in self._generate(picture)["masks"]]
        painted = np.zeros((picture.height, picture.width), np.int32)
        for mask in sorted(masks, key=np.count_nonzero, reverse=True):
            painted[mask] = painted.max() + 1
        numbers = np.unique(painted, return_inverse=True)[1]
        return numbers.reshape(painted.shape).astype(np.int32)

    @cached_property
    def _generate(self) -> Any:
        from transformers import AutoImageProcessor, AutoModelForMaskGeneration, pipeline

        network = self.load(AutoModelForMaskGeneration.from_pretrained)
        processor = self.load(AutoImageProcessor.from_pretrained)
        return pipeline("mask-generation", model=network, image_processor=processor, device=-1)


@cache
def _weights_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
