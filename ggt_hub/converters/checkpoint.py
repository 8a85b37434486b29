"""Published tensors into networks of other names: read lazily, shard by shard, each tensor exactly once.

A system's converter says where each tensor goes (`Destination`). `plan` proves on names and shapes alone that
every tensor of the networks is filled once, so nothing is loaded before all of it is known to fit.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.utils import set_module_tensor_to_device
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ggt_hub.errors import RestorerError

Shapes = Mapping[str, tuple[int, ...]]
Networks = Mapping[str, nn.Module]
AGAIN = "download it again, or check that this is the repository you meant"
_COMPUTE = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
_SCALES = (
    "scale_weight",
    "weight_scale",
)  # of a layer's 8-bit weight; ComfyUI wrote the first, writes the second
_NOTES = ("scale_input", "input_scale", "comfy_quant")  # for arithmetic in 8 bits, which is not done here
_MARKER = "scaled_fp8"  # ComfyUI's note that scales are there
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
        if self.cut == 1:
            rows = tensor.clone()
        else:
            rows = torch.cat([tensor.tensor_split(self.cut)[part] for part in self.keep])
        return rows.flatten(1) if self.linear else rows


Plan = dict[str, tuple[Destination, ...]]


class Checkpoint:
    """The safetensors files of one folder, one or many, or a single file, as one collection of named tensors.

    Weights in 8 bits that come with a scale each (ComfyUI's `scale_weight`, or `weight_scale`) are one tensor:
    weight times scale, in float32.

    Args:
        place: a file; or a folder with a single file, or with shards and the index that lists them.
        variant: as in diffusers: take `model.VARIANT.safetensors` where there is one.
        rename: from the names in the files to those that are used here.

    Attributes:
        shapes: shape of each tensor by name.

    Raises:
        RestorerError: if a file is missing, damaged or a pickle, if two files hold one name, or if the index
            lists a file outside the folder.
    """

    def __init__(self, place: Path, variant: str | None = None, rename: Callable[[str], str] = str) -> None:
        self.place, self._rename = place, rename
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._kinds: dict[str, str] = {}
        self._files = [place] if place.is_file() else _shards(place, variant)
        for file in self._files:
            for stored, (shape, kind) in _header(file).items():
                name = rename(stored)
                if name in self.shapes:
                    raise RestorerError(f"{place}: {name} is in two shards, or twice: {AGAIN}")
                self.shapes[name], self._kinds[name] = shape, kind
        self._scales = self._take_out_scales()

    @property
    def dtype(self) -> torch.dtype:
        """The one precision that all tensors are stored in, and that networks can compute in.

        Raises:
            RestorerError: if there is none, so that somebody has to choose.
        """
        kinds = {self._kinds[name] for name in self.shapes}
        if len(kinds) == 1 and (kind := next(iter(kinds))) in _COMPUTE:
            return _COMPUTE[kind]
        raise RestorerError(
            f"{self.place} holds {' and '.join(sorted(kinds)) or 'nothing'}: say what to compute in, such as "
            "dtype=torch.bfloat16"
        )

    @property
    def narrowest(self) -> torch.dtype:
        """Of the precisions that networks can compute in, the narrowest that some tensor is stored in."""
        kinds = set(self._kinds.values())
        return next((dtype for kind, dtype in _COMPUTE.items() if kind in kinds), torch.float32)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors, one shard open at a time; what is in 8 bits comes as float32.

        Raises:
            RestorerError: if a tensor holds no floating-point numbers.
        """
        for file in self._files:
            with safe_open(file, framework="pt") as shard:
                for stored in shard.keys():  # noqa: SIM118 (a shard is not a dict)
                    name = self._rename(stored)
                    if name in self.shapes:
                        yield name, self._exact(name, shard.get_tensor(stored))

    def _exact(self, name: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            raise RestorerError(
                f"{self.place}: {name} holds {self._kinds[name]}, weights quantised in a way that is not known "
                "here: take those in 16 bits, or in float8"
            )
        if tensor.itemsize > 1:
            return tensor
        wide, scale = tensor.float(), self._scales.get(name)
        if scale is None:
            return wide
        column = scale.float().reshape(-1, *[1] * (wide.ndim - 1))
        if len(column) not in (1, len(wide)):
            raise RestorerError(
                f"{self.place}: {name} of shape {tuple(wide.shape)} has {len(column)} scales: one, or one for "
                "each row, is supported"
            )
        return wide * column

    def _take_out_scales(self) -> dict[str, Tensor]:
        """Scales by the names of their weights; they, and what else 8-bit files note, leave `shapes`."""
        narrow = {name for name in self.shapes if self._kinds[name].startswith("F8")}
        places: dict[str, str] = {}
        for layer in (name.removesuffix("weight") for name in narrow if name.endswith(".weight")):
            places |= {
                f"{layer}{scale}": f"{layer}weight" for scale in _SCALES if f"{layer}{scale}" in self.shapes
            }
            for note in _NOTES:
                self.shapes.pop(f"{layer}{note}", None)
        if narrow:
            for name in [name for name in self.shapes if name.rpartition(".")[2] == _MARKER]:
                del self.shapes[name]
        scales = {}
        for file in self._files if places else ():
            with safe_open(file, framework="pt") as shard:
                for stored in shard.keys():  # noqa: SIM118
                    name = self._rename(stored)
                    if name in places:
                        scales[places[name]] = shard.get_tensor(stored)
                        del self.shapes[name]
        return scales


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
        raise RestorerError(f"the weights do not fit: {_listed(found)}: {AGAIN}")
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


def one_line(error: Exception) -> str:
    """Kind and text of somebody else's error, on one line and not longer than a paragraph."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 400 else f"{text[:397]}..."


def read_json(path: Path) -> dict:
    """A JSON object from a file; an empty one if there is no such file.

    Raises:
        RestorerError: if the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RestorerError(f"{path} is not JSON ({error}): {AGAIN}") from error
    if not isinstance(content, dict):
        raise RestorerError(f"{path} holds no JSON object: {AGAIN}")
    return content


def check_depth(file: Path, tensors: int) -> None:
    """Refuse a configuration of more layers than there are tensors, which would be built before it fails.

    Raises:
        RestorerError: naming the setting.
    """
    for key in ("num_layers", "num_single_layers", "control_layers", "depth", "layers_per_block"):
        layers = read_json(file).get(key, 0)
        if not isinstance(layers, int) or layers > tensors:
            raise RestorerError(
                f"{file} has {key} {layers}, and {tensors} tensors are stored: write the layout again"
            )


def has_variant(folder: Path, variant: str) -> bool:
    """Whether the folder holds weights of this variant."""
    return any(
        (folder / name).is_file()
        for stem in _STEMS
        for name in (f"{stem}.{variant}.safetensors", f"{stem}.safetensors.index.{variant}.json")
    )


def _shards(folder: Path, variant: str | None) -> list[Path]:
    """The safetensors files that belong together: those that the index lists, or the single one."""
    for index in folder.glob("*.index*.json"):  # another loader may prefer another of them
        _indexed(index)
    middle = f".{variant}" if variant and has_variant(folder, variant) else ""
    for stem in _STEMS:
        index = folder / f"{stem}.safetensors.index{middle}.json"
        single = folder / f"{stem}{middle}.safetensors"
        if single.is_file():
            return [single]
        if index.is_file():
            return _present(index)
    pickles = sorted(file.name for file in folder.glob("*") if file.suffix in _PICKLES)
    if pickles:
        raise RestorerError(
            f"{folder}: {pickles[0]} is a pickle, which can run code when it is read: only safetensors are "
            "loaded; ask for, or convert to, safetensors"
        )
    raise RestorerError(f"{folder}: no {_STEMS[0]}.safetensors here, whole or in shards: {AGAIN}")


def _indexed(index: Path) -> list[Path]:
    """The files that an index lists, all of them beside it.

    Raises:
        RestorerError: if it is no index, or lists a file elsewhere.
    """
    names = read_json(index).get("weight_map", {})
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise RestorerError(f"{index} does not say in which file each tensor is: {AGAIN}")
    for name in names.values():
        if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise RestorerError(
                f"{index} lists {name!r}, which is not a file beside it: do not use these weights"
            )
    return sorted({index.parent / name for name in names.values()})


def _present(index: Path) -> list[Path]:
    files = _indexed(index)
    absent = [file.name for file in files if not file.is_file()]
    if absent or not files:
        raise RestorerError(f"{index.parent}: {', '.join(absent) or 'every shard'} is missing: {AGAIN}")
    return files


def _header(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and kind of number of each tensor."""
    try:
        with safe_open(file, framework="pt") as shard:
            slices = {name: shard.get_slice(name) for name in shard.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise RestorerError(f"{file} is damaged or cut off ({error}): {AGAIN}") from error


def _check_shapes(shapes: Shapes, made: Plan, networks: Networks) -> None:
    targets = {key: network.state_dict() for key, network in networks.items()}
    for name, shape in shapes.items():
        source = torch.empty(shape, device="meta")
        for to in made[name]:
            want = tuple(targets[to.network][to.name].shape)
            got = tuple(to.take(source).shape)
            if got != want:
                raise RestorerError(f"{name} has shape {shape}: {to.name} needs {want}, not {got}: {AGAIN}")


def _listed(found: Mapping[str, list[str]]) -> str:
    """`what: name, name, ...` for each kind of problem, at most five names of each."""
    return "; ".join(
        f"{what}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for what, names in found.items()
    )
