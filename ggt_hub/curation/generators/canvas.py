"""Pictures on canvases of the shapes that generators draw, and cut out of what came back.

A picture of a shape that a generator does not draw comes back stretched or cut. So it lies in the middle of a black
canvas of the next shape while it is edited, as HarnessIR has it.
"""

import io
from typing import NamedTuple

from PIL import Image

from ggt_hub.errors import ImageError
from ggt_hub.images.shown import png, shown_rgb

Size = tuple[int, int]

_SAME_SHAPE = 0.01


class Box(NamedTuple):
    """Where a picture lies on its canvas, as shares of the canvas's sides."""

    left: float
    top: float
    right: float
    bottom: float


def size_of(data: bytes) -> Size:
    """Width and height of a file."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


def on_canvas(data: bytes, size: Size) -> tuple[bytes, Box | None]:
    """A picture in the middle of a black canvas, as PNG, and where it lies; as it is where it fills the canvas."""
    own = size_of(data)
    if own == size:
        return data, None
    left, top = (size[0] - own[0]) // 2, (size[1] - own[1]) // 2
    canvas = Image.new("RGB", size)
    canvas.paste(Image.fromarray(shown_rgb(data)), (left, top))
    box = Box(left / size[0], top / size[1], (left + own[0]) / size[0], (top + own[1]) / size[1])
    return png(canvas), box


def off_canvas(data: bytes, box: Box | None) -> bytes:
    """What lies in the box, as PNG; the file as it came where the picture filled its canvas, or is unreadable."""
    if box is None:
        return data
    try:
        pixels = shown_rgb(data)
    except ImageError:
        return data
    height, width = pixels.shape[:2]
    return png(pixels[_span(box.top, box.bottom, height), _span(box.left, box.right, width)])


def _span(begin: float, end: float, length: int) -> slice:
    """A share of some pixels: one at least, however small a picture came."""
    first = round(begin * length)
    return slice(first, max(first + 1, round(end * length)))


def nearest_ratio(size: Size, ratios: tuple[str, ...]) -> str:
    """The ratio of the sides that comes next to a picture's."""
    return min(ratios, key=lambda ratio: _apart(size, ratio))


def canvas_of_ratio(size: Size, ratios: tuple[str, ...]) -> Size:
    """The smallest canvas of one of these ratios that holds a picture; its own size where that is nearly one."""
    ratio = nearest_ratio(size, ratios)
    if _apart(size, ratio) <= 1 + _SAME_SHAPE:
        return size
    wide, high = map(int, ratio.split(":"))
    if size[0] * high > size[1] * wide:
        return size[0], round(size[0] * high / wide)
    return round(size[1] * wide / high), size[1]


def canvas_of_grid(size: Size, grid: int, steepest: float) -> Size:
    """The smallest canvas whose sides are multiples of a grid, and not too far apart."""
    least = -(-max(size) // steepest)
    wide, high = (int(-(-max(side, least) // grid) * grid) for side in size)
    return wide, high


def _apart(size: Size, ratio: str) -> float:
    wide, high = map(int, ratio.split(":"))
    own = size[0] / size[1]
    return max(own * high / wide, wide / high / own)
