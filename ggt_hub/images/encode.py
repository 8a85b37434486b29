"""From `Picture` to the bytes of a file, one function per format."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image

from ggt_hub.errors import ImageError
from ggt_hub.images.faults import DECODER_ERRORS
from ggt_hub.images.metadata import WORDS, Metadata, exif, icc, jpeg, png, tiff, xmp
from ggt_hub.images.picture import Picture, to_eight_bits

_PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG 3rd edition, table 9
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Encoded:
    """A file in memory.

    Attributes:
        data: Its bytes.
        kept: What of the picture's metadata is in it, in words: `EXIF`, `ICC profile` ...
        left_behind: What is not, or was not read in the first place, in words, each with the reason where it is
            not obvious.
    """

    data: bytes
    kept: tuple[str, ...]
    left_behind: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """What a kind of file can hold.

    Attributes:
        encode: From a picture whose metadata all fits to the file's bytes; the number is the quality.
        carries: The fields of `Metadata` that it has a place for.
        most: The longest side in pixels.
        most_bytes: How long a file may be.
        alpha: Whether it has transparency.
        bits: How many for each channel, at most.
        grey: Whether a picture may have one channel.
    """

    name: str
    encode: Callable[[Picture, int], bytes]
    carries: frozenset[str]
    most: int
    most_bytes: int
    alpha: bool = True
    bits: int = 8
    grey: bool = True


def encode_image(picture: Picture, suffix: str, quality: int = 95) -> Encoded:
    """The bytes of a file, and what became of the picture's metadata.

    Args:
        picture: What to encode.
        suffix: One of `FORMATS`, such as `.png`.
        quality: 1 to 100, of JPEG and WebP; 100 makes WebP lossless.

    Raises:
        ImageError: For an unknown suffix or quality, and a picture that the format cannot hold.
    """
    chosen = format_of(suffix)
    if not 1 <= quality <= 100:
        raise ImageError(f"{picture.name!r}: quality must be 1 to 100, not {quality}.")
    check_format(picture.size, suffix)
    fitted, left = _fitted(picture, chosen)
    try:
        data = chosen.encode(fitted, quality)
    except DECODER_ERRORS as error:
        size = "x".join(map(str, picture.size))
        raise ImageError(
            f"{picture.name!r}: {error} ({size} pixels, {chosen.name}). Write PNG instead."
        ) from error
    kept = tuple(word for field, word in WORDS.items() if getattr(fitted.metadata, field))
    return Encoded(data, kept, picture.left_behind + tuple(left))


def format_of(suffix: str) -> Format:
    """The format that a suffix names.

    Raises:
        ImageError: If it names none.
    """
    found = FORMATS.get(suffix.lower())
    if found is None:
        raise ImageError(f"the suffix {suffix!r} names no format. Use one of {', '.join(FORMATS)}.")
    return found


def check_format(size: tuple[int, int], suffix: str) -> None:
    """Refuse a (width, height) that the format cannot hold, before any work is done for it.

    Raises:
        ImageError: With the limit; also for an unknown suffix.
    """
    chosen = format_of(suffix)
    width, height = size
    if max(size) > chosen.most:
        raise ImageError(
            f"{width}x{height} pixels do not fit into {chosen.name}, which ends at {chosen.most:,} a side. "
            "Write PNG instead."
        )
    if width * height * (chosen.bits // 8) * 4 > chosen.most_bytes:
        raise ImageError(
            f"{width}x{height} pixels do not fit into the 4 GB of a {chosen.name}. Write PNG instead."
        )


def _fitted(picture: Picture, chosen: Format) -> tuple[Picture, list[str]]:
    """The picture as the format can hold it, and in words what it loses by that."""
    left = []
    if picture.alpha is not None and not chosen.alpha:
        left.append(f"transparency ({chosen.name} has no transparency: it was laid on white)")
        picture = _on_white(picture)
    if picture.levels > 255 and chosen.bits == 8:
        left.append(f"half of the bits ({chosen.name} holds 8 bits: 16 were rounded)")
        picture = _in_eight_bits(picture)
    metadata, lost = _carried(picture, chosen)
    return replace(picture, metadata=metadata), left + lost


def _carried(picture: Picture, chosen: Format) -> tuple[Metadata, list[str]]:
    """The metadata that the format has a place for, with the size that the picture has now; and what it loses."""
    metadata, left = picture.metadata, []
    if metadata.exif:
        metadata = replace(metadata, exif=exif.with_size(metadata.exif, picture.size))
    if metadata.xmp:
        metadata = replace(metadata, xmp=xmp.with_size(metadata.xmp, picture.size))
    if metadata.extended_xmp and "extended_xmp" not in chosen.carries and metadata.xmp:
        metadata = replace(metadata, xmp=xmp.with_extension(metadata.xmp, None))
    reasons = {field: f"{chosen.name} has no place for it" for field in WORDS if field not in chosen.carries}
    if chosen.name == "JPEG":
        metadata, lost = _in_segments(metadata)
        reasons |= jpeg.room(metadata)
        left += lost
    if metadata.icc and (fault := icc.fault_of(metadata.icc, _channels(picture, chosen))):
        reasons["icc"] = (
            f"it {fault if chosen.grey else 'is of grey, and ' + chosen.name + ' holds colours only'}"
        )
    if metadata.cicp and "cicp" in reasons and (profile := _profile_of_cicp(picture, chosen)):
        metadata = replace(metadata, icc=metadata.icc or profile, cicp=None)
    if "resolution" in reasons and metadata.exif and tiff.resolution_in(metadata.exif) == metadata.resolution:
        metadata = metadata.without("resolution")  # which EXIF states
    for field, reason in reasons.items():
        if getattr(metadata, field):
            left.append(f"{WORDS[field]} ({reason})")
            metadata = metadata.without(field)
    return metadata, left


def _in_segments(metadata: Metadata) -> tuple[Metadata, list[str]]:
    """With an EXIF block that fits into a segment of JPEG, if it does without the maker note."""
    if metadata.exif is None or "exif" not in jpeg.room(metadata):
        return metadata, []
    smaller, lost = tiff.as_exif(metadata.exif, keep_maker_note=False)
    without = replace(metadata, exif=smaller)
    return (metadata, []) if "exif" in jpeg.room(without) else (without, lost)


def _channels(picture: Picture, chosen: Format) -> int:
    return 1 if picture.is_grey and chosen.grey else 3


def _profile_of_cicp(picture: Picture, chosen: Format) -> bytes | None:
    if "icc" not in chosen.carries or _channels(picture, chosen) == 1 or picture.metadata.cicp is None:
        return None
    return icc.from_cicp(picture.metadata.cicp)


def encode_png(picture: Picture, quality: int) -> bytes:
    """PNG of 8 or 16 bits in any layout that a Picture has, `quality` ignored.

    Each row is filtered by "Sub" (PNG 3rd edition, 9.2) and compressed at level 1: 11 ms and 491 KB for a
    photograph of 512x512, where Pillow's default takes 64 ms and 505 KB. Besides, Pillow has no 16-bit colour and
    OpenCV no grey with alpha.
    """
    channels = picture.pixels.shape[2] + (picture.alpha is not None)
    bits = picture.pixels.itemsize * 8
    header = struct.pack(">IIBBBBB", *picture.size, bits, _PNG_COLOUR_TYPES[channels], 0, 0, 0)
    data = bytearray(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header))
    for kind, payload in png.written(picture.metadata):
        data += _chunk(kind, payload)
    for part in _compressed_rows(picture):
        data += _chunk(b"IDAT", part)
    data += _chunk(b"IEND", b"")
    return bytes(data)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _bands(picture: Picture, order: Literal["<", ">"]) -> Iterator[np.ndarray]:
    """Rows of the picture, alpha as the last channel: HWC of the byte order `>` or `<`."""
    for top in range(0, picture.size[1], _ROWS_AT_ONCE):
        band = picture.pixels[top : top + _ROWS_AT_ONCE]
        if picture.alpha is not None:
            band = np.dstack([band, picture.alpha[top : top + _ROWS_AT_ONCE]])
        yield band.astype(band.dtype.newbyteorder(order))


def _compressed_rows(picture: Picture) -> Iterator[bytes]:
    """The filtered rows as one zlib stream, in parts."""
    compressor = zlib.compressobj(1)
    for band in _bands(picture, ">"):
        step = band.shape[2] * band.itemsize
        rows = band.reshape(len(band), -1).view(np.uint8)
        filtered = np.empty((len(band), 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = 1
        filtered[:, 1 : 1 + step] = rows[:, :step]
        np.subtract(rows[:, step:], rows[:, :-step], out=filtered[:, 1 + step :])
        if part := compressor.compress(filtered.data):
            yield part
    yield compressor.flush()


def encode_tiff(picture: Picture, quality: int) -> bytes:
    """TIFF of 8 or 16 bits, Deflate with horizontal predictor, `quality` ignored.

    Written here because Pillow writes no 16-bit colour and OpenCV neither profile nor EXIF (TIFF 6.0; technical
    note 2 for Deflate). The EXIF block is the beginning of the file, so that all its offsets hold; the directory
    of the file comes last.
    """
    head, rows, order = tiff.begin(picture.metadata)
    data, lengths, starts = bytearray(head), [], []
    for band in _bands(picture, order):
        differences = band.copy()
        differences[:, 1:] -= band[:, :-1]
        strip = zlib.compress(differences.data, 1)
        starts.append(len(data))
        lengths.append(len(strip))
        data += strip + bytes(len(strip) % 2)
    channels = picture.pixels.shape[2] + (picture.alpha is not None)

    def numbers(kind: str, *values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}{kind}", *values)

    tags = [
        (256, 4, numbers("I", picture.size[0])),
        (257, 4, numbers("I", picture.size[1])),
        (258, 3, numbers("H", *[picture.pixels.itemsize * 8] * channels)),
        (259, 3, numbers("H", 8)),  # Deflate
        (262, 3, numbers("H", 1 if picture.is_grey else 2)),
        (273, 4, numbers("I", *starts)),
        (277, 3, numbers("H", channels)),
        (278, 4, numbers("I", min(_ROWS_AT_ONCE, picture.size[1]))),
        (279, 4, numbers("I", *lengths)),
        (317, 3, numbers("H", 2)),  # horizontal differencing
        *tiff.tags_of(picture.metadata),
    ]
    if picture.alpha is not None:
        tags.append((338, 3, numbers("H", 2)))  # not premultiplied
    if not {282, 283} & {tag for tag, _ in rows}:
        rows = [row for row in rows if row[0] != 296]
        tags += tiff.resolution_of(picture.metadata, order)
    return tiff.ended(data, rows, tags, order)


def encode_jpeg(picture: Picture, quality: int) -> bytes:
    """Baseline JPEG without chroma subsampling (4:4:4)."""
    return jpeg.embed(_by_pillow(picture, "JPEG", quality=quality, subsampling=0), picture.metadata)


def encode_webp(picture: Picture, quality: int) -> bytes:
    """WebP, lossless at quality 100 or where the source was. Colours under full transparency are kept."""
    metadata = picture.metadata
    blocks = {"exif": metadata.exif, "xmp": metadata.xmp, "icc_profile": metadata.icc}
    lossless = quality >= 100 or metadata.lossless
    return _by_pillow(picture, "WEBP", quality=quality, lossless=lossless, exact=True, method=0, **blocks)


def encode_bmp(picture: Picture, quality: int) -> bytes:
    """BMP, `quality` ignored. It holds no metadata but the resolution."""
    resolution = picture.metadata.resolution
    return _by_pillow(picture, "BMP", **({"dpi": resolution.per("inch")} if resolution else {}))


def _by_pillow(picture: Picture, image_format: str, **options: object) -> bytes:
    """What Pillow writes, of its own accord without any metadata."""
    buffer = io.BytesIO()
    given = {key: value for key, value in options.items() if value is not None}
    Image.fromarray(np.asarray(picture)).save(buffer, image_format, **given)
    return buffer.getvalue()


def _on_white(picture: Picture) -> Picture:
    assert picture.alpha is not None  # noqa: S101 - the caller looks
    pixels = np.empty_like(picture.pixels)
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        weight = picture.alpha[rows, :, None] / np.float32(picture.levels)
        pixels[rows] = np.rint(picture.pixels[rows] * weight + picture.levels * (1 - weight))
    return replace(picture, pixels=pixels, alpha=None)


def _in_eight_bits(picture: Picture) -> Picture:
    alpha = None if picture.alpha is None else to_eight_bits(picture.alpha)
    return replace(picture, pixels=to_eight_bits(picture.pixels), alpha=alpha)


_JPEG = Format(
    "JPEG",
    encode_jpeg,
    frozenset({"exif", "xmp", "extended_xmp", "iptc", "photoshop", "icc", "resolution", "comments"}),
    65_500,  # libjpeg's own limit, a little below the 65,535 of the header
    2**62,
    alpha=False,
)
_PNG = Format("PNG", encode_png, frozenset(WORDS.keys() - {"extended_xmp"}), 2**31 - 1, 2**62, bits=16)
_TIFF = Format(
    "TIFF",
    encode_tiff,
    frozenset({"exif", "xmp", "iptc", "photoshop", "icc", "resolution"}),
    2**31 - 1,
    2**32 - 2**24,
    bits=16,
)
_WEBP = Format("WebP", encode_webp, frozenset({"exif", "xmp", "icc"}), 16_383, 2**62, grey=False)
_BMP = Format("BMP", encode_bmp, frozenset({"resolution"}), 2**31 - 1, 2**32 - 2**16, alpha=False)

FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _WEBP,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _BMP,
}
"""Suffix -> what is written."""
