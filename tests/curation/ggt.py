"""A tiny run for generative ground truth: a configuration, and servers that answer as its stages ask."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CONFIGURATION = """\
models:
  vision: {model: eyes, url: EYES, workers: 2}
generators:
  banana: {provider: google, model: gemini-nano-banana-2.1, url: MAKER, workers: 3}
slice: 4
stages:
  - gather: {smallest: 32}
  - crop: {side: 64, count: 1, texture: 0}
  - diagnose
  - compose-adaptive
  - edit: {candidates: 2}
"""

DIAGNOSIS = {
    "content": "A street.",
    "degradations": [{"kind": "haze", "severity": "moderate", "extent": "global", "where": "everywhere"}],
    "category": "haze",
    "has_text": True,
    "has_faces": False,
    "face_count": 0,
    "legible_strings": ['"STOP"', "12"],
    "keep": ["wet ground"],
    "difficulty": "easy",
}


def write_configuration(folder: Path, eyes: str, maker: str, **changes: str) -> Path:
    text = CONFIGURATION.replace("EYES", eyes).replace("MAKER", maker)
    for old, new in changes.items():
        text = text.replace(old.replace("_", "-"), new)
    path = folder / "ggt.yaml"
    path.write_text(text)
    return path


def write_photographs(folder: Path, count: int, size: tuple[int, int] = (64, 64)) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


class Eyes:
    """Answers of a vision-language model; diagnoses come in turn, the last one repeats."""

    def __init__(self, *diagnoses: Any) -> None:
        self.diagnoses, self.asked = list(diagnoses) or [DIAGNOSIS], []
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Any:
        last = body["messages"][-1]["content"]
        text = last if isinstance(last, str) else last[-1]["text"]
        with self._lock:
            self.asked.append(body)
            if "Write the instruction" in text:
                return "Clear the  haze.\nKeep the street."
            answer = self.diagnoses[0] if len(self.diagnoses) == 1 else self.diagnoses.pop(0)
        return json.dumps(answer) if isinstance(answer, dict) else answer
