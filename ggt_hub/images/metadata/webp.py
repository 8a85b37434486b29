"""What a WebP carries in its chunks (RFC 9649, 2.7)."""

import struct
from collections.abc import Iterator

from ggt_hub.images.metadata.model import Metadata

_STORAGE = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"}


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, data) of each chunk."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def read(data: bytes) -> tuple[Metadata, list[str]]:
    """What is carried, and in words what is not."""
    found = dict(reversed(list(chunks(data))))  # the first of each name
    exif = found.get(b"EXIF", b"").removeprefix(b"Exif\0\0")
    left = [
        f"WebP chunk {kind.decode('latin-1')}"
        for kind in found
        if kind not in {*_STORAGE, b"EXIF", b"XMP ", b"ICCP"}
    ]
    metadata = Metadata(
        exif=exif or None,
        xmp=found.get(b"XMP ") or None,
        icc=found.get(b"ICCP") or None,
        lossless=b"VP8L" in found or _first_frame_is_lossless(found.get(b"ANMF", b"")),
    )
    return metadata, left


def _first_frame_is_lossless(frame: bytes) -> bool:
    return frame[16:20] == b"VP8L"
