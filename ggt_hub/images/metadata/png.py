"""What a PNG carries in its chunks (PNG 3rd edition, 11.3)."""

import binascii
import re
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from ggt_hub.images.faults import DECODER_ERRORS
from ggt_hub.images.metadata import photoshop
from ggt_hub.images.metadata.model import Metadata, Resolution

_XMP = b"XML:com.adobe.xmp"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# How this very file holds its pixels, and the frames of an animation, which `read_image` speaks of.
_STORAGE = {
    *(b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"sBIT", b"bKGD", b"hIST", b"iDOT"),
    *(b"acTL", b"fcTL", b"fdAT"),
    b"tIME",  # when those pixels were changed last
}
_SINGLE = {b"eXIf": "exif", b"cICP": "cicp", b"gAMA": "gamma", b"cHRM": "chromaticities", b"sRGB": "intent"}
_LIGHT = (b"mDCV", b"cLLI")  # what a screen should know of HDR; the pixels' range stays as it was
_PROFILE = re.compile(rb"Raw profile type (exif|APP1|iptc|8bim|xmp|icc|icm)")
_MOST_UNPACKED = 2**25  # a profile or packet of more than 32 MB exists only to cost memory


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of every chunk but those of the pixels, whose bytes are passed over."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, b"" if kind in (b"IDAT", b"fdAT") else data[position + 8 : position + 8 + length]
        position += 12 + length


def read(data: bytes) -> tuple[Metadata, list[str]]:
    """What is carried, and in words what is not. A damaged chunk costs only itself."""
    found: dict[str, Any] = {"texts": [], "chunks": [], "profiles": set()}
    left: list[str] = []
    for kind, payload in chunks(data):
        try:
            carried = kind in _STORAGE or _sort(kind, payload, found)
        except DECODER_ERRORS as error:
            left.append(f"PNG chunk {kind.decode('latin-1')}, which is damaged ({error})")
            continue
        if kind == b"caBX":
            left.append("content credentials (C2PA), which hold for the original only")
        elif not carried:
            left.append(f"PNG chunk {kind.decode('latin-1')}")
    del found["profiles"]
    texts, others = tuple(found.pop("texts")), tuple(found.pop("chunks"))
    return Metadata(**found, texts=texts, chunks=others), list(dict.fromkeys(left))


def _sort(kind: bytes, payload: bytes, found: dict[str, Any]) -> bool:
    """Put one chunk where it belongs; False for one that must not go into another file."""
    if kind in _SINGLE:
        found.setdefault(_SINGLE[kind], payload)
    elif kind == b"iCCP":
        if "icc" not in found:
            found["icc"] = None  # so that a bomb goes off once
            found["icc"] = unpacked(payload.partition(b"\0")[2][1:])
    elif kind == b"pHYs":
        x, y, unit = struct.unpack(">IIB", payload)
        if x and y:
            found["resolution"] = Resolution(Fraction(x), Fraction(y), "metre" if unit == 1 else "aspect")
    elif kind in _TEXTS:
        _sort_text(kind, payload, found)
    elif kind in _LIGHT or kind[3:].islower():  # "safe to copy", as the standard has every chunk say (5.4)
        found["chunks"].append((kind, payload))
    else:
        return False
    return True


def unpacked(data: bytes) -> bytes:
    """A zlib stream, refused where it grows beyond all measure.

    Raises:
        ValueError: If it does, or is cut.
    """
    stream = zlib.decompressobj()
    result = stream.decompress(data, _MOST_UNPACKED)
    if not stream.eof:
        raise ValueError("it is cut, or unpacks to more than 32 MB")
    return result


def _sort_text(kind: bytes, payload: bytes, found: dict[str, Any]) -> None:
    """XMP, and the profiles that ImageMagick hides among the texts, to their fields; other texts as they are."""
    keyword, _, rest = payload.partition(b"\0")
    profile = _PROFILE.fullmatch(keyword)
    if keyword == _XMP and kind == b"iTXt":
        if "xmp" not in found:
            text = rest[2:].split(b"\0", 2)[2]
            found["xmp"] = unpacked(text) if rest[:1] == b"\1" else text
    elif profile and kind != b"iTXt":
        if profile[1] not in found["profiles"]:  # so that a bomb goes off once
            found["profiles"].add(profile[1])
            _sort_profile(
                profile[1], _from_hexadecimal(unpacked(rest[1:]) if kind == b"zTXt" else rest), found
            )
    else:
        found["texts"].append((kind, payload))


def _sort_profile(name: bytes, block: bytes, found: dict[str, Any]) -> None:
    if name in (b"exif", b"APP1") and block.startswith(b"Exif\0\0"):
        found.setdefault("exif", block[6:])
    elif name in (b"xmp", b"APP1"):
        found.setdefault("xmp", block.removeprefix(b"http://ns.adobe.com/xap/1.0/\0"))
    elif name in (b"iptc", b"8bim"):
        inside = photoshop.split(block) if block.startswith(b"8BIM") else photoshop.Resources(iptc=block)
        found.update(
            {key: part for key, part in (("iptc", inside.iptc), ("photoshop", inside.others)) if part}
        )
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
    return result + list(metadata.chunks) + list(metadata.texts)


def _comment(comment: bytes) -> tuple[bytes, bytes]:
    text = comment.rstrip(b"\0").replace(b"\0", b"\n")
    try:
        text.decode()
    except UnicodeDecodeError:
        return b"tEXt", b"Comment\0" + text
    return (b"tEXt", b"Comment\0" + text) if text.isascii() else (b"iTXt", b"Comment" + bytes(5) + text)
