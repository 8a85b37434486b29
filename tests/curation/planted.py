"""Faults of generators, planted into good pictures."""

import io
from importlib.resources import files

import cv2
import numpy as np
from PIL import Image

from ggt_hub.degradations import degrade
from ggt_hub.images.shown import shown_rgb

SIDE = 512


def sample(name: str) -> np.ndarray:
    """The middle of a photograph of the package."""
    pixels = shown_rgb(str(files("ggt_hub.samples") / f"{name}.jpg"))
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    return cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def damaged(pixels: np.ndarray, task: str, severity: float = 0.5) -> np.ndarray:
    return shown_rgb(degrade(pixels, task, severity=severity, seed=1)[0])


def shifted(pixels: np.ndarray, right: float, down: float) -> np.ndarray:
    way = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(pixels, way, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def turned(pixels: np.ndarray, degrees: float, zoom: float) -> np.ndarray:
    way = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, zoom)
    return cv2.warpAffine(pixels, way, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def waved(pixels: np.ndarray, pixels_far: float) -> np.ndarray:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    down, right = (pixels_far * np.sin(place / SIDE * 4 * np.pi) for place in (columns, rows))
    return cv2.remap(pixels, columns + right, rows + down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def barred(pixels: np.ndarray) -> np.ndarray:
    changed = pixels.copy()
    changed[:, :24] = 0
    return changed


def gridded(pixels: np.ndarray) -> np.ndarray:
    changed = pixels.astype(np.int64)
    changed[:, ::8] += 6
    return np.clip(changed, 0, 255).astype(np.uint8)


def graded(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels * np.array([1.25, 1.0, 0.7]), 0, 255).astype(np.uint8)


def coded(pixels: np.ndarray, quality: int, subsampling: int = 2) -> np.ndarray:
    Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG", quality=quality, subsampling=subsampling)
    return shown_rgb(file.getvalue())
