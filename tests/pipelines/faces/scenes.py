"""Photographs with faces at known places, composed from one portrait (NASA, public domain)."""

from functools import cache

import cv2
import numpy as np
from skimage.data import astronaut, coffee

BOX = (181, 64, 266, 172)
"""Of the portrait's face: left, top, right, bottom."""

POINTS = np.array([(204, 101), (247, 104), (225, 128), (201, 140), (245, 141)], float)
"""Eyes, nose and corners of the mouth, read off the enlarged portrait."""


@cache
def portrait() -> np.ndarray:
    return np.ascontiguousarray(astronaut())


def without_faces() -> np.ndarray:
    return np.ascontiguousarray(coffee())


def turned(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The face in the middle of 400 x 400 pixels, turned, and its points there."""
    middle = POINTS.mean(axis=0)
    matrix = cv2.getRotationMatrix2D(tuple(middle), degrees, 1.0)
    matrix[:, 2] += 200 - middle
    picture = cv2.warpAffine(portrait(), matrix, (400, 400), borderMode=cv2.BORDER_REFLECT)
    return picture, POINTS @ matrix[:, :2].T + matrix[:, 2]


def small(height: float) -> tuple[np.ndarray, np.ndarray]:
    """The face so many pixels high on a table, and its points there."""
    scale = height / (BOX[3] - BOX[1])
    person = cv2.resize(portrait(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = without_faces().copy()
    canvas[100 : 100 + len(person), 150 : 150 + person.shape[1]] = person
    return canvas, (POINTS + 0.5) * person.shape[0] / 512 - 0.5 + (150, 100)


def cut(side: str, share: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """The portrait ends where a share of the face's box is cut off, and the points there."""
    left, top, right, bottom = BOX
    x, y = round(share * (right - left)), round(share * (bottom - top))
    rows = {"top": slice(top + y, None), "bottom": slice(None, bottom - y)}.get(side, slice(None))
    columns = {"left": slice(left + x, None), "right": slice(None, right - x)}.get(side, slice(None))
    picture = np.ascontiguousarray(portrait()[rows, columns])
    return picture, POINTS - (columns.start or 0, rows.start or 0)


@cache
def group() -> tuple[np.ndarray, np.ndarray]:
    """Four faces of 108, 76, 43 and 22 pixels in one photograph, one of them at the border; and the noses."""
    canvas = cv2.resize(without_faces(), (1200, 800))
    noses = []
    for scale, (x, y) in ((1.0, (40, 60)), (0.7, (560, 30)), (0.4, (980, 200)), (0.2, (700, 600))):
        person = cv2.resize(portrait(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = min(len(person), 800 - y), min(person.shape[1], 1200 - x)
        canvas[y : y + height, x : x + width] = person[:height, :width]
        noses.append(scale * POINTS[2] + (x, y))
    return canvas, np.array(noses)
