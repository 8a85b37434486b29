"""A local Hub for all tests: nothing here ever reaches the real one.

The clients read their endpoint when they are first imported, and test modules import them early. So the
address is fixed here, before anything else is imported; nobody listens until a test asks for `hub`.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.local_hub import LocalHub

PLACE = Path(tempfile.mkdtemp(prefix="ggt-hub-tests-"))
HOME = PLACE / "home"

# What clients and processes of tests leave behind goes with the tests: gradio's client alone makes a folder for
# each prediction. pytest's own folders stay where they are, for whoever looks why a test failed.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
TEMPORARY = PLACE / "tmp"
TEMPORARY.mkdir()
tempfile.tempdir = os.environ["TMPDIR"] = str(TEMPORARY)

HUB = LocalHub()
os.environ.update(
    HF_ENDPOINT=HUB.url,
    HF_HOME=str(HOME),
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_UPDATE_CHECK="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
)
for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "TRANSFORMERS_OFFLINE"):
    os.environ.pop(name, None)


def pytest_unconfigure() -> None:
    HUB.stop()
    shutil.rmtree(PLACE, ignore_errors=True)


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    """The local Hub, running and empty, and empty caches on the side of the clients."""
    from huggingface_hub import HfFileSystem

    from ggt_hub.data.storage import ranges

    HUB.reset()
    ranges._forget_all()  # a connection that an earlier test has broken would be asked once more
    HfFileSystem.clear_instance_cache()
    shutil.rmtree(HOME, ignore_errors=True)
    yield HUB.start()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `HF_HUB_OFFLINE=1` does, for a process whose clients are imported already."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
