"""XMP as text: single properties changed or taken out where they stand, all else as it was."""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_TIFF, _EXIF = b"http://ns.adobe.com/tiff/1.0/", b"http://ns.adobe.com/exif/1.0/"
_XMP, _NOTE = b"http://ns.adobe.com/xap/1.0/", b"http://ns.adobe.com/xmp/note/"
_PANORAMA = b"http://ns.google.com/photos/1.0/panorama/"
_WIDTHS, _HEIGHTS = (
    {(_TIFF, b"ImageWidth"), (_EXIF, b"PixelXDimension")},
    {
        (_TIFF, b"ImageLength"),
        (_EXIF, b"PixelYDimension"),
    },
)
# Properties that speak of what stood elsewhere in the file: gain map, film, thumbnail, depth of Apple's.
_GONE_NAMESPACES = (
    b"http://ns.google.com/photos/1.0/container/",
    b"http://ns.adobe.com/hdr-gain-map/1.0/",
    b"http://ns.apple.com/HDRGainMap/1.0/",
    b"http://ns.apple.com/pixeldatainfo/1.0/",
    b"http://ns.google.com/photos/dd/1.0/",
)
_GONE_NAMES = re.compile(rb"MotionPhoto|MicroVideo|Thumbnails$")
GAIN_MAP = re.compile(rb"hdr-gain-map|HDRGainMap|Semantic=[\"']GainMap|hdrgainmap")
FILM = re.compile(rb"MotionPhoto(?!Version)|MicroVideo(?!Version)")
_PIXELS = re.compile(rb"(FullPano|CroppedArea)\w+Pixels$")
_SIZES = re.compile(rb"ImageWidth|ImageLength|Pixel[XY]Dimension|ImageHeightPixels|Pano")
PLACES = re.compile(rb"gps|latitude|longitude|altitude", re.IGNORECASE)
_ELSEWHERE = re.compile(rb"\s*self#jumbf")  # content credentials, whose signature a changed picture breaks

