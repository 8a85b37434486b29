"""Published networks of one file each: what is converted loads, and what is not exactly that is refused whole."""

import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner, Result

from ggt_hub.cli import app
from ggt_hub.cli.convert import System
from ggt_hub.commit import file_sha256
from ggt_hub.converters.networks import NETWORKS
from ggt_hub.errors import RestorerError
from ggt_hub.models import CodeFormer, MoireRefiner, PatchDiscriminator, SynNet, VQAutoencoder
from tests import golden_iqpir
from tests.converters.tiny_networks import TINY, published, tiny_weights
from tests.golden import difference, place, tensors

each = pytest.mark.parametrize("name", NETWORKS)


def convert(name: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["convert", name, *map(str, arguments)])


def refused(name: str, source: Path, target: Path) -> str:
    """The message; nothing was written."""
    result = convert(name, source, target)
    assert isinstance(result.exception, RestorerError), result.output
    assert list(target.parent.iterdir()) == [source]
    return str(result.exception)


def test_each_network_is_tried() -> None:
    assert set(TINY) == set(NETWORKS) == set(System) - {"realrestorer", "dreamclear"}


@each
def test_the_published_pickle_becomes_a_folder_that_loads(name: str, tmp_path: Path) -> None:
    weights = tiny_weights(name)
    torch.save(published(name, weights), tmp_path / "published.pth")
    result = convert(name, tmp_path / "published.pth", tmp_path / "own")
    assert result.exit_code == 0, result.output
    assert f"licence: {NETWORKS[name].licence}" in result.output
    files = ["README.md", "config.json", "diffusion_pytorch_model.safetensors"]
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == files
    card = (tmp_path / "own/README.md").read_text(encoding="utf-8")
    assert NETWORKS[name].licence in card and file_sha256(tmp_path / "published.pth") in card
    loaded = TINY[name][0].from_pretrained(tmp_path / "own").state_dict()
    assert set(loaded) == set(weights) and all(loaded[key].equal(value) for key, value in weights.items())


@each
def test_safetensors_are_read_too(name: str, tmp_path: Path) -> None:
    weights = tiny_weights(name)
    save_file(weights, tmp_path / "published.safetensors")
    assert convert(name, tmp_path / "published.safetensors", tmp_path / "own").exit_code == 0
    loaded = TINY[name][0].from_pretrained(tmp_path / "own").state_dict()
    assert all(loaded[key].equal(value) for key, value in weights.items())


@torch.no_grad()
def test_golden_weights_give_golden_values_after_conversion(tmp_path: Path) -> None:
    for name, file in (("synnet", "reflection_generator"), ("unidemoire", "moire_refine_network")):
        source = place(f"degradation/{file}.safetensors")
        assert convert(name, source, tmp_path / name).exit_code == 0
    # See the tests of the networks for the tolerance.
    reflection, moire = (tensors(f"degradation/{name}.safetensors") for name in ("reflection", "moire"))
    pictures = ((reflection[f"net.{name}"] + 1) / 2 for name in ("transmission", "reflection"))
    weight = SynNet.from_pretrained(tmp_path / "synnet")(*pictures)
    assert difference(weight, reflection["net.weight"]) < 1e-5
    gain = MoireRefiner.from_pretrained(tmp_path / "unidemoire")(moire["blend.result"])
    assert difference(gain, moire["refine.network_with_reference"]) < 1e-5


@torch.no_grad()
def test_golden_iqpir_gives_golden_pictures_after_conversion(tmp_path: Path) -> None:
    """All of its configuration follows from the shapes, but for the heads."""
    golden, given = golden_iqpir.tensors("cf_dual_add"), golden_iqpir.code_former()
    save_file(given.state_dict(), tmp_path / "published.safetensors")
    result = convert("iqpir", tmp_path / "published.safetensors", tmp_path / "own", "--heads", 4)
    assert "RestorerPipeline.from_pretrained loads it" in result.output
    assert "non-commercial" in result.output
    network = CodeFormer.from_pretrained(tmp_path / "own")
    wanted = {key: value for key, value in given.config.items() if not key.startswith("_")}
    found = {key: network.config[key] for key in wanted}
    assert {key: set(value) if isinstance(value, list) else value for key, value in found.items()} == {
        key: set(value) if isinstance(value, tuple) else value for key, value in wanted.items()
    }
    image = network(golden["x"], golden["scores"], fidelity=0.5)
    assert difference(image, golden["out_w0.5_adain"]) < 3e-5  # see the tests of the network


