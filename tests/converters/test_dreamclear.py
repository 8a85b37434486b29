"""DreamClear's published files: each tensor once, read safely, written in shards, and resumable."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import T5EncoderModel, T5Tokenizer
from transformers.convert_slow_tokenizer import import_protobuf
from typer.testing import CliRunner, Result

from ggt_hub import RestorerPipeline
from ggt_hub.cli import app
from ggt_hub.converters import dreamclear as converter
from ggt_hub.converters.checkpoint import plan
from ggt_hub.converters.dreamclear import convert_dreamclear
from ggt_hub.converters.dreamclear_names import (
    AUTOENCODER,
    PRE_CLEANER,
    TEXT_ENCODER,
    WEIGHTS,
    settings_of,
    transformer_destinations,
)
from ggt_hub.errors import RestorerError
from ggt_hub.models import DreamClearTransformer2DModel, SwinIR
from tests.golden_dreamclear import case, difference, tensors
from tests.pipelines.tiny_dreamclear import LENGTH, tiny_pipeline, tiny_text_encoder, tiny_tokenizer

WIDTH, LAYERS = 1152, 28


def layer(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def embedder(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.proj.weight": (width, 4, 2, 2), f"{name}.proj.bias": (width,)}


def block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.scale_shift_table": (6, width),
        **layer(f"{name}.attn.qkv", 3 * width, width),
        **layer(f"{name}.attn.proj", width, width),
        **layer(f"{name}.cross_attn.q_linear", width, width),
        **layer(f"{name}.cross_attn.kv_linear", 2 * width, width),
        **layer(f"{name}.cross_attn.proj", width, width),
        **layer(f"{name}.mlp.fc1", 4 * width, width),
        **layer(f"{name}.mlp.fc2", width, 4 * width),
    }


def modulator(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        **layer(f"{name}.shared_proj", width // 2, width),
        **layer(f"{name}.proj_mul", width, width // 2),
        **layer(f"{name}.proj_add", width, width // 2),
    }


def published(
    width: int = WIDTH, layers: int = LAYERS, caption: int = 4096, length: int = 120, side: int = 64
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published tensors, from the table of the facts (section 2.4)."""
    base, third = "base_model", width // 3
    shapes: dict[str, tuple[int, ...]] = {
        f"{base}.pos_embed": (1, side**2, width),
        f"{base}.y_embedder.y_embedding": (length, caption),
        **embedder(f"{base}.x_embedder", width),
        **layer(f"{base}.t_embedder.mlp.0", width, 256),
        **layer(f"{base}.t_embedder.mlp.2", width, width),
        **layer(f"{base}.t_block.1", 6 * width, width),
        **layer(f"{base}.y_embedder.y_proj.fc1", width, caption),
        **layer(f"{base}.y_embedder.y_proj.fc2", width, width),
        f"{base}.final_layer.scale_shift_table": (2, width),
        **layer(f"{base}.final_layer.linear", 32, width),
    }
    for name in ("csize_embedder", "ar_embedder"):
        shapes |= {**layer(f"{base}.{name}.mlp.0", third, 256), **layer(f"{base}.{name}.mlp.2", third, third)}
    for side_name in ("lq", "pre"):
        shapes |= embedder(f"c_embedder_{side_name}", width) | embedder(f"x_embedder_{side_name}", width)
    for number in range(layers):
        shapes |= block(f"{base}.blocks.{number}", width)
        for stack in ("controlnet_lq", "controlnet_pre"):
            shapes |= block(f"{stack}.{number}.copied_block", width)
        for name, rows in (
            ("q_linear", width),
            ("proj", width),
            ("de_proj", width),
            ("kv_linear", 2 * width),
        ):
            shapes |= layer(f"cross_de.{number}.{name}", rows, width)
        for name in ("norm1", "norm2"):
            shapes |= {f"cross_de.{number}.{name}.{kind}": (width,) for kind in ("weight", "bias")}
        shapes |= modulator(f"am_pre.{number}", width)
        for expert in range(3):
            shapes |= modulator(f"am_lq.{number}.experts.{expert}", width)
        shapes |= {**layer(f"am_lq.{number}.gate.0", 24, width), **layer(f"am_lq.{number}.gate.2", 3, 24)}
    return shapes


