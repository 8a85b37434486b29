"""Photoshop's image resources (Adobe's file format specification, "Image Resources Section"): where IPTC lives."""

import struct
from typing import NamedTuple

_IPTC, _THUMBNAILS, _EXIF, _EXIF_REST, _XMP = 1028, (1033, 1036), 1058, 1059, 1060


class Resources(NamedTuple):
    """What a stream of resources holds; thumbnails are left out."""

    iptc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    others: bytes | None = None


def split(stream: bytes) -> Resources:
    """The resources of a stream; one that breaks off gives what came before."""
    single: dict[int, bytes] = {}
    others, position = bytearray(), 0
    while stream[position : position + 4] == b"8BIM" and position + 12 <= len(stream):
        (number,) = struct.unpack_from(">H", stream, position + 4)
        start = position + 6 + (stream[position + 6] + 2) // 2 * 2  # a name of even length with its own
        size = int.from_bytes(stream[start : start + 4], "big")
        end = start + 4 + size
        if end > len(stream):
            break
        if number in (_IPTC, _EXIF, _XMP):
            single.setdefault(number, stream[start + 4 : end])
        elif number not in (*_THUMBNAILS, _EXIF_REST):
            others += stream[position:end] + bytes(size % 2)
        position = end + size % 2
    return Resources(single.get(_IPTC), single.get(_EXIF), single.get(_XMP), bytes(others) or None)


def joined(iptc: bytes | None, others: bytes | None) -> bytes:
    """One stream of both."""
    if iptc is None:
        return others or b""
    head = struct.pack(">4sH2xI", b"8BIM", _IPTC, len(iptc))
    return head + iptc + bytes(len(iptc) % 2) + (others or b"")
