"""Hugging Face's client, the real one, against a local server."""

import io

import numpy as np
import pytest
from huggingface_hub import HfApi, get_session
from huggingface_hub.hf_api import InferenceProviderMapping
from huggingface_hub.inference._providers import PROVIDERS, _common, fal_ai
from PIL import EpsImagePlugin, Image

from ggt_hub.curation.generators.inference import InferenceEditor
from ggt_hub.curation.generators.providers import Price
from ggt_hub.curation.generators.replies import fault_of
from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError, RejectedError
from ggt_hub.images.shown import shown_rgb
from ggt_hub.vlm import Budget, Question
from tests.servers.image_editors import KEY, EditorServer, Step, picture

PRICE = Price(flat=1.0)
MAPPING = InferenceProviderMapping(
    provider="fal-ai", hf_model_id="some/editor", providerId="editor", status="live", task="image-to-image"
)
QUESTION = Question("remove the snow", pictures=(picture((96, 64)),))


def sent(step, **more):
    with EditorServer(step) as server:
        url = f"{server.root}/models/editor"
        made = InferenceEditor("some/editor", api_key=KEY, price=PRICE, budget=Budget(), url=url, **more)
        return made.send(QUESTION), server


def test_a_picture_comes_back_pixel_for_pixel():
    reply, server = sent(Step())
    there, here = (np.asarray(Image.open(io.BytesIO(one[0]))) for one in (QUESTION.pictures, reply.pictures))
    assert np.array_equal(there, here)
    assert (reply.cost, reply.refusal) == (1.0, None)
    asked = server.asked[0]
    assert (asked["prompt"], asked["picture"]) == ("remove the snow", QUESTION.pictures[0])
    assert asked["content"]["parameters"]["target_size"] == {"width": 96, "height": 64}


def test_a_cut_picture_is_a_billed_refusal():
    reply, _ = sent(Step(body=picture((96, 64))[:300]))
    assert reply.refusal.startswith("the picture is damaged")
    assert reply.cost == 1.0


def test_a_program_is_refused_and_not_run(monkeypatch):
    """Pillow hands EPS to Ghostscript."""
    Image.open(io.BytesIO(picture((96, 64)))).convert("RGB").save(program := io.BytesIO(), "EPS")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_args, **_more: pytest.fail("it was run"))
    reply, _ = sent(Step(body=program.getvalue()))
    assert (reply.refusal, reply.pictures, reply.cost) == ("a file of the format EPS", (), 1.0)
    assert fault_of(program.getvalue()).startswith("the picture is damaged: cannot identify")


def test_the_file_is_kept_as_it_came_though_the_client_gives_none():
    inks, metadata = Image.new("CMYK", (96, 64), (0, 255, 255, 0)), Image.Exif()
    metadata[0x112], metadata[0x131] = 6, "a model"
    inks.save(file := io.BytesIO(), "JPEG", exif=metadata)
    (kept,) = sent(Step(body=file.getvalue()))[0].pictures
    assert kept == file.getvalue()
    shown = shown_rgb(kept)
    assert shown.shape == (96, 64, 3)  # turned
    assert shown[5, 5] == pytest.approx((255, 0, 0), abs=2)  # of JPEG


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_with_the_photograph(status):
    with EditorServer() as elsewhere:
        step = Step(status, {}, {"Location": f"{elsewhere.root}/models/editor"})
        with pytest.raises(RejectedError, match="on to another address") as caught:
            sent(step)
        assert (caught.value.passes, elsewhere.requests) == (False, [])


def test_other_requests_of_the_library_are_redirected_as_ever(hub):
    """Its client is one for all that a process asks the Hub."""
    sent(Step())
    with EditorServer() as there, EditorServer() as here:
        here.other = lambda *_: Step(307, {}, {"Location": f"{there.root}/v1/models/a"})
        assert get_session().post(f"{here.root}/somewhere").status_code == 404  # of the other one
        assert [request["path"] for request in there.requests] == ["/v1/models/a"]


class Queue(EditorServer):
    """fal.ai: a question is taken, asked after until it is done, and its picture fetched by its address."""

    def __init__(self, *polls, taken=None):
        super().__init__(Step(body=taken or {"request_id": "1", "response_url": "http://there/editor/1"}))
        self.polls = list(polls)

    def _read(self, path, headers, body):
        return super()._read(path, headers, body) | ({"picture": b""} if body else {})

    def other(self, request, method):
        if request["path"].endswith("/status"):
            return self.polls[0] if len(self.polls) == 1 else self.polls.pop(0)
        if request["path"].endswith("/picture"):
            return Step(body=picture((96, 64), form="WEBP"), headers={"Content-Type": "image/webp"})
        return Step(body={"images": [{"url": f"{self.root}/picture"}]})


WAITS, DONE = Step(body={"status": "IN_QUEUE"}), Step(body={"status": "COMPLETED"})


def asked_of_a_queue(server, monkeypatch, timeout=5.0):
    monkeypatch.setitem(_common.HARDCODED_MODEL_INFERENCE_MAPPING["fal-ai"], "some/editor", MAPPING)
    monkeypatch.setattr(PROVIDERS["fal-ai"]["image-to-image"], "base_url", server.root)
    monkeypatch.setattr(fal_ai, "_POLLING_INTERVAL", 0.01)
    made = InferenceEditor(
        "some/editor", api_key=KEY, price=PRICE, budget=Budget(), via="fal-ai", timeout=timeout
    )
    return made.send(QUESTION)


