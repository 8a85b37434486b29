"""What a TIFF carries in its directories (TIFF 6.0; EXIF 2.32, 4.6; XMP part 3, 1.1.7)."""

import struct
from bisect import bisect_right
from collections.abc import Set
from fractions import Fraction
from typing import Literal

from ggt_hub.images.ifd import TYPE_SIZES
from ggt_hub.images.metadata import photoshop
from ggt_hub.images.metadata.exif import EXIF, GPS, INTEROP, MAKER_NOTE, Block, Field, merged
from ggt_hub.images.metadata.model import Metadata, Resolution

XMP, IPTC, PHOTOSHOP, ICC, _LAYERS = 700, 33723, 34377, 34675, 37724
_X, _Y, _UNIT = 282, 283, 296
_UNITS: dict[int, Literal["aspect", "inch", "cm"]] = {1: "aspect", 2: "inch", 3: "cm"}
# Tags that describe how one TIFF file stores its pixels; in another file they would be wrong.
STORAGE = {*range(254, 267), 273, *range(277, 282), 284, *range(288, 294), 301, *range(317, 348)}
STORAGE |= {
    *range(512, 533),
    *range(33421, 33423),
    34016,
    *range(50706, 51100),
    XMP,
    IPTC,
    PHOTOSHOP,
    ICC,
    _LAYERS,
}
_POINTERS = {EXIF, GPS, INTEROP}
_CLASSIC = {16: 4, 17: 9, 18: 13}  # the integers of 8 bytes that only BigTIFF has
# Maker notes that count from their own beginning, and so may stand anywhere; others count from that of the file.
_MOVABLE = (
    b"Nikon\0\2",
    b"OLYMPUS\0",
    b"OM SYSTEM\0",
    b"Apple iOS\0",
    b"FUJIFILM",
    b"PENTAX \0",
    b"Ricoh\0",
    b"LEICA",
)
_FARTHEST = 2**16  # a maker note is kept where it was only up to here: what comes before it must be filled


def read(data: bytes) -> tuple[Metadata, list[str]]:
    """What is carried of the first page, and in words what is not."""
    block = Block(data)
    tags = {entry.tag: entry for entry in block.entries(block.first)}

    def held(tag: int) -> bytes | None:
        return block.bytes_of(tags[tag]) or None if tag in tags else None

    inside = photoshop.split(held(PHOTOSHOP) or b"")
    exif, left = as_exif(data)
    if _LAYERS in tags:
        left.append("Photoshop layers")
    metadata = Metadata(
        exif=exif,
        xmp=held(XMP) or inside.xmp,
        iptc=_iptc_bytes(block, tags[IPTC]) if IPTC in tags else inside.iptc,
        photoshop=inside.others,
        icc=held(ICC),
        resolution=resolution_in(data),
    )
    return metadata, left


def _iptc_bytes(block: Block, entry: Field) -> bytes | None:
    """IPTC is often declared as LONG, and then some writers turn each four bytes round; its padding is cut."""
    value = block.bytes_of(entry)
    if entry.kind == 4 and value[3:4] == b"\x1c" != value[:1]:
        value = b"".join(value[at : at + 4][::-1] for at in range(0, len(value), 4))
    return value.rstrip(b"\0") or None


def resolution_in(data: bytes) -> Resolution | None:
    """The resolution that the first directory states."""
    block = Block(data)
    tags = {entry.tag: entry for entry in block.entries(block.first)}
    unit = _UNITS.get(block.value(tags[_UNIT]) if _UNIT in tags else 2)
    numbers = []
    for tag in (_X, _Y):
        if tag not in tags or tags[tag].kind != 5 or unit is None:
            return None
        at = tags[tag].value_at
        above, below = block.number(at, 4), block.number(at + 4, 4)
        if not above or not below:
            return None
        numbers.append(Fraction(above, below))
    return Resolution(numbers[0], numbers[1], unit) if unit else None


