"""Google's models by the real google-genai, against a local server with every failure that it was seen to make."""

import io
import json
from types import SimpleNamespace

import pytest
from PIL import Image

from ggt_hub.curation.generators.google import GoogleEditor
from ggt_hub.curation.generators.inference import InferenceEditor
from ggt_hub.curation.generators.openai_images import OpenAIEditor
from ggt_hub.curation.generators.providers import price_of
from ggt_hub.errors import (
    JudgeError,
    ModelClosedError,
    PossiblyBilledError,
    QuestionRefusedError,
    RejectedError,
)
from ggt_hub.vlm import Asker, Budget, Ledger, Question
from ggt_hub.vlm.openai_server import OpenAIServer, read_json
from tests.servers.image_editors import (
    GOOGLE_USAGE,
    KEY,
    EditorServer,
    Step,
    encoded,
    google_error,
    google_reply,
    inline,
    picture,
)
from tests.servers.odd_replies import keeps, spoilt

pytest.importorskip("google.genai")

MODEL = "gemini-nano-banana-2.1"
PRICE = price_of("google", MODEL, "1K", None)
QUESTION = Question("remove the haze", pictures=(picture((96, 64)),))
COST = (1300 * 1.5 + 100 * 7.5 + 1120 * 30) / 1e6  # of GOOGLE_USAGE, at the prices of the file


def editor(server, **more):
    budget = Budget(expected=PRICE.expected)
    return GoogleEditor(
        MODEL, api_key=KEY, price=PRICE, budget=budget, url=server.root, ratios=("1:1", "3:2"), **more
    )


def sent(*script, **more):
    with EditorServer(*script) as server:
        return editor(server, **more).send(QUESTION), server


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_a_picture_comes_back_as_it_was_sent_with_what_it_cost(version):
    reply, server = sent(
        google_reply(inline(picture(seed=5, form="JPEG"), "image/jpeg")), api_version=version
    )
    assert reply.pictures == (picture(seed=5, form="JPEG"),)
    assert (reply.refusal, reply.request_id, reply.usage) == (None, "r-1", GOOGLE_USAGE)
    assert reply.cost == pytest.approx(COST, abs=1e-12)
    asked = server.asked[0]
    assert asked["path"] == f"/{version}/models/{MODEL}:generateContent"
    assert (asked["prompt"], asked["picture"]) == ("remove the haze", QUESTION.pictures[0])
    assert asked["content"]["generationConfig"] == {
        "responseModalities": ["IMAGE"],
        "imageConfig": {"aspectRatio": "3:2", "imageSize": "1K"},
    }


def test_pictures_that_it_thinks_with_are_passed_over_and_the_last_one_counts():
    parts = [
        inline(picture(seed=1), thought=True),
        {"text": "done"},
        inline(picture(seed=2)),
        inline(picture(seed=3)),
    ]
    assert sent(google_reply(*parts))[0].pictures == (picture(seed=3),)
    reply, _ = sent(google_reply(parts[0]))
    assert (reply.refusal, reply.pictures) == ("no picture in the reply", ())


def test_keys_in_either_case_are_read():
    data = encoded(picture(seed=4))
    usage = {"prompt_token_count": 1300, "candidates_token_count": 1120, "thoughts_token_count": 100}
    body = {
        "candidates": [
            {
                "content": {"parts": [{"inline_data": {"mime_type": "image/png", "data": data}}]},
                "finish_reason": "STOP",
            }
        ],
        "usage_metadata": usage,
        "response_id": "r-2",
    }
    reply, _ = sent(Step(body=body))
    assert (reply.pictures, reply.request_id) == ((picture(seed=4),), "r-2")
    assert reply.cost == pytest.approx(COST, abs=1e-12)


@pytest.mark.parametrize(
    "reason",
    [
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "NO_IMAGE", "SAFETY", "SPII",
        "MAX_TOKENS", "MALFORMED_RESPONSE", "LANGUAGE", "CONTINUATION", "MODEL_ARMOR", "SOMETHING_NEW",
    ],
)  # fmt: skip
def test_a_reason_that_is_not_stop_is_a_billed_refusal_with_its_name(reason):
    for parts in ((), (inline(picture()),)):
        reply, server = sent(google_reply(*parts, reason=reason))
        assert (reply.refusal, reply.pictures) == (reason, ())
        assert reply.cost == pytest.approx(COST, abs=1e-12)
        assert len(server.asked) == 1  # nothing was continued, and nothing asked again


