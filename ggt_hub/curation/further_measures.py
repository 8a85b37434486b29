"""What is measured of a candidate beside its photograph where one asks for it: by networks, some of them extras.

As in `measures`, these are numbers and no verdicts; names are those under which gates have their limits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ggt_hub.errors import CurationError
from ggt_hub.images import read_image
from ggt_hub.metrics.registry import available, compute
from ggt_hub.scenes.networks import Network

Pixels = NDArray[np.uint8]
Kind = Literal["letters", "faces", "dists", "dino"]

DINO = "facebook/dinov2-small"
"""Apache-2.0; another one of its kind gives other values."""

_SURE = 0.9  # confidence from which a line counts as read
_SMALLEST_FACE = 32  # pixels
_DINO_SIDE = 518  # pixels, at which DINOv2 was trained last
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as its processor has them


def check(kinds: Sequence[Kind]) -> None:
    """Say what is missing on this machine; networks are fetched.

    Raises:
        CurationError: naming it, and what to install.
        HubError: if a network cannot be had.
    """
    if "letters" in kinds and not (find_spec("rapidocr") and find_spec("onnxruntime")):
        raise CurationError("letters are read by rapidocr: pip install 'ggt-hub[letters]', or leave them out")
    if "dists" in kinds and (missing := available(["dists"])[1]):
        raise CurationError(f"stage measure: {missing['dists']}")
    if "dino" in kinds:
        _dino()


class Line(NamedTuple):
    """A line of letters: what is read, how surely (0..1), and left, top, right, bottom in pixels."""

    text: str
    confidence: float
    box: tuple[float, float, float, float]


def letters(lq: Pixels, gt: Pixels) -> dict[str, float]:
    """What a candidate has done to letters, read by RapidOCR (the networks of PP-OCR, which come with it).

    Args:
        lq: the photograph, 8-bit RGB.
        gt: what was made of it, of the same size.

    Returns:
        `letters`: edits, as a share of the letters, that turn what is surely read in `lq` into what is read in its
        place in `gt`; not a number where nothing is. `new_letters`: how many are surely read in `gt` where `lq` has
        no line. Spaces do not count.
    """
    before, after = read_lines(lq), read_lines(gt)
    sure = [line for line in before if line.confidence >= _SURE]
    edits = [_edits(line.text, "".join(other.text for other in _at(line, after))) for line in sure]
    count = sum(len(line.text) for line in sure)
    new = [line for line in after if line.confidence >= _SURE and not _at(line, before)]
    return {
        "letters": sum(edits) / count if count else np.nan,
        "new_letters": float(sum(len(line.text) for line in new)),
    }


def read_lines(pixels: Pixels) -> list[Line]:
    """The lines of letters in a picture, from left to right."""
    found = _reader()(np.ascontiguousarray(pixels[..., ::-1]), use_cls=False)
    if found.boxes is None:
        return []
    boxes = [(*np.min(corners, 0), *np.max(corners, 0)) for corners in found.boxes]
    told = zip(found.txts, found.scores, boxes, strict=True)
    lines = [Line("".join(text.split()), float(score), box) for text, score, box in told]
    return sorted(lines, key=lambda line: line.box[0])


def faces(lq: Pixels, gt: Pixels) -> dict[str, float]:
    """How many faces of 32 pixels and more are in one alone; who they are of nobody knows.

    Returns:
        `lost_faces`: those of `lq` that `gt` does not show in their place; `new_faces`: those of `gt`. Under heavy
        damage a face may be found in its restoration alone.
    """
    before, after = _faces(lq), _faces(gt)
    return {
        "lost_faces": float(sum(not any(_overlap(one, other) for other in after) for one in before)),
        "new_faces": float(sum(not any(_overlap(one, other) for other in before) for one in after)),
    }


def dists_of_quarters(lq: Pixels, gt: Pixels) -> dict[str, float]:
    """`dists`: DISTS at a quarter of the size, where damage counts less than what is shown."""
    size = max(1, lq.shape[1] // 4), max(1, lq.shape[0] // 4)
    small = [cv2.resize(one, size, interpolation=cv2.INTER_AREA)[None] for one in (gt, lq)]
    return {"dists": float(compute(["dists"], *small)["dists"][0])}


def dino(lq: Pixels, gt: Pixels) -> dict[str, float]:
    """How like each other the patches of two pictures are to DINOv2.

    Returns:
        `dino`: the mean of their cosines, -1..1; `dino_worst`: the 5th percentile.
    """
    import torch

    network = _network()
    shown = [cv2.resize(one, (_DINO_SIDE, _DINO_SIDE), interpolation=cv2.INTER_AREA) for one in (lq, gt)]
    batch = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float() / 255
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _SPREAD))
    with torch.inference_mode():
        found = network(pixel_values=((batch - mean) / spread).to(network.device)).last_hidden_state
    patches = (_DINO_SIDE // network.config.patch_size) ** 2  # after those of the whole picture
    before, after = found[:, -patches:].double()
    cosines = torch.nn.functional.cosine_similarity(before, after, dim=1)
    return {"dino": float(cosines.mean()), "dino_worst": float(cosines.quantile(0.05))}


FURTHER: Mapping[Kind, Callable[[Pixels, Pixels], dict[str, float]]] = {
    "letters": letters,
    "faces": faces,
    "dists": dists_of_quarters,
    "dino": dino,
}


def _edits(text: str, other: str) -> int:
    """Letters to be put in, taken out or changed (Levenshtein), as many as there are at most."""
    row = [*range(len(other) + 1)]
    for letter in text:
        changed = [before + (letter != there) for before, there in zip(row[:-1], other, strict=True)]
        row, above = [row[0] + 1], row
        for there, change in zip(above[1:], changed, strict=True):
            row.append(min(there + 1, row[-1] + 1, change))
    return min(row[-1], len(text))


def _at(line: Line, lines: Sequence[Line]) -> list[Line]:
    """Lines at the same place."""
    return [other for other in lines if _overlap(line.box, other.box)]


def _overlap(one: Iterable[float], other: Iterable[float]) -> bool:
    """Whether two boxes share half of the smaller one."""
    first, second = np.array([*one]), np.array([*other])
    shared = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    smaller = min(np.prod(box[2:] - box[:2]) for box in (first, second))
    return bool(shared.min() > 0 and np.prod(shared) >= smaller / 2)


def _faces(pixels: Pixels) -> list[NDArray[np.float64]]:
    from ggt_hub.pipelines.faces import find_faces

    found = [face.box for face in find_faces(read_image(pixels), _detector())]
    return [box for box in found if min(box[2:] - box[:2]) >= _SMALLEST_FACE]


@cache
def _detector() -> Any:
    from ggt_hub.pipelines.faces import shipped_detector

    return shipped_detector()


@cache
def _reader() -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "critical"})


@lru_cache(1)
def _dino() -> Network:
    return Network.find(DINO)


@cache
def _network() -> Any:
    import torch
    from transformers import AutoModel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return _dino().load(AutoModel.from_pretrained).to(device).eval()
