"""Many pictures on one sheet, to be looked at side by side."""

import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ggt_hub.errors import ImageError
from ggt_hub.images.shown import shown_rgb

_GAP, _TEXT_HEIGHT, _TEXT_SIZE = 12, 26, 15
_PAPER, _INK = (250, 250, 248), (40, 42, 48)


def contact_sheet(
    pictures: Sequence[Any], captions: Sequence[str], *, columns: int | None = None, cell: int = 320
) -> Image.Image:
    """Lay pictures out in a grid, each with a line of text below.

    Args:
        pictures: anything that `read_image` takes, row by row.
        captions: one for each picture; what does not fit is cut.
        columns: pictures in a row; None makes the grid about square.
        cell: the longer side of the largest picture, in pixels; pictures are never enlarged.

    Returns:
        The sheet, RGB; `write_image` makes a file of it.

    Raises:
        ImageError: if there is no picture, or not one caption for each.
    """
    if not pictures or len(pictures) != len(captions):
        raise ImageError(
            f"a sheet needs one caption for each picture: got {len(captions)} for {len(pictures)} pictures"
        )
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    thumbnails = [_thumbnail(picture, cell) for picture in pictures]
    rows = [thumbnails[start : start + columns] for start in range(0, len(thumbnails), columns)]
    heights = [max(image.height for image in row) + _TEXT_HEIGHT + _GAP for row in rows]
    width = max(image.width for image in thumbnails)
    sheet = Image.new(
        "RGB", (min(columns, len(pictures)) * (width + _GAP) + _GAP, sum(heights) + _GAP), _PAPER
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_SIZE)
    lines = iter(captions)
    for index, row in enumerate(rows):
        top = _GAP + sum(heights[:index])
        for column, image in enumerate(row):
            left = _GAP + column * (width + _GAP)
            sheet.paste(image, (left, top))
            text = _shortened(next(lines), font, width)
            draw.text((left, top + image.height + 4), text, fill=_INK, font=font)
    return sheet


def _thumbnail(source: Any, cell: int) -> Image.Image:
    image = Image.fromarray(shown_rgb(source))
    image.thumbnail((cell, cell), Image.Resampling.LANCZOS)
    return image


def _shortened(text: str, font: Any, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
