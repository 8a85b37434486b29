import base64
import io
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ggt_hub.errors import JudgeError
from ggt_hub.vlm import PROTOCOLS, Budget, Judge, Ledger, ServerChat
from ggt_hub.vlm.ledger import Entry
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


def test_money_is_counted_and_never_more_is_spent_also_by_many_at_once(tmp_path):
    # each reply: 1000 tokens at 2 a million and 10 at 100 a million = 0.003
    budget = Budget(max_cost=0.0095, price_in=2, price_out=100)
    with ChatServer("退化分数：4") as server:
        judge = judge_at(server, tmp_path, budget=budget)
        with pytest.raises(JudgeError, match=r"budget of 0\.0095 is spent"):
            judge.rate(PICTURES, ["noise"] * 6)
    assert budget.cost == pytest.approx(0.009)
    assert len(server.requests) == 3


def test_what_was_spent_survives_the_end_of_a_run(tmp_path):
    def budget():
        return Budget(max_calls=3, ledger=Ledger(tmp_path / "spent.sqlite"), purse="run")

    with ChatServer("退化分数：4") as server:
        judge_at(server, tmp_path, budget=budget()).rate(PICTURES[:2], ["noise"] * 2)
        with pytest.raises(JudgeError, match="budget of 3 calls is spent"):
            judge_at(server, tmp_path, budget=budget()).rate(PICTURES[:4], ["noise"] * 4)
        assert len(server.requests) == 3
    other = Budget(max_calls=3, ledger=Ledger(tmp_path / "spent.sqlite"), purse="another run")
    assert other.calls == 0


def test_each_try_is_a_call(tmp_path):
    with ChatServer(503) as server, pytest.raises(JudgeError, match="budget of 1 calls is spent"):
        judge_at(server, tmp_path, budget=Budget(max_calls=1)).rate(PICTURES[:1], ["noise"])
    assert len(server.requests) == 1


def test_questions_are_asked_at_the_same_time(tmp_path):
    with ChatServer(("sleep", 0.3)) as server:
        start = time.monotonic()
        judge_at(server, tmp_path).rate(PICTURES, ["noise"] * 6)
    assert server.most_at_once >= 3
    assert time.monotonic() - start < 6 * 0.3


@pytest.mark.parametrize("failure", ["disconnect", ("sleep", 1.5), 504])
def test_what_was_sent_and_not_answered_is_asked_again_only_on_demand(failure, tmp_path):
    budget = Budget(price_in=2, price_out=100)
    with ChatServer(failure, "退化分数：4") as server:
        for _ in range(2):
            judge = judge_at(server, tmp_path, timeout=0.8, budget=budget)
            (rating,) = judge.rate(PICTURES[:1], ["noise"])
            assert rating.score is None
            assert rating.refused.startswith("possibly billed: ")
            assert "--ask-again" in rating.refused
            assert len(server.requests) == 1
        judge.asker.ask_again = True
        (rating,) = judge.rate(PICTURES[:1], ["noise"])
    assert (rating.score, len(server.requests)) == (4, 2)
    assert budget.cost == pytest.approx(0.006)  # the lost one counts as much as the dearest


@pytest.mark.parametrize("failure", [500, 503])
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


MALFORMED = {
    "parts": {"choices": [{"message": {"content": [{"type": "text", "text": "退化分数：4"}]}}]},
    "a number": {"choices": [{"message": {"content": 4}}]},
    "no message": {"choices": [{"index": 0}]},
    "no choices": {"choices": []},
    "null": {"choices": None},
    "html": b"<html>login</html>",
    "stream": b'data: {"choices": []}\n\ndata: [DONE]',
    "cut": b'{"choices": [',
    "list": b"[1, 2]",
    "nothing": b"",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_reply_that_is_none_is_a_refusal_of_one_picture_and_is_kept(kind, tmp_path):
    with ChatServer(MALFORMED[kind], "退化分数：4") as server:
        judge = judge_at(server, tmp_path)
        judge.workers = 1
        first, second = judge.rate(PICTURES[:2], ["noise"] * 2)
        again = judge_at(server, tmp_path).rate(PICTURES[:2], ["noise"] * 2)
    assert (first.score, second.score) == (None, 4)
    assert first.refused.startswith("judge-1 sent a reply without text: ")
    assert again == [first, second]
    assert len(server.requests) == 2
    kept = judge.ledger._connection.execute(
        "SELECT content FROM questions WHERE state = 'refused'"
    ).fetchone()
    sent = MALFORMED[kind]
    assert kept[0] == sent.decode() if isinstance(sent, bytes) else "choices" in kept[0]


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        ({"message": {"content": None, "refusal": "I cannot look at this"}}, "I cannot look at this"),
        ({"message": {"content": ""}, "finish_reason": "content_filter"}, "content_filter"),
    ],
)
def test_a_refusal_in_place_of_text_is_one_and_is_asked_once(choice, why, tmp_path):
    with ChatServer({"choices": [choice]}) as server:
        (rating,) = judge_at(server, tmp_path).rate(PICTURES[:1], ["noise"])
    assert rating.refused.startswith(f"the model refuses: {why};")
    assert len(server.requests) == 1


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}, "many"])
def test_a_reply_that_does_not_say_what_it_cost_is_read_and_counted_dearly(usage, tmp_path):
    budget = Budget(price_in=1, price_out=1)
    with ChatServer({"usage": usage}) as server:
        (rating,) = judge_at(server, tmp_path, budget=budget).rate(PICTURES[:1], ["noise"])
    assert rating.score == 4
    assert budget.cost > 0.004


