"""TIFF directories, which EXIF uses too: where values lie, without reading them, so that none can cost anything."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

TYPE_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_FORMATS = {
    1: "B",
    3: "H",
    4: "I",
    6: "b",
    8: "h",
    9: "i",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
_SUB_DIRECTORIES = (330, 0x8769, 0x8825, 0xA005)  # SubIFDs, Exif, GPS, Interoperability
_MOST_DIRECTORIES = 10_000
_MOST_NUMBERS = 1_000_000


class RepetitionError(ValueError):
    """Directories or values lie on the same bytes again and again."""


@dataclass(frozen=True)
class Directory:
    """One directory: where the value of each tag lies.

    Args:
        data: The whole file or EXIF block.
        order: `<` or `>`, as `struct` names byte orders.
        offset: Where the directory begins.
        entries: Tag to (type, number of values, position, bytes), the bytes cut to what the file holds.
        following: Where the next directory of the chain begins, 0 for none.
        weight: The bytes that its entries and all their values take, those of tags that stand there twice included.
    """

    data: bytes = field(repr=False)
    order: str
    offset: int
    entries: dict[int, tuple[int, int, int, int]]
    following: int
    weight: int

    def numbers(self, tag: int) -> tuple[float, ...]:
        """The values of a tag that holds numbers; empty if it is missing, of another type, or cut short."""
        kind, count, position, size = self.entries.get(tag, (0, 0, 0, 0))
        if kind not in _FORMATS or size < count * TYPE_SIZES[kind] or count > _MOST_NUMBERS:
            return ()
        return struct.unpack_from(f"{self.order}{count}{_FORMATS[kind]}", self.data, position)

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of a tag, as an integer."""
        return int((self.numbers(tag) or (default,))[0])

    def value(self, tag: int) -> bytes:
        """The bytes of a tag."""
        _, _, position, size = self.entries.get(tag, (0, 0, 0, 0))
        return self.data[position : position + size]


def chain(data: bytes) -> list[Directory]:
    """The directories of a TIFF, BigTIFF, JPEG XR or EXIF block, one after the other; a loop ends the list.

    Raises:
        ValueError: For data that do not begin as such a file does.
        RepetitionError: If they unpack to more than twice the size of the block. No program writes that. It is how
            65 KB become 86 MB: tags that point at the same bytes again and again.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("it begins as no TIFF does")
    is_big = 43 in data[2:4]
    start = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)[0]
    found: dict[int, Directory] = {}
    budget = 2 * len(data)
    while start and start not in found and len(found) < _MOST_DIRECTORIES:
        directory = directory_at(data, start, order, is_big)
        if directory is None:
            break
        found[start] = directory
        start = directory.following
        budget -= directory.weight
        if budget < 0:
            raise RepetitionError(_AGAIN)
    return list(found.values())


def directory_at(data: bytes, start: int, order: str, is_big: bool) -> Directory | None:
    """The directory at an offset; None if the file ends before it does."""
    head, entry, offset = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    head_size, entry_size, inline = (8, 20, 8) if is_big else (2, 12, 4)
    if start + head_size > len(data):
        return None
    count = struct.unpack_from(order + head, data, start)[0]
    entries, weight = {}, 0
    position = start + head_size
    for _ in range(min(count, (len(data) - position) // entry_size)):
        tag, kind, number = struct.unpack_from(order + entry, data, position)
        at = position + entry_size - inline
        size = number * TYPE_SIZES.get(kind, 0)
        if size > inline:
            at = struct.unpack_from(order + offset, data, at)[0]
        size = max(0, min(size, len(data) - at))
        entries[tag] = (kind, number, at, size)
        weight += entry_size + size
        position += entry_size
    complete = position + inline <= len(data)
    following = struct.unpack_from(order + offset, data, position)[0] if complete else 0
    return Directory(data, order, start, entries, following, weight)


def sub_directories(directory: Directory, tags: tuple[int, ...] = _SUB_DIRECTORIES) -> Iterator[Directory]:
    """The directories that a directory points at, and those below them; each once."""
    is_big = 43 in directory.data[2:4]
    seen, waiting, budget = {directory.offset}, [directory], 2 * len(directory.data)
    while waiting and len(seen) < _MOST_DIRECTORIES:
        above = waiting.pop()
        for offset in (int(n) for tag in tags for n in above.numbers(tag)):
            if offset in seen:
                continue
            seen.add(offset)
            if below := directory_at(directory.data, offset, directory.order, is_big):
                budget -= below.weight
                if budget < 0:
                    raise RepetitionError(_AGAIN)
                waiting.append(below)
                yield below


def repeats_itself(data: bytes) -> bool:
    """Whether the directories of a TIFF or EXIF block, those below them included, are too many for its size."""
    budget = 2 * len(data)
    try:
        for directory in chain(data):
            for each in (directory, *sub_directories(directory)):
                budget -= each.weight
                if budget < 0:
                    return True
    except RepetitionError:
        return True
    except (ValueError, struct.error):
        return False
    return False


_AGAIN = "its tags point at the same bytes again and again"
REPEATS = "points at the same bytes again and again and was left behind"
