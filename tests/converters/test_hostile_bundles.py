"""Bundles that are broken on purpose or by accident: one clear error each, nothing run, asked or read elsewhere."""

import builtins
import json
import shutil
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
from tests.pipelines.tiny_realrestorer import tiny_pipeline


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "layout"
    RestorerPipeline.from_pretrained(BUNDLE).save_pretrained(folder)
    return folder


@pytest.fixture(params=["published", "own"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path, own: Path) -> Path:
    """A copy of either layout."""
    source = {"published": BUNDLE, "own": own}[request.param]
    return Path(shutil.copytree(source, tmp_path / "bundle", copy_function=shutil.copyfile))


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any) -> str:
        raise AssertionError("somebody is asked on the terminal")

    monkeypatch.setattr(builtins, "input", asked)


def configure(**changes: Any) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        content = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**content, **changes}))

    return change


def inside(section: str, **changes: Any) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        content = json.loads(file.read_text())
        content[section] |= changes
        file.write_text(json.dumps(content))

    return change


def convert(change: Callable[[str, torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def rewrite(file: Path) -> None:
        content = {name: change(name, tensor).contiguous() for name, tensor in load_file(file).items()}
        save_file(content, file, {"format": "pt"})

    return rewrite


def elsewhere(path: str) -> Callable[[Path], None]:
    """Name a file outside in the index, beside the single file or instead of it."""

    def change(file: Path) -> None:
        save_file(load_file(file), file.parents[2] / "outside.safetensors")
        names = dict.fromkeys(load_file(file), path.format(outside=file.parents[2]))
        file.with_name(f"{file.name}.index.json").write_text(json.dumps({"weight_map": names}))
        file.unlink()

    return change


WEIGHTS = "diffusion_pytorch_model.safetensors"
EVIL = {"AutoProcessor": "evil.Evil", "AutoTokenizer": ["evil.Evil", None], "AutoImageProcessor": "evil.Evil"}
BOTH = [
    ("transformer/" + WEIGHTS, elsewhere("../../outside.safetensors"), "not a file beside it"),
    ("transformer/" + WEIGHTS, elsewhere("{outside}/outside.safetensors"), "not a file beside it"),
    ("vae/" + WEIGHTS, elsewhere("../../outside.safetensors"), "not a file beside it"),
    ("text_encoder/model.safetensors", elsewhere("../../outside.safetensors"), "not a file beside it"),
    (
        "text_encoder/model.safetensors.index.json",
        lambda f: f.write_text('{"weight_map": [1]}'),
        "in which file",
    ),
    ("text_encoder/config.json", Path.unlink, r"config.json is missing or not of a Qwen2.5-VL"),
    ("text_encoder/config.json", configure(model_type="bert"), r"not of a Qwen2.5-VL \('bert'\)"),
    ("text_encoder/config.json", inside("text_config", num_hidden_layers=10**9), "describes no text encoder"),
    ("text_encoder/config.json", inside("vision_config", depth=10**9), "describes no text encoder"),
    ("text_encoder/config.json", inside("text_config", vocab_size=10**9), r"describes \d+ parameters"),
    ("text_encoder/config.json", inside("text_config", hidden_size="wide"), "describes no text encoder"),
    ("text_encoder/config.json", lambda file: file.write_text("{}"), "not of a Qwen2.5-VL"),
    ("processor/preprocessor_config.json", configure(auto_map=EVIL), "names code to run"),
    (
        "processor/tokenizer_config.json",
        configure(auto_map=EVIL, tokenizer_class="Evil"),
        "names code to run",
    ),
    ("processor/processor_config.json", configure(x={"auto_map": EVIL}), "names code to run"),
    ("processor/tokenizer.json", lambda file: file.write_text("{"), "processor cannot be loaded"),
    (
        "transformer/" + WEIGHTS,
        convert(lambda _, tensor: tensor.to(torch.float8_e4m3fn)),
        "holds F8_E4M3: say",
    ),
    (
        "transformer/" + WEIGHTS,
        convert(lambda name, tensor: tensor.bfloat16() if tensor.ndim > 1 else tensor),
        "holds BF16 and F32: say what to compute in, such as dtype=torch.bfloat16",
    ),
    (
        "model_index.json",
        lambda file: file.write_text('{"_class_name": "RealRestorerPipeline"}'),
        "cannot be|missing",
    ),
]
PUBLISHED = [
    ("transformer/config.json", configure(axes_dims_rope="wide"), "axes_dims_rope 'wide': a list such as"),
    ("transformer/config.json", configure(axes_dims_rope=[4, 6]), "rotary axes is 10, its heads are 16"),
    ("transformer/config.json", configure(axes_dims_rope=[]), "a list such as"),
    ("transformer/config.json", configure(axes_dims_rope=[4, -6, 18]), "axes_dims_rope"),
    ("transformer/config.json", configure(connector_num_heads=0), "connector_num_heads 0"),
    ("transformer/config.json", configure(connector_num_heads=5), "heads leave of its width is 3"),
    ("transformer/config.json", lambda file: file.write_text("[]"), "holds no JSON object"),
    ("vae/config.json", configure(ch="128"), "has ch '128'"),
    ("vae/config.json", configure(ch=33), "describes no autoencoder|cannot be"),
    ("vae/config.json", configure(ch=999_936), "has shape|describes no autoencoder"),
    ("vae/config.json", configure(ch_mult=[]), "has ch_mult"),
    ("vae/config.json", configure(num_res_blocks=10**8), "num_res_blocks"),
    ("vae/config.json", configure(num_res_blocks=10**5), "more blocks than its weights hold"),
    ("vae/config.json", configure(scale_factor=0), "has scale_factor 0"),
    ("vae/config.json", configure(scale_factor=float("nan")), "has scale_factor nan"),
    ("vae/config.json", configure(shift_factor=None), "has shift_factor None"),
]
OWN = [
    ("transformer/config.json", configure(num_layers=10**9), "num_layers 1000000000, and"),
    ("transformer/config.json", configure(axes_dims_rope=[4, 6, 8]), "rotary axes is 18"),
    ("transformer/config.json", Path.unlink, "cannot be loaded"),
    ("connector/config.json", configure(num_heads=5), "heads leave|cannot be loaded"),
    ("connector/config.json", configure(depth="many"), "depth many"),
    ("vae/config.json", configure(latent_channels=4), "cannot be loaded|belong together"),
    (
        "transformer/" + WEIGHTS + ".index.json",
        lambda f: f.write_text('{"weight_map": {"a": "../x"}}'),
        "beside it",
    ),
    ("scheduler/scheduler_config.json", lambda file: file.write_text("{"), "cannot be loaded"),
]


def refused(bundle: Path, name: str, breakage: Callable[[Path], Any], message: str) -> None:
    breakage(bundle / name)
    with pytest.raises(RestorerError, match=message) as caught:
        RestorerPipeline.from_pretrained(bundle)
    assert "\n" not in str(caught.value)


def ids(value: Any) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("name", "breakage", "message"), BOTH, ids=ids)
def test_either_layout(bundle: Path, name: str, breakage: Callable, message: str) -> None:
    refused(bundle, name, breakage, message)


@pytest.mark.parametrize("bundle", ["published"], indirect=True)
@pytest.mark.parametrize(("name", "breakage", "message"), PUBLISHED, ids=ids)
def test_the_published_layout(bundle: Path, name: str, breakage: Callable, message: str) -> None:
    refused(bundle, name, breakage, message)


@pytest.mark.parametrize("bundle", ["own"], indirect=True)
@pytest.mark.parametrize(("name", "breakage", "message"), OWN, ids=ids)
def test_our_layout(bundle: Path, name: str, breakage: Callable, message: str) -> None:
    refused(bundle, name, breakage, message)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, "wide"])
