"""Attempts in rounds: what each is told, which is kept, and what happens to those that were refused or wait."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ggt_hub.curation.askers import estimate
from ggt_hub.curation.configuration import load_configuration
from ggt_hub.curation.stage import Context, Dropped, Later, Split
from ggt_hub.curation.stages.rounds import EditInRounds
from ggt_hub.errors import PossiblyBilledError, QuestionRefusedError
from ggt_hub.images.shown import png, shown_rgb
from ggt_hub.vlm import Asker, Ledger, Reply
from tests.curation.pairs import Service


def flat(level: int) -> bytes:
    return png(Image.fromarray(np.full((64, 64, 3), level, np.uint8)))


class Maker(Service):
    """Draws pictures of the levels 10, 20, ...; a step of its script may be an error."""

    def __init__(self, *script: Any) -> None:
        super().__init__("maker")
        self.script, self.prompts = list(script), []

    def canvas(self, size: Any) -> Any:
        return size

    def send(self, question: Any) -> Reply:
        self.count()
        self.prompts.append(question.text)
        assert question.pictures == (flat(100),), "every attempt begins from the photograph"
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        return Reply(pictures=(flat(10 * self.asked),))


class Eyes(Service):
    """Says what its script says; keeps what it was shown."""

    def __init__(self, *script: dict[str, Any] | Exception) -> None:
        super().__init__("eyes")
        self.script, self.questions = list(script), []

    def send(self, question: Any) -> Reply:
        self.questions.append(question)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return Reply(json.dumps(step))


def said(best: int, redo: bool, defect: str = "") -> dict[str, Any]:
    return {"best": best, "redo": redo, "defect": defect}


@pytest.fixture
def outcome(tmp_path: Path) -> Any:
    def of(maker: Maker, eyes: Eyes, rounds: int = 3) -> Any:
        ledger = Ledger(tmp_path / "ledger")
        context = Context(0, asker=Asker(eyes, ledger), generators={"maker": Asker(maker, ledger)})
        row = {"id": "a", "lq": flat(100), "prompt": "Restore it.", "category": "rain"}
        (found,) = EditInRounds(rounds=rounds).decide([row], context)
        assert isinstance(found, Split)
        return found.parts["maker"]

    return of


def test_the_next_attempt_is_told_the_defect_and_an_earlier_one_may_win(outcome: Any) -> None:
    maker = Maker()
    eyes = Eyes(said(1, True, "a tree is gone"), said(1, True, "the sky is new"), said(1, True, "still"))
    kept = outcome(maker, eyes)
    assert maker.asked == 3 and shown_rgb(kept["candidate"])[0, 0, 0] == 10
    assert kept["prompt"] == maker.prompts[0] == "Restore it."
    for prompt, defect in zip(maker.prompts[1:], ("a tree is gone", "the sky is new"), strict=True):
        assert prompt.startswith("Restore it. ") and defect in prompt
    assert "a tree" not in maker.prompts[2]  # of the last defect alone
    assert [one["best"] for one in json.loads(kept["attempts"])] == [1, 1, 1]
    assert [len(question.pictures) for question in eyes.questions] == [2, 3, 4]
    assert all("Restore it" not in question.text for question in eyes.questions)
    assert "Attempt 3: structure" in eyes.questions[2].text and "rain" in eyes.questions[0].text


def test_it_ends_with_the_first_that_needs_no_other(outcome: Any) -> None:
    maker = Maker()
    kept = outcome(maker, Eyes(said(1, True, "noise is left"), said(2, False)))
    assert maker.asked == 2 and shown_rgb(kept["candidate"])[0, 0, 0] == 20
    assert kept["prompt"] == maker.prompts[1]


def test_a_refused_attempt_counts_and_one_that_may_be_billed_waits(outcome: Any) -> None:
    refused = QuestionRefusedError("IMAGE_SAFETY")
    maker = Maker(refused)
    assert shown_rgb(outcome(maker, Eyes(said(1, False)))["candidate"])[0, 0, 0] == 20
    assert outcome(Maker(refused, refused), Eyes(), rounds=1).reason == "maker: IMAGE_SAFETY"


def test_what_is_not_known_yet_waits(outcome: Any) -> None:
    found = outcome(Maker(PossiblyBilledError("cut")), Eyes())
    assert isinstance(found, Later) and found.reason == "maker: possibly billed"


def test_a_verdict_that_waits_makes_the_photograph_wait(outcome: Any) -> None:
    assert isinstance(outcome(Maker(), Eyes(PossiblyBilledError("cut"))), Later)


def test_an_attempt_that_is_none_is_no_verdict(outcome: Any) -> None:
    found = outcome(Maker(), Eyes(said(2, False)))
    assert isinstance(found, Dropped) and found.reason == "no verdict"


def test_both_who_draw_and_who_look_are_in_the_estimate(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((600, 600, 3), np.uint8)).save(tmp_path / "a.png")
    found = estimate(load_configuration("harnessir"), str(tmp_path))
    assert [(one.model, one.questions) for one in found if one.stage == "edit-in-rounds"] == [
        ("gemini-nano-banana-2.1", 3),
        ("Qwen/Qwen3-VL-8B-Instruct", 3),
    ]
