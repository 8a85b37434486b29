"""The README does what it says: its code runs, its table is the measured one, its links lead somewhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks, read

README = read("README.md")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the README works, after all of its shell blocks were run in a checkout."""
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / "ggt_hub").symlink_to(ROOT / "ggt_hub")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        ["bash", "-e"],
        input="\n".join(blocks(README, "bash")),
        cwd=checkout,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return checkout / "out/try"


def test_the_shell_blocks_make_what_they_say(desk: Path) -> None:
    for name in ("restored/coffee.jpg", "restored/night.jpg", "large/photo.jpg.png", "bench/report.html"):
        assert (desk / name).is_file()
    assert (desk / "damaged/coffee.jpg.png.json").is_file()


def test_the_python_blocks_run_one_after_the_other(desk: Path) -> None:
    code = "\n".join(blocks(README, "python"))
    run = subprocess.run([sys.executable, "-c", code], cwd=desk, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "noise_sigma" in run.stdout
    assert "psnr" in run.stdout
    assert (desk / "median.png").is_file()


def test_the_client_of_the_demo_is_python() -> None:
    """It needs a running demo; `tests/test_package.py` makes the same call."""
    for block in blocks(README, "py"):
        compile(block, "README.md", "exec")


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert f"\n{target}: " in makefile


@pytest.mark.parametrize("document", ["README.md", "model_cards/compact.md"])
def test_the_table_is_the_measured_one(document: str) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from compact_val import RESULTS, table

    assert table(json.loads(RESULTS.read_text())["rows"]) in read(document)


@pytest.mark.parametrize(
    "document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "model_cards/compact.md"]
)
def test_links_and_paths_lead_somewhere(document: str) -> None:
    text = read(document)
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    targets += re.findall(r"`((?:ggt_hub|tests|benchmarks|docs)/[\w./-]+)`", text)
    here = (ROOT / document).parent
    beside = here / Path(document).stem  # what is published together with a card
    missing = [t for t in targets if not any((folder / t).exists() for folder in (here, beside, ROOT))]
    examples = {
        "ggt_hub/curation/stages/my_stage.py",
        "ggt_hub/degradations/fog.py",
        "ggt_hub/degradations/tensors/fog.py",
        "ggt_hub/metrics/my_metric.py",
        "ggt_hub/models/my_network.py",
        "ggt_hub/pipelines/my_restorer.py",
    }
    assert set(missing) <= examples
