"""The entry point, `info` and `quickstart`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ggt_hub import cli
from ggt_hub.cli import app
from ggt_hub.errors import WriteError
from tests.photographs import photograph


def test_an_error_is_one_line_and_exit_code_2() -> None:
    command = [sys.executable, "-m", "ggt_hub", "restore", "nowhere.png", "-o", "out"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("ggt-hub: 'nowhere.png': no such file")


def test_what_the_file_system_refuses_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device", "out/run.yaml")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err) == (
        2,
        "ggt-hub: No space left on device: out/run.yaml\n",
    )


def test_a_warning_is_one_line_without_a_place_in_the_code(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    command = [sys.executable, "-m", "ggt_hub", "score", "two.gif", "two.gif", "--metrics", "psnr"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    said = "warning: 'two.gif' holds 2 frames; only the first is used: choose with page=1..2."
    assert said in re.split("[\\r\\n]", result.stderr)
    assert ".py" not in result.stderr


def test_importing_the_package_and_asking_for_help_load_no_torch() -> None:
    code = (
        "import sys, ggt_hub; assert 'torch' not in sys.modules; import ggt_hub.cli; "
        "heavy = {'torch', 'diffusers', 'datasets', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_is_cheap() -> None:
    code = "import time; t = time.perf_counter(); import ggt_hub; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)]
    assert min(times) < 0.15


def test_info_names_versions_devices_and_what_models_need() -> None:
    result = CliRunner().invoke(app, ["info", "--json"])
    facts = json.loads(result.stdout)
    assert facts["libraries"]["torch"]
    assert facts["devices"]["cpu"].endswith("threads")
    assert "memory" in facts["models"]["CompactRestorerPipeline"]
    assert set(facts["extras"]) == {
        "metrics",
        "iqa",
        "demo",
        "curation",
        "train",
        "peers",
        "lmdb",
        "engines",
        "letters",
    }
    words = CliRunner().invoke(app, ["info"]).stdout
    assert "torchvision" in words


def test_info_says_what_a_restorer_can_do() -> None:
    facts = json.loads(CliRunner().invoke(app, ["info", "compact", "--json"]).stdout)
    assert facts["restorer"] == "CompactRestorerPipeline"
    assert facts["tasks"].endswith("low_light, general, moire, flare, reflection, haze, rain")
    assert facts["upscale"] == "1, 2, 3, 4"
    assert facts["sizes"] == "any, worked on in multiples of 8, from 8 up"
    assert facts["options"] == {
        "strength": "a number in 0..1; 1.0 if not given; 0 leaves the picture as it is, 1 restores it fully",
        "quality": "a number in 0..1, or None; None if not given; how good the result should be, as the prior was "
        "trained; None leaves the prior out",
    }
    words = CliRunner().invoke(app, ["info", "identity"]).stdout
    assert "found as: a baseline (identity, gain, opencv:nlm, skimage:tv, skimage:wavelet)" in words
    assert "precisions: float32\n" in words


def test_info_of_a_large_model_reads_no_weights(tmp_path: Path) -> None:
    index = {"_class_name": "RealRestorerPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    words = CliRunner().invoke(app, ["info", str(tmp_path)]).stdout
    assert re.search(r"num_inference_steps +a whole number from 1 up; 28 if not given", words)


@pytest.mark.parametrize("name", ["report.html", "coffee-after.png"])
def test_quickstart_replaces_nothing_of_its_user(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(WriteError, match=f"{name} is not a result of ggt-hub"):
        CliRunner().invoke(app, ["quickstart", "-o", str(tmp_path)], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_quickstart_restores_the_samples_and_writes_a_page(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["quickstart", "-o", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith(f"report: {(tmp_path / 'demo' / 'report.html').resolve()}")
    names = sorted(path.name for path in (tmp_path / "demo").glob("*-after.png"))
    assert len(names) == 8
    for name in names:
        before = np.asarray(Image.open(tmp_path / "demo" / name.replace("after", "before")))
        after = np.asarray(Image.open(tmp_path / "demo" / name))
        assert before.shape == after.shape
        assert not np.array_equal(before, after)
    page = (tmp_path / "demo/report.html").read_text(encoding="utf-8")
    assert page.count("data:image/") >= 16
    assert re.findall(r'(?:src|href)="(?!data:|#)([^"]+)"', page) == []  # nothing from outside


RECIPE = """
model: {channels: [8, 8, 8], blocks: [1, 1, 1], condition_width: 8}
images: nowhere
crop: 16
batch: 1
steps: 2
groups: {noise: {share: 1, task: noise, steps: [{family: noise}]}}
"""


def test_train_writes_weights_that_load(tmp_path: Path) -> None:
    from ggt_hub.models import CompactRestorer

    (tmp_path / "clean").mkdir()
    Image.fromarray(photograph(64)).save(tmp_path / "clean/a.png")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    options = ["--data", str(tmp_path / "clean"), "-o", str(tmp_path / "run"), "--cpu"]
    result = CliRunner().invoke(app, ["train", str(tmp_path / "recipe.yaml"), *options])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith(f"averaged weights: {tmp_path / 'run' / 'model'}")
    assert CompactRestorer.from_pretrained(tmp_path / "run/model").config.channels == [8, 8, 8]


def test_the_version_is_told_and_notebooks_complete_our_names() -> None:
    import ggt_hub

    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout.split()[-1]) == (0, ggt_hub.__version__)
    assert {"load_dataset", "RestorerPipeline", "read_image", "__version__"} <= set(dir(ggt_hub))
    wrong = CliRunner().invoke(app, ["restor"])
    assert wrong.exit_code == 2
    assert "restore" in wrong.output
