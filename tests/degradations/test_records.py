"""What earlier versions wrote beside pictures replays to the same bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import pytest
from PIL import features

from ggt_hub.degradations import replay
from tests.photographs import photograph

RECORDED = json.loads((Path(__file__).parent / "recorded_0_1.json").read_text())
"""For every family and preset of 0.1: what it wrote, and the hash of the pixels that it gave."""

VERSIONS = {
    "numpy": np.__version__,
    "opencv": cv2.__version__,
    "pillow": PIL.__version__,
    "libjpeg": features.version("libjpeg_turbo"),
    "webp": features.version("webp"),
}


@pytest.mark.skipif(
    RECORDED["versions"] != VERSIONS, reason=f"bytes are promised for {RECORDED['versions']}, not {VERSIONS}"
)
@pytest.mark.parametrize("row", RECORDED["records"], ids=lambda row: row["recipe"]["preset"])
def test_the_records_of_0_1_replay_to_the_same_bytes(row: dict[str, Any]) -> None:
    clean = photograph(64).astype(np.uint16) * 257 if row.get("bits") == 16 else photograph(64)
    assert hashlib.sha256(replay(clean, row["recipe"]).tobytes()).hexdigest() == row["sha256"]
