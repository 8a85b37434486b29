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

from ggt_hub.degradations import FAMILIES, load_preset, replay
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


@pytest.mark.parametrize(
    "recipe",
    [row["recipe"] for row in RECORDED["records"] if row["recipe"]["preset"] not in FAMILIES],
    ids=lambda recipe: recipe["preset"],
)
def test_the_presets_that_ship_draw_what_they_drew_in_0_1(recipe: dict[str, Any]) -> None:
    drawn = load_preset(recipe["preset"]).draw(np.random.default_rng(recipe["seed"]), recipe["strength"])
    steps = [{"family": step.degradation.name, **step.parameters} for step in drawn]
    assert steps == [step for step in recipe["steps"] if step["family"] != "encode"]
