"""ICC profiles: whether one fits the pixels, and one made for what H.273 (cICP, nclx) says in numbers."""

import io
import struct

import numpy as np
from PIL import ImageCms

from ggt_hub.images.faults import DECODER_ERRORS

_PRIMARIES = {  # ITU-T H.273, table 2: x and y of red, green, blue; all with the white of D65
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65, _D50 = (0.3127, 0.3290), (0.96422, 1.0, 0.82521)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVES = {  # table 3, as the five numbers of a parametric curve of type 3 (ICC.1:2010, 10.16)
    13: _SRGB_CURVE,
    4: (2.2, 1.0, 0.0, 1.0, 0.0),
    8: (1.0, 1.0, 0.0, 1.0, 0.0),
} | dict.fromkeys((1, 6, 14, 15), (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081))


def fault_of(icc: bytes, channels: int) -> str | None:
    """Why the profile cannot describe pictures of so many channels; None if it can."""
    wanted = "GRAY" if channels == 1 else "RGB"
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space.strip()
    except DECODER_ERRORS:
        return "is damaged"
    return None if space == wanted else f"describes {space}, the picture is {wanted}"


def from_cicp(cicp: bytes) -> bytes | None:
    """A profile that says of RGB what primaries and transfer say; None where no profile can (PQ, HLG)."""
    primaries, curve = _PRIMARIES.get(cicp[0]), _CURVES.get(cicp[1])
    if primaries is None or curve is None:
        return None
    adapted, colours = _to_d50(primaries)
    name = f"CICP {cicp[0]}/{cicp[1]}" if cicp[:2] != b"\x0c\x0d" else "Display P3"
    text = name.encode("utf-16-be")
    parts = {
        b"desc": b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(text), 28) + text,
        b"cprt": b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", 6, 28) + "CC0".encode("utf-16-be"),
        b"wtpt": _xyz(_D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(adapted.ravel()),
        b"rXYZ": _xyz(colours[:, 0]),
        b"gXYZ": _xyz(colours[:, 1]),
        b"bXYZ": _xyz(colours[:, 2]),
    } | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"para" + struct.pack(">4xHH", 3, 0) + _fixed(curve))
    return _profile(parts)


def _to_d50(primaries: tuple[tuple[float, float], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Bradford's transform from D65 to D50, and XYZ of the three primaries under D50 as columns."""
    points = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*primaries, _D65)]).T
    linear = points[:, :3] * np.linalg.solve(points[:, :3], points[:, 3])
    gain = (_BRADFORD @ _D50) / (_BRADFORD @ points[:, 3])
    adapted = np.linalg.solve(_BRADFORD, gain[:, None] * _BRADFORD)
    return adapted, adapted @ linear


def _fixed(numbers: tuple[float, ...] | np.ndarray) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(float(number) * 65536) for number in numbers))


def _xyz(numbers: tuple[float, ...] | np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(numbers)


def _profile(parts: dict[bytes, bytes]) -> bytes:
    """A version 4 display profile of these tags (ICC.1:2010, 7.2 and 7.3); equal tags share their bytes."""
    places: dict[bytes, int] = {}
    table, body, start = struct.pack(">I", len(parts)), b"", 128 + 4 + 12 * len(parts)
    for name, data in parts.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    head = struct.pack(
        ">I4xI4s4s4s6H4s24x4x",
        start + len(body),
        0x04200000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        2026,
        1,
        1,
        0,
        0,
        0,
        b"acsp",
    )
    head = head[:68] + _fixed(_D50)
    return head.ljust(128, b"\0") + table + body
