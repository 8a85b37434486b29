"""JPEG on tensors, differentiable: what libjpeg does to a picture, but for its entropy coding, which loses nothing.

Colours by JFIF, 4:2:0 by the mean of four, blocks of 8 x 8 by the cosine transform, levels by the quantisation
tables (ITU-T T.81, annexes A and K), colours enlarged linearly ("fancy upsampling"), all in whole numbers, as
libjpeg does by default: ties are common among those, and a coefficient on their other side is seen. float64 holds
their sums exactly, so the pixels are libjpeg's. Rounding passes gradients on as if it were not there (straight-
through).
"""

import io
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ggt_hub.degradations.chains import Drawn
from ggt_hub.degradations.tensors.batch import Batch, Family

Matrix = tuple[tuple[float, ...], ...]

# In 65536ths, as libjpeg rounds the factors of JFIF 1.02.
_TO_YCC: Matrix = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
_TO_RGB: Matrix = ((65536, 0, 91881), (65536, -22554, -46802), (65536, 116130, 0))

# In 8192ths: the left half of the cosine transform, sqrt(8) times the orthonormal one, as libjpeg's "islow" has it.
# The right half is its mirror image, negative in the odd rows.
_COSINES: Matrix = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)


def _lacks(step: Drawn) -> str | None:
    return None if step.parameters["kind"] == "jpeg" else str(step.parameters["kind"])


def _apply(batch: Batch) -> Tensor:
    done = batch.x.clone()
    told = [(step.parameters["quality"] <= 100, step.parameters["full_colour"]) for step in batch.steps]
    for full_colour in (False, True):
        places = [place for place, how in enumerate(told) if how == (True, full_colour)]
        if places:
            qualities = [int(batch.steps[place].parameters["quality"]) for place in places]
            done[places] = jpeg(batch.x[places], qualities, full_colour=full_colour)
    return done


def jpeg(x: Tensor, qualities: list[int], *, full_colour: bool = False) -> Tensor:
    """Pictures as JPEG leaves them.

    Args:
        x: (B, 3, H, W), 0..1.
        qualities: libjpeg's quality of each picture, 1..100.
        full_colour: 4:4:4 in place of 4:2:0.

    Returns:
        The same shape, whole levels of 255 in 0..1.
    """
    height, width = x.shape[2:]
    unit = 8 if full_colour else 16
    levels = _straight(255 * x.clamp(0, 1).double(), torch.round)
    mixed = _mixed(F.pad(levels, (0, -width % unit, 0, -height % unit), mode="replicate"), _TO_YCC)
    light = _rounded(mixed[:, :1]) - 128
    colours = _straight(mixed[:, 1:], lambda y: (y - 0.5).ceil())  # ties go down, by libjpeg's offset
    tables = torch.stack([torch.from_numpy(quantisation_tables(quality)) for quality in qualities]).to(
        x.device
    )
    light = _coded(light, tables[:, :1])[..., :height, :width]
    colours = _coded(colours if full_colour else _halved(colours), tables[:, 1:])
    if not full_colour:
        colours = _doubled(colours[..., : -(-height // 2), : -(-width // 2)])
    whole = torch.cat([light + 128, colours[..., :height, :width]], dim=1)
    return (_rounded(_mixed(whole, _TO_RGB)).clamp(0, 255) / 255).to(x.dtype)


def _mixed(x: Tensor, matrix: Matrix) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", _tensor(matrix, x) / 65536, x)


def _halved(colours: Tensor) -> Tensor:
    """The mean of four; ties down and up in turns, so that no colour drifts."""
    return _straight(F.avg_pool2d(colours, 2), lambda y: (y + _in_turns(0.25, 0.5, y)).floor())


def _doubled(colours: Tensor) -> Tensor:
    """Enlarged linearly, ties up and down in turns; what is two pixels wide or less is repeated."""
    if colours.shape[3] <= 2:
        return F.interpolate(colours, scale_factor=2, mode="nearest")
    large = F.interpolate(colours, scale_factor=2, mode="bilinear", align_corners=False)
    return _straight(large, lambda y: (y + _in_turns(8 / 16, 7 / 16, y)).floor())


def _in_turns(even: float, odd: float, like: Tensor) -> Tensor:
    """A number for each column."""
    return _tensor([even, odd], like).repeat(like.shape[3] // 2 + 1)[: like.shape[3]]


def _tensor(values: object, like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def _coded(planes: Tensor, tables: Tensor) -> Tensor:
    """Planes around 0 whose blocks' coefficients were rounded to multiples of their tables.

    Args:
        planes: (B, C, H, W), sides multiples of 8.
        tables: (B, 1, 8, 8).
    """
    count, channels, height, width = planes.shape
    left = _tensor(_COSINES, planes) / 8192
    cosines = torch.cat([left, left.flip(1) * _tensor([1, -1] * 4, planes)[:, None]], dim=1)
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = _rounded(cosines @ _rounded(4 * blocks @ cosines.T) / 4) / 8
    steps = tables[:, :, None, None]
    kept = _straight(coefficients / steps, lambda y: y.sign() * (y.abs() + 0.5).floor()) * steps
    back = _rounded(_rounded(4 * cosines.T @ kept) @ cosines / 32)
    return back.transpose(3, 4).reshape(planes.shape).clamp(-128, 127)


@cache
def quantisation_tables(quality: int) -> NDArray[np.float64]:
    """For brightness and colours, as the library behind Pillow has them: (2, 8, 8)."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    found = Image.open(file).quantization  # type: ignore[attr-defined]
    return np.array([found[0], found[1]], np.float64).reshape(2, 8, 8)


def _rounded(x: Tensor) -> Tensor:
    return _straight(x, lambda y: (y + 0.5).floor())


def _straight(x: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:
    """Rounded forwards, and as it is backwards."""
    return x + (rounding(x) - x).detach()


COMPRESSION = Family(_lacks, _apply)
