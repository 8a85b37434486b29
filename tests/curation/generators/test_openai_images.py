"""OpenAI's models by the real openai library, and compatible servers, against a local one that misbehaves."""

import io
from types import SimpleNamespace

import pytest
from PIL import Image

from ggt_hub.curation.generators.openai_images import OpenAIEditor, size_drawn
from ggt_hub.curation.generators.providers import Price, price_of
from ggt_hub.errors import JudgeError, QuestionRefusedError, RejectedError
from ggt_hub.vlm import Asker, Budget, Ledger, Question
from ggt_hub.vlm.openai_server import read_json
from tests.servers.image_editors import KEY, OPENAI_USAGE, EditorServer, Step, encoded, openai_error, picture
from tests.servers.odd_replies import keeps, spoilt

PRICE = price_of("openai", "gpt-image-2", "medium", None)
QUESTION = Question("remove the rain", pictures=(picture((96, 64)),))
COST = (1000 * 8 + 200 * 5 + 2000 * 30) / 1e6  # of OPENAI_USAGE, at the prices of the file


def editor(server, **more):
    told = {"api_key": KEY, "price": PRICE, "quality": "medium", "url": f"{server.root}/v1"} | more
    return OpenAIEditor("gpt-image-2", budget=Budget(expected=PRICE.expected), **told)


def sent(*script, **more):
    with EditorServer(*script) as server:
        return editor(server, **more).send(QUESTION), server


def test_a_picture_comes_back_as_it_was_sent_with_what_it_cost():
    data = picture((1024, 688), 5, "JPEG")
    body = {"created": 0, "data": [{"b64_json": encoded(data)}], "usage": OPENAI_USAGE}
    reply, server = sent(Step(body=body))
    assert reply.pictures == (data,)
    assert (reply.refusal, reply.request_id, reply.usage) == (None, "req-1", OPENAI_USAGE)
    assert reply.cost == pytest.approx(COST, abs=1e-12)
    asked = server.asked[0]
    assert (asked["path"], asked["picture"]) == ("/v1/images/edits", QUESTION.pictures[0])
    assert asked["content"] == {
        "model": "gpt-image-2", "prompt": "remove the rain", "n": "1", "quality": "medium", "output_format": "png",
        "size": "1056x704",
    }  # fmt: skip


def test_a_compatible_server_is_told_nothing_that_only_openai_knows():
    reply, server = sent(Step(), price=Price(), quality=None, api_key=None)
    assert (reply.pictures, reply.cost) == (QUESTION.pictures, 0)
    assert server.asked[0]["content"] == {
        "model": "gpt-image-2", "prompt": "remove the rain", "n": "1", "size": "96x64",
        "response_format": "b64_json",
    }  # fmt: skip


def test_a_picture_in_an_address_is_read_and_one_elsewhere_is_a_refusal():
    url = "data:image/png;base64," + encoded(picture(seed=1))
    assert sent(Step(body={"data": [{"url": url}]}))[0].pictures == (picture(seed=1),)
    reply, _ = sent(Step(body={"data": [{"url": "http://elsewhere/x.png"}]}))
    assert (reply.refusal, reply.pictures) == ("no picture in the reply: an address in its place", ())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"data": []}, "an empty reply"),
        ({"data": None, "error": {"message": "safety system"}}, "safety system"),
        ({"choices": [{"message": {"content": "I cannot do that"}}]}, "I cannot do that"),
        ({}, "an empty reply"),
    ],
)
def test_what_looks_like_success_and_has_no_picture_is_a_billed_refusal(body, why):
    reply, _ = sent(Step(body=body))
    assert reply.refusal == f"no picture in the reply: {why}"
    assert reply.cost == PRICE.expected  # nothing is said of usage


def test_whatever_stands_in_a_reply_is_kept_and_counted():
    service, ledger = editor(SimpleNamespace(root="http://here")), Ledger(":memory:")
    whole = {
        "id": "r-1",
        "data": [{"b64_json": encoded(picture()), "url": None}],
        "usage": OPENAI_USAGE | {"output_tokens_details": {"text_tokens": 0, "image_tokens": 2000}},
        "error": {"message": ""},
        "choices": [{"message": {"content": ""}}],
    }
    for text, place in spoilt(whole):
        reply = service.reply_of(read_json(text))
        assert keeps(ledger, reply), place
        assert reply.cost >= 1000 * 8 / 1e6, place  # what is not counted is what is expected


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"output_tokens": None, "input_tokens": 9}, PRICE.expected),
        ({"output_tokens": 10**400, "input_tokens": 10**400}, PRICE.expected),
        ({"output_tokens": 2000.0, "input_tokens": 1000.0}, (1000 * 8 + 2000 * 30) / 1e6),
        ({"output_tokens": 2000}, (1400 * 8 + 2000 * 30) / 1e6),
        ({"output_tokens": 0, "input_tokens": 1000}, 1000 * 8 / 1e6),
    ],
)
def test_what_is_not_counted_costs_what_is_expected(usage, cost):
    reply, _ = sent(Step(body={"data": [{"b64_json": encoded(picture())}], "usage": usage}))
    assert reply.cost == pytest.approx(cost, abs=1e-12)


def test_cut_base64_is_a_billed_refusal_with_what_came():
    whole = picture((96, 64))
    body = {"data": [{"b64_json": encoded(whole)[:-7]}], "usage": OPENAI_USAGE}
    reply, _ = sent(Step(body=body))
    assert reply.refusal == "the picture is damaged: its base64 is cut"
    assert reply.pictures and whole.startswith(reply.pictures[0])
    assert reply.cost == pytest.approx(COST, abs=1e-12)


