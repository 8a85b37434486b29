"""A picture as networks should see it: nothing hidden that could show, and no edge where there is none."""

from dataclasses import replace

import cv2
import numpy as np

from ggt_hub.images.metadata.xmp import is_full_panorama
from ggt_hub.images.picture import FloatArray, Picture

_ROWS_AT_ONCE = 256


def fill_hidden(picture: Picture) -> Picture:
    """The picture with the colours under zero alpha drawn from the nearest visible ones.

    What they were before plays no part, so that pictures which look alike are treated alike; and no black beneath
    nothing runs into the edges. Colours come from ever coarser means of what is visible ("pull-push", Gortler et
    al., The Lumigraph, 1996), weighted by alpha. A picture without anything visible becomes grey.
    """
    if picture.alpha is None or picture.alpha.all():
        return picture
    if not picture.alpha.any():
        return replace(picture, pixels=np.full_like(picture.pixels, picture.levels // 2))
    coarse = _pulled(*_halved(picture.pixels, picture.alpha))
    pixels = picture.pixels.copy()
    columns = np.arange(picture.size[0]) // 2
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        band, hidden = pixels[top : top + _ROWS_AT_ONCE], picture.alpha[top : top + _ROWS_AT_ONCE] == 0
        if hidden.any():
            rows = np.arange(top, top + len(band)) // 2
            np.copyto(band, np.rint(coarse[rows][:, columns]).astype(pixels.dtype), where=hidden[..., None])
    return replace(picture, pixels=pixels)


def _halved(colours: np.ndarray, weight: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """Means of 2 x 2 pixels (HWC) by weight (HW), where all weigh nothing 0; and the sums of the weights."""
    height, width = -(-len(weight) // 2), -(-weight.shape[1] // 2)
    means, sums = (
        np.zeros((height, width, colours.shape[2]), np.float32),
        np.zeros((height, width), np.float32),
    )
    for top in range(0, height, _ROWS_AT_ONCE):
        for row in (0, 1):
            for column in (0, 1):
                source = slice(2 * top + row, 2 * (top + _ROWS_AT_ONCE), 2), slice(column, None, 2)
                share = weight[source].astype(np.float32)
                target = slice(top, top + share.shape[0]), slice(0, share.shape[1])
                sums[target] += share
                means[target] += colours[source] * share[..., None]
        band = slice(top, top + _ROWS_AT_ONCE)
        means[band] /= np.maximum(sums[band], np.finfo(np.float32).tiny)[..., None]
    return means, sums


def _pulled(means: FloatArray, sums: FloatArray) -> FloatArray:
    """The means, with those that weigh nothing taken from coarser ones."""
    empty = sums == 0
    if not empty.any():
        return means
    coarse = _pulled(*_halved(means, np.minimum(sums, sums.max() / 4)))
    size = means.shape[1], means.shape[0]
    larger = cv2.resize(coarse, (2 * coarse.shape[1], 2 * coarse.shape[0]), interpolation=cv2.INTER_LINEAR)
    np.copyto(means, larger.reshape(*larger.shape[:2], -1)[: size[1], : size[0]], where=empty[..., None])
    return means


def is_panorama(picture: Picture) -> bool:
    """Whether the right edge of the picture goes on at the left one, as its XMP says (GPano, 360 degrees)."""
    return picture.metadata.xmp is not None and is_full_panorama(picture.metadata.xmp)


def wrapped(picture: Picture, margin: int) -> Picture:
    """The picture with `margin` columns more at either side: those of the other side."""
    return _with_columns(picture, np.arange(-margin, picture.size[0] + margin) % picture.size[0], margin)


def unwrapped(picture: Picture, restored: FloatArray) -> tuple[Picture, FloatArray]:
    """A picture as it was before `wrapped`, and what was made of it (HWC, maybe larger) without those columns."""
    if not picture.margin:
        return picture, restored
    width, margin = picture.size[0], picture.margin
    original = _with_columns(picture, np.arange(margin, width - margin), 0)
    wanted = round(original.size[0] * restored.shape[1] / width)
    cut = (restored.shape[1] - wanted) // 2
    return original, np.ascontiguousarray(restored[:, cut : cut + wanted])


def _with_columns(picture: Picture, columns: np.ndarray, margin: int) -> Picture:
    alpha = None if picture.alpha is None else picture.alpha[:, columns]
    return replace(picture, pixels=picture.pixels[:, columns], alpha=alpha, margin=margin)
