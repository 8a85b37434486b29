"""Reading checkpoints: everything is found out before anything is loaded, and said in one sentence."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ggt_hub.converters.checkpoint import Checkpoint, Destination, fill, plan
from ggt_hub.errors import RestorerError
from tests.pipelines.live_bytes import peak_bytes

NAME = "diffusion_pytorch_model"


def sharded(folder: Path, **shards: dict[str, torch.Tensor]) -> Path:
    weight_map = {}
    for shard, content in shards.items():
        save_file(content, folder / f"{NAME}-{shard}.safetensors")
        weight_map |= dict.fromkeys(content, f"{NAME}-{shard}.safetensors")
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{NAME}.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def network() -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {"net": nn.ModuleDict({"q": nn.Linear(2, 2, bias=False), "k": nn.Linear(2, 2, bias=False)})}


TABLE = {
    "qk": (Destination("net", "q.weight", 2, (0,)), Destination("net", "k.weight", 2, (1,))),
    "unused": (),
}


def test_shards_are_one_collection_and_rows_go_where_they_belong(tmp_path: Path, network) -> None:
    rows = torch.arange(8.0).reshape(4, 2)
    checkpoint = Checkpoint(sharded(tmp_path, a={"qk": rows}, b={"unused": torch.ones(1)}))
    assert checkpoint.shapes == {"qk": (4, 2), "unused": (1,)}
    fill(checkpoint, plan(checkpoint.shapes, TABLE, network), network, torch.bfloat16)
    assert torch.equal(network["net"]["q"].weight.float(), rows[:2])
    assert torch.equal(network["net"]["k"].weight.float(), rows[2:])
    assert network["net"]["q"].weight.dtype == torch.bfloat16


def test_a_copy_does_not_keep_its_shard_in_memory(tmp_path: Path, network) -> None:
    checkpoint = Checkpoint(sharded(tmp_path, a={"qk": torch.randn(4, 2)}))
    fill(checkpoint, plan(checkpoint.shapes, TABLE, network), network, torch.float32)
    assert network["net"]["q"].weight.untyped_storage().nbytes() == 4 * 4


def test_filling_takes_the_network_and_one_tensor_more(tmp_path: Path) -> None:
    """So a fortiori no more than one shard more; what a shard lazily maps is the system's to take back."""
    size, names = 64 * 64 * 4, [str(number) for number in range(8)]
    content = {name: torch.randn(64, 64) for name in names}
    checkpoint = Checkpoint(
        sharded(tmp_path, a=dict(list(content.items())[:4]), b=dict(list(content.items())[4:]))
    )
    with torch.device("meta"):
        networks = {"net": nn.ParameterDict({name: nn.Parameter(torch.empty(64, 64)) for name in names})}
    made = plan(checkpoint.shapes, {name: (Destination("net", name),) for name in names}, networks)
    peak = peak_bytes(lambda: fill(checkpoint, made, networks, torch.float32))
    assert 8 * size <= peak <= 9 * size


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"qk": (4, 2), "new": (1,)}, "unknown: new"),
        ({"unused": (1,)}, "missing: net.k.weight, net.q.weight"),
        ({"qk": (4, 3)}, r"qk has shape \(4, 3\): q.weight needs \(2, 2\)"),
        ({"qk": (6, 2)}, r"qk has shape \(6, 2\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(shapes: dict, message: str, network) -> None:
    with pytest.raises(RestorerError, match=message):
        plan(shapes, TABLE, network)


def test_two_sources_for_one_tensor_are_an_error(network) -> None:
    table = {**TABLE, "again": (Destination("net", "q.weight"),)}
    with pytest.raises(RestorerError, match=r"filled twice, or without a place: net.q.weight"):
        plan({"qk": (4, 2), "again": (2, 2)}, table, network)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = sharded(tmp_path, a={"x": torch.ones(2)}, b={"y": torch.ones(2)})
    (folder / f"{NAME}-b.safetensors").unlink()
    with pytest.raises(RestorerError, match=rf"{NAME}-b.safetensors is missing: download it again"):
        Checkpoint(folder)


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    file = sharded(tmp_path, a={"x": torch.ones(64)}) / f"{NAME}-a.safetensors"
    file.write_bytes(file.read_bytes()[:-16])
    with pytest.raises(RestorerError, match=r"-a.safetensors is damaged or cut off"):
        Checkpoint(tmp_path)


def test_one_name_in_two_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RestorerError, match="x is in two shards"):
        Checkpoint(sharded(tmp_path, a={"x": torch.ones(2), "y": torch.ones(1)}, b={"x": torch.ones(2)}))


def test_pickles_are_refused_without_being_opened(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(RestorerError, match="is a pickle, which can run code"):
        Checkpoint(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RestorerError, match=r"no diffusion_pytorch_model\.safetensors here"):
        Checkpoint(tmp_path)
