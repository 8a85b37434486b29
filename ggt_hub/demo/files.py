"""Files that the page shows and gives away, in a folder that Gradio serves and clears."""

import re
import secrets
from pathlib import Path

import cv2
import numpy as np
from gradio.utils import get_upload_folder

from ggt_hub.images import Picture, read_image, write_image

PREVIEW_SIDE = 2048
"""The longer side of what the slider shows; smaller pictures are shown pixel for pixel."""


def write_result(picture: Picture, suffix: str) -> Path:
    """Write a picture losslessly (PNG) as `<its name>-<suffix>.png`, in a folder whose name nobody can guess."""
    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    stem = re.sub(r"[^\w-]+", "-", Path(picture.name).stem).strip("-")[:60] or "picture"
    return write_image(picture, folder / f"{stem}-{suffix}.png")


def write_previews(before: Picture, after: Picture, result: Path) -> tuple[Path, Path]:
    """Both pictures for the slider, at one size: that of `after`, whose file is `result`, unless it is large."""
    width, height = after.size
    scale = PREVIEW_SIDE / max(width, height)
    shown = result
    if scale < 1:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        shown = write_result(_resized(after, width, height), "after")
    return write_result(_resized(before, width, height), "before"), shown


def _resized(picture: Picture, width: int, height: int) -> Picture:
    if picture.size == (width, height):
        return picture
    smaller = width < picture.size[0]
    array = cv2.resize(
        np.asarray(picture), (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    )
    return read_image(array, name=picture.name)
