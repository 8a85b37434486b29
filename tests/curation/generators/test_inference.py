"""Hugging Face's client, the real one, against a local server."""

import io

import numpy as np
import pytest
from huggingface_hub import HfApi
from PIL import EpsImagePlugin, Image

from ggt_hub.curation.generators.inference import InferenceEditor
from ggt_hub.curation.generators.providers import Price
from ggt_hub.curation.generators.replies import fault_of
from ggt_hub.errors import JudgeError, PossiblyBilledError, QuestionRefusedError, RejectedError
from ggt_hub.vlm import Budget, Question
from tests.servers.image_editors import KEY, EditorServer, Step, picture

PRICE = Price(flat=1.0)
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


def test_colours_of_print_are_shown_as_a_screen_does():
    inks = Image.new("CMYK", (96, 64), (0, 255, 255, 0))
    inks.save(file := io.BytesIO(), "JPEG")
    (shown,) = sent(Step(body=file.getvalue()))[0].pictures
    assert Image.open(io.BytesIO(shown)).getpixel((5, 5)) == pytest.approx((255, 0, 0), abs=2)  # of JPEG


def test_a_rejected_token_and_an_unknown_model_are_known_before_anything_is_paid(hub):
    hub.members.add("hf_member")
    HfApi(token="hf_member").create_repo("tester/editor")

    def check(model, token, **more):
        InferenceEditor(model, api_key=token, price=PRICE, budget=Budget(), **more).check()

    check("tester/editor", "hf_member")
    with pytest.raises(JudgeError, match="rejects the token: set HF_TOKEN anew"):
        check("tester/editor", "hf_stranger")
    with pytest.raises(JudgeError, match="has no model tester/edtor"):
        check("tester/edtor", "hf_member")
    check("tester/edtor", "hf_stranger", url="http://127.0.0.1:9/endpoint")  # has a token of its own, maybe


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