def test_what_could_be_continued_is_not_and_is_no_picture():
    """The library would ask on by itself, and each part is billed."""
    for reason in ("CONTINUATION", None):
        begun = google_reply(inline(picture()), reason=reason)
        begun.body["candidates"][0]["continuationToken"] = "dG9rZW4="
        reply, server = sent(begun)
        assert (reply.refusal, len(server.asked)) == ("CONTINUATION", 1)


def test_prose_and_blocked_prompts_are_refusals_that_say_why():
    assert sent(google_reply({"text": "I cannot edit people."}))[0].refusal == (
        "no picture in the reply: I cannot edit people."
    )
    blocked = Step(body={"promptFeedback": {"blockReason": "IMAGE_SAFETY"}, "usageMetadata": GOOGLE_USAGE})
    assert sent(blocked)[0].refusal == "IMAGE_SAFETY"
    assert sent(Step(body={}))[0].refusal == "no picture in the reply"


def test_whatever_stands_in_a_reply_is_kept_and_counted():
    service, ledger = editor(SimpleNamespace(root="http://here")), Ledger(":memory:")
    parts = [{"text": "hm", "thought": True}, inline(picture()), {"text": "done"}]
    whole = google_reply(*parts, promptFeedback={"blockReason": None}).body
    for text, place in spoilt(whole):
        reply = service.reply_of(read_json(text))
        assert keeps(ledger, reply), place
        assert reply.cost >= 1120 * 7.5 / 1e6, place  # what is not counted is what is expected


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({}, PRICE.expected),
        ({"candidatesTokenCount": "many"}, PRICE.expected),
        ({"candidatesTokenCount": 10**400, "promptTokenCount": 10**30}, PRICE.expected),
        ({"promptTokenCount": 1300}, (1300 * 1.5 + 1120 * 30) / 1e6),
        ({"promptTokenCount": 1300.0, "candidatesTokenCount": 1120.0}, (1300 * 1.5 + 1120 * 30) / 1e6),
        (
            {"candidatesTokenCount": 1680, "promptTokenCount": 0, "cachedContentTokenCount": 9},
            1680 * 30 / 1e6,
        ),
    ],
)
def test_what_is_not_counted_costs_what_is_expected(usage, cost):
    assert sent(google_reply(inline(picture()), usageMetadata=usage))[0].cost == pytest.approx(
        cost, abs=1e-12
    )


def test_a_blocked_prompt_costs_what_was_asked():
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 1300}}
    assert sent(Step(body=blocked))[0].cost == pytest.approx(1300 * 1.5 / 1e6, abs=1e-12)


@pytest.mark.parametrize("key", [f" {KEY}\n", f"{KEY}\nmore", f"{KEY}é"])
def test_a_key_with_what_no_key_has_is_used_without_or_refused_and_never_shown(key):
    making = (
        lambda: GoogleEditor(MODEL, api_key=key, price=PRICE, budget=Budget()),
        lambda: OpenAIServer(None, key, 1.0),
        lambda: InferenceEditor(MODEL, api_key=key, price=PRICE, budget=Budget()),
    )
    for make in making:
        if key.strip() == KEY:
            make()
        else:
            with pytest.raises(JudgeError, match="the key holds characters that no key has") as caught:
                make()
            assert KEY not in str(caught.value)


def test_a_closed_account_ends_the_run():
    with pytest.raises(RejectedError, match="PUP_LIMITED_DISABLED") as caught:
        sent(google_reply(reason="PUP_LIMITED_DISABLED"))
    assert not caught.value.passes


def test_cut_base64_and_cut_pictures_are_billed_refusals_with_what_came():
    whole = picture((96, 64), form="PNG")
    cut = {"inlineData": {"mimeType": "image/png", "data": encoded(whole)[:401]}}
    reply, _ = sent(google_reply(cut))
    assert reply.refusal == "the picture is damaged: its base64 is cut"
    assert whole.startswith(reply.pictures[0]) and len(reply.pictures[0]) == 300
    assert reply.cost == pytest.approx(COST, abs=1e-12)
    padded, _ = sent(google_reply(inline(whole[:300])))
    assert padded.refusal.startswith("the picture is damaged")
    assert padded.pictures == (whole[:300],)
    assert (
        sent(google_reply(inline(b"<svg/>")))[0].refusal
        == "the picture is damaged: cannot identify image file"
    )


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_failures_that_pass_are_not_billed_and_may_be_asked_again(status):
    with pytest.raises(RejectedError) as caught:
        sent(google_error(status, "UNAVAILABLE", "overloaded"))
    assert caught.value.passes and caught.value.wait is None


