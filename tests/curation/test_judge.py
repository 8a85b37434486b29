"""The judge: what it is shown, what follows from what it says, and how it is tried before it is believed."""

import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ggt_hub.curation.stage import Context, Dropped, Kept, Later
from ggt_hub.curation.stages.judge import AUDIT, NOT_THE_BEST, Judge
from ggt_hub.curation.verdicts import Verdict, scored
from ggt_hub.curation.words import words
from ggt_hub.curation.zooms import details, unlike_places
from ggt_hub.errors import JudgeError, PossiblyBilledError
from ggt_hub.images.shown import png
from ggt_hub.vlm import Asker, Ledger, Reply
from ggt_hub.vlm.structured import read_structured
from tests.curation.planted import damaged, sample

GOOD: dict[str, Any] = {
    "candidate": 1,
    "changed_at_all": True,
    "symptom_before": 2,
    "symptom_after": 0,
    "D": 90,
    "F": 90,
    "scene_replaced": False,
    "violations": [],
}


def fault(kind: str) -> dict[str, Any]:
    return {"property": kind, "where": "left", "bbox": [0, 0, 500, 1000], "what": "a letter"}


def said(*verdicts: dict[str, Any], best: int = 1) -> str:
    told = [GOOD | {"candidate": n} | verdict for n, verdict in enumerate(verdicts, 1)]
    return json.dumps({"candidates": told, "best_index": best})


class Eyes:
    """A judge that answers with what a function makes of the pictures it is shown."""

    model, revision, endpoint, parameters, budget = "eyes", None, None, {}, None
    max_retries, per_minute = 0, None

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked, self._lock = answer, [], threading.Lock()

    def send(self, question: Any) -> Reply:
        with self._lock:
            self.asked.append(question)
        return Reply(self.answer([np.asarray(Image.open(io.BytesIO(one))) for one in question.pictures]))


def context(answer: Any, seed: int = 0) -> Context:
    return Context(seed, asker=Asker(Eyes(answer), Ledger(":memory:"), workers=2))


def candidate(photograph: str, number: int, lq: np.ndarray, gt: np.ndarray) -> dict[str, Any]:
    files = {name: png(Image.fromarray(one)) for name, one in (("lq", lq), ("gt", gt))}
    return {"id": f"{photograph}/g-{number}", "category": "haze", "generator": "g", **files}


def grey(level: int) -> np.ndarray:
    return np.full((64, 64, 3), level, np.uint8)


def candidates(*levels: int) -> list[dict[str, Any]]:
    return [candidate("a.png/0", n, grey(0), grey(level)) for n, level in enumerate(levels)]


@pytest.mark.parametrize(
    ("changes", "d", "f", "refused"),
    [
        ({}, 90, 90, ""),
        ({"D": 60, "F": 80}, 60, 80, ""),
        ({"D": 59}, 59, 90, "damage is left"),
        ({"F": 79}, 90, 79, "unfaithful"),
        ({"violations": [fault("text")]}, 90, 30, "text"),
        ({"violations": [fault("geometry"), fault("face")], "F": 20}, 90, 20, "face"),
        ({"violations": [fault("covering")]}, 90, 30, "covering"),
        ({"violations": [fault("objects")]}, 90, 30, "objects"),
        ({"violations": [fault("geometry"), fault("invented"), fault("rule")]}, 90, 90, ""),
        ({"scene_replaced": True}, 90, 0, "another scene"),
        ({"changed_at_all": False, "D": 90, "F": 40}, 0, 100, "unchanged"),
    ],
)
def test_scores_follow_the_rule_whatever_the_judge_scores(
    changes: Any, d: float, f: float, refused: str
) -> None:
    found = scored(Verdict(**GOOD | changes), 60, 80)
    assert (found.d, found.f, found.refused) == (d, f, refused)
    assert found.df == pytest.approx((d * f) ** 0.5)


def test_the_photograph_itself_is_known_by_its_pixels() -> None:
    assert scored(Verdict(**GOOD), 60, 80, is_same=True).refused == "unchanged"
    (outcome,) = Judge().decide(candidates(0), context(lambda _: said({})))
    assert outcome.reason == "judge: unchanged"


def test_a_judge_sees_pictures_and_rules_in_a_stored_random_order_and_no_prompt() -> None:
    """Replies name candidates by the order in which they were shown; each outcome has to come to its own row."""
    rows = [row | {"prompt": "Clear the haze"} for row in candidates(10, 20, 30, 40)]

    def answer(pictures: list[np.ndarray]) -> str:
        assert len(pictures) == 9
        levels = [int(one[0, 0, 0]) for one in pictures[1::2]]
        return said(*({"F": 50 + level} for level in levels), best=levels.index(40) + 1)

    orders = set()
    for seed in range(4):
        here = context(answer, seed)
        outcomes = Judge().decide(rows, here)
        assert [outcome.reason for outcome in outcomes[:3]] == [
            "judge: unfaithful",
            "judge: unfaithful",
            NOT_THE_BEST,
        ]
        assert isinstance(outcomes[3], Kept)
        told = [
            json.loads(one.detail if isinstance(one, Dropped) else one.values["judgement"])
            for one in outcomes
        ]
        assert [one["F"] for one in told] == [60, 70, 80, 90]
        orders.add(tuple(one["said"]["candidate"] for one in told))
        (question,) = here.asks.service.asked
        assert words("judging")["rules"]["haze"] in question.text
        assert "Clear the haze" not in question.text + question.system
    assert len(orders) > 1


