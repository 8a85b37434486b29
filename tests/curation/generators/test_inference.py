"""Hugging Face's client, the real one, against a local server."""

import io

import numpy as np
import pytest
from PIL import Image

from ggt_hub.curation.generators.inference import InferenceEditor
from ggt_hub.curation.generators.providers import Price
from ggt_hub.errors import PossiblyBilledError, QuestionRefusedError, RejectedError
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