def test_the_pause_that_it_asks_for_is_read_from_the_body_and_the_header():
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "31.5s"}
    limited = google_error(429, "RESOURCE_EXHAUSTED", "per minute", retry)
    with pytest.raises(RejectedError) as caught:
        sent(limited)
    assert caught.value.wait == 31.5
    limited.body["error"]["details"] += [{"violations": 5}, "words", {"violations": ["words"]}]
    limited.headers["Retry-After"] = "70"
    with pytest.raises(RejectedError) as caught:
        sent(limited)
    assert caught.value.wait == 70


def test_a_quota_of_the_day_closes_the_model_until_midnight_in_the_pacific(tmp_path, monkeypatch):
    monkeypatch.setattr("ggt_hub.curation.generators.google._until_midnight", lambda: 7200.0)
    failure = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
    }
    with EditorServer(google_error(429, "RESOURCE_EXHAUSTED", "quota", failure)) as server:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        asker = Asker(editor(server), ledger)
        with pytest.raises(ModelClosedError):
            asker.ask(QUESTION)
        with pytest.raises(ModelClosedError, match="takes no more questions until"):
            asker.ask(Question("another", pictures=QUESTION.pictures))
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "step",
    [
        Step(delay=1.5),  # the client gives up
        Step(cut=200),
        Step(drip=0.3),  # never long without a byte, but too long in all
        Step(body=b"<html>sign in</html>", headers={"Content-Type": "text/html"}),
        Step(headers={"Content-Encoding": "gzip"}),
        Step(body=b""),
        google_error(504, "DEADLINE_EXCEEDED", "late", billed=True),
    ],
    ids=["time-out", "cut", "drip", "page", "gzip", "empty", "504"],
)
def test_what_may_have_been_billed_is_sent_once_and_told(step, tmp_path):
    with EditorServer(step) as server:
        asker = Asker(editor(server, timeout=0.7), Ledger(tmp_path / "ledger.sqlite"))
        for _ in range(2):
            assert asker.ask(QUESTION).state == "possibly billed"
        assert (len(server.asked), server.billed) == (1, 1)
        bill = asker.ledger.bill("")
        assert [(one.state, one.requests) for one in bill] == [("possibly billed", 1)]
        assert asker.service.budget.cost == pytest.approx(PRICE.expected)


@pytest.mark.parametrize("status", [201, 202, 203, 206])
def test_every_status_of_success_is_one(status):
    reply, _ = sent(Step(status, google_reply(inline(picture())).body))
    assert (reply.pictures, reply.cost) == ((picture(),), pytest.approx(COST, abs=1e-12))
    with pytest.raises(PossiblyBilledError):
        sent(Step(status, b""))


@pytest.mark.parametrize("form", ["\ufeff{}", "[{}]"], ids=["a mark of byte order", "a list of one"])
def test_what_stands_around_a_reply_hides_no_picture_that_is_paid(form):
    body = form.replace("{}", json.dumps(google_reply(inline(picture())).body)).encode()
    assert sent(Step(body=body))[0].pictures == (picture(),)


def test_an_error_with_the_status_of_success_is_named():
    refusal = sent(Step(body={"error": {"code": 429, "message": "exhausted"}}))[0].refusal
    assert refusal == "no picture in the reply: exhausted"


@pytest.mark.parametrize("status", [499, 504, 520, 524, 598, 599])
def test_of_what_a_gateway_gave_up_the_model_may_have_gone_on(status):
    with pytest.raises(PossiblyBilledError):
        sent(google_error(status, "", "late"))