def test_the_averaged_weights_are_taken(tmp_path: Path) -> None:
    weights = tiny_weights("iqpir")
    plain = {key: value + 1 for key, value in weights.items()}
    torch.save({"params": plain, "params_ema": weights}, tmp_path / "published.pth")
    assert convert("iqpir", tmp_path / "published.pth", tmp_path / "own").exit_code == 0
    loaded = CodeFormer.from_pretrained(tmp_path / "own").state_dict()
    assert all(loaded[key].equal(value) for key, value in weights.items())


@pytest.mark.parametrize(
    "network",
    [
        VQAutoencoder(32, (1, 2), 2, (1,), 4, 6, hq_codes=5),
        VQAutoencoder(32, (1, 1), 1, (), 4, 6, hq_codes=None),
        PatchDiscriminator(8, 2),
    ],
    ids=["two books", "one book", "discriminator"],
)
def test_the_first_stage_converts_as_well(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save({"params": network.state_dict()}, tmp_path / "published.pth")
    result = convert("iqpir", tmp_path / "published.pth", tmp_path / "own")
    assert f"{type(network).__name__}.from_pretrained loads it" in result.output
    loaded = type(network).from_pretrained(tmp_path / "own").state_dict()
    assert all(loaded[key].equal(value) for key, value in network.state_dict().items())


def test_variants_that_are_not_built_are_refused_by_name(tmp_path: Path) -> None:
    """Tables of several experts, and modulation by quality."""
    for extra in ("score_embed.0.weight", "ft_layers.0.adaLN_modulation.1.weight"):
        weights = tiny_weights("iqpir") | {extra: torch.zeros(2, 64)}
        torch.save(weights, tmp_path / "published.pth")
        assert f"unknown: {extra}" in refused("iqpir", tmp_path / "published.pth", tmp_path / "own")


def test_iqpir_and_codeformer_are_told_apart(tmp_path: Path) -> None:
    for name, other in (("iqpir", "codeformer"), ("codeformer", "iqpir")):
        torch.save(tiny_weights(other), tmp_path / "published.pth")
        assert f"convert it as {other}" in refused(name, tmp_path / "published.pth", tmp_path / "own")
    torch.save(VQAutoencoder(32, (1, 1), 1, (), 4, 6, hq_codes=6).state_dict(), tmp_path / "published.pth")
    message = refused("codeformer", tmp_path / "published.pth", tmp_path / "own")
    assert "CodeFormer has no quantize_aesthetic.embedding.weight" in message


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path: Path) -> None:
    torch.save(tiny_weights("iqpir"), tmp_path / "published.pth")
    result = convert("iqpir", tmp_path / "published.pth", tmp_path / "own", "--heads", 5)
    assert isinstance(result.exception, RestorerError) and "is not a CodeFormer" in str(result.exception)
    result = convert("synnet", tmp_path / "published.pth", tmp_path / "own", "--heads", 5)
    assert "leave out --heads" in str(result.exception)


def drop_last(weights: dict[str, Tensor]) -> None:
    del weights[next(name for name in reversed(weights) if name.endswith(".bias"))]


def add_one(weights: dict[str, Tensor]) -> None:
    weights["extra.weight"] = torch.zeros(3)


def cut_rows(weights: dict[str, Tensor]) -> None:
    name = next(name for name in reversed(weights) if name.endswith(".bias"))
    weights[name] = weights[name][1:].clone()


def make_whole_numbers(weights: dict[str, Tensor]) -> None:
    name = next(name for name in weights if name.endswith(".weight"))
    weights[name] = weights[name].long()


def repeat_one_number(weights: dict[str, Tensor]) -> None:
    name = next(name for name in weights if name.endswith(".weight"))
    weights[name] = torch.zeros(1).expand(weights[name].shape)


