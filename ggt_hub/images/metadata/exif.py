"""EXIF as bytes: the few numbers that a new picture makes wrong are changed where they stand, all else stays.

Only five directories are looked at (the first, Exif, GPS, Interoperability, thumbnail), none twice, and nothing is
unpacked: what a block claims costs no more than the bytes that it has.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable
from typing import Literal, NamedTuple

from ggt_hub.images.ifd import TYPE_SIZES

SHORT, LONG = 3, 4
EXIF, GPS, INTEROP, MAKER_NOTE = 34665, 34853, 40965, 37500
ORIENTATION, RESOLUTION = 274, (282, 283)
SIDEWAYS = 5  # this Orientation and those above exchange width and height
_WIDTHS, _HEIGHTS = {256, 40962, 4097}, {257, 40963, 4098}
_THUMBNAIL_AT, _THUMBNAIL_LENGTH, _STRIPS_AT, _STRIP_LENGTHS = 513, 514, 273, 279


class Field(NamedTuple):
    """One entry of a directory: where it stands, what it is, where its value lies."""

    at: int
    tag: int
    kind: int
    values: int
    value_at: int
    size: int


class Block:
    """A TIFF structure (TIFF 6.0, section 2; BigTIFF too) whose directories are read on demand.

    Raises:
        ValueError: If it does not begin as such.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        if data[:2] not in (b"II", b"MM"):
            raise ValueError("it does not begin as TIFF does")
        self.order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
        self.big = self.number(2, 2) == 43
        self.first = self.number(8, 8) if self.big else self.number(4, 4)
        if not 8 <= self.first <= len(data) - 2:
            raise ValueError("its first directory is missing")

    def number(self, at: int, size: int) -> int:
        """The unsigned integer of so many bytes at `at`."""
        return int.from_bytes(self.data[at : at + size], "little" if self.order == "<" else "big")

    def entries(self, at: int) -> list[Field]:
        """The directory at `at`; what does not fit into the block is not there."""
        head, width, inline = (8, 20, 8) if self.big else (2, 12, 4)
        if not 8 <= at <= len(self.data) - head:
            return []
        count = min(self.number(at, head), (len(self.data) - at - head) // width)
        table = memoryview(self.data)[at + head : at + head + count * width]
        entries = []
        for index, row in enumerate(struct.iter_unpack(self.order + ("HHQQ" if self.big else "HHII"), table)):
            tag, kind, number, value = row
            position, size = at + head + index * width, TYPE_SIZES.get(kind, 0) * number
            value_at = position + width - inline if size <= inline else value
            entries.append(Field(position, tag, kind, number, value_at, size))
        return entries

    def next_at(self, at: int) -> int:
        """Where the directory at `at` keeps the offset of the one that follows it."""
        head, width = (8, 20) if self.big else (2, 12)
        return at + head + self.number(at, head) * width

    def value(self, entry: Field) -> int:
        """The first number of an entry."""
        return self.number(entry.value_at, TYPE_SIZES.get(entry.kind, 0))

    def put(self, at: int, data: bytes) -> None:
        """Change bytes where they stand, in a block made of a bytearray."""
        assert isinstance(self.data, bytearray)  # noqa: S101 - what is read may be a file of a gigabyte: no copy
        self.data[at : at + len(data)] = data

    def bytes_of(self, entry: Field) -> bytes:
        """The value as it stands."""
        return bytes(self.data[entry.value_at : entry.value_at + entry.size])

    def below(self, entries: Iterable[Field], pointer: int) -> list[Field]:
        """The directory that an entry with this tag points at; none if there is none."""
        for entry in entries:
            if entry.tag == pointer:
                return self.entries(self.value(entry))
        return []

    def directories(self) -> dict[int, list[Field]]:
        """The first directory (0) and those of EXIF, GPS and INTEROP below it."""
        main = self.entries(self.first)
        exif = self.below(main, EXIF)
        return {0: main, EXIF: exif, GPS: self.below(main, GPS), INTEROP: self.below(exif, INTEROP)}


def stated_orientation(data: bytes) -> int | None:
    """The Orientation of a block; None where it is missing, absurd or unreadable."""
    try:
        block = Block(data)
        values = [block.value(entry) for entry in block.entries(block.first) if entry.tag == ORIENTATION]
    except ValueError:
        return None
    return values[0] if values and 1 <= values[0] <= 8 else None


def upright(data: bytes) -> bytes:
    """The block with Orientation 1 and without its thumbnail, every offset where it was.

    Raises:
        ValueError: If it is no TIFF structure.
    """
    block = Block(bytearray(data))
    entries = block.entries(block.first)
    if (stated_orientation(data) or 1) >= SIDEWAYS:
        _swap(block, *[next((entry for entry in entries if entry.tag == tag), None) for tag in RESOLUTION])
    for entry in entries:
        if entry.tag == ORIENTATION:
            _put_number(block, entry, SHORT, 1)
    return _without_thumbnail(block)


def with_size(data: bytes, size: tuple[int, int]) -> bytes:
    """The block with the (width, height) that the picture has now, wherever it states one."""
    block = Block(bytearray(data))
    for entries in block.directories().values():
        for entry in entries:
            if entry.tag in _WIDTHS | _HEIGHTS:
                number = size[entry.tag in _HEIGHTS]
                _put_number(block, entry, SHORT if entry.kind == SHORT and number < 65536 else LONG, number)
    return bytes(block.data)


def without_gps(data: bytes) -> bytes:
    """The block without its GPS directory, the bytes of which become zero."""
    block = Block(bytearray(data))
    directories = block.directories()
    gps = directories.pop(GPS)
    pointers = [entry for entry in directories[0] if entry.tag == GPS]
    tables = [(block.value(pointer), 2 + 12 * len(gps) + 4) for pointer in pointers if gps]
    _blank(block, tables + [(entry.value_at, entry.size) for entry in gps], directories)
    for pointer in reversed(pointers):
        _remove(block, pointer)
    return bytes(block.data)


def _put_number(block: Block, entry: Field, kind: int, number: int) -> None:
    form = "HHIHxx" if kind == SHORT else "HHII"
    block.put(entry.at, struct.pack(block.order + form, entry.tag, kind, 1, number))


def _swap(block: Block, one: Field | None, other: Field | None) -> None:
    """Exchange the values of two entries of one type: what was across is down now."""
    alike = one and other and (one.kind, one.size) == (other.kind, other.size)
    if one and other and alike and block.bytes_of(one) != block.bytes_of(other):
        places = [bytes(block.data[entry.at + 8 : entry.at + 12]) for entry in (one, other)]
        block.put(one.at + 8, places[1])
        block.put(other.at + 8, places[0])


def _without_thumbnail(block: Block) -> bytes:
    link = block.next_at(block.first)
    second = block.number(link, 4) if link + 4 <= len(block.data) else 0
    if not second:
        return bytes(block.data)
    block.put(link, bytes(4))
    thumbnail = block.entries(second)
    numbers = {entry.tag: block.value(entry) for entry in thumbnail}
    at = numbers.get(_THUMBNAIL_AT, numbers.get(_STRIPS_AT, 0))
    length = numbers.get(_THUMBNAIL_LENGTH, numbers.get(_STRIP_LENGTHS, 0))
    unused = [(second, 2 + 12 * len(thumbnail) + 4), (at, length)]
    unused += [(entry.value_at, entry.size) for entry in thumbnail]
    _blank(block, unused, block.directories())
    if 0 < at <= len(block.data) <= at + length and not any(block.data[at:]):
        return bytes(block.data[:at])
    return bytes(block.data)


def _blank(block: Block, ranges: list[tuple[int, int]], used: dict[int, list[Field]]) -> None:
    """Zero the ranges, unless directories that stay use some of their bytes."""
    in_use = [(0, 8), (block.first, 2 + 12 * len(used[0]) + 4)]
    for tag, entries in used.items():
        in_use += [(entry.value_at, entry.size) for entry in entries]
        in_use += [(entry.at, 12) for entry in entries if tag]
    taken = merged(in_use)
    for at, length in merged(ranges):
        end = min(at + length, len(block.data))
        before = bisect_left(taken, (end, 0)) - 1  # the last that begins before this ends
        if at < end and (before < 0 or sum(taken[before]) <= at):
            block.put(at, bytes(end - at))


def _remove(block: Block, entry: Field) -> None:
    """Take one entry of the first directory out; those behind it move up, their values stay."""
    end = block.next_at(block.first) + 4
    rest = bytes(block.data[entry.at + 12 : end])
    block.put(entry.at, rest + bytes(end - entry.at - len(rest)))
    block.put(block.first, struct.pack(block.order + "H", block.number(block.first, 2) - 1))


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """(start, length) ranges in order, those that overlap as one, so that each byte is in one at most."""
    result: list[tuple[int, int]] = []
    for at, length in sorted(ranges):
        if result and at < sum(result[-1]):
            start = result[-1][0]
            result[-1] = (start, max(sum(result[-1]), at + length) - start)
        elif length:
            result.append((at, length))
    return result
