"""What generators get wrong, planted into restored photographs: what fails, and at which size, is known."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.curation.planted import coded

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]


class Scene(NamedTuple):
    """What a fault is planted into.

    Attributes:
        lq: the damaged photograph, 8-bit RGB.
        restored: what was made of it, of the same size.
        other: another photograph, of any size.
        box: left, top, right, bottom of what is changed by faults of one place: a face, or the plate of a sign.
        rng: for what is drawn.
    """

    lq: Pixels
    restored: Pixels
    other: Pixels
    box: Box
    rng: np.random.Generator


def plant(fault: str, size: float, scene: Scene) -> Pixels:
    """A candidate with a fault; what `size` means stands at each."""
    return FAULTS[fault](scene, size)


def returned(scene: Scene, size: float) -> Pixels:
    """The photograph as it was; as JPEG of that quality below 100."""
    return scene.lq if size >= 100 else coded(scene.lq, round(size))


def returned_resized(scene: Scene, size: float) -> Pixels:
    """The photograph, once through another size, as through the latents of a generator."""
    small = cv2.resize(scene.lq, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, scene.lq.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def shifted(scene: Scene, size: float) -> Pixels:
    """Moved to the right and half as far down, in pixels of 1024."""
    right = size * _unit(scene)
    return _warped(scene.restored, np.array([[1, 0, right], [0, 1, right / 2]]))


def zoomed(scene: Scene, size: float) -> Pixels:
    """Another framing, larger by that factor."""
    height, width = scene.restored.shape[:2]
    return _warped(scene.restored, cv2.getRotationMatrix2D((width / 2, height / 2), 0, size))


def turned(scene: Scene, size: float) -> Pixels:
    """By so many degrees."""
    height, width = scene.restored.shape[:2]
    return _warped(scene.restored, cv2.getRotationMatrix2D((width / 2, height / 2), size, 1))


def bent(scene: Scene, size: float) -> Pixels:
    """In waves of so many pixels of 1024."""
    height, width = scene.restored.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    down = size * _unit(scene) * np.sin(columns / width * 4 * np.pi)
    right = size * _unit(scene) * np.sin(rows / height * 4 * np.pi)
    return cv2.remap(
        scene.restored,
        (columns + right).astype(np.float32),
        (rows + down).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )


def mirrored(scene: Scene, size: float) -> Pixels:
    return scene.restored[:, ::-1]


def another_shape(scene: Scene, size: float) -> Pixels:
    """Cut to that ratio of the sides."""
    height = round(scene.restored.shape[0] / size)
    top = (scene.restored.shape[0] - height) // 2
    return scene.restored[top : top + height]


def another_size(scene: Scene, size: float) -> Pixels:
    """The same picture at another size."""
    return cv2.resize(scene.restored, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)


def another_scene(scene: Scene, size: float) -> Pixels:
    return cv2.resize(scene.other, scene.lq.shape[1::-1], interpolation=cv2.INTER_AREA)


def graded(scene: Scene, size: float) -> Pixels:
    """Warmer: red by that share brighter, blue darker."""
    return _levels(scene.restored * np.array([1 + size, 1.0, 1 - size]))


def day_for_night(scene: Scene, size: float) -> Pixels:
    """That much of the light, and that bluish."""
    return _levels(scene.restored * size * np.array([0.7, 0.85, 1.3]))


def blue_sky(scene: Scene, size: float) -> Pixels:
    """The upper part of the picture, that share of it, becomes a sky."""
    height = scene.restored.shape[0]
    rows = np.linspace(0, 1, height)[:, None, None]
    sky = np.array([90.0, 150.0, 235.0]) + 60 * rows / size
    weight = np.clip((size - rows) / 0.05, 0, 1)
    return _levels(scene.restored * (1 - weight) + sky * weight)


def snow_removed(scene: Scene, size: float) -> Pixels:
    """What is white, the brightest share of the picture, becomes earth."""
    grey = cv2.GaussianBlur(cv2.cvtColor(scene.restored, cv2.COLOR_RGB2GRAY), (0, 0), 2).astype(float)
    white = np.clip((grey - np.quantile(grey, 1 - size)) / 8, 0, 1)[..., None]
    earth = scene.restored * np.array([0.45, 0.38, 0.28])
    return _levels(scene.restored * (1 - white) + earth * white)


def barred(scene: Scene, size: float) -> Pixels:
    """A black bar, that share of the side."""
    changed = scene.restored.copy()
    changed[:, : round(size * changed.shape[1])] = 0
    return changed


def gridded(scene: Scene, size: float) -> Pixels:
    """Every eighth column brighter by so many levels."""
    changed = scene.restored.astype(float)
    changed[:, ::8] += size
    return _levels(changed)


def blurred(scene: Scene, size: float) -> Pixels:
    """By a Gaussian of so many pixels."""
    return cv2.GaussianBlur(scene.restored, (0, 0), size)


def smoothed(scene: Scene, size: float) -> Pixels:
    """Waxy: edges stay, what lies between them goes; by a bilateral filter of so many levels."""
    once = cv2.bilateralFilter(scene.restored, 15, size, 5)
    return cv2.bilateralFilter(once, 15, size, 5)


def haloed(scene: Scene, size: float) -> Pixels:
    """Sharpened by so many times what an unsharp mask of 2 pixels finds."""
    soft = cv2.GaussianBlur(scene.restored, (0, 0), 2).astype(float)
    return _levels(scene.restored + size * (scene.restored - soft))


def textured(scene: Scene, size: float) -> Pixels:
    """The fine detail of another photograph lies over this one, with a spread of so many levels."""
    other = another_scene(scene, 0).astype(np.float32)
    fine = other - cv2.GaussianBlur(other, (0, 0), 3)
    return _levels(scene.restored + size * fine / max(float(fine.std()), 1e-3))


def repainted(scene: Scene, size: float) -> Pixels:
    """A place, that share of the side, shows a piece of another photograph."""
    box = _somewhere(scene, size)
    piece = another_scene(scene, 0)[box[1] : box[3], box[0] : box[2]].astype(float)
    here = scene.restored[box[1] : box[3], box[0] : box[2]]
    return _pasted(scene.restored, piece - piece.mean((0, 1)) + here.mean((0, 1)), box)


def removed(scene: Scene, size: float) -> Pixels:
    """What shows most in a place, that share of the side, is painted over from around it."""
    box = _somewhere(scene, size)
    mask = np.zeros(scene.restored.shape[:2], np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return cv2.inpaint(scene.restored, mask, 3, cv2.INPAINT_TELEA)


def face_swapped(scene: Scene, size: float) -> Pixels:
    """The face in the box is mirrored and its features are moved by that share of it: somebody else."""
    left, top, right, bottom = scene.box
    face = scene.restored[top:bottom, left:right][:, ::-1]
    bulge = cv2.resize(face, None, fx=1 + size, fy=1 + size, interpolation=cv2.INTER_CUBIC)
    above, beside = ((bulge.shape[axis] - face.shape[axis]) // 2 for axis in (0, 1))
    piece = bulge[above : above + face.shape[0], beside : beside + face.shape[1]]
    return _pasted(scene.restored, piece.astype(float), scene.box)


def respelled(scene: Scene, size: float) -> Pixels:
    """One letter of the sign in the box, a fraction of its width, is another one."""
    left, top, right, bottom = scene.box
    width = round((right - left) * size)
    first = left + width * int(scene.rng.integers(1, round(1 / size) - 1))
    here = scene.restored[top:bottom, first : first + width]
    paper, ink = np.quantile(here, [0.95, 0.05], (0, 1))
    letter, height = np.zeros(here.shape[:2], np.uint8), here.shape[0]
    at = (2, round(height * 0.8))
    cv2.putText(letter, "E", at, cv2.FONT_HERSHEY_SIMPLEX, height / 36, (255,), 2, cv2.LINE_AA)
    weight = letter[..., None] / 255
    piece = (1 - weight) * paper + weight * ink
    return _pasted(scene.restored, piece, (first, top, first + width, bottom))


FAULTS: dict[str, Callable[[Scene, float], Pixels]] = {
    function.__name__.replace("_", " "): function
    for function in (
        *(returned, returned_resized, shifted, zoomed, turned, bent, mirrored, another_shape, another_size),
        *(another_scene, graded, day_for_night, blue_sky, snow_removed, barred, gridded, blurred, smoothed),
        *(haloed, textured, repainted, removed, face_swapped, respelled),
    )
}


def with_sign(pixels: Pixels, word: str) -> tuple[Pixels, Box]:
    """A photograph in which a plate with a word hangs, and its place."""
    height, width = pixels.shape[:2]
    tall = round(0.09 * height)
    left, top, wide = round(0.2 * width), round(0.55 * height), tall * 3 // 4 * len(word)
    signed = pixels.copy()
    signed[top : top + tall, left : left + wide] = (236, 232, 220)
    for place, letter in enumerate(word):
        at = (left + 2 + place * tall * 3 // 4, top + round(tall * 0.8))
        cv2.putText(signed, letter, at, cv2.FONT_HERSHEY_SIMPLEX, tall / 36, (30, 34, 60), 2, cv2.LINE_AA)
    return signed, (left, top, left + wide, top + tall)


def _unit(scene: Scene) -> float:
    return max(scene.restored.shape[:2]) / 1024


def _levels(values: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _warped(pixels: Pixels, way: NDArray[np.float64]) -> Pixels:
    return cv2.warpAffine(
        pixels, way, pixels.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


def _somewhere(scene: Scene, size: float) -> Box:
    """The place of that size with most detail among some that are drawn."""
    height, width = scene.restored.shape[:2]
    side = round(size * max(height, width))
    detail = np.abs(cv2.Laplacian(cv2.GaussianBlur(scene.restored, (0, 0), 2), cv2.CV_32F)).sum(2)
    places = [
        (int(scene.rng.integers(0, width - side + 1)), int(scene.rng.integers(0, height - side + 1)))
        for _ in range(8)
    ]
    left, top = max(places, key=lambda at: detail[at[1] : at[1] + side, at[0] : at[0] + side].sum())
    return left, top, left + side, top + side


def _pasted(pixels: Pixels, piece: NDArray[np.float64], box: Box) -> Pixels:
    """A piece laid over a picture, with soft edges."""
    left, top, right, bottom = box
    ramps = [np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) for n in (bottom - top, right - left)]
    soft = max(2.0, 0.08 * min(bottom - top, right - left))
    weight = np.clip(np.minimum(ramps[0][:, None], ramps[1][None]) / soft, 0, 1)[..., None]
    changed = pixels.astype(float)
    changed[top:bottom, left:right] = changed[top:bottom, left:right] * (1 - weight) + piece * weight
    return _levels(changed)