def test_nothing_is_computed_in_8_bits_or_integers(bundle: Path, dtype: Any) -> None:
    with pytest.raises(RestorerError, match=r"networks compute in torch\.bfloat16, float16 or float32"):
        RestorerPipeline.from_pretrained(bundle, dtype=dtype)


def test_float8_is_loaded_once_somebody_says_what_to_compute_in(bundle: Path) -> None:
    convert(lambda _, tensor: tensor.to(torch.float8_e4m3fn))(bundle / "transformer" / WEIGHTS)
    loaded = RestorerPipeline.from_pretrained(bundle, dtype=torch.float32)
    exact = RestorerPipeline.from_pretrained(BUNDLE)
    found, wanted = (pipe.transformer.x_embedder.weight for pipe in (loaded, exact))
    assert torch.equal(found, wanted.to(torch.float8_e4m3fn).float())


def test_integers_are_not_taken_for_weights(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(BUNDLE, tmp_path / "bundle", copy_function=shutil.copyfile))
    convert(lambda _, tensor: (tensor * 9).to(torch.int8))(bundle / "transformer" / WEIGHTS)
    with pytest.raises(RestorerError, match="holds I8, weights quantised in a way that is not known here"):
        RestorerPipeline.from_pretrained(bundle, dtype=torch.float32)


def replaced(**changes: Any) -> dict[str, Any]:
    return {**tiny_pipeline().components, **changes}


def test_parts_of_different_releases_do_not_meet() -> None:
    published = RestorerPipeline.from_pretrained(BUNDLE).components
    for name in ("transformer", "connector", "text_encoder", "processor"):
        with pytest.raises(RestorerError, match="these parts do not belong together"):
            RealRestorerPipeline(**replaced(**{name: published[name]}))
    RealRestorerPipeline(**replaced(vae=published["vae"]))  # the same latents, another width
