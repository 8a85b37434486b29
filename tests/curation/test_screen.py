"""What CLIP and a larger model let through before anything is drawn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from ggt_hub.curation.clip import Clip
from ggt_hub.curation.stage import Context, Dropped, Kept, Later
from ggt_hub.curation.stages.screen import Resemble, Screen
from ggt_hub.curation.words import words
from ggt_hub.errors import HubError, PossiblyBilledError
from ggt_hub.images.shown import png
from ggt_hub.vlm import Asker, Ledger, Reply
from tests.curation.pairs import Service, piece
from tests.tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


PIECES = [piece(name) for name in ("astronaut", "china")]


def expected(folder: Path, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Shares and cosines by the two towers alone."""
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    asked = processor(
        text=texts, images=[Image.fromarray(one) for one in PIECES], return_tensors="pt", padding=True
    )
    with torch.inference_mode():
        found = model(**asked)
    ours, theirs = (one / one.norm(dim=1, keepdim=True) for one in (found.image_embeds, found.text_embeds))
    cosines = (ours @ theirs.T).double().numpy()
    powers = np.exp(cosines * model.logit_scale.exp().item())
    return powers / powers.sum(1, keepdims=True), cosines


def test_likeness_is_the_cosine_of_the_towers_and_its_softmax(folder: Path) -> None:
    texts = ["a hazy photo", "rain", "a clear, sharp photo in good light"]
    shares, cosines = expected(folder, texts)
    found = Clip.find(folder).likeness(PIECES, texts)
    # float32 in both, summed in another order
    assert np.array([one.shares for one in found]) == pytest.approx(shares, abs=1e-5)
    assert np.array([one.cosines for one in found]) == pytest.approx(cosines, abs=1e-5)
    assert abs(shares - shares[::-1]).max() > 1e-3  # the two pictures differ


def test_a_source_of_one_damage_is_weighed_against_a_good_photograph(folder: Path) -> None:
    told = words("resemblance")
    shares, cosines = expected(folder, [told["prompts"]["rain"], told["plain"]])
    between = float(shares[:, 0].mean())
    rows = [{"id": str(n), "lq": png(Image.fromarray(one))} for n, one in enumerate(PIECES)]
    stage = Resemble(category="rain", model=str(folder), least=between)
    outcomes = stage.decide(rows, Context(0))
    high, low = np.argsort(-shares[:, 0])
    kept, dropped = outcomes[high], outcomes[low]
    assert isinstance(kept, Kept) and kept.values["category"] == "rain"
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "resemble: does not show the damage"
    told = json.loads(dropped.detail)
    assert told["by"].startswith("tiny@") and set(told["shares"]) == {"rain", "plain"}
    assert told["shares"]["rain"] == pytest.approx(shares[low, 0], abs=1e-4)
    assert told["cosines"]["plain"] == pytest.approx(cosines[low, 1], abs=1e-4)


def test_without_one_the_likeliest_of_the_six_is_the_category(folder: Path) -> None:
    told = words("resemblance")
    shares, _ = expected(folder, [*told["prompts"].values(), told["plain"]])
    rows = [{"id": str(n), "lq": png(Image.fromarray(one))} for n, one in enumerate(PIECES)]
    found = Resemble(model=str(folder), least=0).decide(rows, Context(0))
    names = [*told["prompts"]]
    assert [one.values["category"] for one in found] == [names[n] for n in shares[:, :-1].argmax(1)]


def test_another_network_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(HubError, match=r"is of type 'resnet', and not a CLIP"):
        Resemble(model=str(tmp_path)).check()
    with pytest.raises(HubError, match=r"has no config\.json"):
        Resemble(model=str(tmp_path.parent)).check()


class Eyes(Service):
    def __init__(self, reply: Any) -> None:
        super().__init__("eyes")
        self.reply, self.texts = reply, []

    def send(self, question: Any) -> Reply:
        self.texts.append(question.text)
        if isinstance(self.reply, Exception):
            raise self.reply
        return Reply(json.dumps(self.reply))


def said(watermark: bool, severity: str) -> dict[str, Any]:
    return {"watermark": watermark, "severity": severity, "what": "letters in a corner"}


@pytest.mark.parametrize(
    ("reply", "least", "outcome"),
    [
        (said(True, "severe"), "moderate", Dropped("screen: watermark", "letters in a corner")),
        (said(False, "none"), "mild", Dropped("screen: barely damaged", "none: letters in a corner")),
        (said(False, "mild"), "moderate", Dropped("screen: barely damaged", "mild: letters in a corner")),
        (said(False, "moderate"), "moderate", Kept),
        (said(False, "mild"), "mild", Kept),
        (PossiblyBilledError("cut"), "moderate", Later),
    ],
)
def test_watermarks_and_what_is_barely_damaged_leave(
    reply: Any, least: Any, outcome: Any, tmp_path: Path
) -> None:
    eyes = Eyes(reply)
    row = {"id": "a", "lq": png(Image.fromarray(PIECES[0])), "category": "reflection"}
    (found,) = Screen(least=least).decide([row], Context(0, asker=Asker(eyes, Ledger(tmp_path / "ledger"))))
    assert found == outcome if isinstance(outcome, Dropped) else isinstance(found, outcome)
    assert "what is mirrored in a pane" in eyes.texts[0]
    if isinstance(found, Kept):
        assert json.loads(found.values["screening"]) == reply
