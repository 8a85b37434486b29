"""Who is asked in a run without money: a generator with planted faults, and a judge with a plain metric for eyes.

Both are servers on this machine, and the pipeline asks them through the real clients. The generator knows of each
damaged photograph which fault is planted; the judge knows nothing but the pictures that it is sent.
"""

import base64
import hashlib
import io
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.curation_faults import Pixels
from ggt_hub.curation.configuration import Configuration, load_configuration
from ggt_hub.images.shown import shown_rgb
from tests.servers.image_editors import EditorServer, Step, google_error, google_reply, inline
from tests.servers.openai_chat import ChatServer

DIAGNOSIS = {
    "content": "A photograph.",
    "degradations": [{"kind": "damage", "severity": "moderate", "extent": "global", "where": "everywhere"}],
    "has_text": False,
    "has_faces": False,
    "face_count": 0,
    "legible_strings": [],
    "keep": [],
    "difficulty": "easy",
}
_SAME_SCENE = 0.5  # correlation at 64 pixels
_CHANGED = 0.5  # levels, of the mean difference


def whole_configuration(side: int, judge: str, maker: str, workers: int = 2) -> Configuration:
    """The preset `ggt`, between two servers, with one candidate of each photograph."""
    changes = {
        "models.vision.url": judge,
        "models.vision.workers": str(workers),
        "generators.banana.url": maker,
        "generators.banana.workers": str(workers),
        "gather.smallest": str(side),
        "crop.side": str(side),
        "crop.count": "1",
        "crop.texture": "0",
        "edit.candidates": "1",
    }
    return load_configuration("ggt", changes)


def digest(pixels: Pixels) -> str:
    """By which servers know a picture."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def file_of(pixels: Pixels, form: str = "PNG") -> bytes:
    """A picture as a file; JPEG at quality 95."""
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer := io.BytesIO(), form, quality=95)
    return buffer.getvalue()


class Maker(EditorServer):
    """Google's protocol.

    Args:
        answers: what to make of each damaged photograph, by its digest: the kind of reply, and the candidate.
    """

    def __init__(self, answers: Mapping[str, Callable[[], tuple[str, Pixels]]]) -> None:
        super().__init__(self._reply)
        self._answers = answers
        self._tries: dict[str, int] = {}
        self._one = threading.Lock()  # the restorer works on one picture at a time

    def _reply(self, request: dict[str, Any]) -> Step:
        name = digest(shown_rgb(request["picture"]))
        with self._one:
            self._tries[name] = self._tries.get(name, 0) + 1
            kind, candidate = self._answers[name]()
        if kind in _TRANSIENT and self._tries[name] > 1:
            kind = "picture"
        return REPLIES[kind](candidate)


def _thought_first(candidate: Pixels) -> Step:
    """A draft that the model only thought with, and then the picture."""
    draft = inline(file_of(255 - candidate), thought=True)
    return google_reply(draft, {"text": "Done.", "thought": True}, inline(file_of(candidate)))


def _cut(candidate: Pixels) -> Step:
    """Half a file: base64 that ends early, of an even number of letters."""
    part = inline(file_of(candidate))
    data = part["inlineData"]["data"]
    part["inlineData"]["data"] = data[: len(data) // 2 // 4 * 4]
    return google_reply(part)


def _no_picture(reason: str) -> Callable[[Pixels], Step]:
    return lambda candidate: google_reply(reason=reason)


REPLIES: dict[str, Callable[[Pixels], Step]] = {
    "picture": lambda candidate: google_reply(inline(file_of(candidate))),
    "JPEG": lambda candidate: google_reply(inline(file_of(candidate, "JPEG"), "image/png")),
    "thought first": _thought_first,
    "prose": lambda candidate: google_reply({"text": "Here is the restored photograph."}),
    "safety": _no_picture("IMAGE_SAFETY"),
    "recitation": _no_picture("RECITATION"),
    "unknown reason": _no_picture("FINISHED_ELSEWHERE"),
    "nothing": lambda candidate: google_reply(reason=None),
    "blocked": lambda candidate: Step(body={"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
    "thought only": lambda candidate: google_reply(inline(file_of(candidate), thought=True)),
    "cut": _cut,
    "line cut": lambda candidate: Step(body=google_reply(inline(file_of(candidate))).body, cut=2000),
    "429": lambda candidate: google_error(429, "RESOURCE_EXHAUSTED", "slow down"),
    "500": lambda candidate: google_error(500, "INTERNAL", "again"),
    "503": lambda candidate: google_error(503, "UNAVAILABLE", "busy"),
}
"""What the server sends; those that are no picture are refusals, or pass."""

_TRANSIENT = ("429", "500", "503")


class Judge(ChatServer):
    """Answers by a correlation at 64 pixels, and errs in a share of its answers, drawn from the pictures.

    Args:
        categories: of each damaged photograph, by its digest: what anybody would see in it.
        errs: share of answers, 0..1, that are turned round.
        seed: of which these are.
    """

    def __init__(self, categories: Mapping[str, str], errs: float, seed: int) -> None:
        super().__init__(self._reply)
        self._categories, self._errs, self._seed = categories, errs, seed

    def _reply(self, body: dict[str, Any]) -> str:
        content = body["messages"][-1]["content"]
        text = content[-1]["text"]
        shown = [_decoded(part) for part in content if part["type"] == "image_url"]
        if "Write the instruction" in text:
            return "The photograph without its damage. All else stays as it is."
        if len(shown) == 1:
            return json.dumps(DIAGNOSIS | {"category": self._categories[digest(shown[0])]})
        verdicts = [self._verdict(n, shown[0], gt) for n, gt in enumerate(shown[1::2], 1)]
        return json.dumps({"candidates": verdicts, "best_index": 1})

    def _verdict(self, number: int, lq: Pixels, gt: Pixels) -> dict[str, Any]:
        honest = verdict(number, lq, gt)
        if not self._is_mistaken(lq, gt):
            return honest
        accepts = honest["changed_at_all"] and not honest["scene_replaced"]
        return honest | {"changed_at_all": True, "scene_replaced": accepts}

    def _is_mistaken(self, lq: Pixels, gt: Pixels) -> bool:
        drawn = hashlib.sha256(f"{self._seed} {digest(lq)} {digest(gt)}".encode()).digest()
        return int.from_bytes(drawn[:4], "big") < self._errs * 2**32


def verdict(number: int, lq: Pixels, gt: Pixels) -> dict[str, Any]:
    """What a plain metric says of a candidate: whether it has changed at all, and whether it is the same scene."""
    is_changed = lq.shape != gt.shape or float(cv2.absdiff(lq, gt).mean()) > _CHANGED
    return {
        "candidate": number,
        "changed_at_all": is_changed,
        "symptom_before": 2,
        "symptom_after": 0,
        "D": 90,
        "F": 90,
        "scene_replaced": likeness(lq, gt) <= _SAME_SCENE,
        "violations": [],
    }


def likeness(x: Pixels, y: Pixels) -> float:
    """The correlation of the brightness at 64 pixels, -1..1."""
    small = [
        cv2.resize(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
        for one in (x, y)
    ]
    return float(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1])


def _decoded(part: Mapping[str, Any]) -> Pixels:
    return shown_rgb(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
