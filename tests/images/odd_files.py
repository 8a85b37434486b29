"""Files as the world makes them: built here, byte by byte where no library would write such a thing."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

RNG = np.random.default_rng(20)
GREY = RNG.integers(0, 256, (9, 13, 1), dtype=np.uint8)
RGB = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (9, 13), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (9, 13, 1), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (9, 13, 3), dtype=np.uint16)
ALPHA16 = RNG.integers(0, 65536, (9, 13), dtype=np.uint16)

PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(
        (64, 48), Image.Resampling.BICUBIC
    )
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encode(image, file_format, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.squeeze(image))
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(orientation=1, **tags):
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "Maker"
    block[0x8769] = {0x9003: "2001:02:03 04:05:06", 0x927C: b"maker note", 0xA002: 64, 0xA005: {1: "R98"}}
    block[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    for tag, value in tags.items():
        block[int(tag.lstrip("t"))] = value
    return block.tobytes()


def xmp(orientation):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        f'tiff:Orientation="{orientation}"/></rdf:RDF></x:xmpmeta>'
    )


# --- PNG ---------------------------------------------------------------------------------------------------------


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour_type, rows, before=b"", interlace=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_of(array, before=b""):
    """A PNG of an HWC array, unfiltered, by nothing but zlib."""
    height, width, channels = array.shape
    big_endian = array.astype(array.dtype.newbyteorder(">")).tobytes()
    stride = len(big_endian) // height
    rows = b"".join(b"\0" + big_endian[i * stride : (i + 1) * stride] for i in range(height))
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return png(width, height, array.itemsize * 8, colour_type, rows, before)


def interlaced_rows(array):
    """The rows of the seven passes of Adam7 (PNG 3rd edition, 8.2), unfiltered."""
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    parts = (big_endian[y::down, x::right] for x, y, right, down in passes)
    return b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)


def png_text(size):
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * size)
    return encode(RGB, "PNG", pnginfo=info)


# --- JPEG --------------------------------------------------------------------------------------------------------


def jpeg(image=PHOTO, **options):
    return encode(image, "JPEG", quality=90, **options)


JPEG_OF_PHOTO = jpeg()


def segment(marker, data):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def with_segment(data, marker, payload):
    """A JPEG with one more segment right after its start."""
    return data[:2] + segment(marker, payload) + data[2:]


def resized_in_header(data, width, height):
    at = data.find(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def mpo():
    """Two JPEGs behind one another and the index that phones write: a photograph and its gain map."""
    first, second = Image.fromarray(PHOTO), Image.fromarray(PHOTO[::2, ::2])
    return encode(first, "MPO", save_all=True, append_images=[second], quality=90)


# --- others ------------------------------------------------------------------------------------------------------


def bomb_gif(screen, frame):
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *screen, 0, 0, 0)
        + b"\x2c"
        + struct.pack("<HHHHB", 0, 0, *frame, 0)
        + b"\x08\x01\x00\x00;"
    )


def bomb_webp():
    picture = encode(RGB, "WEBP")[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + struct.pack("<I", 16382)[:3] * 2
    animation = b"ANIM" + struct.pack("<I", 6) + bytes(6)
    frame = bytes(6) + struct.pack("<I", 12)[:3] + struct.pack("<I", 8)[:3] + bytes(4) + picture
    body = b"WEBP" + canvas + animation + b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_tag_changed(data, tag, value):
    """A little-endian TIFF with one SHORT or LONG tag set to another value."""
    at = next(at for kind in (3, 4) if (at := data.find(struct.pack("<HHI", tag, kind, 1))) >= 0)
    return data[:at] + struct.pack("<HHII", tag, 4, 1, value) + data[at + 12 :]


def tiff_without_tag(data, tag):
    """A little-endian TIFF with one tag under a number that means nothing."""
    at = data.index(struct.pack("<HH", tag, 3))
    return data[:at] + struct.pack("<H", 65_000) + data[at + 2 :]


def bmp_v4(rgb, alpha):
    """A BMP whose header (BITMAPV4HEADER) names a mask for alpha."""
    data = np.dstack([rgb[..., ::-1], alpha])[::-1].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    sizes = (108, rgb.shape[1], rgb.shape[0], 1, 32, 3, len(data), 2835, 2835, 0, 0)
    return (
        b"BM"
        + struct.pack("<IHHI", 122 + len(data), 0, 0, 122)
        + struct.pack("<IiiHHIIiiII", *sizes)
        + masks
        + data
    )


def ico(png_bytes):
    return (
        struct.pack("<HHH", 0, 1, 1)
        + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(png_bytes), 22)
        + png_bytes
    )


def cmyk_profile(lab=(50, 60, 40)):
    """An ICC profile (ICC.1:2001, lut8Type) that maps every CMYK value without black to one Lab colour.

    No real profile does that, so a picture of that one colour proves that the profile was used.
    """
    encoded = bytes([round(lab[0] * 255 / 100), lab[1] + 128, lab[2] + 128])
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = (
        b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity
        + bytes(range(256)) * 4 + (encoded + b"\0\x80\x80") * 8 + bytes(range(256)) * 3
    )  # fmt: skip
    text = b"text" + bytes(4) + b"test\0"
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(79)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"desc", description), (b"cprt", text), (b"wtpt", white), (b"A2B0", lut)]
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags:
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += value
    header = bytearray(128)
    header[8:12] = b"\x02\x40\0\0"
    header[12:24] = b"prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    header[0:4] = struct.pack(">I", 128 + len(table) + len(body))
    return bytes(header) + table + body
