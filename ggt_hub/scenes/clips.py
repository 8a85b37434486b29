"""Clips as lists of frames: films by OpenCV, animated pictures by Pillow."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from ggt_hub.errors import DegradationError

_ANIMATED = {".gif", ".webp", ".png"}
CLIPS = {".mp4", ".mov", ".avi", ".mkv", ".webm"} | _ANIMATED
"""The endings of clips."""

MAX_FRAMES = 240
"""What follows is not read: a clip is held in memory whole."""


@lru_cache(maxsize=2)
def read_clip(path: Path) -> list[NDArray[np.uint8]]:
    """The first `MAX_FRAMES` frames: height x width x 3, RGB.

    Raises:
        DegradationError: if there is no frame that can be decoded, or there are not two.
    """
    frames = _animated(path) if path.suffix.lower() in _ANIMATED else _film(path)
    if len(frames) < 2:
        raise DegradationError(
            f"the clip {path} has {len(frames)} frames that can be decoded, and an average needs two: replace it, "
            "or write it anew with ffmpeg"
        )
    return frames


def _film(path: Path) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path))
    frames: list[NDArray[np.uint8]] = []
    while len(frames) < MAX_FRAMES:
        there_is_one, frame = capture.read()
        if not there_is_one:
            break
        frames.append(np.ascontiguousarray(frame[..., ::-1]))
    capture.release()
    return frames


def _animated(path: Path) -> list[NDArray[np.uint8]]:
    frames: list[NDArray[np.uint8]] = []
    try:
        with Image.open(path) as animation:
            for frame in ImageSequence.Iterator(animation):
                frames.append(np.asarray(frame.convert("RGB")))
                if len(frames) == MAX_FRAMES:
                    break
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        pass  # what was decoded before counts; the caller says if it is too little
    return frames
