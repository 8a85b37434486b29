"""What frozen networks make of pictures and instructions, computed once and kept as shards on disk."""

import hashlib
import json
import secrets
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ggt_hub.commit import commit_json, committed_file
from ggt_hub.errors import TrainingError

_ABOUT = "cache.json"
_SHARD_BYTES = 2**28
_SAMPLED = 1024

Encoded = dict[str, Tensor]
"""Tensors by name, of one picture or instruction."""


class EncodingCache:
    """Encodings by a hash of what was encoded, in safetensors files that several runs may read and add to.

    A file is written whole or not at all, so a kill costs what came after the last `flush`. What other runs write
    meanwhile is seen when the folder is opened again.

    Args:
        folder: of the cache; made where there is none.
        networks: what encodes, by name.

    Raises:
        TrainingError: if the folder holds encodings of other networks, or something else.
    """

    def __init__(self, folder: Path, networks: Mapping[str, nn.Module]) -> None:
        self.folder = folder
        self._places: dict[str, Path] = {}
        self._pending: dict[str, Encoded] = {}
        self._bytes = 0
        identity = {name: identity_of(network) for name, network in networks.items()}
        folder.mkdir(parents=True, exist_ok=True)
        about = folder / _ABOUT
        if not about.exists() and any(path.name[0] != "." and path != about for path in folder.iterdir()):
            raise TrainingError(f"{folder} is no cache of encodings, and holds files: name another folder")
        if not about.exists():
            commit_json(about, identity)
        self._check(about, identity)
        for shard in sorted(folder.glob("*.safetensors")):
            self._enter(shard)

    def __len__(self) -> int:
        return len({*self._places, *self._pending})

    def get(self, key: str, encode: Callable[[], Encoded], device: torch.device) -> Encoded:
        """What is kept under a key; encoded and kept first where it is not.

        Args:
            key: see `key_of`.
            encode: makes it.
            device: where the tensors are wanted.
        """
        if key in self._pending:
            kept = self._pending[key]
        elif key in self._places:
            with safe_open(self._places[key], "pt") as shard:
                names = [name for name in shard.keys() if name.startswith(f"{key}/")]  # noqa: SIM118 (no mapping)
                kept = {name.partition("/")[2]: shard.get_tensor(name) for name in names}
        else:
            kept = {name: tensor.detach().cpu().contiguous() for name, tensor in encode().items()}
            self._pending[key] = kept
            self._bytes += sum(tensor.nbytes for tensor in kept.values())
            if self._bytes > _SHARD_BYTES:
                self.flush()
        return {name: tensor.to(device) for name, tensor in kept.items()}

    def flush(self) -> None:
        """Write what is new as a shard."""
        if not self._pending:
            return
        shard = self.folder / f"{secrets.token_hex(8)}.safetensors"
        with committed_file(shard) as path:
            tensors = {
                f"{key}/{name}": one for key, kept in self._pending.items() for name, one in kept.items()
            }
            save_file(tensors, path)
        self._places |= dict.fromkeys(self._pending, shard)
        self._pending, self._bytes = {}, 0

    def _check(self, about: Path, identity: dict[str, str]) -> None:
        try:
            made_by = json.loads(about.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{about} is damaged: name another folder for the cache") from error
        others = [name for name, told in identity.items() if made_by.get(name) != told]
        if others:
            raise TrainingError(
                f"{self.folder} holds what another {' and another '.join(others)} made of pictures: name another "
                "folder for the cache, one for each base"
            )

    def _enter(self, shard: Path) -> None:
        try:
            with safe_open(shard, "pt") as found:
                self._places |= {name.partition("/")[0]: shard for name in found.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            warnings.warn(f"{shard} is damaged, and left out of the cache: {error}", stacklevel=3)


def key_of(pixels: Tensor | None, words: str) -> str:
    """The key of a picture, float pixels of any shape, and of words that say what is made of it."""
    digest = hashlib.blake2b(words.encode(), digest_size=16)
    if pixels is not None:
        digest.update(str((tuple(pixels.shape), pixels.dtype)).encode())
        digest.update(pixels.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def identity_of(network: nn.Module) -> str:
    """A hash of a network's tensors: names, shapes, precisions, and up to 1024 numbers of each, evenly spaced."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().flatten()
        digest.update(flat[:: max(1, len(flat) // _SAMPLED)].float().cpu().numpy().tobytes())
    return digest.hexdigest()
