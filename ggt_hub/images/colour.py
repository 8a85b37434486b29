"""From what files mean by colour (premultiplied, CMYK, Lab) to straight RGB, at the depth that they have."""

from collections.abc import Callable

import imagecodecs
import numpy as np

from ggt_hub.errors import ImageError
from ggt_hub.images.faults import DECODER_ERRORS, warn

_ROWS_AT_ONCE = 256  # so that no float copy of a whole picture is made
_WHITE_D50 = np.array([0.9642, 1.0, 0.8249])
# XYZ under D50 to linear sRGB, whose white is D65: Bradford's adaptation and IEC 61966-2-1 in one.
_TO_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)


def highest(array: np.ndarray) -> np.generic:
    """The value that stands for 1.0."""
    return array.dtype.type(1 if array.dtype.kind == "f" else np.iinfo(array.dtype).max)


def unpremultiplied(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours divided by alpha, black where it is zero; both HWC of one dtype."""
    top, out = float(highest(colours)), np.empty_like(colours)
    for rows in _bands(len(colours)):
        weight = alpha[rows].astype(np.float64)
        straight = np.zeros(colours[rows].shape)
        np.divide(colours[rows] * top, weight, out=straight, where=weight > 0)
        straight = np.minimum(straight, top)
        out[rows] = straight if colours.dtype.kind == "f" else np.rint(straight)
    return out


def cmyk_to_srgb(inks: np.ndarray, icc: bytes | None, name: str) -> np.ndarray:
    """HWC inks, uint8 or uint16, through their profile (perceptual), or by the plain formula if there is none."""
    if inks.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{name!r}: CMYK as {inks.dtype} is not supported. Save it with 8 or 16 bits.")
    if icc:
        try:
            srgb = imagecodecs.cms_profile("srgb")
            return _in_bands(
                lambda band: imagecodecs.cms_transform(
                    np.ascontiguousarray(band), icc, srgb, colorspace="cmyk", outcolorspace="rgb"
                ),
                inks,
            )
        except DECODER_ERRORS:
            warn(name, "its CMYK profile cannot be used; colours are approximate")
    top = int(highest(inks))

    def plain(band: np.ndarray) -> np.ndarray:
        light = top - band.astype(np.float64)
        return np.rint(light[..., :3] * light[..., 3:] / top).astype(inks.dtype)

    return _in_bands(plain, inks)


def lab_to_srgb(lab: np.ndarray, is_icc: bool, name: str) -> np.ndarray:
    """HWC Lab, uint8 or uint16, to sRGB of the same depth.

    Args:
        lab: As stored: CIELab with signed a* and b*, or ICCLab with a*, b* shifted by half of their range.
        is_icc: Which of the two (TIFF 6.0 section 23; TIFF technical note 4).
        name: What messages call it.
    """
    if lab.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{name!r}: Lab as {lab.dtype} is not supported. Save it with 8 or 16 bits.")
    deep = lab.dtype == np.uint16
    step = 256.0 if deep else 1.0
    white = 65280.0 if deep and is_icc else float(highest(lab))

    def convert(band: np.ndarray) -> np.ndarray:
        chroma = band[..., 1:]
        if is_icc:
            a_b = chroma / step - 128.0
        else:
            a_b = np.ascontiguousarray(chroma).view(np.int16 if deep else np.int8).astype(float) / step
        y = (band[..., 0] * (100.0 / white) + 16) / 116
        f = np.stack([y + a_b[..., 0] / 500, y, y - a_b[..., 1] / 200], axis=2)
        xyz = _WHITE_D50 * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
        return np.rint(srgb_encoded(xyz @ _TO_SRGB.T) * float(highest(lab))).astype(lab.dtype)

    return _in_bands(convert, lab)


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    """Linear light as sRGB codes it (IEC 61966-2-1), both 0..1; what lies outside is clipped."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _bands(rows: int) -> list[slice]:
    return [slice(top, top + _ROWS_AT_ONCE) for top in range(0, rows, _ROWS_AT_ONCE)]


def _in_bands(convert: Callable[[np.ndarray], np.ndarray], array: np.ndarray) -> np.ndarray:
    out = np.empty((*array.shape[:2], 3), array.dtype)
    for rows in _bands(len(array)):
        out[rows] = convert(array[rows])
    return out