def test_a_server_that_drips_does_not_hold_the_run(tmp_path):
    with EditorServer(Step(body=b" " * 3_000_000)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ggt_hub.curation.generators.wire.LONGEST_REPLY", 1_000_000)
        with pytest.raises(PossiblyBilledError, match="longer than allowed"):
            editor(server).send(QUESTION)


def test_400_is_of_the_question_or_of_all():
    with pytest.raises(QuestionRefusedError, match="Unable to process input image"):
        sent(google_error(400, "INVALID_ARGUMENT", "Unable to process input image."))
    for message in ("Model does not support the requested response modalities: image", "API key not valid."):
        with pytest.raises(RejectedError) as caught:
            sent(google_error(400, "INVALID_ARGUMENT", message))
        assert not caught.value.passes


@pytest.mark.parametrize(
    ("status", "name"), [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND")]
)
def test_what_will_never_pass_ends_the_run(status, name):
    with pytest.raises(RejectedError) as caught:
        sent(google_error(status, name, "no"))
    assert not caught.value.passes


def test_the_key_goes_to_no_other_host_and_into_no_message():
    with EditorServer() as other, EditorServer(Step(307, {}, {"Location": f"{other.root}/there"})) as server:
        with pytest.raises(RejectedError):
            editor(server).send(QUESTION)
        assert (len(server.asked), other.requests) == (1, [])
    with EditorServer(google_error(400, "INVALID_ARGUMENT", f"API key {KEY} not valid")) as server:
        with pytest.raises(RejectedError) as caught:
            editor(server).send(QUESTION)
        assert KEY not in str(caught.value) and KEY not in repr(caught.value.__cause__)
        assert server.asked[0]["headers"]["x-goog-api-key"] == KEY
    echoed, _ = sent(google_reply({"text": f"your key is {KEY}"}))
    assert KEY not in str(echoed)


def test_a_server_that_is_not_there_was_never_sent_anything():
    with EditorServer() as server:
        gone = editor(server)
    with pytest.raises(RejectedError) as caught:
        gone.send(QUESTION)
    assert caught.value.passes


def test_the_check_is_free_and_names_a_rejected_key_and_an_unknown_model():
    with EditorServer() as server:
        editor(server).check()
        server.models[MODEL] = google_error(404, "NOT_FOUND", "models/x is not found")
        with pytest.raises(JudgeError, match=f"has no model {MODEL}"):
            editor(server).check()
        server.models[MODEL] = google_error(400, "INVALID_ARGUMENT", "API key not valid.")
        with pytest.raises(JudgeError, match="rejects the key"):
            editor(server).check()
        server.models[MODEL] = Step(404, b"nothing here")  # says nothing of models
        editor(server).check()
        assert server.billed == 0


@pytest.mark.parametrize("name", ["../../x", "", "a?b"])
def test_a_name_that_is_none_is_known_before_anything_is_paid(name):
    with EditorServer() as server:
        made = GoogleEditor(name, api_key=KEY, price=PRICE, budget=Budget(), url=server.root)
        with pytest.raises(JudgeError, match="is no name of a model"):
            made.check()
        assert server.requests == []


@pytest.mark.parametrize(
    "url", ["http://x:99999", "http://x:abc/v1", "http://[::1/v1", "http://a b/v1", "x:9"]
)
def test_what_is_no_address_is_one_clear_error(url):
    with pytest.raises(JudgeError, match="is no address of a server"):
        editor(SimpleNamespace(root=url))
    with pytest.raises(JudgeError, match="is no address of a server"):
        OpenAIServer(url, KEY, 1.0)


def test_an_environment_with_which_no_client_can_be_made_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "not an url")
    with pytest.raises(JudgeError, match="is no address of a server"):
        OpenAIServer(None, KEY, 1.0)
    monkeypatch.setenv("ALL_PROXY", "garbage://x")
    fault = r"no client can be made \(ValueError: Unknown scheme for proxy .*\): look at HTTPS_PROXY"
    for make in (lambda: editor(SimpleNamespace(root="http://here")), lambda: OpenAIServer(None, KEY, 1.0)):
        with pytest.raises(JudgeError, match=fault):
            make()


def made_by(provider, server):
    told = {"api_key": KEY, "price": PRICE, "budget": Budget()}
    if provider == "openai":
        return OpenAIEditor("gpt-image-2", url=f"{server.root}/v1", **told)
    if provider == "hub":
        return InferenceEditor("a/b", url=f"{server.root}/models/a", **told)
    return editor(server)


@pytest.mark.parametrize("provider", ["google", "openai", "hub"])
def test_each_question_has_a_connection_of_its_own(provider):
    """On one that is kept a server may close while we ask, or have sent more than one answer."""
    with EditorServer() as server:
        service = made_by(provider, server)
        service.check()
        for _ in range(3):
            service.send(QUESTION)
        assert len({request["connection"] for request in server.requests}) == len(server.requests) >= 3


def test_what_the_library_logs_does_not_hold_the_key(caplog):
    with caplog.at_level("DEBUG"):
        sent(Step())
    assert KEY not in caplog.text


def test_the_reply_is_decoded_by_nobody_else():
    """What is kept is the file, not what a decoder made of it."""
    reply, _ = sent(google_reply(inline(picture(form="WEBP"), "image/png")))
    assert Image.open(io.BytesIO(reply.pictures[0])).format == "WEBP"
    assert json.dumps(reply.usage)
