"""From the bytes of a file to `Picture`: what it is, and who reads it."""

import re
from collections.abc import Callable
from dataclasses import replace

from ggt_hub.errors import ImageError
from ggt_hub.images import avif, deep, hdr, jpeg, png, readers, tiff
from ggt_hub.images.faults import DECODER_ERRORS, damage
from ggt_hub.images.metadata import extract
from ggt_hub.images.picture import Picture
from ggt_hub.images.request import Request

Reader = Callable[[bytes, Request], Picture]

# The only decoders that untrusted bytes reach. Pillow has forty more, some of which start other programs (EPS) or
# recognise nearly anything (TGA). Its `Image.open` is not used: its limit of size is one number for all callers.
_FORMATS: list[tuple[re.Pattern[bytes], Reader]] = [
    (re.compile(rb"\xff\xd8\xff"), jpeg.read_jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), png.read_png),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), readers.read_webp),
    (re.compile(rb"(II[*+]\0|MM\0[*+])(?!.{4}CR)", re.DOTALL), tiff.read_tiff),
    (re.compile(rb"II\xbc[\0\1]"), deep.read_jpeg_xr),
    (re.compile(rb"GIF8[79]a"), readers.read_gif),
    (re.compile(rb"BM"), readers.read_bmp),
    (re.compile(rb"P[1-6fF]\s"), deep.read_pnm),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), deep.read_jpeg2000),
    (re.compile(rb".{4}ftyp.{0,48}?avi[fs]", re.DOTALL), avif.read_avif),
    (re.compile(rb"\0\0\x01\0"), readers.read_ico),
]
_SUPPORTED = "PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, PFM, JPEG 2000, JPEG-LS, JPEG XR, AVIF, ICO"

# What people take for pictures, and what helps.
_OTHERS: list[tuple[re.Pattern[bytes], str]] = [
    (
        re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)", re.DOTALL),
        "a HEIC photograph. Convert it to JPEG or PNG, or open it with pillow-heif and pass the PIL image",
    ),
    (
        re.compile(rb"II|MM\0|.{4}ftypcrx|FUJIFILMCCD-RAW", re.DOTALL),
        "camera raw. Develop it into a 16-bit TIFF first",
    ),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL. Convert it to PNG first"),
    (re.compile(rb".{4}ftyp", re.DOTALL), "a video. Extract a frame first"),
    (re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE), "a web page. Take the address of the picture"),
    (re.compile(rb"\s*<(\?xml|svg)", re.IGNORECASE), "SVG or XML. Render it to PNG first"),
    (re.compile(rb"%PDF|%!PS|\xc5\xd0\xd3\xc6"), "PDF or PostScript. Render it to PNG first"),
    (re.compile(rb"8BPS"), "a Photoshop document. Export it as TIFF or PNG"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|Rar!|7z"), "an archive. Unpack it first"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer. Run `git lfs pull`"),
]


def decode(data: bytes, request: Request) -> Picture:
    """One picture of an encoded file.

    Raises:
        ImageError: If it is empty, unknown, too large, incomplete or damaged.
    """
    read = _reader_of(data, request.name)
    carried = extract(data)
    try:
        picture = read(data, replace(request, icc=carried.metadata.icc, orientation=carried.orientation))
    except DECODER_ERRORS as error:
        raise damage(request.name, error) from error
    hdr.refuse_profile(picture.icc, request.name)
    metadata, colour = carried.metadata, picture.metadata  # the latter: what the reader made of the colours
    if colour.cicp:
        metadata = metadata.of_colour(colour.cicp)
    return replace(
        picture,
        metadata=replace(metadata, icc=colour.icc),
        left_behind=picture.left_behind + carried.left_behind,
    )


def _reader_of(data: bytes, name: str) -> Reader:
    if not data:
        raise ImageError(f"cannot read {name!r}: it is empty (0 bytes). Get a fresh copy.")
    head = data[:256]
    for signature, read in _FORMATS:
        if signature.match(head):
            return read
    for signature, what in _OTHERS:
        if signature.match(head):
            raise ImageError(f"cannot read {name!r}: it is {what}.")
    raise ImageError(f"cannot read {name!r}: it is not a picture in a known format: {_SUPPORTED}.")
