"""What AVIF and HEIF carry (ISO/IEC 14496-12 and 23008-12), and JPEG 2000, which is made of the same boxes."""

import struct
from collections.abc import Iterator

from ggt_hub.images.metadata.model import Metadata

_MOST_ITEMS = 10_000
_MOST_BYTES = 2**25
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID = b"JpgTiffExif->JP2"


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of the content, end) of each box between two places."""
    position, end = start, len(data) if end is None else end
    while position + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1 and position + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, position + 8), 16
        size = size or end - position
        if size < head or position + size > end:
            return
        yield kind, position + head, position + size
        position += size


def read(data: bytes) -> tuple[Metadata, list[str]]:
    """What the primary picture of an AVIF or HEIF carries, and in words what is not."""
    meta = next(((start, end) for kind, start, end in boxes(data) if kind == b"meta"), None)
    if meta is None:
        return Metadata(), []
    parts = {kind: (start, end) for kind, start, end in boxes(data, meta[0] + 4, meta[1])}
    items = dict(_items(data, *parts[b"iinf"])) if b"iinf" in parts else {}
    exif = packet = None
    for number, kind in items.items():
        if kind == b"Exif" and exif is None:
            block = _item(data, parts, number)
            exif = block[4 + int.from_bytes(block[:4], "big") :].removeprefix(b"Exif\0\0") or None
        elif kind == b"mime application/rdf+xml" and packet is None:
            packet = _item(data, parts, number) or None
    icc, cicp = _colours(data, parts)
    left = []
    if b"tmap" in items.values() or b"hdrgainmap" in data[meta[0] : meta[1]]:
        left.append("gain map (HDR)")
    if any(kind in (b"moov", b"mpvd") for kind, _, _ in boxes(data)) and data[8:12] != b"avis":
        left.append("film of a motion photo")
    return Metadata(exif=exif, xmp=packet, icc=icc, cicp=cicp), left


def _items(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(number, type) of each item; the type of a mime item is followed by what kind it is."""
    wide = data[start] > 0
    for count, (kind, at, stop) in enumerate(boxes(data, start + (8 if wide else 6), end)):
        if kind != b"infe" or count > _MOST_ITEMS or data[at] < 2:
            continue
        size = 2 if data[at] == 2 else 4
        number = int.from_bytes(data[at + 4 : at + 4 + size], "big")
        item = data[at + 6 + size : at + 10 + size]
        texts = data[at + 10 + size : stop].split(b"\0")
        yield number, item + b" " + texts[1] if item == b"mime" and len(texts) > 1 else item


def _item(data: bytes, parts: dict[bytes, tuple[int, int]], wanted: int) -> bytes:
    """The bytes of an item, from the extents that `iloc` names (14496-12, 8.11.3)."""
    at, end = parts[b"iloc"]
    version = data[at]
    sizes = (data[at + 4] >> 4, data[at + 4] & 15, data[at + 5] >> 4, data[at + 5] & 15 if version else 0)
    wide = 4 if version == 2 else 2
    position = at + 6

    def number(size: int) -> int:
        nonlocal position
        position += size
        return int.from_bytes(data[position - size : position], "big")

    for _ in range(min(number(wide), _MOST_ITEMS)):
        item = number(wide)
        in_box = number(2) & 15 if version else 0
        number(2)
        base = number(sizes[2])
        pieces, total = [], 0
        for _ in range(number(2)):
            number(sizes[3])
            offset, length = base + number(sizes[0]), number(sizes[1])
            total += length
            if item == wanted and total <= _MOST_BYTES:
                origin = parts[b"idat"][0] if in_box == 1 else 0
                pieces.append(data[origin + offset : origin + offset + length])
            if position > end:
                return b""
        if item == wanted:
            return b"".join(pieces)
    return b""


def _colours(data: bytes, parts: dict[bytes, tuple[int, int]]) -> tuple[bytes | None, bytes | None]:
    """ICC profile and H.273 numbers of the primary item, or of the first that has any."""
    if b"iprp" not in parts:
        return None, None
    inside = {kind: (start, end) for kind, start, end in boxes(data, *parts[b"iprp"])}
    listed = list(boxes(data, *inside[b"ipco"])) if b"ipco" in inside else []
    primary = _primary_properties(data, parts, inside)
    chosen = [listed[index - 1] for index in primary if 0 < index <= len(listed)]
    icc = cicp = None
    for kind, start, end in chosen or listed:
        if kind != b"colr":
            continue
        if data[start : start + 4] in (b"prof", b"rICC"):
            icc = icc or data[start + 4 : end]
        elif data[start : start + 4] == b"nclx" and cicp is None:
            primaries, transfer, _ = struct.unpack_from(">3H", data, start + 4)
            # Decoders give RGB of full range, whatever matrix and range the file has: 0 and 1.
            cicp = bytes([primaries & 255, transfer & 255, 0, 1])
    return icc, cicp if cicp and cicp[:2] != b"\x02\x02" else None


def _primary_properties(
    data: bytes, parts: dict[bytes, tuple[int, int]], inside: dict[bytes, tuple[int, int]]
) -> list[int]:
    """Indices of the properties that `ipma` (23008-12, 9.3) gives the item that `pitm` names."""
    if b"pitm" not in parts or b"ipma" not in inside:
        return []
    at = parts[b"pitm"][0]
    primary = int.from_bytes(data[at + 4 : at + (8 if data[at] else 6)], "big")
    at, end = inside[b"ipma"]
    width, wide = (4 if data[at] else 2), (2 if data[at + 3] & 1 else 1)
    position = at + 8
    while position < end:
        item, count = int.from_bytes(data[position : position + width], "big"), data[position + width]
        first = position + width + 1
        position = first + count * wide
        if item == primary:
            values = [
                int.from_bytes(data[first + i * wide : first + (i + 1) * wide], "big") for i in range(count)
            ]
            return [value & (0x7FFF if wide == 2 else 0x7F) for value in values]
    return []


def read_jpeg2000(data: bytes) -> tuple[Metadata, list[str]]:
    """XMP and EXIF of a JPEG 2000 file; its profile is the decoder's business, since it may convert by it."""
    exif = packet = icc = None
    left = []
    for kind, start, end in boxes(data):
        if kind == b"uuid" and data[start : start + 16] == _XMP_UUID:
            packet = packet or data[start + 16 : end]
        elif kind == b"uuid" and data[start : start + 16] == _EXIF_UUID:
            exif = exif or data[start + 16 : end].removeprefix(b"Exif\0\0")
        elif kind in (b"uuid", b"xml "):
            left.append("XML or private boxes of JPEG 2000")
        elif kind == b"jp2h":
            colours = [(at, stop) for inner, at, stop in boxes(data, start, end) if inner == b"colr"]
            icc = next((data[at + 3 : stop] for at, stop in colours if data[at] == 2), None)
    return Metadata(exif=exif, xmp=packet, icc=icc), list(dict.fromkeys(left))
