"""What a PNG carries in its chunks (PNG 3rd edition, 11.3)."""

import binascii
import re
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from ggt_hub.images.metadata import photoshop
from ggt_hub.images.metadata.model import Metadata, Resolution

_XMP = b"XML:com.adobe.xmp"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# How this very file holds its pixels, and the frames of an animation, which `read_image` speaks of.
_STORAGE = {
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"IDAT",
    b"IEND",
    b"sBIT",
    b"bKGD",
    b"hIST",
    b"iDOT",
    b"acTL",
    b"fcTL",
    b"fdAT",
}
_MOST_UNPACKED = 2**25  # a profile or packet of more than 32 MB exists only to cost memory


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of every chunk but those of the pixels, whose bytes are passed over."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, b"" if kind in (b"IDAT", b"fdAT") else data[position + 8 : position + 8 + length]
        position += 12 + length


def read(data: bytes) -> tuple[Metadata, list[str]]:
    """What is carried, and in words what is not."""
    found: dict[str, Any] = {}
    texts: list[tuple[bytes, bytes]] = []
    left: list[str] = []
    single = {
        b"eXIf": "exif",
        b"cICP": "cicp",
        b"gAMA": "gamma",
        b"cHRM": "chromaticities",
        b"sRGB": "intent",
    }
    for kind, payload in chunks(data):
        if kind in single:
            found.setdefault(single[kind], payload)
        elif kind == b"iCCP":
            found.setdefault("icc", unpacked(payload.partition(b"\0")[2][1:]))
        elif kind == b"pHYs" and len(payload) == 9:
            x, y, unit = struct.unpack(">IIB", payload)
            if x and y:
                found["resolution"] = Resolution(Fraction(x), Fraction(y), "metre" if unit == 1 else "aspect")
        elif kind in _TEXTS:
            _sort_text(kind, payload, found, texts)
        elif kind == b"caBX":
            left.append("content credentials (C2PA), which hold for the original only")
        elif kind not in _STORAGE:
            left.append(f"PNG chunk {kind.decode('latin-1')}")
    return Metadata(**found, texts=tuple(texts)), list(dict.fromkeys(left))


def unpacked(data: bytes) -> bytes:
    """A zlib stream, refused where it grows beyond all measure.

    Raises:
        ValueError: If it does, or is cut.
    """
    stream = zlib.decompressobj()
    result = stream.decompress(data, _MOST_UNPACKED)
    if not stream.eof:
        raise ValueError("a compressed chunk is cut or a bomb")
    return result


def _sort_text(kind: bytes, payload: bytes, found: dict[str, Any], texts: list[tuple[bytes, bytes]]) -> None:
    """XMP, and the profiles that ImageMagick hides among the texts, to their fields; other texts to `texts`."""
    keyword, _, rest = payload.partition(b"\0")
    profile = re.fullmatch(rb"Raw profile type (exif|APP1|iptc|8bim|xmp|icc|icm)", keyword)
    if keyword == _XMP and kind == b"iTXt":
        compressed, rest = rest[:1] == b"\1", rest[2:]
        text = rest.split(b"\0", 2)[2]
        found.setdefault("xmp", unpacked(text) if compressed else text)
    elif profile and kind != b"iTXt":
        _sort_profile(profile[1], _from_hexadecimal(unpacked(rest[1:]) if kind == b"zTXt" else rest), found)
    else:
        texts.append((kind, payload))


def _sort_profile(name: bytes, block: bytes, found: dict[str, Any]) -> None:
    if name in (b"exif", b"APP1") and block.startswith(b"Exif\0\0"):
        found.setdefault("exif", block[6:])
    elif name in (b"xmp", b"APP1"):
        found.setdefault("xmp", block.removeprefix(b"http://ns.adobe.com/xap/1.0/\0"))
    elif name in (b"iptc", b"8bim"):
        iptc, others = photoshop.split(block) if block.startswith(b"8BIM") else (block, None)
        found.update({key: block for key, block in (("iptc", iptc), ("photoshop", others)) if block})
    elif name in (b"icc", b"icm"):
        found.setdefault("icc", block)


def _from_hexadecimal(text: bytes) -> bytes:
    """ImageMagick's form: a line break, a name, a length, and the bytes in hexadecimal digits."""
    _, _, _, digits = text.split(b"\n", 3)
    return binascii.unhexlify(re.sub(rb"\s", b"", digits))


def _as_hexadecimal(name: bytes, block: bytes) -> bytes:
    digits = binascii.hexlify(block)
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = b"\n%s\n%8d\n%s\n" % (name, len(block), lines)
    return b"Raw profile type %s\0\0" % name + zlib.compress(text)


def written(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """The chunks that hold these blocks, in an order that may stand between IHDR and the pixels."""
    result = []
    for kind, block in (
        (b"cICP", metadata.cicp),
        (b"iCCP", metadata.icc and b"ICC profile\0\0" + zlib.compress(metadata.icc)),
        (b"sRGB", metadata.intent),
        (b"gAMA", metadata.gamma),
        (b"cHRM", metadata.chromaticities),
        (b"eXIf", metadata.exif),
        (b"iTXt", metadata.xmp and _XMP + bytes(5) + metadata.xmp),
    ):
        if block:
            result.append((kind, block))
    if metadata.resolution:
        unit = metadata.resolution.unit != "aspect"
        result.append((b"pHYs", struct.pack(">IIB", *metadata.resolution.per("metre"), unit)))
    if resources := photoshop.joined(metadata.iptc, metadata.photoshop):
        result.append((b"zTXt", _as_hexadecimal(b"iptc", resources)))
    result += [_comment(comment) for comment in metadata.comments]
    return result + list(metadata.texts)


def _comment(comment: bytes) -> tuple[bytes, bytes]:
    text = comment.rstrip(b"\0").replace(b"\0", b"\n")
    try:
        text.decode()
    except UnicodeDecodeError:
        return b"tEXt", b"Comment\0" + text
    return (b"tEXt", b"Comment\0" + text) if text.isascii() else (b"iTXt", b"Comment" + bytes(5) + text)