def tiny_weights() -> dict[str, Tensor]:
    """Small published weights that tell each other apart."""
    drawn = torch.Generator().manual_seed(0)
    shapes = published(48, 2, 16, LENGTH, 4)
    return {name: 0.1 * torch.randn(shape, generator=drawn) for name, shape in shapes.items()}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The published repository, small, in the forms that it has on the Hub."""
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save({"state_dict": tiny_weights(), "epoch": 3}, folder / WEIGHTS)
    torch.manual_seed(0)
    cleaner = {
        f"module.{name}": value for name, value in SwinIR(8, (2,), (2,), num_feat=8).state_dict().items()
    }
    for number in range(2):
        inside = f"module.layers.0.residual_group.blocks.{number}.attn"
        cleaner[f"{inside}.relative_position_index"] = torch.zeros(64, 64, dtype=torch.int64)
    cleaner["module.layers.0.residual_group.blocks.1.attn_mask"] = torch.zeros(64, 64, 64)
    torch.save({"state_dict": cleaner}, folder / PRE_CLEANER)
    pipe = tiny_pipeline()
    pipe.vae.save_pretrained(folder / AUTOENCODER, safe_serialization=False)
    config = json.loads((folder / AUTOENCODER / "config.json").read_text())
    config.pop("scaling_factor")
    (folder / AUTOENCODER / "config.json").write_text(json.dumps(config))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["convert", "dreamclear", *map(str, arguments)])


# Names


def test_each_published_tensor_is_used_once_or_named_as_not_needed() -> None:
    shapes = published()
    assert len(shapes) == 2413
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 2_217_086_324
    with torch.device("meta"):
        network = DreamClearTransformer2DModel(**settings_of(shapes))
        default = DreamClearTransformer2DModel()
    assert {name: network.config[name] for name in settings_of(shapes)} == {
        name: default.config[name] for name in settings_of(shapes)
    }
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_211_876_212
    made = plan(shapes, transformer_destinations(shapes), {"transformer": network})
    assert [name for name, places in made.items() if not places] == ["base_model.pos_embed"]
    trained = sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if name.startswith(("controlnet", "cross_de", "am_", "c_embedder", "x_embedder"))
    )
    assert trained == 1_600_527_060


@torch.no_grad()
def test_golden_weights_give_golden_output_after_conversion(repository: Path, tmp_path: Path) -> None:
    """Read from a pickle, written in shards, loaded by diffusers: the heads are told, all else follows."""
    torch.save({"state_dict": dict(tensors("transformer/weights.safetensors"))}, repository / WEIGHTS)
    convert_dreamclear(repository, tmp_path / "own", heads=4, largest=10**6)
    files = sorted((tmp_path / "own/transformer").glob("*.safetensors"))
    assert len(files) > 3 and max(file.stat().st_size for file in files) < 1.1e6
    network = DreamClearTransformer2DModel.from_pretrained(tmp_path / "own/transformer")
    wanted = tensors("transformer/outputs.safetensors")["cfg_pair.output"]
    assert difference(network(**case("cfg_pair")).sample, wanted) < 1e-5


# What is written


def test_the_repository_becomes_a_restorer(repository: Path, tmp_path: Path) -> None:
    result = run(repository, tmp_path / "own", "--heads", 2)
    assert result.exit_code == 0, result.output
    assert "left out: text_encoder" in result.output and "RAIL++" in result.output
    parts = ["README.md", "model_index.json", "pre_cleaner", "scheduler", "transformer", "vae"]
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == parts
    assert not any((tmp_path / "own").rglob(".ggt-hub"))
    pipe = RestorerPipeline.from_pretrained(tmp_path / "own", minimum_size=64)
    assert type(pipe).__name__ == "DreamClearPipeline"
    weights, ours = tiny_weights(), pipe.transformer.state_dict()
    assert ours["y_embedding"].equal(weights["base_model.y_embedder.y_embedding"])
    query, key, value = weights["controlnet_pre.1.copied_block.attn.qkv.weight"].chunk(3)
    for name, part in (("to_q", query), ("to_k", key), ("to_v", value)):
        assert ours[f"controlnet_pre.1.attn1.{name}.weight"].equal(part)
    assert pipe.vae.config.scaling_factor == 0.18215
    torch.manual_seed(0)
    cleaner = SwinIR(8, (2,), (2,), num_feat=8).state_dict()
    assert all(value.equal(cleaner[name]) for name, value in pipe.pre_cleaner.state_dict().items())
    vae = AutoencoderKL.from_pretrained(repository / AUTOENCODER, use_safetensors=False).state_dict()
    assert all(value.equal(vae[name]) for name, value in pipe.vae.state_dict().items())


def test_the_text_encoder_is_converted_with_its_tokenizer(repository: Path, tmp_path: Path) -> None:
    folder = repository / TEXT_ENCODER
    encoder = tiny_text_encoder()
    encoder.config.save_pretrained(folder)
    state = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    names = sorted(state)
    for number, part in enumerate((names[:5], names[5:]), start=1):
        torch.save({name: state[name] for name in part}, folder / f"pytorch_model-0000{number}-of-00002.bin")
    tiny_tokenizer().save_pretrained(folder)
    assert convert_dreamclear(repository, tmp_path / "own", heads=2, largest=2000) == []
    loaded = T5EncoderModel.from_pretrained(tmp_path / "own/text_encoder").state_dict()
    assert all(value.equal(state[name]) for name, value in loaded.items())
    pipe = RestorerPipeline.from_pretrained(tmp_path / "own")
    assert pipe.tokenizer("a").input_ids == tiny_tokenizer()("a").input_ids


def test_the_words_of_sentencepiece_are_read_without_its_library(tmp_path: Path) -> None:
    described = import_protobuf().ModelProto()
    for word, score in (("<pad>", 0), ("</s>", 0), ("<unk>", 0), ("▁a", -1), ("▁cat", -2), ("s", -3)):
        described.pieces.add(piece=word, score=score)
    (tmp_path / "spiece.model").write_bytes(described.SerializeToString())
    converter._tokenizer(tmp_path).save_pretrained(tmp_path / "own")
    loaded = T5Tokenizer.from_pretrained(tmp_path / "own")
    assert loaded("a cats x").input_ids == [3, 4, 5, 2, 1]
    assert loaded.convert_tokens_to_ids("<extra_id_0>") == 6 + 99 and loaded.pad_token_id == 0


def test_in_16_bits_what_is_delicate_stays_in_float32(repository: Path, tmp_path: Path) -> None:
    assert run(repository, tmp_path / "own", "--heads", 2, "--dtype", "bfloat16").exit_code == 0
    stored = load_file(tmp_path / "own/transformer/diffusion_pytorch_model.safetensors")
    kinds = {name: tensor.dtype for name, tensor in stored.items()}
    assert kinds["transformer_blocks.0.attn1.to_q.weight"] == torch.bfloat16
    assert kinds["adaln_single.linear.weight"] == kinds["y_embedding"] == torch.float32
    pipe = RestorerPipeline.from_pretrained(tmp_path / "own")  # as stored
    assert pipe.transformer.dtype == torch.bfloat16 and pipe.vae.dtype == torch.float32
    assert pipe.transformer.adaln_single.linear.weight.dtype == torch.float32
    assert (
        RestorerPipeline.from_pretrained(tmp_path / "own", dtype=torch.float32).transformer.dtype
        == torch.float32
    )


def cut_off(repository: Path, target: Path) -> None:
    """Convert two shards, and be killed."""
    written, real = [], converter._write_shard

    def write(readers: Any, pieces: Any, path: Path) -> dict[str, Any]:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        return real(readers, pieces, path)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(converter, "_write_shard", write)
        convert_dreamclear(repository, target, heads=2, largest=200_000)


def test_what_was_cut_off_is_no_restorer_and_the_command_goes_on(repository: Path, tmp_path: Path) -> None:
    cut_off(repository, tmp_path / "own")
    assert not (tmp_path / "own/model_index.json").exists()
    with pytest.raises(RestorerError, match="is not a restorer"):
        RestorerPipeline.from_pretrained(tmp_path / "own")
    result = run(
        repository, tmp_path / "own", "--heads", 2
    )  # its shards are larger: those of before are gone
    assert result.exit_code == 0, result.output
    files = ["config.json", "diffusion_pytorch_model.safetensors"]
    assert sorted(file.name for file in (tmp_path / "own/transformer").iterdir()) == files


def test_what_is_done_is_not_done_again(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(repository, tmp_path / "own")
    real = converter._write_shard
    again = []
    monkeypatch.setattr(converter, "_write_shard", lambda *given: again.append(1) or real(*given))
    convert_dreamclear(repository, tmp_path / "own", heads=2, largest=200_000)
    monkeypatch.undo()
    convert_dreamclear(repository, tmp_path / "whole", heads=2, largest=200_000)
    wanted = {file.name: file.read_bytes() for file in (tmp_path / "whole/transformer").iterdir()}
    assert {file.name: file.read_bytes() for file in (tmp_path / "own/transformer").iterdir()} == wanted
    assert len(again) == len([name for name in wanted if name.endswith(".safetensors")]) - 2 > 0


def test_one_shard_is_in_memory_at_a_time(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a shard no tensor is read before the one before it is written."""
    sizes, reading = [], []
    real_read, real_save = converter.PickledTensors.read, converter.save_file
    monkeypatch.setattr(
        converter.PickledTensors, "read", lambda self, name: reading.append(name) or real_read(self, name)
    )

    def save(given: dict[str, Tensor], *rest: Any) -> None:
        sizes.append((len(reading), sum(tensor.nbytes for tensor in given.values())))
        reading.clear()
        real_save(given, *rest)

    monkeypatch.setattr(converter, "save_file", save)
    convert_dreamclear(repository, tmp_path / "own", heads=2, largest=100_000)
    largest = max(tensor.nbytes for tensor in tiny_weights().values())
    assert len(sizes) > 5 and max(size for _, size in sizes) <= max(100_000, largest)
    assert all(count for count, _ in sizes)