_MOST_BYTES, _MOST_TOKENS = 2**24, 50_000  # larger packets exist only to cost time
_MOST_NESTED = 200
_TOKEN = re.compile(
    rb"<!--.*?-->|<\?.*?\?>|<!\[CDATA\[.*?\]\]>"
    rb"|<(?P<close>/?)(?P<name>[^\s/>!?\"'=<]+)(?P<attributes>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*+)>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(rb"\s++([^\s=\"'<>/]++)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)')")


class Property(NamedTuple):
    """One attribute or element: its namespace and name, where it stands, and where its value does."""

    name: tuple[bytes, bytes]
    start: int
    end: int
    value_start: int
    value_end: int


Edit = Callable[[Property, bytes], bytes | None]
"""From a property and its value to the value that it gets: the same, another, or None to take it out."""


def properties(packet: bytes) -> Iterator[Property]:
    """Every attribute and every element of a packet, an element after what is in it.

    Raises:
        ValueError: If it is not well-formed XML in UTF-8, is too large, or has a document type.
    """
    if len(packet) > _MOST_BYTES:
        raise ValueError(f"{len(packet) / 1e6:.0f} MB of it")
    packet.decode()
    open_elements: list[tuple[bytes, int, int, dict[bytes, bytes]]] = []
    position = tokens = 0
    while (position := packet.find(b"<", position)) >= 0:
        token = _TOKEN.match(packet, position)
        if token is None:
            raise ValueError(f"no XML at byte {position}")
        if (tokens := tokens + 1) > _MOST_TOKENS:
            raise ValueError("it has no end of tags")
        name = token["name"]
        if name is None:
            pass
        elif token["close"]:
            if not open_elements or open_elements[-1][0] != name:
                raise ValueError(f"</{name.decode()}> closes nothing")
            _, start, inside, spaces = open_elements.pop()
            yield Property(_qualified(name, spaces), start, token.end(), inside, token.start())
        else:
            spaces = open_elements[-1][3] if open_elements else {}
            attributes = list(_attributes(packet, *token.span("attributes")))
            tokens += len(attributes)
            if declared := {
                found[1][6:]: found[2] or found[3] for found in attributes if found[1][:6] == b"xmlns:"
            }:
                spaces = spaces | declared
            if len(spaces) > _MOST_NESTED or len(open_elements) > _MOST_NESTED:
                raise ValueError("it is nested without end")
            for found in attributes:
                value = found.span(2) if found[2] is not None else found.span(3)
                yield Property(_qualified(found[1], spaces), *found.span(), *value)
            if token["attributes"].endswith(b"/"):
                yield Property(_qualified(name, spaces), *token.span(), token.end(), token.end())
            else:
                open_elements.append((name, token.start(), token.end(), spaces))
        position = token.end()
    if open_elements:
        raise ValueError(f"<{open_elements[-1][0].decode()}> is not closed")


def _attributes(packet: bytes, position: int, end: int) -> Iterator[re.Match[bytes]]:
    for _ in range(_MOST_TOKENS):
        found = _ATTRIBUTE.match(packet, position, end)
        if found is None:
            break
        yield found
        position = found.end()
    if packet[position:end].strip() not in (b"", b"/"):
        raise ValueError(f"no attribute at byte {position}")


def _qualified(name: bytes, spaces: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    prefix, colon, local = name.partition(b":")
    return (spaces.get(prefix, prefix), local) if colon else (b"", name)


def edited(packet: bytes, edit: Edit) -> bytes:
    """The packet with each property as `edit` wants it.

    Raises:
        ValueError: As `properties`.
    """
    changes = []
    for found in properties(packet):
        value = packet[found.value_start : found.value_end]
        wanted = edit(found, value)
        if wanted is None:
            changes.append((found.start, found.end, b""))
        elif wanted != value:
            changes.append((found.value_start, found.value_end, wanted))
    result, position = [], 0
    for start, end, text in sorted(changes, key=lambda change: (change[0], -change[1])):
        if start >= position:  # what lies inside a removed element is gone with it
            result += [packet[position:start], text]
            position = end
    return b"".join([*result, packet[position:]])


def portable(packet: bytes) -> bytes:
    """The packet of an upright picture that stands alone: what it says of other parts of its old file is gone."""

    def edit(found: Property, value: bytes) -> bytes | None:
        space, local = found.name
        if (value if space == b"xmlns" else space).startswith(_GONE_NAMESPACES):
            return None
        if _GONE_NAMES.match(local) or _ELSEWHERE.match(value):
            return None
        return b"1" if found.name == (_TIFF, b"Orientation") else value

    return edited(packet, edit)


def with_size(packet: bytes, size: tuple[int, int]) -> bytes:
    """The packet with the (width, height) that the picture has now, wherever it states one."""
    if not _SIZES.search(packet):
        return packet
    said = _of_panorama(packet)
    before = _number(said.get(b"CroppedAreaImageWidthPixels", b""))

    def edit(found: Property, value: bytes) -> bytes:
        if found.name in _WIDTHS | _HEIGHTS:
            return b"%d" % size[found.name in _HEIGHTS]
        if before and found.name[0] == _PANORAMA and _PIXELS.match(found.name[1]):
            return b"%d" % round(_number(value) * size[0] / before)
        return value

    return edited(packet, edit)


def without_gps(packet: bytes) -> bytes:
    """The packet without any property that is named after a position on Earth."""

    def edit(found: Property, value: bytes) -> bytes | None:
        return None if PLACES.search(found.name[1]) and found.name[0] != b"xmlns" else value

    return edited(packet, edit)


def with_extension(packet: bytes, extended: bytes | None) -> bytes:
    """The packet with the note that names its extended part by MD5, or without that note."""
    if _NOTE not in packet:
        return packet

    def edit(found: Property, value: bytes) -> bytes | None:
        if found.name != (_NOTE, b"HasExtendedXMP"):
            return value
        return guid(extended) if extended else None

    return edited(packet, edit)


def guid(extended: bytes) -> bytes:
    """How a packet names its extended part (XMP part 3, 1.1.3.1): its MD5 in capitals."""
    return hashlib.md5(extended, usedforsecurity=False).hexdigest().upper().encode()


def is_full_panorama(packet: bytes) -> bool:
    """Whether GPano says that the right edge goes on at the left: equirectangular, 360 degrees wide."""
    if _PANORAMA not in packet:
        return False
    try:
        said = _of_panorama(packet)
    except ValueError:
        return False
    names = (b"FullPanoWidthPixels", b"CroppedAreaImageWidthPixels")
    widths = {_number(said[name]) for name in names if name in said}
    return (
        said.get(b"ProjectionType", b"").lower() == b"equirectangular" and len(widths) < 2 and 0 not in widths
    )


def _of_panorama(packet: bytes) -> dict[bytes, bytes]:
    """What GPano says."""
    return {
        found.name[1]: packet[found.value_start : found.value_end].strip()
        for found in properties(packet)
        if found.name[0] == _PANORAMA
    }


def _number(text: bytes) -> int:
    return int(text) if re.fullmatch(rb"\s*\d{1,9}\s*", text) else 0


def stated_orientation(packet: bytes) -> int | None:
    """The `tiff:Orientation` of a packet, 1 to 8; None where it has none."""
    found = re.search(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])\b", packet)
    return int(found[1]) if found else None
