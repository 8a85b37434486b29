"""Faces found in photographs, each looked at twice: by the detector that ships, or by another."""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ggt_hub.converters.checkpoint import one_line
from ggt_hub.errors import RestorerError
from ggt_hub.hub import snapshot
from ggt_hub.images import Picture, read_image
from ggt_hub.images.picture import to_eight_bits
from ggt_hub.models import FaceDetector
from ggt_hub.models.face_detector import Face, Pixels
from ggt_hub.pipelines.faces.alignment import align, cut_out

SHIPPED = Path(__file__).parent / "detector"
"""The detector of the package: MTCNN with the weights of facenet-pytorch (MIT, see `NOTICE.md` there)."""

LONGEST = 2048
"""Longer side, in pixels, of the copy in which faces are looked for; larger photographs are made smaller for it."""

_UPRIGHT = 128  # side of the copy in which a face is looked at again
_LOOKS = 2


class FaceFinder(Protocol):
    """What finds faces."""

    def detect(self, pixels: Pixels) -> list[Face]:
        """The faces in a picture (height, width, 3), RGB, the surest first."""


class YuNet:
    """OpenCV's face detector (Wu et al., Machine Intelligence Research 2023), from an ONNX file.

    Args:
        file: `face_detection_yunet_*.onnx`, from OpenCV's model zoo.

    Raises:
        RestorerError: if OpenCV does not read it.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), score_threshold=0.6)
        except cv2.error as error:
            raise RestorerError(
                f"{file} is not a face detector that OpenCV reads ({one_line(error)}): give a file of YuNet, such "
                "as face_detection_yunet_2023mar.onnx of https://huggingface.co/opencv/face_detection_yunet"
            ) from error

    def detect(self, pixels: Pixels) -> list[Face]:
        """The faces in a picture, as `FaceDetector.detect`."""
        self._network.setInputSize((pixels.shape[1], pixels.shape[0]))
        found = self._network.detect(np.ascontiguousarray(pixels[..., ::-1]))[1]
        rows = np.zeros((0, 15)) if found is None else np.asarray(found, np.float64)
        faces = [
            Face(np.r_[row[:2], row[:2] + row[2:4]], row[4:14].reshape(5, 2), float(row[14])) for row in rows
        ]
        return sorted(faces, key=lambda face: -face.score)


def shipped_detector() -> FaceDetector:
    """The detector of the package."""
    return FaceDetector.from_pretrained(SHIPPED)


def load_detector(source: str | Path) -> FaceFinder:
    """A detector by name.

    Args:
        source: an ONNX file of YuNet, a folder of a `FaceDetector`, or the id of a repository on the Hub that holds
            either.

    Raises:
        HubError: if the repository cannot be had.
        RestorerError: if there is no detector.
    """
    place = Path(source).expanduser()
    if not place.exists() and str(source).count("/") == 1 and not str(source).startswith((".", "~", "/")):
        place = snapshot(str(source), allow_patterns=["*.onnx", "*.json", "*.safetensors"])
    if place.is_file():
        return YuNet(place)
    if (place / FaceDetector.config_name).is_file():
        try:
            return FaceDetector.from_pretrained(place, use_safetensors=True)
        except Exception as error:  # files of strangers break loaders in every way
            raise RestorerError(f"{place} holds no face detector ({one_line(error)})") from error
    # Of several, such as YuNet's and its small ones in 8 bits, the plain one has the shortest name.
    files = (
        sorted(place.glob("*.onnx"), key=lambda file: (len(file.name), file.name)) if place.is_dir() else []
    )
    if not files:
        raise RestorerError(
            f"no face detector at {str(source)!r}: give an ONNX file of YuNet, or an id on the Hub; without one, "
            "the detector of the package is used"
        )
    return YuNet(files[0])


def find_faces(picture: Picture, detector: FaceFinder) -> list[Face]:
    """The faces in a photograph, the surest first.

    What the detector finds is turned upright, brought to one size, and shown to it again: what it does not find
    then is no face, and the points that it finds then are those that are taken. Faces that lie askew need that.
    """
    long = max(picture.size)
    copy = _copy(picture, min(1.0, LONGEST / long))
    factor = np.array(picture.size) / np.array(copy.size)
    faces = []
    for face in detector.detect(_pixels(copy)):
        upright = _looked_at_again(copy, face, detector)
        if upright is not None:
            points = (upright.points + 0.5) * factor - 0.5
            faces.append(Face(upright.box * np.tile(factor, 2), points, upright.score))
    return faces


def _looked_at_again(picture: Picture, face: Face, detector: FaceFinder) -> Face | None:
    for _ in range(_LOOKS):
        alignment = align(face.points, _UPRIGHT)
        if alignment is None:
            return None
        seen = np.rint(255 * cut_out(picture, alignment)).astype(np.uint8)
        again = [found for found in detector.detect(seen) if _in_the_middle(found)]
        if not again:
            return None
        face = Face(face.box, alignment.back(again[0].points), again[0].score)
    return face


def _in_the_middle(face: Face) -> bool:
    """Whether it is the face that the frame was made for, not one beside it."""
    return bool(np.abs(face.points.mean(axis=0) / _UPRIGHT - (0.5, 0.6)).max() < 0.25)


def _copy(picture: Picture, scale: float) -> Picture:
    if scale == 1:
        return picture
    size = tuple(max(1, round(scale * side)) for side in picture.size)
    return read_image(cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA))


def _pixels(picture: Picture) -> Pixels:
    pixels = picture.pixels if picture.pixels.dtype == np.uint8 else to_eight_bits(picture.pixels)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
