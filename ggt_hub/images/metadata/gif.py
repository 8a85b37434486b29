"""What a GIF carries in its extensions (GIF89a), and a BMP in its header."""

import struct
from collections.abc import Iterator
from fractions import Fraction

from ggt_hub.images.metadata.model import Metadata, Resolution


def read(data: bytes) -> tuple[Metadata, list[str]]:
    """Comments, and XMP (XMP part 3, 1.1.2)."""
    comments, packet = [], None
    position = 13 + _table_size(data[10])
    while position + 2 <= len(data):
        if data[position] == 0x2C:
            position += 10 + _table_size(data[position + 9]) + 1
            position = _behind(data, position)
        elif data[position] == 0x21:
            label, start = data[position + 1], position + 2
            position = _behind(data, start)
            if label == 0xFE:
                comments.append(b"".join(_blocks(data, start)))
            elif data[start : start + 12] == b"\x0bXMP DataXMP":
                packet = data[start + 12 : position].split(b"\x01\xff\xfe")[0]
        else:
            break
    return Metadata(xmp=packet or None, comments=tuple(comments)), []


def _table_size(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks(data: bytes, position: int) -> Iterator[bytes]:
    while position < len(data) and data[position]:
        yield data[position + 1 : position + 1 + data[position]]
        position += 1 + data[position]


def _behind(data: bytes, position: int) -> int:
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1


def read_bmp(data: bytes) -> tuple[Metadata, list[str]]:
    """The resolution; profiles of version 5 are named as left behind."""
    size, *_ = struct.unpack_from("<I", data, 14)
    if size < 40:
        return Metadata(), []
    x, y = struct.unpack_from("<ii", data, 38)
    left = ["ICC profile of a BMP"] if size >= 124 and data[14 + 56 : 14 + 60] in (b"DEBM", b"KNIL") else []
    known = x > 0 and y > 0
    return Metadata(resolution=Resolution(Fraction(x), Fraction(y), "metre") if known else None), left
