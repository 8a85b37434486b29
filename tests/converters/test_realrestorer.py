"""Published names and sizes of RealRestorer against what the converter makes of them, at full size."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ggt_hub.converters.checkpoint import plan
from ggt_hub.converters.realrestorer import (
    build_autoencoder,
    build_denoiser,
    load_published,
    reference_axis,
)
from ggt_hub.converters.realrestorer_names import (
    autoencoder_destinations,
    denoiser_destinations,
    is_published,
)
from ggt_hub.errors import RestorerError
from tests.golden import BUNDLE, difference, document, tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"


def published_shapes(part: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in document("published_keys.json")[part].items()}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLE, tmp_path / "bundle", copy_function=shutil.copyfile))


def test_every_published_tensor_of_the_denoiser_is_consumed_exactly_once() -> None:
    shapes = published_shapes("transformer")
    networks = build_denoiser(shapes, {})
    made = plan(shapes, denoiser_destinations(shapes), networks)
    assert len(made) == 822
    assert [name for name, places in made.items() if not places] == ["inner_model.mask_token"]
    assert {name: len(network.state_dict()) for name, network in networks.items()} == {
        "transformer": 1160,
        "connector": 41,
    }
    parameters = {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()}
    # 12,438,033,217 published, of which 3,072 are the unused mask token.
    assert parameters == {"transformer": 11_901_408_320, "connector": 536_621_825}
    assert all(p.is_meta for network in networks.values() for p in network.parameters())
    assert networks["transformer"].config.guidance_embeds
    assert networks["connector"].config.num_heads == 32
    assert reference_axis(shapes) == 0


def test_every_published_tensor_of_the_autoencoder_is_consumed_exactly_once() -> None:
    shapes = published_shapes("vae")
    networks = build_autoencoder(shapes, {})
    made = plan(shapes, autoencoder_destinations(shapes), networks)
    assert len(made) == 244 and all(len(places) == 1 for places in made.values())
    assert sum(p.numel() for p in networks["vae"].parameters()) == 83_819_683


def test_version_is_told_by_the_tensors_whatever_the_configuration_says() -> None:
    shapes = published_shapes("transformer")
    del shapes["inner_model.connector.scale_factor"]
    networks = build_denoiser(shapes, {"version": "v1.0"})
    plan(shapes, denoiser_destinations(shapes), networks)
    assert not networks["connector"].config.scale_pooled
    assert reference_axis(shapes) == 1


@pytest.mark.parametrize("config", [{"mlp_ratio": 3.0}, {"theta": 500}, {"qkv_bias": False}])
def test_a_variant_that_flux_has_not_is_refused(config: dict) -> None:
    with pytest.raises(RestorerError, match="the published value, is supported"):
        build_denoiser(published_shapes("transformer"), config)


def test_other_weights_are_not_taken_for_realrestorer() -> None:
    with pytest.raises(RestorerError, match="not the weights of RealRestorer"):
        build_denoiser({"unet.conv_in.weight": (320, 4, 3, 3)}, {})


@torch.no_grad()
def test_autoencoder_gives_the_published_values() -> None:
    vae, io = (
        load_published(BUNDLE, without=("text_encoder", "processor"))["vae"],
        tensors("vae/io.safetensors"),
    )
    found = vae.encode(io["in.image_0_1"] * 2 - 1).latent_dist
    sampled = found.mean + found.std * io["in.posterior_noise"]
    latents = (sampled - vae.config.shift_factor) * vae.config.scaling_factor
    assert difference(found.parameters, io["mid.moments"]) < 5e-5
    assert difference(latents, io["out.latents_sampled"]) < 5e-5
    raw = io["out.latents_sampled"] / vae.config.scaling_factor + vae.config.shift_factor
    assert difference(vae.decode(raw).sample, io["out.decoded"]) < 5e-5


def test_dtypes_are_as_stored_and_the_autoencoder_is_float32_unless_asked() -> None:
    asked = load_published(BUNDLE, dtype=torch.bfloat16)
    assert {name: asked[name].dtype for name in ("transformer", "connector", "text_encoder", "vae")} == {
        "transformer": torch.bfloat16,
        "connector": torch.bfloat16,
        "text_encoder": torch.bfloat16,
        "vae": torch.float32,
    }
    assert load_published(BUNDLE, vae_dtype=torch.bfloat16)["vae"].dtype == torch.bfloat16
    assert load_published(BUNDLE, without=("text_encoder",))["transformer"].dtype == torch.float32


def test_shards_give_the_same_network_as_one_file(broken: Path) -> None:
    file = broken / "transformer" / WEIGHTS
    names = load_file(file)
    shards = {"a": dict(list(names.items())[:60]), "b": dict(list(names.items())[60:])}
    for shard, content in shards.items():
        save_file(content, file.with_name(f"{shard}.safetensors"))
    weight_map = {name: f"{shard}.safetensors" for shard, content in shards.items() for name in content}
    file.with_name(f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    file.unlink()
    whole, parts = (load_published(f, without=("text_encoder",))["transformer"] for f in (BUNDLE, broken))
    assert all(torch.equal(parts.state_dict()[name], value) for name, value in whole.state_dict().items())


def test_wrong_and_missing_configuration_keys_change_nothing(broken: Path) -> None:
    """Only what tensors cannot tell is read from it: the rotary axes and, in the tiny bundle, the heads."""
    kept = {"axes_dims_rope": [4, 6, 6], "connector_num_heads": 4}
    wrong = {
        "version": "v1.1",
        "guidance_embeds": False,
        "use_mask_token": False,
        "depth": 7,
        "hidden_size": 1,
    }
    (broken / "transformer" / "config.json").write_text(json.dumps({**kept, **wrong}))
    found, wanted = (load_published(folder, without=("text_encoder",)) for folder in (broken, BUNDLE))
    assert found["transformer"].config == wanted["transformer"].config
    assert found["connector"].config == wanted["connector"].config
    assert found["reference_axis"] == wanted["reference_axis"] == 0


def test_the_published_layout_is_recognised(tmp_path: Path) -> None:
    assert is_published(BUNDLE) and not is_published(tmp_path)


@pytest.mark.parametrize(
    ("part", "breakage", "message"),
    [
        ("transformer", lambda file: file.unlink(), "no diffusion_pytorch_model.safetensors here"),
        ("vae", lambda file: file.write_bytes(file.read_bytes()[:5000]), "damaged or cut off"),
        ("vae", lambda file: file.rename(file.with_suffix(".bin")), "is a pickle"),
        (
            "transformer",
            lambda file: rewrite(file, "inner_model.txt_in.bias", torch.ones(7)),
            "txt_in.bias has shape",
        ),
        (
            "transformer",
            lambda file: rewrite(file, "inner_model.txt_in.bias", None),
            "missing: .*context_embedder.bias",
        ),
        (
            "vae",
            lambda file: rewrite(file, "inner_model.decoder.extra", torch.ones(7)),
            "unknown: .*decoder.extra",
        ),
    ],
)
def test_a_broken_bundle_is_one_clear_error(broken: Path, part: str, breakage, message: str) -> None:
    breakage(broken / part / WEIGHTS)
    with pytest.raises(RestorerError, match=message):
        load_published(broken)


def test_a_broken_text_encoder_is_one_clear_error(broken: Path) -> None:
    file = broken / "text_encoder" / "model.safetensors"
    name = next(name for name in load_file(file) if name.endswith("embed_tokens.weight"))
    rewrite(file, name, torch.ones(5, 32))
    with pytest.raises(RestorerError, match=r"text_encoder: the text encoder"):
        load_published(broken)
    rewrite(file, name, None)
    with pytest.raises(RestorerError, match="the text encoder's weights do not fit: missing_keys"):
        load_published(broken)


def rewrite(file: Path, name: str, value: torch.Tensor | None) -> None:
    """Put another tensor in the place of `name`, or none."""
    content = load_file(file)
    content.pop(name, None)
    save_file(content if value is None else {**content, name: value}, file)