def as_exif(data: bytes, keep_maker_note: bool = True) -> tuple[bytes | None, list[str]]:
    """The descriptive tags of a TIFF structure as one compact EXIF block, and in words what had to go.

    A maker note keeps its place, or goes where it may. All other values are copied once, however many entries
    point at them.
    """
    block = Block(data)
    directories = block.directories()
    directories[0] = [entry for entry in directories[0] if entry.tag not in STORAGE | _POINTERS]
    directories[EXIF] = [entry for entry in directories[EXIF] if entry.tag not in _POINTERS]
    left: list[str] = []
    note = next((entry for entry in directories[EXIF] if entry.tag == MAKER_NOTE and entry.size > 4), None)
    if note and not (keep_maker_note and (block.bytes_of(note).startswith(_MOVABLE) or _stays(note, block))):
        directories[EXIF].remove(note)
        note = None
        left.append("maker note, whose offsets would be wrong in the new file")
    if not any(directories.values()):
        return None, left
    return _Layout(block, directories, note).built(), left


def _stays(note: Field, block: Block) -> bool:
    return note.value_at > 8 and note.value_at + note.size <= min(_FARTHEST, len(block.data))


class _Layout:
    """Places for directories and values in a new block."""

    def __init__(self, block: Block, directories: dict[int, list[Field]], note: Field | None) -> None:
        self.block, self.directories, self.note = block, directories, note
        self.fixed = (note.value_at, note.size) if note and _stays(note, block) else (0, 0)
        self.end = 8
        self.places: dict[int, int] = {}

    def built(self) -> bytes:
        pointers = {0: [EXIF, GPS], EXIF: [INTEROP], GPS: [], INTEROP: []}
        below = {tag: [p for p in pointers[tag] if self._is_needed(p)] for tag in self.directories}
        tables = {
            tag: self._place(2 + 12 * (len(entries) + len(below[tag])) + 4)
            for tag, entries in self.directories.items()
            if tag == 0 or self._is_needed(tag)
        }
        ranges = merged(
            (entry.value_at, entry.size)
            for entries in self.directories.values()
            for entry in entries
            if self._is_far(entry) and not (entry is self.note and self.fixed[1])
        )
        moved = [(at, length, self._place(length + length % 2)) for at, length in ranges]
        result = bytearray(max(self.end, sum(self.fixed)))
        order = self.block.order
        result[:8] = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, tables[0])
        for at, length, new in [*moved, (*self.fixed, self.fixed[0])]:
            result[new : new + length] = self.block.data[at : at + length]
        for tag, at in tables.items():
            rows = [self._row(entry, moved) for entry in self.directories[tag]]
            rows += [struct.pack(order + "HHII", pointer, 4, 1, tables[pointer]) for pointer in below[tag]]
            rows.sort(key=lambda row: struct.unpack_from(order + "H", row))
            table = struct.pack(order + "H", len(rows)) + b"".join(rows)
            result[at : at + len(table)] = table
        return bytes(result)

    def _is_needed(self, tag: int) -> bool:
        return bool(self.directories[tag]) or (tag == EXIF and bool(self.directories[INTEROP]))

    def _is_far(self, entry: Field) -> bool:
        inside = entry.size > 4 and entry.value_at + entry.size <= len(self.block.data)
        return inside and entry.kind not in _CLASSIC

    def _place(self, length: int) -> int:
        start, size = self.fixed
        if self.end < start + size and start < self.end + length:
            self.end = start + size + (start + size) % 2
        place, self.end = self.end, self.end + length
        return place

    def _row(self, entry: Field, moved: list[tuple[int, int, int]]) -> bytes:
        order, kind, count = self.block.order, _CLASSIC.get(entry.kind, entry.kind), entry.values
        if entry.kind in _CLASSIC:
            number = self.block.value(entry) if count == 1 else 0
            return struct.pack(order + "HHII", entry.tag, kind, 1, number & 0xFFFFFFFF)
        if entry.size <= 4:
            return struct.pack(order + "HHI", entry.tag, kind, count) + self.block.bytes_of(entry).ljust(
                4, b"\0"
            )
        if entry is self.note and self.fixed[1]:
            return struct.pack(order + "HHII", entry.tag, kind, count, entry.value_at)
        if self._is_far(entry):
            at, _, new = moved[bisect_right(moved, entry.value_at, key=lambda item: item[0]) - 1]
            return struct.pack(order + "HHII", entry.tag, kind, count, new + entry.value_at - at)
        return struct.pack(order + "HHII", entry.tag, kind, 0, 0)  # its value is not in the file


