"""A published restorer in a process that has stock diffusers and no ggt_hub: the same pixels."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from ggt_hub import RestorerPipeline
from ggt_hub.errors import RestorerError
from ggt_hub.models import QualityPrior
from ggt_hub.pipelines.layouts import BUNDLED
from ggt_hub.publishing.plan import pack, publish
from ggt_hub.publishing.standalone import standalone
from tests.photographs import photograph
from tests.publishing.trees import card, manifest, write

STOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ggt_hub":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

folder = Path(sys.argv[1])
pipe = DiffusionPipeline.from_pretrained("org/compact", revision=sys.argv[2], trust_remote_code=True)
assert not any(name.partition(".")[0] == "ggt_hub" for name in sys.modules)
for name, call in json.loads((folder / "calls.json").read_text()).items():
    source = folder / call.pop("file")
    picture = np.load(source) if source.suffix == ".npy" else Image.open(source)
    result = pipe(picture, **call).images[0]
    np.save(folder / f"{name}.stock.npy", np.asarray(result))
    if hasattr(result, "save"):
        result.save(folder / f"{name}.stock.png", exif=result.info.get("exif", b""))
"""


@pytest.fixture
def published(api, tmp_path) -> str:
    write(tmp_path / "compact.md", card("model"))
    pipe = RestorerPipeline.from_pretrained("compact")
    prior = QualityPrior.of(pipe.restorer, rank=2)
    for weight in prior.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    pipe.register_modules(quality_prior=prior)
    pipe.save_pretrained(tmp_path / "with-prior")
    entry = {"kind": "model", "folder": str(tmp_path / "with-prior"), "card": "compact.md"}
    ((parcel, _, proof),) = publish(pack(manifest(tmp_path, compact=entry)), api)
    assert proof.endswith("loaded as CompactRestorerPipeline")
    return parcel.listing.tag


def inputs(folder: Path) -> dict[str, dict]:
    """Pictures of the kinds that people have, and how each is restored."""
    noise = np.random.default_rng(0).normal(0, 25, (100, 132, 3))
    pixels = np.clip(photograph(132)[:100] + noise, 0, 255).astype(np.uint8)
    hidden = np.full((100, 132), 255, np.uint8)
    hidden[20:70, 30:90] = 0
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"
    Image.fromarray(pixels).save(folder / "rgb.png", exif=exif)
    Image.fromarray(np.dstack([pixels, hidden])).save(folder / "rgba.png")
    Image.fromarray(pixels[..., 0]).save(folder / "grey.png")
    Image.fromarray(pixels).quantize(64).save(folder / "palette.png")
    Image.fromarray(pixels[..., 1].astype(np.uint16) * 257).save(folder / "deep.png")
    np.save(folder / "floats.npy", pixels.astype(np.float32) / 255)
    return {
        "rgb": {"file": "rgb.png"},
        "tiles": {"file": "rgb.png", "tile": 136},
        "night": {"file": "rgb.png", "task": "low_light", "strength": 0.6},
        "larger": {"file": "rgba.png", "upscale": 2},
        "alpha": {"file": "rgba.png"},
        "grey": {"file": "grey.png", "task": "noise"},
        "palette": {"file": "palette.png", "output_type": "np"},
        "deep": {"file": "deep.png"},
        "floats": {"file": "floats.npy"},
        "haze": {"file": "rgb.png", "task": "haze"},
        "rain": {"file": "rgba.png", "task": "rain", "tile": 136},
        "good": {"file": "rgb.png", "quality": 0.9},
        "good rain": {"file": "rgb.png", "task": "rain", "quality": 0.9},
    }


def test_stock_diffusers_gives_the_same_pixels_without_the_package(published, tmp_path, monkeypatch):
    calls = inputs(tmp_path)
    (tmp_path / "calls.json").write_text(json.dumps(calls))
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", STOCK, str(tmp_path), published]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Expected types" not in done.stderr
    torch.set_num_threads(1)
    ours = RestorerPipeline.from_pretrained("org/compact", revision=published)
    for name, call in calls.items():
        file = tmp_path / call.pop("file")
        picture = np.load(file) if file.suffix == ".npy" else Image.open(file)
        expected = np.asarray(ours(picture, **call).images[0])
        assert np.array_equal(np.load(tmp_path / f"{name}.stock.npy"), expected), name
        if call.pop("quality", None):
            assert not np.array_equal(np.asarray(ours(picture, **call).images[0]), expected), name
    saved = Image.open(tmp_path / "rgb.stock.png")
    assert saved.size == (100, 132), "turned upright"
    assert dict(saved.getexif()) == {0x010F: "A camera"}


def test_our_own_class_runs_nothing_of_the_repository(published, monkeypatch):
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.DIFFUSERS_DISABLE_REMOTE_CODE", True)
    pipe = RestorerPipeline.from_pretrained("org/compact", revision=published, dtype=torch.bfloat16)
    assert type(pipe).__module__ == "ggt_hub.pipelines.compact"
    assert type(pipe.restorer).__module__ == "ggt_hub.models"
    assert pipe.dtype == torch.bfloat16


def test_stock_diffusers_asks_before_it_runs_the_file(published):
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained("org/compact", revision=published)


def test_the_files_are_whole_and_hold_one_pipeline():
    files = standalone(BUNDLED / "compact")
    networks = {"restorer/network.py", "parts/told_parts.py", "detector/judge.py", "quality_prior/prior.py"}
    assert set(files) == {"pipeline.py", "model_index.json"} | networks
    for path in ("pipeline.py", *networks):
        tree = ast.parse(files[path])
        imported = {
            (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
        }
        assert imported - sys.stdlib_module_names <= {"PIL", "cv2", "diffusers", "numpy", "torch"}
    pipelines = [
        node.name
        for node in ast.parse(files["pipeline.py"]).body
        if isinstance(node, ast.ClassDef)
        and "DiffusionPipeline" in {getattr(b, "id", "") for b in node.bases}
    ]
    assert pipelines == ["CompactRestorerPipeline"]


def test_a_path_is_refused_in_words(published, tmp_path):
    stock = DiffusionPipeline.from_pretrained("org/compact", revision=published, trust_remote_code=True)
    assert not isinstance(stock, RestorerPipeline)
    with pytest.raises(ValueError, match="open the file with Pillow"):
        stock("photo.jpg")


def test_what_is_no_restorer_gets_no_files(tmp_path):
    assert standalone(tmp_path) == {}
    write(tmp_path / "model_index.json", '{"_class_name": "StableDiffusionPipeline"}')
    assert standalone(tmp_path) == {}


def test_an_index_that_names_nothing_is_damaged(tmp_path):
    write(tmp_path / "model_index.json", '{"_class_name": ["pipeline"]}')
    with pytest.raises(RestorerError, match="is damaged"):
        RestorerPipeline.from_pretrained(tmp_path)
