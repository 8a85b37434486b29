"""What every metric takes: pictures in any usual form, brought to one form.

A metric takes one picture or a batch. Arrays are `H x W`, `H x W x C` or `N x H x W x C` (or a list of
the first two, of mixed sizes; PIL images count as arrays), 8-bit, 16-bit, or floats in 0..1. Tensors are
`C x H x W` or `N x C x H x W` (or a list of such, of mixed sizes), floats in 0..1, on any device, and are
scored there.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image

from ggt_hub.errors import MetricError
from ggt_hub.images import read_image

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Pictures: TypeAlias = Array | torch.Tensor | Image.Image | Sequence[Any]
Scores: TypeAlias = Array | torch.Tensor
Channels = Literal["rgb", "y", "ycbcr"]

# Weights of red, green and blue, and the offset, in luma (ITU-R BT.601). "y" spans 0..255 as in YIQ, "ycbcr"
# 16..235 as MATLAB's rgb2ycbcr gives it and as most tables on super-resolution and deraining are computed.
_LUMA = {
    "y": (0.299, 0.587, 0.114, 0.0),
    "ycbcr": (65.481 / 255, 128.553 / 255, 24.966 / 255, 16.0),
}


def score_each(pictures: Pictures, score: Callable[[Any], Any]) -> Scores:
    """Apply `score` to each picture.

    Args:
        pictures: see the module's text.
        score: takes `1 x H x W x C` arrays or `N x C x H x W` tensors with values 0..255 and gives one
            number for each picture.

    Returns:
        `N` float64 scores: an array for arrays, a tensor on the same device for tensors.
    """
    batches = _tensors(pictures)
    if batches:
        return _joined(score(batch) for batch in batches)
    return np.array([np.float64(score(picture).item()) for picture in _arrays(pictures)])


def score_pairs(restored: Pictures, gt: Pictures, score: Callable[[Any, Any], Any]) -> Scores:
    """Apply `score` to each restored picture and its reference; otherwise as `score_each`.

    Raises:
        MetricError: if the two do not have the same number of pictures and the same sizes.
    """
    batches, references = _tensors(restored), _tensors(gt)
    if bool(batches) != bool(references):
        raise MetricError("the pictures and the references differ in kind: give both as arrays or as tensors")
    lefts, rights = batches or _arrays(restored), references or _arrays(gt)
    if len(lefts) != len(rights):
        raise MetricError(f"{len(lefts)} pictures but {len(rights)} references: give one reference for each")
    pairs = list(zip(lefts, rights, strict=True))
    for index, (left, right) in enumerate(pairs):
        _check_same_shape(left, right, index)
    if batches:
        return _joined(score(left, right) for left, right in pairs)
    return np.array([np.float64(score(left, right).item()) for left, right in pairs])


def as_batches(pictures: Pictures) -> list[torch.Tensor]:
    """The pictures as batches `N x C x H x W`, each of one size, 0..255; no picture is no batch.

    Raises:
        MetricError: if something is no picture.
    """
    if len(pictures) == 0 if isinstance(pictures, np.ndarray | torch.Tensor | list | tuple) else False:
        return []
    return _tensors(pictures) or [as_tensor(picture) for picture in _arrays(pictures)]


def luma(pictures: Any, channels: Channels) -> Any:
    """Keep the brightness of colour pictures (0..255, arrays or tensors); "rgb" and grey pass unchanged.

    The sum is formed on a scale of 0..1, in the pictures' precision and in this order: where a metric rounds
    luma, one pixel in a thousand lies halfway between two levels, and its side decides the fourth digit of
    NIQE.
    """
    tensor = isinstance(pictures, torch.Tensor)
    if channels == "rgb" or pictures.shape[1 if tensor else -1] == 1:
        return pictures
    red, green, blue, offset = _LUMA[channels]
    scaled = (pictures if tensor else pictures.transpose(0, 3, 1, 2)) / 255
    plane = (scaled[:, 0] * red + scaled[:, 1] * green + scaled[:, 2] * blue) * 255 + offset
    return plane[:, None] if tensor else plane[..., None]


def as_tensor(pictures: Any) -> torch.Tensor:
    """Turn `1 x H x W x C` arrays 0..255 into a float32 tensor `1 x C x H x W`; tensors pass as they are."""
    if isinstance(pictures, torch.Tensor):
        return pictures
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32))


def _tensors(pictures: Any) -> list[torch.Tensor]:
    """The batches `N x C x H x W`, 0..255, that a tensor or a list of tensors holds; empty for arrays."""
    if isinstance(pictures, torch.Tensor):
        return [_tensor_batch(pictures)]
    if isinstance(pictures, list | tuple) and any(isinstance(picture, torch.Tensor) for picture in pictures):
        return [_tensor_batch(torch.as_tensor(picture)) for picture in pictures]
    return []


def _joined(scores: Iterable[Any]) -> torch.Tensor:
    return torch.cat([torch.as_tensor(score).double().reshape(-1) for score in scores])


def _arrays(pictures: Any) -> list[Array]:
    """One `1 x H x W x C` array, 0..255, for each picture."""
    if isinstance(pictures, np.ndarray) and pictures.ndim == 4:
        return [_one_array(picture) for picture in pictures]
    if isinstance(pictures, list | tuple):
        return [_one_array(picture) for picture in pictures]
    return [_one_array(pictures)]


def _one_array(source: Any) -> Array:
    # A PIL image may hold a palette, CMYK, or lie on its side.
    picture = np.asarray(read_image(source) if isinstance(source, Image.Image) else source)
    if picture.ndim == 2:
        picture = picture[..., None]
    _check_channels(picture.shape, picture.ndim == 3, picture.shape[-1] if picture.ndim else 0)
    if picture.dtype == np.uint8:
        return picture[None].astype(np.float32)
    if picture.dtype == np.uint16:
        return picture[None] / 257.0
    if not np.issubdtype(picture.dtype, np.floating):
        raise MetricError(
            f"a picture of dtype {picture.dtype} cannot be scored: give uint8, uint16 or floats"
        )
    _check_range(float(picture.min()), float(picture.max()))
    return picture[None].astype(np.float64 if picture.dtype == np.float64 else np.float32) * 255


def _tensor_batch(pictures: torch.Tensor) -> torch.Tensor:
    if pictures.ndim == 3:
        pictures = pictures[None]
    _check_channels(tuple(pictures.shape), pictures.ndim == 4, pictures.shape[-3] if pictures.ndim > 2 else 0)
    if not pictures.is_floating_point():
        raise MetricError(f"a tensor of dtype {pictures.dtype} cannot be scored: give floats in 0..1")
    _check_range(float(pictures.min()), float(pictures.max()))
    dtype = torch.float64 if pictures.dtype == torch.float64 else torch.float32
    return pictures.detach().to(dtype) * 255


def _check_range(lowest: float, highest: float) -> None:
    """Restorers overshoot a little; a picture far outside is one in 0..255 or -1..1."""
    if math.isnan(lowest) or math.isnan(highest):
        raise MetricError("a float picture holds NaN: look at what made it")
    if lowest < -0.5 or highest > 2:
        raise MetricError(
            f"a float picture reaches from {lowest:.4g} to {highest:.4g}: "
            "floats must lie in 0..1 (or give an array of uint8)"
        )


def _check_channels(shape: tuple[int, ...], right_rank: bool, channels: int) -> None:
    if not right_rank or channels not in (1, 3) or 0 in shape:
        raise MetricError(
            f"a picture of shape {shape} cannot be scored: it must be grey or RGB, "
            "arrays H x W x C or N x H x W x C, tensors C x H x W or N x C x H x W, without alpha"
        )


def _check_same_shape(left: Any, right: Any, index: int) -> None:
    if left.shape != right.shape:
        raise MetricError(
            f"picture {index} is {_measures(left)}, its reference {_measures(right)}: "
            "both must be of one size; crop or resize them before scoring"
        )


def _measures(batch: Any) -> str:
    count, *sides = batch.shape
    height, width, channels = (sides[1], sides[2], sides[0]) if isinstance(batch, torch.Tensor) else sides
    return f"{width}x{height} with {channels} channels" + (f", {count} times" if count > 1 else "")