def begin(metadata: Metadata) -> tuple[bytes, list[tuple[int, bytes]], Literal["<", ">"]]:
    """How a file that holds these blocks begins.

    Returns:
        Its first bytes, in which the EXIF block stands where its offsets point; (tag, row of 12 bytes) of the
        block's first directory, to be among those of the file's; and the byte order, `<` or `>`.
    """
    if not metadata.exif:
        return b"II*\0" + bytes(4), [], "<"
    block = Block(metadata.exif)
    rows = [
        (entry.tag, bytes(block.data[entry.at : entry.at + 12]))
        for entry in block.entries(block.first)
        if entry.tag not in STORAGE
        and entry.value_at + entry.size <= len(block.data)  # or pixels would pass for it
    ]
    head = bytes(block.data)
    return head + bytes(len(head) % 2), rows, block.order


def tags_of(metadata: Metadata) -> list[tuple[int, int, bytes]]:
    """(tag, type, value) for what has a tag of its own, in big-endian order where it has one."""
    result = [(XMP, 1, metadata.xmp), (IPTC, 7, metadata.iptc), (ICC, 7, metadata.icc)]
    result.append(
        (PHOTOSHOP, 1, photoshop.joined(metadata.iptc, metadata.photoshop) if metadata.photoshop else None)
    )
    return [(tag, kind, value) for tag, kind, value in result if value]


def resolution_of(metadata: Metadata, order: str) -> list[tuple[int, int, bytes]]:
    """The three tags of the resolution."""
    if metadata.resolution is None:
        return []
    x, y, unit = metadata.resolution
    per = {"metre": Fraction(1, 100)}.get(unit, Fraction(1))
    code = {"aspect": 1, "inch": 2, "cm": 3, "metre": 3}[unit]
    rationals = [(number * per).limit_denominator(10**4).as_integer_ratio() for number in (x, y)]
    return [
        (_X, 5, struct.pack(order + "II", *rationals[0])),
        (_Y, 5, struct.pack(order + "II", *rationals[1])),
        (_UNIT, 3, struct.pack(order + "H", code)),
    ]


def ended(
    data: bytearray, rows: list[tuple[int, bytes]], tags: list[tuple[int, int, bytes]], order: str
) -> bytes:
    """The file that `begin` began, with its directory at the end.

    Args:
        data: Everything before the directory; its header gets the directory's offset.
        rows: Of the EXIF block, as `begin` gave them; a tag that is among `tags` too is taken from there.
        tags: (tag, type, value in `order`).
        order: `<` or `>`.
    """
    own = {tag for tag, _, _ in tags}
    entries = [row for row in rows if row[0] not in own]
    for tag, kind, value in tags:
        count = len(value) // TYPE_SIZES[kind]
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack(order + "I", len(data))
            data += value + bytes(len(value) % 2)
        entries.append((tag, struct.pack(order + "HHI", tag, kind, count) + place))
    struct.pack_into(order + "I", data, 4, len(data))
    data += struct.pack(order + "H", len(entries)) + b"".join(row for _, row in sorted(entries)) + bytes(4)
    return bytes(data)


def with_tags(data: bytes, changed: bytes, gone: Set[int]) -> bytes:
    """An EXIF block with the first directory of another TIFF structure of its byte order laid over its own.

    The new directory stands at the end: everything else stays where it was.
    """
    block, new = Block(data), Block(changed)
    rows = [
        (entry.tag, bytes(block.data[entry.at : entry.at + 12]))
        for entry in block.entries(block.first)
        if entry.tag not in gone
    ]
    tags = [(entry.tag, entry.kind, new.bytes_of(entry)) for entry in new.entries(new.first)]
    return ended(bytearray(data + bytes(len(data) % 2)), rows, tags, block.order)
