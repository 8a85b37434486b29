import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from ggt_hub.vlm.protocols import (
    PROTOCOLS,
    parse_leniently,
    parse_strictly,
    published_rubric,
    resized_for_rating,
)

GOLDEN = Path(__file__).parents[2] / "../shared/golden/realrestorer/bench/final_score.json"


def golden(part):
    if not GOLDEN.exists():
        pytest.skip(f"golden data not at {GOLDEN}: it is not part of the repository")
    return json.loads(GOLDEN.read_text())[part]


def test_replies_are_read_as_the_published_evaluator_reads_them():
    for case in golden("score_parsing"):
        assert parse_leniently(case["text"]) == case["score"], case


def test_pictures_are_resized_as_the_published_evaluator_does():
    for case in golden("vlm_resize"):
        picture = Image.new("RGB", (case["width"], case["height"]))
        assert list(resized_for_rating(picture).size) == case["resized"], case


def test_strict_reading_takes_only_the_form_that_was_asked_for():
    assert [parse_strictly(reply) for reply in ("退化分数：4", " 退化分数: 1\n")] == [4, 1]
    for reply in ("4", "退化分数：4。", "退化分数：6", "The score: 退化分数：4", "退化分数：45", ""):
        assert parse_strictly(reply) is None


def test_the_rubric_is_the_published_one():
    rubric = published_rubric()
    assert hashlib.sha256(rubric.user.encode()).hexdigest() == rubric.sha256_of_user_utf8
    assert rubric.sha256_of_user_utf8.startswith("a12b92921265e06a")
    question = rubric.question("rain")
    assert "{task}" not in question
    assert question.count("“rain”") == 3


def test_protocols_average_as_the_code_and_as_the_paper():
    assert PROTOCOLS["realir-code"].aggregate == PROTOCOLS["strict"].aggregate == "mean of products"
    assert PROTOCOLS["realir-paper"].aggregate == "product of means"