def test_a_rejected_parameter_ends_the_run_and_is_no_refusal(tmp_path):
    error = {"error": {"message": "max_tokens is not supported", "param": "max_tokens"}}
    with ChatServer(error) as server, pytest.raises(JudgeError, match="max_tokens is not supported"):
        judge = judge_at(server, tmp_path)
        judge.workers = 1
        judge.rate(PICTURES, ["noise"] * 6)
    assert len(server.requests) == 1
    assert not judge.ledger._connection.execute("SELECT * FROM questions").fetchall()


def test_a_probe_that_is_always_refused_ends_the_run(tmp_path):
    with ChatServer(400) as server, pytest.raises(JudgeError, match="judge-1 refuses the first 3 pictures"):
        judge_at(server, tmp_path).probe(PICTURES, ["noise"] * 6)
    assert len(server.requests) == 3
    with ChatServer(400, "退化分数：4") as server:
        judge_at(server, tmp_path, "strict").probe(PICTURES[3:], ["blur"] * 3)
    assert len(server.requests) == 2


def test_what_another_process_left_in_flight_is_possibly_billed_and_what_lives_is_waited_for(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    code = (
        "import sys; from ggt_hub.vlm import Ledger; ledger = Ledger(sys.argv[1])\n"
        "ledger.claim('claimed'); ledger.claim('k'); ledger.begin_request('run', None, None, key='k', model='m')"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=os.environ)
    assert ledger.claim("claimed") is None  # nothing was sent
    assert [bill.state for bill in ledger.bill("run")] == ["in flight"]
    assert ledger.claim("k").state == "possibly billed"
    assert ledger.bill("run") == [("m", "possibly billed", 1, 0.0, 1, 0.0)]
    assert ledger.claim("k", again=True) is None  # now it is ours, and we live
    waiting = threading.Thread(target=lambda: found.append(Ledger(path).claim("k")))
    found = []
    waiting.start()
    time.sleep(0.3)
    assert not found
    ledger.settle("k", Entry("answered", "yes"))
    waiting.join(10)
    assert found == [Entry("answered", "yes")]


def test_the_same_question_at_the_same_time_is_asked_once(tmp_path):
    with ChatServer(("sleep", 0.3)) as server:
        ratings = judge_at(server, tmp_path).rate([PICTURES[0]] * 4, ["noise"] * 4)
    assert [rating.score for rating in ratings] == [3] * 4
    assert len(server.requests) == 1


def test_another_number_of_the_repeat_or_parameter_is_another_question(tmp_path):
    with ChatServer("退化分数：4") as server:
        judge_at(server, tmp_path).rate(PICTURES[:1], ["noise"])
        judge_at(server, tmp_path).rate(PICTURES[:1], ["noise"], repeat=1)
        judge_at(server, tmp_path, max_tokens=64).rate(PICTURES[:1], ["noise"])
    assert len(server.requests) == 3
    assert server.requests[2]["max_tokens"] == 64


def test_a_ledger_that_cannot_be_used_is_said_in_one_line(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(JudgeError, match=r"ledger\.sqlite cannot be used .*name another by --ledger"):
        Ledger(tmp_path / "ledger.sqlite")


@pytest.mark.parametrize("length", range(250, 300, 7))
def test_no_part_of_the_key_is_shown_where_a_message_is_cut(length, tmp_path):
    error = {"error": {"message": "x" * length + CANARY, "param": "x"}}
    with ChatServer(error) as server, pytest.raises(JudgeError) as shown:
        judge_at(server, tmp_path, api_key=CANARY).rate(PICTURES[:1], ["noise"])
    assert "sk-c" not in str(shown.value)


def test_a_reply_that_echoes_the_key_is_kept_without_it(tmp_path):
    with ChatServer(f"退化分数：4 {CANARY}") as server:
        judge = judge_at(server, tmp_path, api_key=CANARY)
        (rating,) = judge.rate(PICTURES[:1], ["noise"])
    assert (rating.score, rating.replies) == (4, ("退化分数：4 ***",))
    judge.ledger.close()
    assert CANARY.encode() not in (tmp_path / "ledger.sqlite").read_bytes()


@pytest.mark.parametrize("address", ["nonsense", "localhost:8000/v1", "ftp://x/v1", "http:///v1"])
def test_what_is_no_address_is_refused_at_once(address):
    with pytest.raises(JudgeError, match="is no address of a server"):
        ServerChat("m", address)


def test_a_redirect_is_not_followed(tmp_path):
    with (
        ChatServer("退化分数：4") as other,
        ChatServer(("redirect", other.url)) as server,
        pytest.raises(JudgeError, match="judge-1 could not be asked"),
    ):
        judge_at(server, tmp_path).rate(PICTURES[:1], ["noise"])
    assert not other.requests


@pytest.mark.parametrize("failure", [401])
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
    assert identity["parameters"] == {"temperature": 0, "max_tokens": 32}
    assert identity["endpoints"] == []


def test_the_endpoint_is_recorded_without_what_is_secret_in_it(tmp_path):
    with ChatServer("退化分数：4") as server:
        address = server.url.replace("http://", "http://user:password@") + "?token=1"
        judge = Judge(ServerChat("m", server.url), QUICK["strict"], Ledger(tmp_path / "l.sqlite"))
        judge.rate(PICTURES[:1], ["noise"])
        assert judge.identity["endpoints"] == [server.url]
        assert ServerChat("m", address).endpoint == server.url
