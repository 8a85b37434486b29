"""A tiny GenIR: a configuration, photographs, and a server that answers as the stages ask."""

import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CONFIGURATION = """\
models:
  vision: {model: eyes, url: URL, workers: 2}
  language: {model: words, url: URL, workers: 2}
pictures: SDXL
slice: 4
stages:
  - gather: {smallest: 32}
  - caption
  - spoil: {side: 32, steps: 2}
  - tune: {positive: 2, negative: 2, rank: 2, steps: 3, batch: 2}
  - learn-quality: {crop: 32, steps: 2, batch: 2}
  - write-prompts: {count: 12, at_once: 4}
  - check-prompts: {at_once: 4}
  - generate: {width: 32, height: 32, steps: 2}
  - filter: {least: 0}
  - inspect
  - unlike
  - pack: {rows: 6}
"""


def write_configuration(folder: Path, sdxl: Path, url: str) -> Path:
    path = folder / "genir.yaml"
    path.write_text(CONFIGURATION.replace("URL", url).replace("SDXL", str(sdxl)))
    return path


def write_photographs(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (48, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


class Answers:
    """Replies to each kind of question; what is special is told by its kind and number of its kind, from 0.

    Kinds are caption, write, check and inspect. `asked` counts them.
    """

    def __init__(self, **special: dict[int, Any]) -> None:
        self.special, self.asked = special, Counter[str]()
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Any:
        text = body["messages"][-1]["content"][-1]["text"]
        kind = next(
            kind
            for kind, mark in {
                "caption": "Describe this photograph",
                "write": "Write 4 prompts",
                "check": "For each prompt answer",
                "inspect": "Look closely",
            }.items()
            if mark in text
        )
        with self._lock:
            number = self.asked[kind]
            self.asked[kind] += 1
        if number in self.special.get(kind, {}):
            return self.special[kind][number]
        if kind == "write":
            topic = re.search(r"about: (.*?)\. Each", text)[1]
            return "\n".join(f"{n}. A photo of {topic}, take {n}" for n in range(1, 5))
        if kind == "check":
            count = int(re.search(r"Here are (\d+) prompts", text)[1])
            return "\n".join(f"{n}. KEEP" for n in range(1, count + 1))
        return {"caption": "A photo  of\nnoise.", "inspect": "YES"}[kind]