def test_the_best_that_suffices_is_kept_where_the_favourite_does_not() -> None:
    def answer(pictures: list[np.ndarray]) -> str:
        levels = [int(one[0, 0, 0]) for one in pictures[1::2]]
        faults = {10: {"violations": [fault("face")]}, 20: {"F": 85}, 30: {"F": 95}}
        return said(*(faults[level] for level in levels), best=levels.index(10) + 1)

    first, second, third = Judge().decide(candidates(10, 20, 30), context(answer))
    assert (first.reason, second.reason) == ("judge: face", NOT_THE_BEST)
    assert isinstance(third, Kept)


@pytest.mark.parametrize(
    ("reply", "wrong"),
    [
        (said({}), "at least 2 items"),
        (said({}, {"candidate": 1}), "each candidate is to be judged once"),
        (said({}, {}, best=3), "best_index is none of"),
        (said({}, {"D": 101}), "less than or equal to 100"),
        (said({}, {"violations": [{"property": "text"}]}), "field required"),
    ],
)
def test_a_reply_that_judges_something_else_is_asked_for_again_and_then_none(reply: str, wrong: str) -> None:
    here = context(lambda _: reply)
    outcomes = Judge().decide(candidates(10, 20), here)
    assert {outcome.reason for outcome in outcomes} == {"no JSON as asked"}
    assert all(wrong in outcome.detail for outcome in outcomes)
    assert len(here.asks.service.asked) == 2


def test_what_may_have_been_billed_waits_with_all_candidates() -> None:
    def cut(_: Any) -> str:
        raise PossiblyBilledError("cut")

    assert {type(one) for one in Judge().decide(candidates(10, 20), context(cut))} == {Later}


def photographs(count: int) -> list[dict[str, Any]]:
    return [candidate(f"{n}.png/0", 0, grey(8 * n), grey(8 * n + 4)) for n in range(count)]


def test_a_judge_is_tried_on_planted_pairs_of_both_kinds(tmp_path: Path) -> None:
    """One that errs in two of twenty is believed."""
    asked: list[tuple[int, int]] = []

    def answer(pictures: list[np.ndarray]) -> str:
        asked.append((int(pictures[0][0, 0, 0]), int(pictures[1][0, 0, 0])))
        photograph, shown = asked[-1]
        if len(asked) <= 2:
            return said({})
        return said({"changed_at_all": False} if photograph == shown else {"scene_replaced": True})

    report = Judge(audited=10).learn(photographs(30), context(answer), tmp_path, tmp_path)
    assert report == {"caught": 18, "missed": 2, "unanswered": 0}
    kinds = [one["planted"] for one in json.loads((tmp_path / AUDIT).read_text())["pairs"]]
    assert kinds.count("unchanged") == kinds.count("another scene") == 10
    assert sum(photograph == shown for photograph, shown in asked) == 10
    assert all(
        shown % 8 == 4 and shown - photograph != 4 for photograph, shown in asked if shown != photograph
    )


@pytest.mark.parametrize("blind", ["unchanged", "another scene"])
def test_a_judge_that_does_not_see_what_was_planted_judges_nothing(blind: str, tmp_path: Path) -> None:
    def answer(pictures: list[np.ndarray]) -> str:
        is_same = pictures[0][0, 0, 0] == pictures[1][0, 0, 0]
        is_missed = is_same == (blind == "unchanged")
        return said({} if is_missed else {"D": 0, "F": 0})

    with pytest.raises(JudgeError, match=r"eyes accepts 4 of 8 pairs that were planted"):
        Judge(audited=4).learn(photographs(6), context(answer), tmp_path, tmp_path)
    Judge(audited=4, caught=0.5).learn(photographs(6), context(answer), tmp_path, tmp_path)


def test_details_are_where_a_candidate_differs_from_its_photograph() -> None:
    good = sample("chelsea")
    lq = damaged(good, "haze")
    changed = good.copy()
    changed[320:400, 96:176] = changed[320:400, 96:176][::-1, ::-1]
    top, left = unlike_places(lq, changed, 1)[0]
    assert top <= 320 and top + 256 >= 400 and left <= 96 and left + 256 >= 176
    sheet = details(lq, changed, 2)
    assert sheet.shape == (2 * 256 + 8, 2 * 256 + 8, 3)
    assert np.array_equal(sheet[:256, :256], lq[top : top + 256, left : left + 256])
    assert np.array_equal(sheet[:256, -256:], changed[top : top + 256, left : left + 256])


def test_small_pictures_have_details_too() -> None:
    assert details(grey(1)[:20], grey(2)[:20], 3).shape == (3 * 28 - 8, 2 * 20 + 8, 3)


def test_a_judgement_is_read_as_strictly_as_any_reply() -> None:
    from ggt_hub.curation.verdicts import judgement_of

    found, _ = read_structured(f"Sure!\n```json\n{said({}, {})}\n```", judgement_of(2))
    assert found is not None and [one.candidate for one in found.by_number] == [1, 2]
