"""Photographs that ship with the package, damaged by its own presets, and two that are poor by nature.

`samples.json` states the author, licence and source of each file, and the record of the damage done to it.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from PIL import Image

from ggt_hub.degradations import replay
from ggt_hub.images import read_image


@dataclass(frozen=True, eq=False)
class Sample:
    """A poor photograph to restore.

    Attributes:
        name: the file's name without suffix.
        title: what it shows.
        image: the poor picture.
        clean: the picture before it was damaged; None where it is poor by nature.
        task: what was done to it; None where it is poor by nature.
        credit: author, licence and source.
    """

    name: str
    title: str
    image: Image.Image
    clean: Image.Image | None
    task: str | None
    credit: str


def load_samples() -> list[Sample]:
    """Load and damage all samples; the same bytes at every call."""
    folder = files("ggt_hub.samples")
    return [_load(entry) for entry in json.loads((folder / "samples.json").read_text(encoding="utf-8"))]


def _load(entry: dict[str, Any]) -> Sample:
    picture = read_image((files("ggt_hub.samples") / entry["file"]).read_bytes(), name=entry["file"]).to_pil()
    poor, task = picture, None
    if entry["damage"]:
        poor, task = replay(picture, entry["damage"]), entry["damage"]["task"]
    return Sample(
        name=entry["file"].partition(".")[0],
        title=entry["title"],
        image=poor,
        clean=picture if entry["damage"] else None,
        task=task,
        credit=f"{entry['author']}, {entry['licence']}, {entry['source']}",
    )
