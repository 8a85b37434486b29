"""What `pip install` gives: the wheel holds everything, runs from an empty folder, and needs no torchvision."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

WITHOUT_TORCHVISION = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] == "torchvision" else PathFinder.find_spec(name, path, target)

sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
import numpy as np
import ggt_hub
image = ggt_hub.RestorerPipeline.from_pretrained("compact")(np.full((20, 30, 3), 90, np.uint8)).images[0]
assert image.size == (30, 20)
assert "torchvision" not in sys.modules
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_wheel_and_the_sdist_hold_what_the_package_needs(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        sizes = {info.filename: info.file_size for info in wheel.infolist()}
    weights = "ggt_hub/pipelines/bundled/compact/restorer/diffusion_pytorch_model.safetensors"
    assert sizes[weights] <= 8_000_000
    package = ROOT / "ggt_hub"
    source = {path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.is_file()}
    assert {name for name in source if "__pycache__" not in name} <= names
    assert sum(size for name, size in sizes.items() if name.startswith("ggt_hub/samples/")) < 3_000_000
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        assert any(name.endswith(weights) for name in sdist.getnames())


def test_quickstart_runs_from_the_wheel_in_an_empty_folder(built: Path, tmp_path: Path) -> None:
    """A new environment with the wheel alone; its dependencies are lent by this one, not downloaded again."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    wheel = next(built.glob("*.whl"))
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, capture_output=True
    )
    here = sysconfig.get_paths()["purelib"]
    there = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True
    )
    Path(there.strip(), "lent.pth").write_text(here)
    (tmp_path / "empty").mkdir()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [tmp_path / "env/bin/ggt-hub", "quickstart"],
        cwd=tmp_path / "empty",
        env=clean,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "empty/ggt-hub-quickstart/report.html").stat().st_size > 100_000
    where = subprocess.check_output(
        [python, "-c", "import ggt_hub; print(ggt_hub.__file__)"],
        cwd=tmp_path / "empty",
        text=True,
        env=clean,
    )
    assert Path(where.strip()).is_relative_to(tmp_path / "env")


def test_the_core_restores_without_torchvision() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_TORCHVISION], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
