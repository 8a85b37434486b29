import base64
import io
import logging
import time
import traceback
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ggt_hub.errors import JudgeError
from ggt_hub.vlm import PROTOCOLS, Budget, Judge, Ledger, ServerChat
from tests.servers.openai_chat import ChatServer

PICTURES = list(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))
QUICK = {
    name: replace(protocol, pauses=(0.0,) * len(protocol.pauses)) for name, protocol in PROTOCOLS.items()
}
CANARY = "sk-canary-1234567890"


def judge_at(server, tmp_path, protocol="realir-code", **chat):
    return Judge(
        ServerChat("judge-1", server.url, **chat), QUICK[protocol], Ledger(tmp_path / "ledger.sqlite")
    )


def test_the_published_question_is_asked_about_the_resized_picture(tmp_path):
    with ChatServer("退化分数：4") as server:
        (rating,) = judge_at(server, tmp_path).rate(PICTURES[:1], ["noise"])
    assert (rating.score, rating.replies) == (4, ("退化分数：4",))
    (request,) = server.requests
    system, user = request["messages"]
    assert system == {"role": "system", "content": "You are a helpful assistant."}
    image, text = user["content"]
    assert "“noise”" in text["text"]
    sent = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].split(",")[1])))
    assert sent.size == (512, 512)
    assert (request["temperature"], request["max_tokens"]) == (0, 32)


@pytest.mark.parametrize(
    ("protocol", "script", "score", "calls"),
    [
        ("realir-code", ["I think it is a 2"], 2, 1),  # prose around the score
        ("realir-code", ["退化分数：7", "退化分数：2"], 2, 2),  # out of range, asked again
        ("realir-code", ["I cannot judge this."], None, 3),  # a refusal, three times
        ("realir-code", [""], None, 3),
        ("strict", ["I think it is a 2", "退化分数：2"], 2, 2),  # repaired once
        ("strict", ["Score: 2"], None, 2),
    ],
)
def test_replies_are_read_and_tried_again_as_the_protocol_says(protocol, script, score, calls, tmp_path):
    with ChatServer(*script) as server:
        (rating,) = judge_at(server, tmp_path, protocol).rate(PICTURES[:1], ["blur"])
    assert rating.score == score
    assert len(server.requests) == calls == len(rating.replies)


def test_a_repair_shows_the_judge_its_own_reply(tmp_path):
    with ChatServer("Two!", "退化分数：2") as server:
        judge_at(server, tmp_path, "strict").rate(PICTURES[:1], ["blur"])
    roles = [message["role"] for message in server.requests[1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert server.requests[1]["messages"][2]["content"] == "Two!"


def test_a_stored_reply_is_never_paid_twice(tmp_path):
    with ChatServer("nothing", "退化分数：5") as server:
        first = judge_at(server, tmp_path).rate(PICTURES[:1], ["haze"])
        again = judge_at(server, tmp_path).rate(PICTURES[:1], ["haze"])
        assert first == again
        assert len(server.requests) == 2
        judge_at(server, tmp_path).rate(PICTURES[:1], ["rain"])  # another question
        judge_at(server, tmp_path).rate(PICTURES[1:2], ["haze"])  # another picture
    assert len(server.requests) == 4


def test_a_run_that_is_stopped_keeps_what_it_paid_for(tmp_path):
    with ChatServer("退化分数：4") as server:
        with pytest.raises(JudgeError, match="budget of 4 calls is spent"):
            judge_at(server, tmp_path, budget=Budget(max_calls=4)).rate(PICTURES, ["noise"] * 6)
        ratings = judge_at(server, tmp_path).rate(PICTURES, ["noise"] * 6)
    assert [rating.score for rating in ratings] == [4] * 6
    assert len(server.requests) == 6


def test_money_is_counted_and_limited(tmp_path):
    # each reply: 1000 tokens at 2 a million and 10 at 100 a million = 0.003
    budget = Budget(max_cost=0.005, price_in=2, price_out=100)
    with ChatServer("退化分数：4") as server:
        judge = judge_at(server, tmp_path, budget=budget)
        judge.workers = 1
        with pytest.raises(JudgeError, match=r"budget of 0\.005 is spent"):
            judge.rate(PICTURES, ["noise"] * 6)
    assert budget.cost == pytest.approx(0.006)
    assert len(server.requests) == 2


def test_questions_are_asked_at_the_same_time(tmp_path):
    with ChatServer(("sleep", 0.3)) as server:
        start = time.monotonic()
        judge_at(server, tmp_path).rate(PICTURES, ["noise"] * 6)
    assert server.most_at_once >= 3
    assert time.monotonic() - start < 6 * 0.3


@pytest.mark.parametrize("failure", [500, 503, "disconnect", ("sleep", 1.5)])
def test_failures_that_pass_are_tried_again(failure, tmp_path):
    with ChatServer(failure, "退化分数：4") as server:
        (rating,) = judge_at(server, tmp_path, timeout=0.8).rate(PICTURES[:1], ["noise"])
    assert rating.score == 4
    assert len(server.requests) == 2


def test_a_server_that_asks_to_wait_is_obeyed(tmp_path):
    with ChatServer(("429", 1), "退化分数：4") as server:
        (rating,) = judge_at(server, tmp_path).rate(PICTURES[:1], ["noise"])
    assert rating.score == 4
    assert server.times[1] - server.times[0] >= 1


def test_a_picture_that_the_server_refuses_has_no_rating_and_the_others_are_rated(tmp_path):
    with ChatServer(400, "退化分数：4") as server:
        judge = judge_at(server, tmp_path)
        judge.workers = 1  # the first picture gets the first answer
        first, second = judge.rate(PICTURES[:2], ["noise"] * 2)
    assert (first.score, second.score) == (None, 4)
    assert "BadRequestError" in first.refused


@pytest.mark.parametrize("failure", [401, "no choices"])
def test_failures_that_last_end_the_run_with_their_reason(failure, tmp_path):
    with ChatServer(failure) as server, pytest.raises(JudgeError, match="judge-1"):
        judge_at(server, tmp_path).rate(PICTURES[:1], ["noise"])
    assert len(server.requests) == 1


def test_the_key_is_sent_and_shown_nowhere(tmp_path, caplog, capfd, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with ChatServer(401) as server:
        judge = judge_at(server, tmp_path)
        try:
            judge.rate(PICTURES[:1], ["noise"])
        except JudgeError as error:
            shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    assert server.headers[0]["Authorization"] == f"Bearer {CANARY}"
    assert "AuthenticationError" in shown
    captured = capfd.readouterr()
    everything = [
        shown,
        caplog.text,
        captured.out,
        captured.err,
        str(judge.identity),
        repr(judge.chat),
        repr(vars(judge)),
    ]
    assert not [text for text in everything if CANARY in text]
    assert CANARY.encode() not in (tmp_path / "ledger.sqlite").read_bytes()


def test_a_result_says_who_judged_and_how(tmp_path):
    with ChatServer("4") as server:
        identity = judge_at(server, tmp_path, "realir-paper").identity
    assert identity["judge"] == "judge-1"
    assert identity["protocol"] == "realir-paper"
    assert identity["rubric_sha256"].startswith("a12b92921265")
