"""Faces are found by the detector that ships, and by none but real detectors."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ggt_hub.errors import RestorerError
from ggt_hub.images import read_image
from ggt_hub.models import FaceDetector
from ggt_hub.models.face_detector import Face
from ggt_hub.pipelines.faces import YuNet, find_faces, load_detector, shipped_detector
from ggt_hub.pipelines.faces.finding import SHIPPED
from tests.pipelines.faces.scenes import BOX, POINTS, cut, group, portrait, small, turned, without_faces

# Of the height of a face (108 pixels in the portrait), the largest error of a point. The points were read off by
# eye; the detector's own spread between copies of one face is 0.03.
FAIR = 0.07


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return shipped_detector().eval()


def found(picture: np.ndarray, detector: FaceDetector) -> list[Face]:
    return find_faces(read_image(picture), detector)


def is_one_face(picture: np.ndarray, points: np.ndarray, height: float, detector: FaceDetector) -> None:
    faces = found(picture, detector)
    assert len(faces) == 1
    assert np.abs(faces[0].points - points).max() < FAIR * height, faces[0].points - points


def test_the_portrait_s_face_is_found_with_its_five_points(detector: FaceDetector) -> None:
    is_one_face(portrait(), POINTS, 108, detector)
    face = found(portrait(), detector)[0]
    assert face.score > 0.99
    assert np.abs(face.box - BOX).max() < 2


@pytest.mark.parametrize("degrees", [-45, 45, 60])
def test_faces_that_lie_askew_are_found(degrees: float, detector: FaceDetector) -> None:
    is_one_face(*turned(degrees), 108, detector)


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_faces_of_which_a_quarter_is_cut_off_are_found(side: str, detector: FaceDetector) -> None:
    is_one_face(*cut(side), 108, detector)


@pytest.mark.parametrize("height", [14, 20])
def test_tiny_faces_are_found(height: float, detector: FaceDetector) -> None:
    is_one_face(*small(height), height, detector)


def test_all_faces_of_a_group_are_found(detector: FaceDetector) -> None:
    picture, noses = group()
    faces = found(picture, detector)
    assert len(faces) == 4
    for nose in noses:
        assert min(np.abs(face.points[2] - nose).max() for face in faces) < 8


def test_where_there_is_no_face_none_is_found(detector: FaceDetector) -> None:
    assert found(without_faces(), detector) == []
    assert found(np.full((40, 300, 3), 128, np.uint8), detector) == []
    assert found(np.zeros((1, 1, 3), np.uint8), detector) == []
    assert found(small(8)[0], detector) == []  # as documented: from 12 pixels on


def test_what_does_not_look_like_a_face_again_is_none(detector: FaceDetector) -> None:
    class Credulous:
        """Takes a piece of the cup for a face, and knows faces otherwise."""

        def detect(self, pixels: np.ndarray) -> list[Face]:
            wrong = [Face(np.array([200.0, 100, 260, 160]), POINTS - (20, 0), 0.9)]
            return wrong if pixels.shape[:2] == (400, 600) else detector.detect(pixels)

    assert find_faces(read_image(without_faces()), Credulous()) == []


def test_large_photographs_are_looked_through_in_a_small_copy(detector: FaceDetector) -> None:
    large = cv2.resize(portrait(), (3072, 3072), interpolation=cv2.INTER_LINEAR)
    is_one_face(large, 6 * (POINTS + 0.5) - 0.5, 648, detector)


def test_grey_and_sixteen_bits_are_looked_at_as_well(detector: FaceDetector) -> None:
    grey = cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY)
    is_one_face(grey, POINTS, 108, detector)
    is_one_face(portrait().astype(np.uint16) * 257, POINTS, 108, detector)


def test_the_detector_that_ships_comes_with_its_licence() -> None:
    notice = (SHIPPED / "NOTICE.md").read_text(encoding="utf-8")
    assert "facenet-pytorch" in notice and "MIT License" in notice and "Timothy Esler" in notice
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 1_100_000


def test_a_folder_of_a_detector_is_taken(tmp_path: Path, detector: FaceDetector) -> None:
    detector.save_pretrained(tmp_path)
    assert len(load_detector(tmp_path).detect(portrait())) == 1


def test_what_is_no_detector_is_refused_with_what_would_be(tmp_path: Path) -> None:
    with pytest.raises(RestorerError, match=r"no face detector at .*: give an ONNX file of YuNet"):
        load_detector(tmp_path / "nothing.onnx")
    with pytest.raises(RestorerError, match=r"no face detector at './nothing.onnx'"):
        load_detector("./nothing.onnx")  # no id on the Hub
    with pytest.raises(RestorerError, match="no face detector at"):
        load_detector(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    for source in (tmp_path, tmp_path / "broken.onnx"):
        with pytest.raises(RestorerError, match=r"broken\.onnx is not a face detector that OpenCV reads"):
            load_detector(source)
    (tmp_path / "config.json").write_text('{"_class_name": "FaceDetector"}')
    with pytest.raises(RestorerError, match="holds no face detector"):
        load_detector(tmp_path)


def test_yunet_is_asked_in_blue_green_red_and_its_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights come from no package, so OpenCV's class is stood in for, with rows as OpenCV documents them."""
    asked: dict[str, Any] = {}

    class Network:
        def setInputSize(self, size: tuple[int, int]) -> None:
            asked["size"] = size

        def detect(self, pixels: np.ndarray) -> tuple[int, np.ndarray | None]:
            asked["pixels"] = pixels
            if pixels.max() == 0:
                return 0, None
            row = [10, 20, 30, 40, *range(10), 0.5]
            return 1, np.array([row, [*row[:-1], 0.9]], np.float32)

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_, **__: Network())
    yunet = YuNet(Path("yunet.onnx"))
    picture = np.zeros((6, 8, 3), np.uint8)
    assert yunet.detect(picture) == []
    picture[..., 0] = 200
    first, second = yunet.detect(picture)
    assert asked["size"] == (8, 6) and asked["pixels"][0, 0].tolist() == [0, 0, 200]
    assert first.box.tolist() == [10, 20, 40, 60] and first.points.tolist()[1] == [2, 3]
    assert (round(first.score, 3), second.score) == (0.9, 0.5)
