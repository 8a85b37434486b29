"""Photographs are cut to the size that generators take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import cv2
import numpy as np
import pyarrow as pa
from annotated_types import Ge, MultipleOf
from numpy.typing import NDArray
from PIL import Image

from ggt_hub.curation.stage import Context, Deciding, Dropped, Outcome, Row, Split
from ggt_hub.images.shown import brightness, png, shown_rgb

Pixels = NDArray[np.uint8]

_PLACES = 5  # of a crop, along each side
_LARGEST_OVERLAP = 0.25


@dataclass(frozen=True)
class Crop(Deciding):
    """Squares where a photograph shows most; a smaller photograph whole, enlarged, never stretched.

    Attributes:
        side: in pixels.
        count: squares of one photograph, at most; they overlap by a quarter at most.
        texture: least standard deviation of the brightness, 0..255: below, a square shows nothing. Peers take 30
            for moire, which would delete fog.
    """

    side: Annotated[int, Ge(64), MultipleOf(16)] = 1024
    count: Annotated[int, Ge(1)] = 2
    texture: Annotated[float, Ge(0)] = 12.0

    name: ClassVar[str] = "crop"
    needs: ClassVar[tuple[str, ...]] = ("photograph",)
    gives: ClassVar[Mapping[str, pa.DataType]] = {
        "lq": pa.large_binary(),
        "box": pa.list_(pa.int32()),
        "scale": pa.float64(),
    }

    def decide(self, rows: list[Row], context: Context) -> Sequence[Outcome]:
        """Keep each square as a row of its own; `box` is left, top, right, bottom in the photograph."""
        return [self._decide(shown_rgb(row["photograph"])) for row in rows]

    def _decide(self, pixels: Pixels) -> Outcome:
        height, width = pixels.shape[:2]
        if min(height, width) < self.side:
            boxes, scale = [(0, 0, width, height)], self.side / max(height, width)
        else:
            boxes, scale = self._boxes(pixels), 1.0
        cut = {box: pixels[box[1] : box[3], box[0] : box[2]] for box in boxes}
        shown = {box: piece for box, piece in cut.items() if brightness(piece).std() >= self.texture}
        if not shown:
            return Dropped("no texture")
        return Split(
            {
                str(number): {"lq": png(_scaled(piece, scale)), "box": [*box], "scale": scale}
                for number, (box, piece) in enumerate(shown.items())
            }
        )

    def _boxes(self, pixels: Pixels) -> list[tuple[int, int, int, int]]:
        """The squares with most detail first, none over another by more than a little."""
        detail = np.abs(cv2.Laplacian(brightness(pixels).astype(np.float32), cv2.CV_32F))
        sums = cv2.integral(np.minimum(detail, 64))  # noise and edges alike count up to a limit
        tops, lefts = (sorted({*_spread(extent - self.side)}) for extent in pixels.shape[:2])
        places = [(left, top, left + self.side, top + self.side) for top in tops for left in lefts]

        def shows(box: tuple[int, int, int, int]) -> float:
            left, top, right, bottom = box
            return float(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])

        chosen: list[tuple[int, int, int, int]] = []
        for box in sorted(places, key=shows, reverse=True):
            if len(chosen) < self.count and all(_overlap(box, other) <= _LARGEST_OVERLAP for other in chosen):
                chosen.append(box)
        return chosen


def _spread(room: int) -> list[int]:
    return [round(room * n / (_PLACES - 1)) for n in range(_PLACES)]


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """The share of a square that another of the same size covers."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height) / ((a[2] - a[0]) * (a[3] - a[1]))


def _scaled(pixels: Pixels, scale: float) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if scale == 1:
        return picture
    size = round(picture.width * scale), round(picture.height * scale)
    return picture.resize(size, Image.Resampling.LANCZOS)
