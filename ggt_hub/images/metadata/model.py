"""`Metadata`: what a picture carries beside its pixels, as the bytes that the file held."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, NamedTuple


class Resolution(NamedTuple):
    """Pixels for each unit of length, across and down; `aspect` gives only the shape of a pixel."""

    x: Fraction
    y: Fraction
    unit: Literal["inch", "cm", "metre", "aspect"]

    def per(self, unit: Literal["inch", "metre"]) -> tuple[int, int]:
        """The nearest whole numbers in another unit; `aspect` stays as it is."""
        metres = {"inch": Fraction(254, 10000), "cm": Fraction(1, 100), "metre": Fraction(1)}
        factor = Fraction(1) if self.unit == "aspect" else metres[unit] / metres[self.unit]
        return max(1, round(self.x * factor)), max(1, round(self.y * factor))

    def is_sane(self) -> bool:
        """Whether a device could have it: at most ten million pixels a metre."""
        return (
            self.x > 0
            and self.y > 0
            and max(self.per("metre")) <= (65535 if self.unit == "aspect" else 10**7)
        )


@dataclass(frozen=True)
class Metadata:
    """Blocks of bytes, each as its standard defines it; None, or an empty tuple, where the picture has none.

    Attributes:
        exif: A TIFF structure (EXIF 2.32, 4.5) without the `Exif` that JPEG puts before it; upright, without
            thumbnail. Every offset is where the camera put it, so that maker notes stay readable.
        xmp: An XMP packet (ISO 16684-1) that points at nothing outside itself, or at `extended_xmp`.
        extended_xmp: What did not fit into a JPEG's first packet (XMP part 3, 1.1.3.1).
        iptc: IPTC-IIM datasets.
        photoshop: Photoshop image resources (`8BIM`) other than IPTC and thumbnails.
        icc: The ICC profile of the pixels.
        cicp: Primaries, transfer, matrix and range of ITU-T H.273: four bytes, as PNG's cICP.
        gamma: PNG's gAMA, four bytes.
        chromaticities: PNG's cHRM, 32 bytes.
        intent: PNG's sRGB, one byte: the pixels are sRGB, and this the rendering intent.
        resolution: For printing.
        comments: Free text without a name: of JPEG and GIF.
        texts: (kind, data) of PNG's text chunks.
        chunks: (kind, data) of other PNG chunks that may be copied.
        lossless: Whether a WebP file held every bit of its pixels, which it then does again.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    extended_xmp: bytes | None = None
    iptc: bytes | None = None
    photoshop: bytes | None = None
    icc: bytes | None = None
    cicp: bytes | None = None
    gamma: bytes | None = None
    chromaticities: bytes | None = None
    intent: bytes | None = None
    resolution: Resolution | None = None
    comments: tuple[bytes, ...] = ()
    texts: tuple[tuple[bytes, bytes], ...] = ()
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    lossless: bool = False

    def of_colour(self, cicp: bytes) -> "Metadata":
        """These blocks for pixels that were converted to another colour space: nothing tells of the old one."""
        chunks = tuple(chunk for chunk in self.chunks if chunk[0] not in _OF_HDR)
        return replace(self, cicp=cicp, icc=None, gamma=None, chromaticities=None, intent=None, chunks=chunks)

    def without(self, field: str) -> "Metadata":
        """These blocks but one."""
        return replace(self, **{field: getattr(Metadata, field)})


_OF_HDR = (b"mDCV", b"mDCv", b"cLLI", b"cLLi")


@dataclass(frozen=True)
class Carried:
    """What a file carries beside its pixels.

    Attributes:
        metadata: ready for another file.
        left_behind: in words, what cannot go with the picture.
        orientation: how EXIF says that the stored pixels are to be turned, 1 to 8.
    """

    metadata: Metadata = Metadata()
    left_behind: tuple[str, ...] = ()
    orientation: int = 1


WORDS = {
    "exif": "EXIF",
    "xmp": "XMP",
    "extended_xmp": "extended XMP",
    "iptc": "IPTC",
    "photoshop": "Photoshop resources",
    "icc": "ICC profile",
    "cicp": "CICP",
    "gamma": "gamma",
    "chromaticities": "chromaticities",
    "intent": "sRGB intent",
    "resolution": "resolution",
    "comments": "comments",
    "texts": "text chunks",
    "chunks": "other PNG chunks",
}
"""What people call each block: `kept` and `left_behind` consist of these."""
