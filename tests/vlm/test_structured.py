"""Replies in JSON: found among words, checked strictly, and nothing mended."""

from typing import Literal

import pytest
from pydantic import BaseModel

from ggt_hub.vlm import Asker, Budget, Ledger, Question, Reply
from ggt_hub.vlm.structured import ask_structured, read_structured, response_format


class Verdict(BaseModel):
    score: int
    verdict: Literal["keep", "drop"]


GOOD = '{"score": 3, "verdict": "keep"}'


@pytest.mark.parametrize(
    "text",
    [GOOD, f"```json\n{GOOD}\n```", f"Here {{it}} is: {GOOD} Anything else?", f"{GOOD}{GOOD}"],
)
def test_json_is_found_among_words(text: str) -> None:
    assert read_structured(text, Verdict) == (Verdict(score=3, verdict="keep"), "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("keep, 3", "there is none"),
        ("", "there is none"),
        ('{"score": 3}', "verdict: field required"),
        ('{"score": "3", "verdict": "keep"}', "score: input should be a valid integer"),
        ('{"score": true, "verdict": "keep"}', "score: input should be a valid integer"),
        ('{"score": 3, "verdict": "maybe"}', "verdict: input should be 'keep' or 'drop'"),
        ('{"score": NaN, "verdict": "keep"}', "there is none"),
        ("{" * 5000, "there is none"),
    ],
)
def test_nothing_is_mended(text: str, fault: str) -> None:
    assert read_structured(text, Verdict) == (None, fault)


def test_servers_are_told_the_whole_schema() -> None:
    told = response_format(Verdict)
    assert (told["type"], told["json_schema"]["name"], told["json_schema"]["strict"]) == (
        "json_schema", "verdict", True,
    )  # fmt: skip
    assert told["json_schema"]["schema"]["required"] == ["score", "verdict"]
    assert told["json_schema"]["schema"]["additionalProperties"] is False


class Scripted:
    """A service that answers with the next text of its script."""

    model, revision, endpoint, parameters, max_retries, per_minute = "m", None, "here", {}, 0, None

    def __init__(self, *script: str) -> None:
        self.budget, self.script, self.asked = Budget(), list(script), []

    def send(self, question: Question) -> Reply:
        self.asked.append(question)
        return Reply(self.script.pop(0), cost=1.0)


def test_a_fault_is_shown_once_and_both_replies_are_paid_for_once() -> None:
    service, ledger = Scripted("no", GOOD), Ledger(":memory:")
    for _ in range(2):
        answer, entry = ask_structured(Asker(service, ledger), Question("q"), Verdict)
        assert (answer, entry.state) == (Verdict(score=3, verdict="keep"), "answered")
    assert len(service.asked) == 2
    assert service.asked[1].later[0] == ("assistant", "no")
    assert "there is none" in service.asked[1].later[1][1]


def test_a_second_fault_is_a_refusal_that_says_what_is_wrong() -> None:
    answer, entry = ask_structured(
        Asker(Scripted("no", '{"score": 1}'), Ledger(":memory:")), Question("q"), Verdict
    )
    assert (answer, entry.state, entry.reason) == (
        None,
        "refused",
        "no JSON as asked: verdict: field required",
    )
