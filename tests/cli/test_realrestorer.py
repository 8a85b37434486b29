"""`ggt-hub convert`, and `ggt-hub restore` within a memory budget."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from ggt_hub import RestorerPipeline
from ggt_hub.cli import app
from ggt_hub.errors import RestorerError
from tests.golden import BUNDLE
from tests.pipelines.tiny_realrestorer import tiny_pipeline

QUICK = ("--set", "num_inference_steps=1", "--set", "size_level=48", "--device", "cpu")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layout") / "tiny"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_convert_writes_a_layout_that_loads_without_conversion(tmp_path: Path) -> None:
    result = run("convert", "realrestorer", BUNDLE, tmp_path / "own")
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    own, published = (RestorerPipeline.from_pretrained(f) for f in (tmp_path / "own", BUNDLE))
    for part in ("transformer", "connector", "vae", "text_encoder"):
        weights = getattr(own, part).state_dict()
        assert all(
            weights[name].equal(value) for name, value in getattr(published, part).state_dict().items()
        )


def test_convert_writes_another_precision(tmp_path: Path) -> None:
    result = run("convert", "realrestorer", BUNDLE, tmp_path / "own", "--dtype", "float16")
    assert result.exit_code == 0, result.output
    own = RestorerPipeline.from_pretrained(tmp_path / "own")
    assert own.transformer.dtype == own.text_encoder.dtype == torch.float16
    assert own.vae.dtype == torch.float32


def test_convert_leaves_a_folder_alone_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = run("convert", "realrestorer", BUNDLE, tmp_path)
    assert isinstance(result.exception, RestorerError) and "is not an empty folder" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_convert_refuses_what_is_no_realrestorer(tmp_path: Path) -> None:
    result = run("convert", "realrestorer", "compact", tmp_path / "own")
    assert "not a RealRestorerPipeline" in str(result.exception)
    assert not (tmp_path / "own").exists()


def test_restore_says_its_plan_and_keeps_to_it(layout: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("restore", photo, "-o", out, "--model", layout, "--memory", "16GB", *QUICK)
    assert result.exit_code == 0, result.output
    assert "memory: weights as loaded, all on the device: 1." in result.output
    assert Image.open(out / "photo.png").size == (64, 48)


def test_restore_refuses_a_budget_that_is_too_small(layout: Path, photo: Path, tmp_path: Path) -> None:
    result = run("restore", photo, "-o", tmp_path / "out", "--model", layout, "--memory", "100MB", *QUICK)
    assert "does not fit into 0.1 GB: it needs 1." in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_restorer_whose_memory_is_not_measured_says_so(photo: Path, tmp_path: Path) -> None:
    result = run("restore", photo, "-o", tmp_path / "out", "--model", "identity", "--memory", "16GB")
    assert "BaselinePipeline has no memory plan, since its memory is not measured" in str(result.exception)


def test_the_compact_restorer_has_a_plan(photo: Path, tmp_path: Path) -> None:
    arguments = ("restore", photo, "-o", tmp_path / "out", "--device", "cpu", "--tile", "256", "--memory")
    result = run(*arguments, "16GB")
    assert result.exit_code == 0, result.output
    assert "memory: all on the device: 1.4 GB" in result.output
    assert "does not fit into 0.5 GB: it needs 1.4 GB on a CPU" in str(run(*arguments, "500MB").exception)
