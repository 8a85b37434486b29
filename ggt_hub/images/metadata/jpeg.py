"""What a JPEG carries in its segments (ITU-T T.81, B.1; JFIF 1.02; EXIF 2.32, 4.7; XMP part 3, 1.1.3)."""

import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

from ggt_hub.images.metadata import photoshop, xmp
from ggt_hub.images.metadata.model import Metadata, Resolution

_APP0, _APP1, _APP2, _APP13, _COM, _SOS, _EOI = 0xE0, 0xE1, 0xE2, 0xED, 0xFE, 0xDA, 0xD9
_EXIF, _XMP, _EXTENDED = (
    b"Exif\0\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"http://ns.adobe.com/xmp/extension/\0",
)
_ICC, _PHOTOSHOP, _MPF, _GAIN_MAP = (
    b"ICC_PROFILE\0",
    b"Photoshop 3.0\0",
    b"MPF\0",
    b"urn:iso:std:iso:ts:21496",
)
_STORAGE = (b"JFIF\0", b"JFXX\0", b"Adobe", b"Ducky", b"AVI1")  # how this very file holds its pixels
_UNITS: tuple[Literal["aspect", "inch", "cm"], ...] = ("aspect", "inch", "cm")
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
MOST = 65533
"""Bytes that one segment holds."""


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, payload) up to the first scan."""
    position = 2
    while match := re.compile(rb"\xff+([^\x00\xff])").match(data, position):
        marker, start = match[1][0], match.end()
        if marker in (_SOS, _EOI) or start + 2 > len(data):
            return
        (length,) = struct.unpack_from(">H", data, start)
        yield marker, data[start + 2 : start + length]
        position = start + max(length, 2)


def end_of_picture(data: bytes) -> int:
    """Where the first picture ends: behind its EOI, or at the end of a file that has none."""
    position = 2
    while match := _MARKER.search(data, position):
        marker, position = match[1][0], match.end()
        if marker == _EOI:
            return position
        if marker != 1:
            position += int.from_bytes(data[position : position + 2], "big")
    return len(data)


def read(data: bytes) -> tuple[Metadata, list[str]]:
    """What is carried, and in words what is not."""
    exif = packet = resolution = None
    resources, profile, extensions, comments = bytearray(), {}, {}, []
    left: list[str] = []
    for marker, payload in segments(data):
        if marker == _APP1 and payload.startswith(_EXIF):
            exif = exif or payload[len(_EXIF) :]
        elif marker == _APP1 and payload.startswith(_XMP):
            packet = packet or payload[len(_XMP) :]
        elif marker == _APP1 and payload.startswith(_EXTENDED):
            head = len(_EXTENDED) + 40
            (offset,) = struct.unpack(">I", payload[head - 4 : head].rjust(4, b"\0"))
            extensions[offset] = payload[head:]
        elif marker == _APP2 and payload.startswith(_ICC):
            profile[payload[len(_ICC) : len(_ICC) + 1]] = payload[len(_ICC) + 2 :]
        elif marker == _APP13 and payload.startswith(_PHOTOSHOP):
            resources += payload[len(_PHOTOSHOP) :]
        elif marker == _COM:
            comments.append(payload)
        elif marker == _APP0 and payload.startswith(b"JFIF\0") and len(payload) >= 12:
            resolution = _density(payload)
        elif _APP0 <= marker <= 0xEF and not payload.startswith((*_STORAGE, _MPF, _GAIN_MAP)):
            left.append(_name_of(marker, payload))
    inside = photoshop.split(bytes(resources))
    packet = packet or inside.xmp
    metadata = Metadata(
        exif=exif or inside.exif,
        xmp=packet,
        extended_xmp=b"".join(extensions[key] for key in sorted(extensions)) or None,
        iptc=inside.iptc,
        photoshop=inside.others,
        icc=b"".join(profile[key] for key in sorted(profile)) or None,
        resolution=resolution,
        comments=tuple(comments),
    )
    return metadata, list(dict.fromkeys(left + _other_pictures(data, packet or b"")))


def _density(payload: bytes) -> Resolution | None:
    unit, x, y = struct.unpack_from(">BHH", payload, 7)
    if unit > 2 or not x or not y or (unit, x, y) == (0, 1, 1):
        return None
    return Resolution(Fraction(x), Fraction(y), _UNITS[unit])


def _name_of(marker: int, payload: bytes) -> str:
    if marker == 0xEB and payload.startswith(b"JP"):
        return "content credentials (C2PA), which hold for the original only"
    label = re.match(rb"[\x20-\x7e]{2,40}", payload)
    return f"APP{marker - _APP0} segment" + (f" {label[0].decode()!r}" if label else "")


def _other_pictures(data: bytes, packet: bytes) -> list[str]:
    """What lies behind the picture: gain map, film, previews."""
    behind = data[end_of_picture(data) :]
    if not behind.strip(b"\0\xff\n\r "):
        return []
    found = []
    head = data[: len(data) - len(behind)]
    if xmp.GAIN_MAP.search(packet) or _GAIN_MAP in head[: 2**18] or xmp.GAIN_MAP.search(behind):
        found.append("gain map (HDR)")
    if xmp.FILM.search(packet) or b"ftyp" in behind[: 2**20] or b"MotionPhoto_Data" in behind:
        found.append("film of a motion photo")
    return found or [f"{len(behind):,} bytes behind the picture (previews, or what an app added)"]


def embed(jpeg: bytes, metadata: Metadata) -> bytes:
    """A JPEG of Pillow's (SOI, then a JFIF segment) with these blocks in it, in the usual order."""
    head = bytearray(jpeg[:20])
    if metadata.resolution:
        unit = 0 if metadata.resolution.unit == "aspect" else 1
        x, y = (min(number, 65535) for number in metadata.resolution.per("inch"))
        struct.pack_into(">BHH", head, 13, unit, x, y)
    parts = [bytes(head)]
    if metadata.exif:
        parts.append(_segment(_APP1, _EXIF + metadata.exif))
    if metadata.xmp:
        parts.append(_segment(_APP1, _XMP + metadata.xmp))
    if metadata.extended_xmp:
        parts += _extended(metadata.extended_xmp)
    if resources := photoshop.joined(metadata.iptc, metadata.photoshop):
        step = MOST - len(_PHOTOSHOP)
        parts += [
            _segment(_APP13, _PHOTOSHOP + resources[at : at + step]) for at in range(0, len(resources), step)
        ]
    if metadata.icc:
        step = MOST - len(_ICC) - 2
        pieces = [metadata.icc[at : at + step] for at in range(0, len(metadata.icc), step)]
        counts = [bytes([number, len(pieces)]) for number in range(1, len(pieces) + 1)]
        parts += [_segment(_APP2, _ICC + count + piece) for count, piece in zip(counts, pieces, strict=True)]
    parts += [_segment(_COM, comment) for comment in metadata.comments]
    return b"".join([*parts, jpeg[20:]])


def room(metadata: Metadata) -> dict[str, str]:
    """Fields too large for the segments of a JPEG, with the reason."""
    too_large = {}
    for field, block, most in (
        ("exif", metadata.exif, MOST - len(_EXIF)),
        ("xmp", metadata.xmp, MOST - len(_XMP)),
        ("icc", metadata.icc, 255 * (MOST - 14)),
        ("comments", max(metadata.comments, key=len, default=b""), MOST),
    ):
        if block and len(block) > most:
            too_large[field] = "exceeds the 64 KB that JPEG allows" if field != "icc" else "exceeds 16 MB"
    return too_large


def _extended(block: bytes) -> list[bytes]:
    step = MOST - len(_EXTENDED) - 40
    head = _EXTENDED + xmp.guid(block)
    return [
        _segment(_APP1, head + struct.pack(">II", len(block), at) + block[at : at + step])
        for at in range(0, len(block), step)
    ]


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
