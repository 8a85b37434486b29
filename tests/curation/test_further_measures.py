"""Letters, faces and likeness by networks: numbers of planted changes, and what they refuse."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

from ggt_hub.curation import further_measures
from ggt_hub.curation.further_measures import dino, dists_of_quarters, faces, letters, read_lines
from ggt_hub.curation.stage import Context, Kept
from ggt_hub.curation.stages.gate import Gate, Measure
from ggt_hub.errors import CurationError
from ggt_hub.images.shown import png
from ggt_hub.metrics import psnr, registry
from tests.curation.planted import sample

SIGNS = ("HARBOR 24", "PIER"), ((40, 60), (40, 200))


def signs(*texts: str) -> np.ndarray:
    pixels = np.full((320, 512, 3), 150, np.uint8)
    for text, place in zip(texts, SIGNS[1], strict=False):
        cv2.putText(pixels, text, place, cv2.FONT_HERSHEY_DUPLEX, 1.8, (250, 240, 230), 3)
    return pixels


class Reader:
    """Answers as RapidOCR does, of pictures whose letters are told."""

    def __init__(self) -> None:
        self.known: dict[bytes, list[tuple[str, float, tuple[int, int, int, int]]]] = {}

    def tell(self, *lines: tuple[str, float, tuple[int, int, int, int]]) -> np.ndarray:
        pixels = np.full((64, 64, 3), len(self.known), np.uint8)
        self.known[pixels.tobytes()] = [*lines]
        return pixels

    def __call__(self, pixels: np.ndarray, use_cls: bool) -> Any:
        lines = self.known[pixels.tobytes()]
        if not lines:
            return SimpleNamespace(boxes=None, txts=None, scores=None)
        boxes = [[[a, b], [c, b], [c, d], [a, d]] for _, _, (a, b, c, d) in lines]
        texts, scores, _ = zip(*lines, strict=True)
        return SimpleNamespace(boxes=np.array(boxes, np.float32), txts=texts, scores=scores)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    made = Reader()
    monkeypatch.setattr(further_measures, "_reader", lambda: made)
    return made


def test_letters_that_were_changed_count_by_edits_and_new_ones_apart(reader: Reader) -> None:
    left, right, low = (0, 0, 30, 10), (31, 0, 60, 10), (0, 40, 60, 60)
    sign = reader.tell(("HARBOR 24", 0.99, left), ("faint", 0.4, low))
    for line, expected in (
        ([("HARBOR24", 0.9, left)], 0),  # spaces do not count
        ([("HAR", 0.9, (0, 0, 14, 10)), ("BOR24", 0.8, (15, 0, 30, 10))], 0),  # read in two parts
        ([("HARBUR 24", 0.9, left)], 1 / 8),
        ([("HABOR 42", 0.9, left)], 3 / 8),
        ([("A LONG ADVERTISEMENT", 0.9, left)], 1),
        ([("HARBOR 24", 0.9, right)], 1),  # in another place
        ([], 1),
    ):
        found = letters(sign, reader.tell(*line))
        assert found["letters"] == expected, line
    found = letters(
        sign, reader.tell(("HARBOR 24", 0.9, left), ("NEW ONE", 0.95, right), ("legible", 0.95, low))
    )
    assert found == {"letters": 0, "new_letters": 6}  # where there was a line it may become legible
    assert letters(sign, reader.tell(("HARBOR 24", 0.9, left), ("unsure", 0.89, right)))["new_letters"] == 0
    assert np.isnan(letters(reader.tell(), sign)["letters"])


def test_rapidocr_reads_signs_and_sees_what_became_of_one() -> None:
    pytest.importorskip("rapidocr", reason="the extra `letters` is not installed")
    good = signs(*SIGNS[0])
    assert [line.text for line in read_lines(good)] == ["HARBOR24", "PIER"]
    noisy = np.clip(good + np.random.default_rng(0).normal(0, 20, good.shape), 0, 255).astype(np.uint8)
    assert letters(noisy, good) == {"letters": 0, "new_letters": 0}
    assert letters(noisy, signs("HARBOR 24", "PUEB"))["letters"] > 0.1
    assert letters(signs("HARBOR 24"), good)["new_letters"] == 4


def test_faces_that_are_gone_or_new_are_counted() -> None:
    face, none = sample("astronaut"), sample("china")
    assert faces(face, cv2.GaussianBlur(face, (0, 0), 1.5)) == {"lost_faces": 0, "new_faces": 0}
    assert faces(face, none) == {"lost_faces": 1, "new_faces": 0}
    assert faces(none, face) == {"lost_faces": 0, "new_faces": 1}
    assert faces(face, face[:, ::-1].copy())["lost_faces"] == 1  # in another place


@pytest.fixture
def tiny_dino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
    Dinov2Model(Dinov2Config(**shape, image_size=518, patch_size=74)).save_pretrained(tmp_path / "dino")
    monkeypatch.setattr(further_measures, "DINO", str(tmp_path / "dino"))
    yield
    further_measures._dino.cache_clear()
    further_measures._network.cache_clear()


def test_likeness_is_of_patches_and_its_worst_ones_are_where_another_thing_stands(tiny_dino: None) -> None:
    good = sample("chelsea")
    assert dino(good, good) == {"dino": pytest.approx(1), "dino_worst": pytest.approx(1)}
    changed = good.copy()
    changed[:148, :148] = 255 - changed[:148, :148]
    found = dino(good, changed)
    assert found["dino_worst"] < found["dino"] < 0.9999
    # Of 49 patches, by hand, with the network asked for each picture alone.
    network, alone = further_measures._network(), []
    for one in (good, changed):
        small = cv2.resize(one, (518, 518), interpolation=cv2.INTER_AREA) / 255
        batch = (small - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        with torch.no_grad():
            alone.append(network(torch.from_numpy(batch).permute(2, 0, 1)[None].float())[0][0, 1:].numpy())
    a, b = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in alone)
    assert found["dino"] == pytest.approx((a * b).sum(1).mean(), abs=1e-5)


def test_dists_is_of_quarters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.METRICS, "dists", registry.METRICS["psnr"])  # whose numbers are known
    good = sample("chelsea")
    quarters = [cv2.resize(one, (128, 128), interpolation=cv2.INTER_AREA) for one in (good, good // 2)]
    assert dists_of_quarters(good // 2, good) == {"dists": psnr(*(one[None] for one in quarters))[0]}


def test_the_gate_refuses_by_further_measures_where_they_were_asked_for(
    reader: Reader, tmp_path: Path
) -> None:
    sign = sample("china")
    changed = np.rint(0.97 * sign).astype(np.uint8)
    box = (0, 0, 30, 10)
    reader.known = {
        sign.tobytes(): [],
        sign[..., ::-1].tobytes(): [("HARBOR", 0.99, box)],
        changed[..., ::-1].tobytes(): [("HARDER", 0.99, box)],
    }
    row = {"id": "a", "lq": png(Image.fromarray(sign)), "gt": png(Image.fromarray(changed))}
    (tmp_path / "limits.json").write_text("{}")
    for also, expected in ((("letters",), "gate: other letters"), ((), None)):
        (measured,) = Measure(also).decide([row], Context(0))
        told = json.loads(measured.values["measures"])
        assert told.get("letters") == (round(2 / 6, 4) if also else None)
        judged = {"id": "a", "measures": measured.values["measures"], "category": "haze"}
        (found,) = Gate(unchanged=100, sharper=1).decide([judged], Context(0, learned={"gate": tmp_path}))
        assert getattr(found, "reason", None) == expected and (expected or found == Kept())


def test_what_is_missing_is_said_before_anything_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    monkeypatch.setattr(further_measures, "find_spec", lambda name: None)
    with pytest.raises(CurationError, match=r"pip install 'ggt-hub\[letters\]'"):
        Measure(("letters",)).check()
    Measure().check()
