"""Photoshop's image resources (Adobe's file format specification, "Image Resources Section"): where IPTC lives."""

import struct

_IPTC, _THUMBNAILS = 0x0404, (1033, 1036)


def split(stream: bytes) -> tuple[bytes | None, bytes | None]:
    """(IPTC, the other resources without thumbnails); a stream that breaks off gives what came before."""
    iptc, others, position = b"", b"", 0
    while stream[position : position + 4] == b"8BIM" and position + 12 <= len(stream):
        (number,) = struct.unpack_from(">H", stream, position + 4)
        start = position + 6 + (stream[position + 6] + 2) // 2 * 2  # a name of even length with its own
        size = int.from_bytes(stream[start : start + 4], "big")
        end = start + 4 + size
        if end > len(stream):
            break
        if number == _IPTC:
            iptc = stream[start + 4 : end]
        elif number not in _THUMBNAILS:
            others += stream[position:end] + bytes(size % 2)
        position = end + size % 2
    return iptc or None, others or None


def joined(iptc: bytes | None, others: bytes | None) -> bytes:
    """One stream of both."""
    if iptc is None:
        return others or b""
    head = struct.pack(">4sH2xI", b"8BIM", _IPTC, len(iptc))
    return head + iptc + bytes(len(iptc) % 2) + (others or b"")
