"""What was found in a picture, for programs and for people."""

import torch

from ggt_hub.pipelines import Finding, describe_findings
from ggt_hub.pipelines.compact import _findings


def test_the_compact_restorer_says_what_it_found_in_units_and_words() -> None:
    assert _findings(torch.tensor([[0.5, 0.4, 0.5, 0.5]])) == [
        Finding("noise_sigma", 25.0, "levels of 255", "noise sigma 25"),
        Finding("jpeg_quality", 60, "of 100", "compressed to quality 60"),
        Finding("blur_sigma", 1.5, "pixels", "blurred by 1.5 px"),
        Finding("enlarged_by", 2.0, "", "enlarged by 2.0"),
    ]


def test_what_is_hardly_there_has_no_words() -> None:
    little = _findings(torch.tensor([[0.058, 0.1, 0.16, 0.12]]))
    assert [finding.words for finding in little] == [""] * 4
    assert [finding.value for finding in little] == [2.9, 90, 0.48, 1.24]
    enough = _findings(torch.tensor([[0.06, 0.11, 0.167, 0.125]]))
    assert all(finding.words for finding in enough)


def test_any_restorer_can_report_anything() -> None:
    face, stars = Finding("faces", 2, "", "2 faces"), Finding("quality", 0.93, "0..1", "")
    assert describe_findings([face, stars, Finding("age", 80, "years", "80 years old")]) == (
        "found: 2 faces, 80 years old"
    )
    assert describe_findings([stars]) == "found: little damage"
