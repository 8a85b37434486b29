"""JPEG of every process, and how much of a half-written one is there."""

import io
import re
import struct
from dataclasses import dataclass, field

import imagecodecs
import numpy as np
import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from ggt_hub.errors import ImageError
from ggt_hub.images import ifd
from ggt_hub.images.convert import check_size, finished, from_array, from_open_file, in_sixteen_bits
from ggt_hub.images.faults import warn
from ggt_hub.images.picture import Picture
from ggt_hub.images.request import Request

_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF markers, ITU-T T.81 table B.1; F7 is JPEG-LS
_PROGRESSIVE, _LOSSLESS, _JPEG_LS = (0xC2, 0xCA), 0xC3, 0xF7
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_EXIF = b"Exif\0\0"
_MARKER = re.compile(rb"\xff+[^\0\xd0-\xd7\xff]")  # in compressed data FF00 is a byte, FFD0..D7 restart
_HOLE = re.compile(rb"\0{64,}")
_WARNINGS = re.compile("Corrupt JPEG data|Premature end|Inconsistent progression|Warning|Unknown Adobe")
_FREE_SCANS = 20  # encoders write ten; each more costs 0.6 ms a megapixel, even if it holds nothing
_SCAN_MEGAPIXELS = 300


@dataclass
class _Outline:
    """What the markers of a JPEG say."""

    frame: int = 0
    precision: int = 0
    size: tuple[int, int] = (0, 0)
    components: tuple[int, ...] = ()
    scans: list[tuple[tuple[int, ...], int, int, int]] = field(default_factory=list)  # components, Ss, Se, Al
    exif: list[tuple[int, int]] = field(default_factory=list)  # where the EXIF segments lie
    data: int = 0  # where the data of the first scan begin
    end: int = 0  # where the data of the last scan end
    has_end: bool = False

    def missing_scans(self) -> bool:
        """Whether a coefficient of a component was never sent to its last bit (T.81, annex G)."""
        sent: dict[tuple[int, int], int] = {}
        for components, first, last, low in self.scans:
            sent |= {(c, k): low for c in components for k in range(first, min(last, 63) + 1)}
        if self.frame not in _PROGRESSIVE:
            return not {c for scan in self.scans for c in scan[0]}.issuperset(self.components)
        return any(sent.get((c, k), 1) for c in self.components for k in range(64))


def read_jpeg(data: bytes, request: Request) -> Picture:
    """A JPEG or JPEG-LS. It is never taken for MPO: what phones append are gain maps and previews of the same.

    Raises:
        ImageError: Also if a part of the picture is missing, unless `request.salvage`.
    """
    request.index_among(1, "picture")
    name, outline = request.name, _outline(data)
    if not outline.frame:
        raise ImageError(f"cannot read {name!r}: it ends before its picture begins. {_GET_A_COPY}")
    check_size(*outline.size, request.max_pixels, name)
    _check_scans(outline, name)
    if outline.frame in (_LOSSLESS, _JPEG_LS) or outline.precision > 8:
        decode = imagecodecs.jpegls_decode if outline.frame == _JPEG_LS else imagecodecs.jpeg8_decode
        array = in_sixteen_bits(decode(data), outline.precision)
        picture = from_array(array, name, request.max_pixels)
        return finished(picture, request.icc, request.orientation, name)
    if not outline.has_end:
        data = data[: outline.end].rstrip(b"\0")
        outline.end = len(data)
        data += b"\xff\xd9"
    colours = {1: "GRAY", 4: "CMYK"}.get(len(outline.components), "RGB")
    array, fault = _decoded(data, outline, colours, name)
    if fault and not request.salvage:
        raise ImageError(
            f"cannot read {name!r}: {fault}. Get a fresh copy, or take what is there: salvage=True, --salvage."
        )
    if fault:
        warn(name, f"{fault}; what is there was taken")
    image = JpegImageFile(io.BytesIO(_with_sound_exif(data, outline, name)))
    if colours == "CMYK":
        return from_open_file(image, name, request.max_pixels, request.orientation)
    picture = from_array(array, name, request.max_pixels)
    return finished(picture, image.info.get("icc_profile"), request.orientation, name)


_GET_A_COPY = "The file is incomplete or damaged; get a fresh copy."


