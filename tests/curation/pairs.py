"""A tiny run from photographs to packed pairs, with everybody who is asked in this process."""

import hashlib
import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ggt_hub.curation.configuration import GENERATOR, Configuration, load_configuration
from ggt_hub.curation.run import Count, run
from ggt_hub.errors import QuestionRefusedError
from ggt_hub.images.shown import png, shown_rgb
from ggt_hub.vlm import Asker, Ledger, Reply
from tests.curation.ggt import DIAGNOSIS
from tests.curation.planted import damaged, graded, sample

CONFIGURATION = """\
models:
  vision: {model: eyes, url: "http://127.0.0.1:9/v1"}
generators:
  maker: {provider: server, model: maker-1, url: "http://127.0.0.1:9/v1", per_picture: 0.04}
slice: 2
stages:
  - gather: {smallest: 128}
  - unlike
  - crop: {side: 256, count: 1}
  - diagnose
  - compose
  - edit: {candidates: 2}
  - register
  - measure
  - gate: {redegraded: 0}
  - judge: {audited: 2}
  - pack-pairs: {rows: 3}
"""
NAMES = ("astronaut", "chelsea", "china", "coffee", "flower")


def piece(name: str) -> np.ndarray:
    return sample(name)[128:384, 128:384]


def write_photographs(folder: Path) -> Path:
    """Each in noise, PNG."""
    folder.mkdir()
    for name in NAMES:
        Image.fromarray(damaged(piece(name), "noise", 0.4)).save(folder / f"{name}.png")
    return folder


class Service:
    """Somebody in this process; `asked` counts."""

    revision, endpoint, parameters, budget = None, None, {}, None
    max_retries, per_minute = 0, None

    def __init__(self, model: str) -> None:
        self.model, self.asked, self.lock = model, 0, threading.Lock()

    def count(self) -> None:
        with self.lock:
            self.asked += 1


class Maker(Service):
    """Gives back the piece without noise, then with a warm grade, or moved; of coffee it refuses a second one."""

    def __init__(self, photographs: Path) -> None:
        super().__init__("maker-1")
        self.names = {digest(shown_rgb(str(path))): path.stem for path in photographs.glob("*.png")}

    def canvas(self, size: Any) -> Any:
        return size

    def send(self, question: Any) -> Reply:
        self.count()
        name = self.names[digest(shown_rgb(question.pictures[0]))]
        if question.number[0] == 0:
            return Reply(pictures=(png(Image.fromarray(piece(name))),))
        if name == "coffee":
            raise QuestionRefusedError("IMAGE_SAFETY")
        second = np.roll(piece(name), 40, 1) if name == "flower" else graded(piece(name))
        return Reply(pictures=(png(Image.fromarray(second)),))


class Eyes(Service):
    """Sees faces in the astronaut, and a letter that was changed in china."""

    def __init__(self) -> None:
        super().__init__("eyes")

    def send(self, question: Any) -> Reply:
        self.count()
        pictures = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in question.pictures]
        if len(pictures) == 1:
            faces = is_of(pictures[0], "astronaut")
            diagnosis = DIAGNOSIS | {"category": "general", "has_faces": faces, "face_count": int(faces)}
            return Reply(json.dumps(diagnosis))
        verdicts = [self._verdict(n, pictures[0], gt) for n, gt in enumerate(pictures[1::2], 1)]
        return Reply(json.dumps({"candidates": verdicts, "best_index": 1}))

    def _verdict(self, number: int, lq: np.ndarray, gt: np.ndarray) -> dict[str, Any]:
        letter = {"property": "text", "where": "sign", "bbox": [0, 0, 9, 9], "what": "a letter"}
        far = lq.shape != gt.shape or float(np.corrcoef(lq.ravel(), gt.ravel())[0, 1]) < 0.5
        return {
            "candidate": number,
            "changed_at_all": not np.array_equal(lq, gt),
            "symptom_before": 2,
            "symptom_after": 0,
            "D": 90,
            "F": 90,
            "scene_replaced": far,
            "violations": [letter] if is_of(gt, "china") else [],
        }


def is_of(pixels: np.ndarray, name: str) -> bool:
    """Whether it shows that piece, clean or in noise, at any size."""
    small = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BOX), float)
    own = np.asarray(Image.fromarray(piece(name)).resize((16, 16), Image.Resampling.BOX), float)
    return float(np.corrcoef(small.ravel(), own.ravel())[0, 1]) > 0.97


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


class Place:
    """A run in a folder; it may be run again."""

    def __init__(self, folder: Path, photographs: Path, **changes: str) -> None:
        text = CONFIGURATION
        for old, new in changes.items():
            text = text.replace(f"  - {old.replace('_', '-')}\n", new)
        (folder / "pairs.yaml").write_text(text)
        self._open(folder, photographs, load_configuration(folder / "pairs.yaml"), Eyes())

    @classmethod
    def of_preset(
        cls, folder: Path, photographs: Path, name: str, changes: dict[str, str], eyes: "Eyes"
    ) -> "Place":
        """A run of a preset, whose generators are makers in this process."""
        place = cls.__new__(cls)
        sizes = {"gather.smallest": "128", "crop.side": "256"}
        place._open(folder, photographs, load_configuration(name, sizes | changes), eyes)
        return place

    def _open(self, folder: Path, photographs: Path, configuration: Configuration, eyes: "Eyes") -> None:
        self.configuration, self.photographs = configuration, photographs
        self.output, self.ledger = folder / "out", Ledger(folder / "ledger")
        self.maker, self.eyes = Maker(photographs), eyes
        self.makers: dict[str, Service] = dict.fromkeys(configuration.generators, self.maker)

    def run(self, **how: Any) -> dict[str, Count]:
        eyes = Asker(self.eyes, self.ledger, workers=2)
        askers = {stage.name: eyes for stage in self.configuration.stages if stage.asks}
        askers |= {
            GENERATOR + name: Asker(maker, self.ledger, workers=2) for name, maker in self.makers.items()
        }
        counts = run(self.configuration, str(self.photographs), self.output, askers, **how)
        return {count.stage: count for count in counts}