def test_what_a_provider_answers_by_an_address_is_its_file(monkeypatch):
    with Queue(WAITS, WAITS, DONE) as server:
        reply = asked_of_a_queue(server, monkeypatch)
    assert reply.pictures == (picture((96, 64), form="WEBP"),)


@pytest.mark.parametrize(
    "polls",
    [[Step(500, {})], [Step(429, {})], [Step(404, {})], [Step(body=b"<html>")], [Step(delay=2.0)], [WAITS]],
    ids=["500", "429", "404", "page", "silence", "for ever"],
)
def test_what_was_taken_may_be_billed_whatever_follows_and_nobody_waits_for_ever(polls, monkeypatch):
    with Queue(*polls) as server, pytest.raises(PossiblyBilledError):
        asked_of_a_queue(server, monkeypatch, timeout=0.5)
    assert (len(server.asked), server.billed) == (1, 1)


def test_an_answer_that_the_client_does_not_understand_may_be_billed(monkeypatch):
    with (
        Queue(DONE, taken={"no": "name"}) as server,
        pytest.raises(PossiblyBilledError, match="No request ID"),
    ):
        asked_of_a_queue(server, monkeypatch)


def test_a_rejected_token_and_an_unknown_model_are_known_before_anything_is_paid(hub, monkeypatch):
    monkeypatch.setitem(_common.HARDCODED_MODEL_INFERENCE_MAPPING["fal-ai"], "tester/editor", MAPPING)
    hub.members.add("hf_member")
    HfApi(token="hf_member").create_repo("tester/editor")

    def check(model, token, **more):
        InferenceEditor(model, api_key=token, price=PRICE, budget=Budget(), **more).check()

    check("tester/editor", "hf_member", via="fal-ai")
    with pytest.raises(JudgeError, match="rejects the token: set HF_TOKEN anew"):
        check("tester/editor", "hf_stranger")
    with pytest.raises(JudgeError, match="has no model tester/edtor"):
        check("tester/edtor", "hf_member")
    check("tester/edtor", "hf_stranger", url="http://127.0.0.1:9/endpoint")  # has a token of its own, maybe


@pytest.mark.parametrize(
    ("via", "why"),
    [
        ("nobody", "Provider 'nobody' not supported"),
        (None, "No provider mapping found for model tester/editor"),
        ("groq", "Task 'image-to-image' not supported for provider 'groq'"),
    ],
)
def test_who_does_not_edit_pictures_is_known_before_anything_is_paid(via, why, hub):
    hub.members.add("hf_member")
    HfApi(token="hf_member").create_repo("tester/editor")
    made = InferenceEditor("tester/editor", api_key="hf_member", price=PRICE, budget=Budget(), via=via)
    with pytest.raises(JudgeError, match=f"tester/editor cannot be asked: {why}"):
        made.check()


def test_the_check_asks_for_no_picture():
    with EditorServer() as server:
        url = f"{server.root}/models/a"
        InferenceEditor("a/b", api_key=KEY, price=PRICE, budget=Budget(), url=url).check()
        assert server.requests == []


def test_a_model_that_is_loaded_says_how_long_that_takes():
    with pytest.raises(RejectedError) as caught:
        sent(Step(503, {"error": "loading", "estimated_time": 20.5}))
    assert (caught.value.passes, caught.value.wait) == (True, 20)


@pytest.mark.parametrize("why", ["Model x is not supported for task image-to-image", "no credits are left"])
def test_a_400_about_the_model_or_the_account_ends_the_run(why):
    with pytest.raises(RejectedError) as caught:
        sent(Step(400, {"error": why}))
    assert not caught.value.passes


@pytest.mark.parametrize(
    ("step", "error", "passes"),
    [
        (Step(body=b"<html>sign in</html>"), PossiblyBilledError, None),
        (Step(delay=1.5), PossiblyBilledError, None),
        (Step(cut=100), PossiblyBilledError, None),
        (Step(504, {"error": "late"}), PossiblyBilledError, None),
        (Step(400, {"error": f"bad picture, {KEY}"}), QuestionRefusedError, None),
        (Step(429, {"error": "slow down"}, {"Retry-After": "9"}), RejectedError, True),
        (Step(503, {"error": "loading"}), RejectedError, True),
        (Step(401, {"error": "bad token"}), RejectedError, False),
        (Step(401, b'["an answer at which the client fails"]'), RejectedError, False),
        (Step(402, {"error": "no credit"}), RejectedError, False),
        (Step(404, {"error": "no such model"}), RejectedError, False),
    ],
)
def test_failures_are_what_they_cost(step, error, passes):
    with pytest.raises(error) as caught:
        sent(step, timeout=0.7)
    assert type(caught.value) is error
    assert KEY not in str(caught.value)
    assert getattr(caught.value, "passes", None) is passes
    assert getattr(caught.value, "wait", None) == (9 if step.status == 429 else None)
