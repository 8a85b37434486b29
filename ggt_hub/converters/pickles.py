"""Published pickles: read without running what is in them, and one tensor at a time where they are large."""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ggt_hub.converters.checkpoint import AGAIN, one_line
from ggt_hub.errors import RestorerError

NESTED = ("params_ema", "params", "state_dict")
"""Where a training run's checkpoint has its weights; of averaged and plain ones the averaged are taken."""

_KINDS = (torch.float16, torch.bfloat16, torch.float32)
_ENTRY = 30  # bytes before the name in the header of an entry of a zip archive


@contextmanager
def explained(source: Path) -> Iterator[None]:
    """Say in a line what is wrong with a file that somebody else's loader stumbles over.

    Raises:
        RestorerError: naming what could run code, or the reason.
    """
    if not source.is_file():
        raise RestorerError(f"{source} is no file: download the published weights, and name the file itself")
    try:
        with warnings.catch_warnings():  # of torch's doubts about a pickle the user learns by what follows
            warnings.simplefilter("ignore")
            yield
    except RestorerError:
        raise
    except Exception as error:  # files of strangers break loaders in every way
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise RestorerError(
                f"{source} holds {found[1]} besides tensors, which could run code and is not loaded: if you trust "
                f"it, save its weights alone as safetensors elsewhere, or {AGAIN}"
            ) from error
        # What torch says of pickles advises to run what is in them.
        reason = "no pickle of tensors" if isinstance(error, pickle.UnpicklingError) else one_line(error)
        raise RestorerError(f"{source} is damaged, cut off or no weights ({reason}): {AGAIN}") from error


def weights_in(source: Path, content: Any) -> Mapping[Any, Any]:
    """What a file holds by name, also where it is a training run's checkpoint.

    Raises:
        RestorerError: if it holds nothing by name.
    """
    if isinstance(content, Mapping):
        content = next((content[key] for key in NESTED if key in content), content)
    if not isinstance(content, Mapping) or not content:
        raise RestorerError(f"{source} holds no weights by name: {AGAIN}")
    return content


class PickledTensors:
    """The tensors of a pickle that torch wrote, described at once and read one by one.

    Args:
        source: of torch's present format, an uncompressed zip archive.
        prefixes: what may stand in front of the names.

    Attributes:
        shapes: shape of each tensor by name.

    Raises:
        RestorerError: if it is damaged, cut off, or holds anything besides tensors.
    """

    def __init__(self, source: Path, prefixes: Sequence[str] = ("module.",)) -> None:
        self.source = source
        with explained(source):
            places = _entries(source)
            with FakeTensorMode():  # describes, and allocates nothing
                content = torch.load(source, map_location="cpu", weights_only=True)
        self._tensors: dict[str, Tensor] = {}
        self._starts: dict[str, int] = {}
        for key, tensor in weights_in(source, content).items():
            name = str(key)
            while prefix := next((one for one in prefixes if name.startswith(one)), None):
                name = name.removeprefix(prefix)
            if name in self._tensors:
                raise RestorerError(f"{source}: {name} is there twice: {AGAIN}")
            self._starts[name] = _start(source, name, tensor, places)
            self._tensors[name] = tensor
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    @property
    def narrowest(self) -> torch.dtype:
        """Of the precisions that networks can compute in, the narrowest that some tensor is stored in."""
        kinds = {tensor.dtype for tensor in self._tensors.values()}
        return next((kind for kind in _KINDS if kind in kinds), torch.float32)

    def read(self, name: str) -> Tensor:
        """One of the tensors."""
        tensor = self._tensors[name]
        found = np.fromfile(
            self.source, np.uint8, tensor.numel() * tensor.itemsize, offset=self._starts[name]
        )
        return torch.from_numpy(found).view(tensor.dtype).reshape(tensor.shape)


def _entries(source: Path) -> dict[int, int]:
    """Where the content of each entry of the archive begins, and how many bytes it has."""
    if not zipfile.is_zipfile(source):
        raise ValueError("no archive as torch.save writes it since 1.6, or the end is missing")
    found = {}
    with zipfile.ZipFile(source) as archive, source.open("rb") as file:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")
            file.seek(entry.header_offset)
            name, extra = struct.unpack("<HH", file.read(_ENTRY)[26:])
            found[entry.header_offset + _ENTRY + name + extra] = entry.file_size
    return found


def _start(source: Path, name: str, tensor: Any, places: Mapping[int, int]) -> int:
    """Where in the file a tensor's numbers begin.

    Raises:
        RestorerError: if they are not all there, so that a small file describes no large network.
    """
    plain = isinstance(tensor, Tensor) and tensor.dtype in (*_KINDS, torch.int64)
    if not plain or tensor.layout != torch.strided or not tensor.is_contiguous():
        raise RestorerError(f"{source}: {name} holds no plain numbers: {AGAIN}")
    begin = tensor.untyped_storage()._checkpoint_offset or 0
    skipped = tensor.storage_offset() * tensor.itemsize
    if skipped + tensor.numel() * tensor.itemsize > places.get(begin, 0):
        raise RestorerError(f"{source}: {name} is not whole: {AGAIN}")
    return begin + skipped
