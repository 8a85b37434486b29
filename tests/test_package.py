"""What `pip install` gives: the wheel holds everything, runs from an empty folder, and needs no torchvision."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from ggt_hub.revisions import OURS
from tests.photographs import photograph
from tests.processes import free_port, wait_for

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


@dataclass(frozen=True)
class Installed:
    """A new environment with the wheel alone, and an empty folder to work in."""

    programs: Path
    folder: Path
    environment: dict[str, str]

    def run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [self.programs / program, *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's dependencies are lent by this environment, not downloaded again."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    wheel = next(built.glob("*.whl"))
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, capture_output=True
    )
    here = sysconfig.get_paths()["purelib"]
    there = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True
    )
    Path(there.strip(), "lent.pth").write_text(here)
    return folder


@pytest.fixture
def installed(environment: Path, tmp_path: Path) -> Installed:
    (tmp_path / "empty").mkdir()
    own = {
        "HF_HOME": str(tmp_path / "home"),
        "GGT_HUB_DATASETS": "samples",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return Installed(environment / "bin", tmp_path / "empty", kept | own)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two pairs, somewhere else than where the commands run."""
    folder = tmp_path / "pairs"
    for side, quality in {"lq": 15, "gt": 95}.items():
        (folder / side).mkdir(parents=True)
        for name, size in {"a.jpg": 96, "b.jpg": 64}.items():
            Image.fromarray(photograph(size)).save(folder / side / name, quality=quality)
    return folder


def test_the_wheel_is_what_is_run(installed: Installed, environment: Path) -> None:
    where = installed.run("python", "-c", "import ggt_hub; print(ggt_hub.__file__)").stdout
    assert Path(where.strip()).is_relative_to(environment)


def test_quickstart_runs_from_the_wheel_in_an_empty_folder(installed: Installed) -> None:
    run = installed.run("ggt-hub", "quickstart")
    assert run.returncode == 0, run.stderr
    assert (installed.folder / "ggt-hub-quickstart/report.html").stat().st_size > 100_000


def test_restore_runs_from_the_wheel_in_an_empty_folder(installed: Installed, pairs: Path) -> None:
    run = installed.run("ggt-hub", "restore", pairs / "lq", "--output", "restored")
    assert run.returncode == 0, run.stderr
    sizes = {path.name: Image.open(path).size for path in (installed.folder / "restored").glob("*.jpg")}
    assert sizes == {"a.jpg": (96, 96), "b.jpg": (64, 64)}


def test_bench_runs_from_the_wheel_in_an_empty_folder(installed: Installed, pairs: Path) -> None:
    run = installed.run("ggt-hub", "bench", "run", pairs, "--output", "bench", "--metrics", "psnr")
    assert run.returncode == 0, run.stderr
    results = json.loads((installed.folder / "bench/results.json").read_text())
    assert results["complete"]
    assert results["overall"]["scored"] == 2
    assert (installed.folder / "bench/report.html").is_file()


def test_data_runs_from_the_wheel_in_an_empty_folder(installed: Installed, pairs: Path) -> None:
    assert "2 pairs, by folders, whole path" in installed.run("ggt-hub", "data", "describe", pairs).stdout
    assert (
        "table: 2 pairs in 1 files" in installed.run("ggt-hub", "data", "export", pairs, "-o", "table").stdout
    )
    assert installed.run("ggt-hub", "data", "verify", "table").stdout.endswith("all is well\n")


def test_app_runs_from_the_wheel_in_an_empty_folder(installed: Installed, pairs: Path) -> None:
    """It starts, restores a photograph through its API, and ends when it is told to."""
    from gradio_client import Client, handle_file

    port, log = free_port(), installed.folder / "log"
    command = [installed.programs / "ggt-hub", "app", "--port", str(port)]
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=installed.folder, env=installed.environment, stdout=output, stderr=output
        )
    try:
        wait_for(port, server, log)
        client = Client(f"http://127.0.0.1:{port}", download_files=installed.folder / "got", verbose=False)
        _, file, _ = client.predict(photo=handle_file(pairs / "lq/a.jpg"), api_name="/restore")
        assert Image.open(file).size == (96, 96)
    finally:
        server.terminate()
    server.wait(30)


def test_publish_runs_from_the_wheel_in_an_empty_folder(installed: Installed) -> None:
    """All is there but the one folder that a command makes, and that command is there."""
    run = installed.run("ggt-hub", "publish", "--dry-run")
    lines = run.stdout.splitlines()
    kinds = r"(dataset|model|metric|demo|leaderboard) "
    listed = {line.split()[1].split("/")[1] for line in lines if re.match(kinds, line)}
    refused = [line for line in lines if line.startswith("cannot be published")]
    assert listed == {name.split("/")[1] for _, name in OURS} - {"ggt-100k"}
    assert [line.split(":")[1].strip() for line in refused] == ["ggt-100k"]
    script = re.search(r"`python (\S+) out/hub/ggt-100k`", refused[0])
    assert script is not None
    assert Path(script[1]).is_file()
    assert run.returncode == 1
    assert installed.run("ggt-hub", "publish", "--dry-run", "compact", "restorer").returncode == 0


def test_the_core_restores_without_torchvision() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_TORCHVISION], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