@pytest.mark.parametrize("code", ["moderation_blocked", "content_policy_violation"])
def test_moderation_is_a_refusal_though_it_names_a_parameter(code):
    with pytest.raises(QuestionRefusedError):
        sent(openai_error(400, code, "rejected by the safety system", "prompt"))


@pytest.mark.parametrize(
    "step",
    [
        openai_error(401, "invalid_api_key", "no"),
        openai_error(403, None, "your organization must be verified"),
        openai_error(404, "model_not_found", "no such model"),
        openai_error(400, "billing_hard_limit_reached", "limit reached"),
        openai_error(400, "invalid_value", "the model cannot edit", "model"),
        openai_error(429, "insufficient_quota", "you exceeded your quota"),
    ],
    ids=["key", "verification", "model", "billing", "cannot edit", "quota"],
)
def test_what_will_never_pass_ends_the_run(step, tmp_path):
    with EditorServer(step) as server:
        asker = Asker(editor(server), Ledger(tmp_path / "ledger.sqlite"))
        with pytest.raises(RejectedError) as caught:
            asker.ask(QUESTION)
        assert not caught.value.passes
        assert (len(server.asked), server.billed, asker.service.budget.cost) == (1, 0, 0)


def test_a_limit_of_the_day_closes_the_model_and_one_of_the_minute_waits(tmp_path):
    message = "Rate limit reached for gpt-image-2 on images per day (IPD)"
    with pytest.raises(RejectedError) as caught:
        sent(openai_error(429, "rate_limit_exceeded", message))
    assert caught.value.wait == 3600
    limited = openai_error(429, "rate_limit_exceeded", "images per minute", headers={"Retry-After": "12"})
    with pytest.raises(RejectedError) as caught:
        sent(limited)
    assert caught.value.wait == 12


@pytest.mark.parametrize("after", ["-3", "Wed, 21 Oct 2015 07:28:00 GMT", "nan"])
def test_a_pause_that_is_past_is_none(after, monkeypatch, tmp_path):
    waits = []
    monkeypatch.setattr("ggt_hub.vlm.asking.time.sleep", lambda seconds: waits.append(seconds))
    with EditorServer(openai_error(503, None, "busy", headers={"Retry-After": after}), Step()) as server:
        assert Asker(editor(server), Ledger(tmp_path / "l.sqlite")).ask(QUESTION).state == "answered"
    assert 0.5 <= max(waits) <= 1.0


@pytest.mark.parametrize(
    "step",
    [
        Step(delay=1.5),
        Step(cut=200),
        Step(drip=0.3),
        Step(body=b"<html>sign in</html>", headers={"Content-Type": "text/html"}),
        Step(headers={"Content-Encoding": "gzip"}),
        Step(body=b""),
        openai_error(504, None, "late", billed=True),
    ],
    ids=["time-out", "cut", "drip", "page", "gzip", "empty", "504"],
)
def test_what_may_have_been_billed_is_sent_once_and_told(step, tmp_path):
    with EditorServer(step) as server:
        asker = Asker(editor(server, timeout=0.7), Ledger(tmp_path / "ledger.sqlite"))
        for _ in range(2):
            assert asker.ask(QUESTION).state == "possibly billed"
        assert (len(server.asked), server.billed) == (1, 1)


def test_a_script_of_failures_is_billed_as_the_server_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("ggt_hub.vlm.asking.time.sleep", lambda seconds: None)
    cut = Step(body={"data": [{"b64_json": "iVBO"}], "usage": OPENAI_USAGE})
    script = [openai_error(500, None, "x"), Step(), cut, openai_error(429, None, "x"), Step(cut=9), Step()]
    with EditorServer(*script) as server:
        asker = Asker(editor(server), Ledger(tmp_path / "ledger.sqlite"))
        states = [asker.ask(QUESTION, [n, 0]).state for n in range(4)]
        bill = {one.state: (one.requests, round(one.cost, 6), one.unknown) for one in asker.ledger.bill("")}
    assert states == ["answered", "refused", "possibly billed", "answered"]
    assert bill == {"billed": (3, round(3 * COST, 6), 0), "rejected": (2, 0, 0), "possibly billed": (1, 0, 1)}
    assert server.billed == 4


def test_the_check_names_a_rejected_key_and_an_unknown_model():
    with EditorServer() as server:
        editor(server).check()
        server.models["gpt-image-2"] = openai_error(404, "model_not_found", "no")
        with pytest.raises(JudgeError, match="has no model gpt-image-2"):
            editor(server).check()
        server.models["gpt-image-2"] = openai_error(401, "invalid_api_key", f"key {KEY}")
        with pytest.raises(JudgeError, match="rejects the key") as caught:
            editor(server).check()
        assert KEY not in str(caught.value)
        for inconclusive in (
            Step(404, {"detail": "Not Found"}),
            openai_error(403, None, "Missing scopes: api.model.read"),
            Step(500, {}),
        ):
            server.models["gpt-image-2"] = inconclusive
            editor(server).check()
        assert server.billed == 0


def test_a_canvas_is_drawn_in_whole_multiples_of_itself():
    sizes = {
        (1024, 1024): (1024, 1024),
        (1024, 688): (1024, 688),
        (64, 64): (832, 832),
        (96, 64): (1056, 704),
    }
    assert {size: size_drawn(size) for size in sizes} == sizes


def test_the_file_is_kept_as_it_came():
    data = picture(form="WEBP")
    reply, _ = sent(Step(body={"data": [{"b64_json": encoded(data)}]}))
    assert Image.open(io.BytesIO(reply.pictures[0])).format == "WEBP"
