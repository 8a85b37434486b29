"""RealRestorer's denoiser from one file, under each of the names in use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ggt_hub import RestorerPipeline
from ggt_hub.errors import RestorerError
from ggt_hub.pipelines.realrestorer import RealRestorerPipeline
from tests.golden import BUNDLE

Tensors = dict[str, torch.Tensor]
PUBLISHED: Tensors = load_file(BUNDLE / "transformer/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def whole() -> RealRestorerPipeline:
    return RestorerPipeline.from_pretrained(BUNDLE)


@pytest.fixture(scope="module")
def own(whole: RealRestorerPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "layout"
    whole.save_pretrained(folder)
    return folder


def in_front(prefix: str) -> Tensors:
    return {prefix + name.removeprefix("inner_model."): tensor for name, tensor in PUBLISHED.items()}


def of_diffusers(pipe: RealRestorerPipeline) -> Tensors:
    parts = {"transformer": pipe.transformer, "connector": pipe.connector}
    return {
        f"{part}.{name}": tensor for part, net in parts.items() for name, tensor in net.state_dict().items()
    }


def saved(tensors: Tensors, tmp_path: Path) -> Path:
    save_file(tensors, tmp_path / "denoiser.safetensors")
    return tmp_path / "denoiser.safetensors"


def equal(found: RealRestorerPipeline, wanted: RealRestorerPipeline, parts: tuple[str, ...]) -> bool:
    return all(
        torch.equal(value, getattr(wanted, part).state_dict()[name])
        for part in parts
        for name, value in getattr(found, part).state_dict().items()
    )


@pytest.mark.parametrize(
    "prefix",
    ["inner_model.", "", "model.diffusion_model.", "diffusion_model.", "model.", "module.inner_model."],
)
@pytest.mark.parametrize("layout", ["published", "own"])
def test_published_names(prefix: str, layout: str, whole, own: Path, tmp_path: Path) -> None:
    base = {"published": BUNDLE, "own": own}[layout]
    loaded = RealRestorerPipeline.from_single_file(saved(in_front(prefix), tmp_path), config=base)
    assert equal(loaded, whole, ("transformer", "connector", "vae", "text_encoder"))
    assert loaded.config.reference_axis == 0
    assert loaded.transformer.config.axes_dims_rope == whole.transformer.config.axes_dims_rope
    assert loaded.connector.config.num_heads == whole.connector.config.num_heads


@pytest.mark.parametrize("layout", ["published", "own"])
def test_names_of_diffusers(layout: str, whole, own: Path, tmp_path: Path) -> None:
    base = {"published": BUNDLE, "own": own}[layout]
    loaded = RealRestorerPipeline.from_single_file(saved(of_diffusers(whole), tmp_path), config=base)
    assert equal(loaded, whole, ("transformer", "connector", "vae"))


def test_the_transformer_alone(whole, own: Path, tmp_path: Path) -> None:
    tuned = {name: tensor + 1 for name, tensor in whole.transformer.state_dict().items()}
    loaded = RealRestorerPipeline.from_single_file(
        saved(tuned, tmp_path), config=own, reference_axis=1, text_encoder=None
    )
    assert torch.equal(loaded.transformer.proj_out.bias, whole.transformer.proj_out.bias + 1)
    assert equal(loaded, whole, ("connector",)) and loaded.config.reference_axis == 1
    assert loaded.text_encoder is None


def narrow(rows: bool, scale_name: str, source: Tensors) -> tuple[Tensors, Tensors]:
    """Matrices in float8 with a scale each, or one for each row; and what they stand for."""
    stored, exact = {}, {}
    for name, tensor in source.items():
        stored[name] = exact[name] = tensor
        if tensor.ndim == 2 and name.endswith(".weight"):
            largest = tensor.abs().amax(dim=1) if rows else tensor.abs().max()
            scale = largest / 448
            over = scale[:, None] if rows else scale
            stored[name] = (tensor / over).to(torch.float8_e4m3fn)
            exact[name] = stored[name].float() * over
            stored[name.removesuffix("weight") + scale_name] = scale
    return stored, exact


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("scale", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("names", ["published", "diffusers"])
def test_float8_with_scales(names: str, scale: str, rows: bool, whole, tmp_path: Path) -> None:
    source = in_front("model.diffusion_model.") if names == "published" else of_diffusers(whole)
    stored, exact = narrow(rows, scale, source)
    layer = next(name for name in stored if name.endswith(scale)).removesuffix(scale)
    stored[f"{layer}input_scale"] = torch.tensor(2.0)
    stored[f"{layer}comfy_quant"] = torch.zeros(4, dtype=torch.uint8)
    if names == "published":
        stored["model.diffusion_model.scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    file = saved(stored, tmp_path)
    loaded = RealRestorerPipeline.from_single_file(file, config=BUNDLE, dtype=torch.float32)
    wanted = RealRestorerPipeline.from_single_file(saved(exact, tmp_path), config=BUNDLE)
    assert equal(loaded, wanted, ("transformer", "connector"))
    assert not equal(loaded, whole, ("transformer",))


def test_float8_needs_somebody_to_say_what_to_compute_in(tmp_path: Path) -> None:
    stored, _ = narrow(False, "weight_scale", PUBLISHED)
    with pytest.raises(RestorerError, match="holds F32 and F8_E4M3: say what to compute in"):
        RealRestorerPipeline.from_single_file(saved(stored, tmp_path), config=BUNDLE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("inner_model.txt_in.bias"), "missing: .*context_embedder.bias"),
        (lambda t: t.update({"inner_model.txt_in.bias": torch.ones(3)}), r"has shape \(3,\)"),
        (lambda t: t.update({"vae.conv.weight": torch.ones(3)}), "unknown: .*vae.conv.weight"),
        (lambda t: t.update({"model.img_in.bias": t["inner_model.img_in.bias"] + 0}), "twice"),
        (lambda t: [t.pop(name) for name in list(t) if "double" in name], "holds no RealRestorer denoiser"),
        (lambda t: t.update({"inner_model.img_in.weight_scale": torch.ones(3)}), "unknown: .*weight_scale"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(
    change: Callable[[Tensors], Any], message: str, tmp_path
) -> None:
    tensors = dict(PUBLISHED)
    change(tensors)
    with pytest.raises(RestorerError, match=message):
        RealRestorerPipeline.from_single_file(saved(tensors, tmp_path), config=BUNDLE)


def test_scales_that_are_not_by_row_are_refused(tmp_path: Path) -> None:
    name = "inner_model.img_in.weight"
    odd = {**PUBLISHED, name: PUBLISHED[name].to(torch.float8_e4m3fn)}
    odd["inner_model.img_in.weight_scale"] = torch.ones(3)
    with pytest.raises(RestorerError, match="has 3 scales: one, or one for each row, is supported"):
        RealRestorerPipeline.from_single_file(saved(odd, tmp_path), config=BUNDLE, dtype=torch.float32)


@pytest.mark.parametrize("name", ["denoiser.ckpt", "absent.safetensors", "damaged.safetensors"])
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"cos\nsystem\n")
    with pytest.raises(RestorerError, match=r"no safetensors file here|is damaged or cut off"):
        RealRestorerPipeline.from_single_file(tmp_path / name, config=BUNDLE)
