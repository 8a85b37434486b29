"""PQ and HLG to sRGB: brightness coded for HDR displays, taken for sRGB, would look flat and grey."""

from dataclasses import replace

import numpy as np

from ggt_hub.errors import ImageError
from ggt_hub.images.colour import srgb_encoded
from ggt_hub.images.faults import warn
from ggt_hub.images.metadata import Metadata
from ggt_hub.images.picture import Picture, quantised

_NAMES = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
_WHITE_NITS = 203.0  # what HDR programmes show as diffuse white, ITU-R BT.2408
SRGB = bytes((1, 13, 0, 1))
"""CICP of sRGB: primaries and transfer of ITU-T H.273, RGB, full range."""
_KNEE = (
    0.75  # of that white: what is darker keeps its brightness, what is brighter is compressed to fit below 1
)
_ROWS_AT_ONCE = 256
# Linear BT.2020 and Display P3 to linear sRGB; all three have the white D65 (ITU-R BT.2087, SMPTE EG 432-1).
_PRIMARIES = {
    9: [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
    12: [[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]],
}


def is_hdr(transfer: int) -> bool:
    """Whether this number of H.273 names PQ or HLG."""
    return transfer in _NAMES


def to_sdr(picture: Picture, primaries: int, transfer: int) -> Picture:
    """A PQ or HLG picture as sRGB of the same depth, with an `ImageWarning`; any other as it is.

    Light up to three quarters of diffuse white (203 cd/m², BT.2408) stays as bright as it was; what is brighter
    approaches the brightest white exponentially, by one factor for the three channels, so that hues stay.
    """
    if not is_hdr(transfer):
        return picture
    matrix = np.array(_PRIMARIES.get(primaries, np.eye(3)))
    pixels = np.empty_like(picture.pixels)
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        light = _light(
            picture.rgb((0, top, picture.size[0], min(top + _ROWS_AT_ONCE, len(pixels)))), transfer
        )
        light = np.maximum(light @ matrix.T, 0.0)
        brightest = light.max(axis=2, keepdims=True)
        bent = 1 - (1 - _KNEE) * np.exp(-(np.maximum(brightest, _KNEE) - _KNEE) / (1 - _KNEE))
        light *= np.where(brightest > _KNEE, bent / np.maximum(brightest, _KNEE), 1.0)
        srgb = srgb_encoded(light).astype(np.float32)
        pixels[rows] = quantised(srgb[..., : pixels.shape[2]], pixels.dtype, picture.name)
    warn(
        picture.name, f"its HDR brightness ({_NAMES[transfer]}) was converted to sRGB, highlights compressed"
    )
    return replace(picture, pixels=pixels, metadata=Metadata(cicp=SRGB))


def _light(signal: np.ndarray, transfer: int) -> np.ndarray:
    """Light of the display in units of diffuse white (ITU-R BT.2100, tables 4 and 5)."""
    coded = signal.astype(np.float64)
    if transfer == 16:
        power = coded ** (1 / 78.84375)
        ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        return 10_000 / _WHITE_NITS * ratio ** (1 / 0.1593017578125)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return 1000 / _WHITE_NITS * scene * luminance[..., None] ** 0.2


def refuse_profile(icc: bytes | None, name: str) -> None:
    """Refuse a profile whose `cicp` tag says PQ or HLG (ICC.1:2022, 9.2.17): its curves are not read here.

    Raises:
        ImageError: With the way out.
    """
    profile = icc or b""
    for at in range(132, 132 + 12 * min(int.from_bytes(profile[128:132], "big"), 100), 12):
        offset = int.from_bytes(profile[at + 4 : at + 8], "big")
        transfer = profile[offset + 9 : offset + 10]
        if profile[at : at + 4] == b"cicp" and transfer and is_hdr(transfer[0]):
            raise ImageError(
                f"{name!r}: an HDR picture ({_NAMES[transfer[0]]} by its ICC profile) is not supported: shown as "
                "it is, it would be flat. Export it as SDR (sRGB or Display P3) first."
            )
