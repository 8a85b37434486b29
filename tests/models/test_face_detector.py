"""The parts of the face detector by value; what it finds is tried in `tests/pipelines/faces`."""

import copy
from pathlib import Path

import numpy as np
import torch

from ggt_hub.models import FaceDetector
from ggt_hub.models.face_detector import _at, _crops, _distinct, _shifted, _squared


def test_overlapping_boxes_are_one_face() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [2, 2, 6, 6]], float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    assert _distinct(boxes, scores, 0.7).tolist() == [1, 2, 3]  # 9 / 11 of the first two is shared
    assert _distinct(boxes, scores, 0.7, nested=True).tolist() == [1, 2]
    assert _distinct(boxes[:0], scores[:0], 0.7).tolist() == []


def test_crops_are_black_beyond_the_picture() -> None:
    white = np.full((10, 10, 3), 255, np.uint8)
    boxes = np.array([[-2, -4, 6, 4], [6, 4, 14, 12], [20, 20, 28, 28]], float)
    crops = _crops(white, boxes, 8)
    expected = np.zeros((3, 8, 8), bool)
    expected[0, 4:, 2:] = True
    expected[1, :6, :4] = True
    assert np.array_equal(crops == 255, np.repeat(expected[..., None], 3, axis=3))


def test_boxes_are_moved_and_squared_around_their_middles() -> None:
    boxes = np.array([[10, 20, 20, 60]], float)
    assert _shifted(boxes, np.array([[0.1, -0.25, 0, 0.5]])).tolist() == [[11, 10, 20, 80]]
    assert _squared(boxes).tolist() == [[-5, 20, 35, 60]]


def test_points_are_shares_of_the_box_counted_from_middles_of_pixels() -> None:
    shares = np.array([0, 0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0])
    places = _at(np.array([100.0, 200, 140, 280]), shares)
    assert places.tolist() == [[99.5, 279.5], [109.5, 259.5], [119.5, 239.5], [129.5, 219.5], [139.5, 199.5]]


def test_it_finds_the_same_in_every_precision_that_is_asked_for(tmp_path: Path) -> None:
    detector = FaceDetector()
    detector.save_pretrained(tmp_path)
    for half in (
        FaceDetector.from_pretrained(tmp_path, dtype=torch.bfloat16),
        copy.deepcopy(detector).to(torch.bfloat16),
        copy.deepcopy(detector).to(device="cpu", dtype=torch.float16),
    ):
        assert all(
            torch.equal(weight, own)
            for weight, own in zip(half.parameters(), detector.parameters(), strict=True)
        )


def test_the_size_is_the_published_one() -> None:
    """Of facenet-pytorch's three networks: 6 632, 100 178 and 389 040 parameters."""
    with torch.device("meta"):
        detector = FaceDetector()
    parts = (detector.propose, detector.refine, detector.finish)
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == [6_632, 100_178, 389_040]
