"""Published tensors into networks of other names: read lazily, shard by shard, each tensor exactly once.

A system's converter says where each tensor goes (`Destination`). `plan` proves on names and shapes alone that
every tensor of the networks is filled once, so nothing is loaded before all of it is known to fit.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.utils import set_module_tensor_to_device
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ggt_hub.errors import RestorerError

Shapes = Mapping[str, tuple[int, ...]]
Networks = Mapping[str, nn.Module]
_AGAIN = "download it again, or check that this is the repository you meant"
_STEMS = ("diffusion_pytorch_model", "model")  # what diffusers and transformers call weights
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


@dataclass(frozen=True)
class Destination:
    """Where a published tensor, or some of its rows, goes.

    Attributes:
        network: which of the networks.
        name: the tensor's name there.
        cut: into how many equal parts the rows are cut ...
        keep: ... and which of them are taken, in this order.
        linear: whether a 1x1 convolution becomes a matrix.
    """

    network: str
    name: str
    cut: int = 1
    keep: tuple[int, ...] = (0,)
    linear: bool = False

    def take(self, tensor: Tensor) -> Tensor:
        """The part of `tensor` that belongs here, as a tensor of its own."""
        rows = torch.cat([tensor.tensor_split(self.cut)[part] for part in self.keep])
        return rows.flatten(1) if self.linear else rows


Plan = dict[str, tuple[Destination, ...]]


class Checkpoint:
    """The safetensors files of one folder, one or many, as one collection of named tensors.

    Args:
        folder: holds a single file, or shards with the index that lists them.

    Attributes:
        shapes: shape of each tensor by name.
        dtype: of the first tensor.

    Raises:
        RestorerError: if a file is missing, damaged or a pickle, or if two files hold one name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files = _shards(folder)
        for file in self._files:
            for name, shape in _header(file).items():
                if name in self.shapes:
                    raise RestorerError(f"{folder}: {name} is in two shards: {_AGAIN}")
                self.shapes[name] = shape
        self.dtype = next(tensor.dtype for _, tensor in self.tensors())

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors, one shard open at a time."""
        for file in self._files:
            with safe_open(file, framework="pt") as shard:
                for name in shard.keys():  # noqa: SIM118 (a shard is not a dict)
                    yield name, shard.get_tensor(name)


def plan(shapes: Shapes, destinations: Mapping[str, tuple[Destination, ...]], networks: Networks) -> Plan:
    """Check that the tensors of `shapes` fill `networks`, each tensor there exactly once.

    Args:
        shapes: the published tensors.
        destinations: where each goes; an empty tuple if it is known and needed nowhere.
        networks: the networks to fill; only names and shapes are looked at, so they may be on `meta`.

    Raises:
        RestorerError: naming the tensors that are unknown, missing, filled twice or of another shape.
    """
    unknown = [name for name in shapes if name not in destinations]
    filled = Counter((to.network, to.name) for name in shapes for to in destinations.get(name, ()))
    wanted = {(key, name) for key, network in networks.items() for name in network.state_dict()}
    problems = {
        "unknown": unknown,
        "missing": sorted(".".join(place) for place in wanted - set(filled)),
        "filled twice, or without a place": sorted(
            ".".join(place) for place, times in filled.items() if times > 1 or place not in wanted
        ),
    }
    found = {what: names for what, names in problems.items() if names}
    if found:
        raise RestorerError(f"the weights do not fit: {_listed(found)}: {_AGAIN}")
    made = {name: destinations[name] for name in shapes}
    _check_shapes(shapes, made, networks)
    return made


def fill(checkpoint: Checkpoint, made: Plan, networks: Networks, dtype: torch.dtype) -> None:
    """Copy the tensors to where `plan` says they go, as `dtype`.

    What belongs to a network that is not among `networks` is passed over. None of them is on `meta` after it.
    """
    for name, tensor in checkpoint.tensors():
        for to in made[name]:
            if to.network in networks:
                network = networks[to.network]
                set_module_tensor_to_device(network, to.name, "cpu", value=to.take(tensor), dtype=dtype)


def read_json(path: Path) -> dict:
    """A JSON object from a file; an empty one if there is no such file.

    Raises:
        RestorerError: if the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RestorerError(f"{path} is not JSON ({error}): {_AGAIN}") from error
    if not isinstance(content, dict):
        raise RestorerError(f"{path} holds no JSON object: {_AGAIN}")
    return content


def _shards(folder: Path) -> list[Path]:
    """The safetensors files that belong together: the single one, or those that the index lists."""
    for stem in _STEMS:
        single = folder / f"{stem}.safetensors"
        index = folder / f"{stem}.safetensors.index.json"
        if single.is_file():
            return [single]
        if index.is_file():
            return _indexed(index)
    pickles = sorted(file.name for file in folder.glob("*") if file.suffix in _PICKLES)
    if pickles:
        raise RestorerError(
            f"{folder}: {pickles[0]} is a pickle, which can run code when it is read: only safetensors are "
            "loaded; ask for, or convert to, safetensors"
        )
    raise RestorerError(f"{folder}: no {_STEMS[0]}.safetensors here, whole or in shards: {_AGAIN}")


def _indexed(index: Path) -> list[Path]:
    files = sorted({index.parent / file for file in read_json(index).get("weight_map", {}).values()})
    absent = [file.name for file in files if not file.is_file()]
    if absent or not files:
        raise RestorerError(f"{index.parent}: {', '.join(absent) or 'every shard'} is missing: {_AGAIN}")
    return files


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, framework="pt") as shard:
            return {name: tuple(shard.get_slice(name).get_shape()) for name in shard.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise RestorerError(f"{file} is damaged or cut off ({error}): {_AGAIN}") from error


def _check_shapes(shapes: Shapes, made: Plan, networks: Networks) -> None:
    targets = {key: network.state_dict() for key, network in networks.items()}
    for name, shape in shapes.items():
        source = torch.empty(shape, device="meta")
        for to in made[name]:
            want = tuple(targets[to.network][to.name].shape)
            got = tuple(to.take(source).shape)
            if got != want:
                raise RestorerError(f"{name} has shape {shape}: {to.name} needs {want}, not {got}: {_AGAIN}")


def _listed(found: Mapping[str, list[str]]) -> str:
    """`what: name, name, ...` for each kind of problem, at most five names of each."""
    return "; ".join(
        f"{what}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for what, names in found.items()
    )