@each
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_last, "missing: "),
        (add_one, "unknown: extra.weight"),
        (cut_rows, "has shape"),
        (make_whole_numbers, "is not what a .* has there"),
        (repeat_one_number, "holds no plain numbers"),
    ],
)
def test_weights_that_are_not_exactly_the_network_are_refused(
    name: str, change: Callable[[dict[str, Tensor]], None], message: str, tmp_path: Path
) -> None:
    weights = tiny_weights(name)
    change(weights)
    torch.save(published(name, weights), tmp_path / "published.pth")
    assert re.search(message, refused(name, tmp_path / "published.pth", tmp_path / "own"))


@each
def test_another_networks_file_is_refused(name: str, tmp_path: Path) -> None:
    other = next(known for known in NETWORKS if known != name)
    torch.save(published(other, tiny_weights(other)), tmp_path / "published.pth")
    message = refused(name, tmp_path / "published.pth", tmp_path / "own")
    assert f"is not a {TINY[name][0].__name__}" in message


@each
def test_a_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "published.pth"
    torch.save(published(name, tiny_weights(name)), file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "is damaged, cut off or no weights" in refused(name, file, tmp_path / "own")


class Trap:
    """What a hostile pickle holds: it makes a file when it is read."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple:
        return shutil.copyfile, (__file__, str(self.made))


@each
def test_a_pickle_with_code_is_refused_and_not_run(name: str, tmp_path: Path) -> None:
    weights = published(name, tiny_weights(name))
    torch.save({"trap": Trap(tmp_path / "made"), **weights}, tmp_path / "published.pth")
    message = refused(name, tmp_path / "published.pth", tmp_path / "own")
    assert "holds shutil.copyfile besides tensors" in message


@each
def test_what_is_no_file_of_weights_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "published.pth"
    file.mkdir()
    assert "is no file" in refused(name, file, tmp_path / "own")
    file.rmdir()
    torch.save([1, 2], file)
    assert "holds no weights by name" in refused(name, file, tmp_path / "own")
    torch.save({"model.1.weight": 3}, file)
    assert "holds no plain numbers" in refused(name, file, tmp_path / "own")
    torch.save(published(name, tiny_weights(name) | {"conv.norm": torch.tensor(1.0)}), file)
    assert "holds no plain numbers" in refused(name, file, tmp_path / "own")
    file.write_text("<html>404</html>")
    assert "is damaged, cut off or no weights (no pickle of tensors)" in refused(name, file, tmp_path / "own")
    file.write_bytes(pickle.dumps({"params": print}, protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the message is all that is said
        assert "(no pickle of tensors)" in refused(name, file, tmp_path / "own")


def test_the_first_blend_of_unidemoires_checkpoint_is_passed_over(tmp_path: Path) -> None:
    checkpoint = published("unidemoire", tiny_weights("unidemoire"))
    checkpoint["state_dict"]["init_blend.weight"] = torch.zeros(1)
    torch.save(checkpoint, tmp_path / "bl_uhdm.ckpt")
    assert convert("unidemoire", tmp_path / "bl_uhdm.ckpt", tmp_path / "own").exit_code == 0


def test_a_table_that_does_not_follow_from_the_sizes_is_refused(tmp_path: Path) -> None:
    weights = tiny_weights("unidemoire")
    weights["conv.blocks.0.attn.relative_position_index"][0, 0] = 0
    torch.save(published("unidemoire", weights), tmp_path / "published.pth")
    message = refused("unidemoire", tmp_path / "published.pth", tmp_path / "own")
    assert "conv.blocks.0.attn.relative_position_index is not what a MoireRefiner has there" in message


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    weights = tiny_weights("synnet")
    weights["netG.model.1.bias"] = weights["model.1.bias"]
    torch.save(weights, tmp_path / "published.pth")
    message = refused("synnet", tmp_path / "published.pth", tmp_path / "own")
    assert "model.1.bias is there twice" in message


def test_a_revision_is_of_the_hub(tmp_path: Path) -> None:
    result = convert("synnet", "published.pth", tmp_path / "own", "--revision", "main")
    assert "is converted from a file as it is: leave out --revision" in str(result.exception)