def _outline(data: bytes) -> _Outline:
    outline, position = _Outline(), 2
    while (found := _MARKER.search(data, position)) and found.end() + 2 <= len(data):
        marker = data[found.end() - 1]
        if marker == _END:
            outline.has_end = True
            break
        if marker == 0xD8:  # another picture, such as a preview, behind one that was cut
            break
        (length,) = struct.unpack_from(">H", data, found.end())
        start, position = found.end() + 2, found.end() + length
        if marker in _FRAMES and not outline.frame and start + 6 <= len(data):
            precision, height, width, count = struct.unpack_from(">BHHB", data, start)
            outline.frame, outline.precision, outline.size = marker, precision, (width, height)
            outline.components = tuple(data[start + 6 : start + 6 + 3 * count : 3])
        elif marker == _SCAN and position <= len(data):
            count = data[start]
            parameters = data[start + 1 + 2 * count : start + 4 + 2 * count]
            if len(parameters) == 3:
                ids = tuple(data[start + 1 : start + 1 + 2 * count : 2])
                outline.scans.append((ids, parameters[0], parameters[1], parameters[2] & 15))
            outline.data = outline.data or position
            following = _MARKER.search(data, position)
            outline.end = following.start() if following else len(data)
        elif marker == _APP1 and data.startswith(_EXIF, start):
            outline.exif.append((found.end() - 2, position))
    else:
        outline.has_end = data.endswith(b"\xff\xd9")
    return outline


def _check_scans(outline: _Outline, name: str) -> None:
    megapixels = outline.size[0] * outline.size[1] / 1e6
    if (len(outline.scans) - _FREE_SCANS) * megapixels > _SCAN_MEGAPIXELS:
        raise ImageError(
            f"cannot read {name!r}: it is sent in {len(outline.scans)} scans, which no camera or program writes. "
            "Save it again from the program that opens it."
        )


def _decoded(data: bytes, outline: _Outline, colours: str, name: str) -> tuple[np.ndarray, str | None]:
    """The pixels, and what is missing of them in words."""
    width, height = outline.size
    array = np.zeros((height, width, {"GRAY": 1, "CMYK": 4}.get(colours, 3)), np.uint8)
    said = ""
    try:
        simplejpeg.decode_jpeg(data, colours, buffer=array, strict=True)
    except ValueError as error:  # also for what libjpeg only warns of; then the pixels are there
        said = str(error)
        if not _WARNINGS.match(said):
            simplejpeg.decode_jpeg(data, colours, buffer=array, strict=False)
    if not outline.scans:
        return array, "none of its picture is there"
    cut = None if outline.has_end else outline.end
    if cut is None or not _tells_of_damage(said, data, outline):
        cut = _hole(data, outline)
    if cut is None and "premature end" in said:
        cut = outline.end
    if cut is not None:
        lower = 1 - _row_reached(data, cut) / outline.size[1]
        what = (
            "lacks its finer details"
            if outline.frame in _PROGRESSIVE and len(outline.scans) > 1
            else "is missing"
        )
        return array, f"the lower {max(1, round(100 * lower))} % {what}"
    if _tells_of_damage(said, data, outline):
        return array, f"a part of it is damaged ({said.removeprefix('Corrupt JPEG data: ')})"
    if outline.missing_scans():
        return array, f"only {len(outline.scans)} of its scans are there, the finer details are missing"
    if not outline.has_end:
        warn(name, "its end marker is missing, the picture is whole")
    return array, None


def _tells_of_damage(said: str, data: bytes, outline: _Outline) -> bool:
    """Whether the decoder's warning means pixels; bytes that a camera pads the data with do not."""
    if padding := re.match(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9", said):
        return bool(data[outline.end - int(padding[1]) : outline.end].strip(b"\0\xff"))
    return said.startswith("Corrupt JPEG data")


def _hole(data: bytes, outline: _Outline) -> int | None:
    """Where zeros begin that stand for data that were never written.

    Flat areas may be coded as zeros too. They decode to what the decoder fills in for lacking data; a hole does
    not.
    """
    for found in list(_HOLE.finditer(data, outline.data, outline.end))[:2]:
        if not np.array_equal(_until(data, found.start()), _until(data, found.end())):
            return found.start()
    return None


def _row_reached(data: bytes, cut: int) -> int:
    """The row of pixels where the data before `cut` end: the first that changes if a little less is read."""
    whole = _until(data, cut)
    for less in (32, 256, 2048, 16384, 131072):
        changed = np.flatnonzero((whole != _until(data, cut - less)).any(axis=(1, 2)))
        if len(changed):
            return int(changed[0])
    return 0


def _until(data: bytes, position: int) -> np.ndarray:
    return simplejpeg.decode_jpeg(data[:position] + b"\xff\xd9", "GRAY", strict=False)


def _with_sound_exif(data: bytes, outline: _Outline, name: str) -> bytes:
    """The file without EXIF whose reading would take far more than its bytes: Pillow reads it on opening."""
    block = b"".join(data[start + 10 : end] for start, end in outline.exif)
    if not ifd.repeats_itself(block):
        return data
    warn(name, f"its EXIF {ifd.REPEATS}")
    for start, end in reversed(outline.exif):
        data = data[:start] + data[end:]
    return data