# Bad input


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def refused(repository: Path, target: Path) -> str:
    """The message; no restorer was written."""
    result = run(repository, target, "--heads", 2)
    assert isinstance(result.exception, RestorerError), result.output
    assert not (target / "model_index.json").exists() and not (target / "transformer").exists()
    return str(result.exception)


def test_code_in_a_pickle_is_not_run(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"state_dict": tiny_weights(), "more": Evil()}, repository / WEIGHTS)
    assert "holds print besides tensors" in refused(repository, tmp_path / "own")
    torch.save({"state_dict": tiny_weights()}, repository / WEIGHTS)
    (repository / AUTOENCODER / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    message = refused(repository, tmp_path / "own")
    assert "besides tensors" in message or "is damaged" in message
    assert "ran" not in capsys.readouterr().out


def test_what_is_cut_off_or_changed_is_refused(repository: Path, tmp_path: Path) -> None:
    whole = (repository / WEIGHTS).read_bytes()
    (repository / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    assert "is damaged, cut off or no weights" in refused(repository, tmp_path / "own")
    (repository / WEIGHTS).write_bytes(b"")
    assert "is damaged, cut off or no weights" in refused(repository, tmp_path / "own")
    (repository / WEIGHTS).unlink()
    assert "is no file: download the published weights" in refused(repository, tmp_path / "own")


def test_another_networks_weights_are_refused(repository: Path, tmp_path: Path) -> None:
    shutil.copy(repository / PRE_CLEANER, repository / WEIGHTS)
    assert "is no transformer of DreamClear's" in refused(repository, tmp_path / "own")
    weights = tiny_weights()
    torch.save({name: weights[name] for name in list(weights)[:-1]}, repository / WEIGHTS)
    assert "is no whole transformer of DreamClear's: the weights do not fit: missing" in refused(
        repository, tmp_path / "own"
    )
    torch.save(weights | {"more.weight": torch.zeros(1)}, repository / WEIGHTS)
    assert "unknown: more.weight" in refused(repository, tmp_path / "own")
    torch.save(weights, repository / WEIGHTS)
    torch.save({"state_dict": {"a.weight": torch.zeros(1)}}, repository / PRE_CLEANER)
    assert "is not a SwinIR" in refused(repository, tmp_path / "own")


def test_a_small_file_that_describes_large_tensors_is_refused(repository: Path, tmp_path: Path) -> None:
    weights = tiny_weights()
    name = "base_model.t_block.1.weight"
    weights[name] = torch.zeros(1).expand(weights[name].shape)
    torch.save({"state_dict": weights}, repository / WEIGHTS)
    assert f"{name} holds no plain numbers" in refused(repository, tmp_path / "own")


def test_whoever_loads_the_published_files_is_told_to_convert_them(repository: Path) -> None:
    with pytest.raises(
        RestorerError, match=f"write it once with `ggt-hub convert dreamclear {repository} DST`"
    ):
        RestorerPipeline.from_pretrained(repository)


def test_missing_parts_are_named(repository: Path, tmp_path: Path) -> None:
    (repository / PRE_CLEANER).unlink()
    assert convert_dreamclear(repository, tmp_path / "own", heads=2) == ["pre_cleaner", "text_encoder"]
    pipe = RestorerPipeline.from_pretrained(tmp_path / "own", minimum_size=64)
    with pytest.raises(RestorerError, match=r"has no pre-cleaner: load it with one, or pass .* reference="):
        pipe(torch.zeros(3, 16, 16))
    shutil.rmtree(repository / AUTOENCODER)
    assert "the autoencoder, is missing: download the whole repository" in refused(
        repository, tmp_path / "other"
    )


def test_a_folder_that_holds_something_else_is_left_alone(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.txt").write_text("a")
    result = run(repository, tmp_path / "mine", "--heads", 2)
    assert "is not an empty folder" in str(result.exception)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["a.txt"]


def test_safetensors_of_the_published_names_are_taken_too(repository: Path, tmp_path: Path) -> None:
    file = repository / "weights.safetensors"
    save_file(tiny_weights(), file)
    convert_dreamclear(file, tmp_path / "own", heads=2)
    convert_dreamclear(repository, tmp_path / "other", heads=2)
    name = "transformer/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
