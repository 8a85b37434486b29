"""Small files that unpack to far more than they are worth, one per way that was thought of."""

import lzma
import struct
import zlib

import imagecodecs
import numpy as np
from PIL import Image

from tests.images import odd_files as odd

SIDE = 16
MEGABYTE = 1 << 20


def repeating_directory(entries, size, sub=False):
    """A TIFF block whose tags, or those of its Exif directory, all point at the same bytes."""

    def directory(at, tags, kind, value_at):
        listed = b"".join(
            struct.pack("<HHII", 0xA500 + i % 20_000, kind, size, value_at) for i in range(tags)
        )
        return struct.pack("<H", tags) + listed + bytes(4)

    if not sub:
        values = 8 + 6 + 12 * entries
        return b"II*\0\x08\0\0\0" + directory(8, entries, 7, values) + bytes(size)
    first = struct.pack("<HHHII", 1, 0x8769, 4, 1, 26) + bytes(4)
    return b"II*\0\x08\0\0\0" + first + directory(26, entries, 7, 26 + 6 + 12 * entries) + bytes(size)


def looping_directories():
    """Exif, GPS and the following directory are the first one again."""
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (330, 0x8769, 0x8825))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 3) + tags + struct.pack("<I", 8)


def exif_segments(block):
    parts = [block[at : at + 60_000] for at in range(0, len(block), 60_000)]
    return b"".join(odd.segment(0xE1, b"Exif\0\0" + part) for part in parts)


def jpeg_with(block):
    return odd.JPEG_OF_PHOTO[:2] + exif_segments(block) + odd.JPEG_OF_PHOTO[2:]


def webp_with(block):
    return odd.encode(odd.RGB, "WEBP", exif=block)


def tiff(tags, data):
    """A one-strip TIFF of 16 bits grey; `tags` may replace and add."""
    base = {256: SIDE, 257: SIDE, 258: 16, 259: 1, 262: 1, 277: 1, 278: SIDE, 279: len(data)} | tags
    start = 8 + 2 + 12 * (len(base) + 1) + 4
    base.setdefault(273, start)
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(base.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(base)) + listed + bytes(4) + data


def tiff_of_shared_strips(strips):
    """So many strips of one row, all of them the same 16 MB of zeros."""
    packed = zlib.compress(bytes(16 * MEGABYTE), 9)
    offset, count = 8 + 2 + 12 * 9 + 4, strips
    data_at = offset + 8 * count
    tags = [(256, 1, SIDE), (257, 1, strips), (258, 1, 8), (259, 1, 8), (262, 1, 1), (273, count, offset)]
    tags += [(277, 1, 1), (278, 1, 1), (279, count, offset + 4 * count)]
    listed = b"".join(struct.pack("<HHII", tag, 4, number, value) for tag, number, value in tags)
    arrays = struct.pack(f"<{count}I", *[data_at] * count) + struct.pack(f"<{count}I", *[len(packed)] * count)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + listed + bytes(4) + arrays + packed


def scans(side, repeat):
    """A progressive JPEG whose last scan, which holds nothing, is sent again and again."""
    data = odd.encode(Image.new("L", (side, side), 128), "JPEG", progressive=True, quality=50)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * repeat + b"\xff\xd9"


def gif_of_frames(frames):
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


def png_text_bombs(kind, count):
    packed = zlib.compress(bytes(30 * MEGABYTE), 9)
    head = b"k\0\0" if kind == b"zTXt" else b"k\0\1\0\0\0"
    return odd.png_of(odd.RGB, odd.chunk(kind, head + packed) * count)


def jpeg2000_of_tiles():
    """A header that claims 100 megapixels in tiles of one pixel."""
    data = bytearray(odd.encode(odd.RGB, "JPEG2000"))
    at = data.index(b"\xff\x51")
    struct.pack_into(">IIIIIIII", data, at + 6, 10_000, 10_000, 0, 0, 1, 1, 0, 0)
    return bytes(data)


ZEROS = bytes(256 * MEGABYTE)

BOMBS = {
    "exif of a jpeg": lambda: jpeg_with(repeating_directory(2600, 25_000)),
    "exif of a jpeg in many segments": lambda: jpeg_with(repeating_directory(40_000, 400_000)),
    "exif of a jpeg, in the directory below": lambda: jpeg_with(repeating_directory(2600, 25_000, sub=True)),
    "exif of a jpeg that loops": lambda: jpeg_with(looping_directories()),
    "exif of a png": lambda: odd.png_of(
        odd.RGB, odd.chunk(b"eXIf", repeating_directory(60_000, 2 * MEGABYTE))
    ),
    "exif of a webp": lambda: webp_with(b"Exif\0\0" + repeating_directory(60_000, 2 * MEGABYTE)),
    "exif of an avif": lambda: avif_with_exif(repeating_directory(60_000, 2 * MEGABYTE)),
    "tags of a tiff": lambda: tiff_with_tags(2000, 500_000),
    "directories of a tiff that loop": looping_directories,
    "deflated strip": lambda: tiff({259: 8}, zlib.compress(ZEROS, 9)),
    "strip by LZMA": lambda: tiff({259: 34925}, lzma.compress(ZEROS, preset=0)),
    "strip by ZSTD": lambda: tiff({259: 50000}, imagecodecs.zstd_encode(ZEROS, level=3)),
    "strip by LZW": lambda: tiff({259: 5}, imagecodecs.lzw_encode(ZEROS[: 64 * MEGABYTE])),
    "strip by PackBits": lambda: tiff({259: 32773}, b"\x81\0" * MEGABYTE),
    "strips on the same bytes": lambda: tiff_of_shared_strips(2000),
    "scans": lambda: scans(2000, 500),
    "text of a png": lambda: png_text_bombs(b"zTXt", 20),
    "international text of a png": lambda: png_text_bombs(b"iTXt", 20),
    "profile of a png": lambda: odd.png_of(odd.RGB, odd.chunk(b"iCCP", b"p\0\0" + zlib.compress(ZEROS, 9))),
    "pixels of a png": lambda: odd.png(13, 9, 8, 0, bytes(14 * 9) + ZEROS),
    "many pixels of a png": lambda: odd.png(13, 9, 8, 0, bytes(4 * len(ZEROS))),
    "pixels of a png of 16 bits": lambda: odd.png(13, 9, 16, 2, bytes(79 * 9) + ZEROS),
    "frames of a gif": lambda: gif_of_frames(100_000),
    "tiles of a jpeg 2000": jpeg2000_of_tiles,
}


def tiff_with_tags(entries, size):
    data = tiff({}, bytes(SIDE * SIDE * 2))
    count = struct.unpack_from("<H", data, 8)[0]
    body = 8 + 2 + 12 * (count + entries) + 4
    listed = bytearray(data[10 : 10 + 12 * count])
    at = listed.index(struct.pack("<HHI", 273, 4, 1))
    struct.pack_into("<I", listed, at + 8, body)
    more = b"".join(struct.pack("<HHII", 40_000 + i, 7, size, body) for i in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, count + entries) + bytes(listed) + more + bytes(4) + bytes(size)


def avif_with_exif(block):
    """As libavif writes it: a place of that size, into which the block is put afterwards."""
    mark = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0xA500, 7, len(block) - 26, 26) + bytes(4)
    filler = np.random.default_rng(0).bytes(len(block) - len(mark))
    data = odd.encode(odd.PHOTO, "AVIF", exif=mark + filler)
    return data.replace(filler, block[len(mark) :]).replace(mark, block[: len(mark)])


def measure(names):
    """Reads each bomb: bytes of the file, MB that it took at the peak, processor seconds, and what came of it."""
    import time
    import warnings

    from ggt_hub.images import read_image

    warnings.simplefilter("ignore")
    for plain in (
        odd.jpeg(),
        odd.png_of(odd.RGB16),
        odd.encode(odd.RGB, "TIFF"),
        odd.encode(odd.RGB, "AVIF"),
    ):
        read_image(plain)
    for name in names:
        data = BOMBS[name]()
        _forget_peak()
        before, start = _peak(), time.process_time()
        try:
            read_image(data, name=name)
            outcome = "read"
        except ValueError as error:
            outcome = str(error)
        yield name, len(data), (_peak() - before) / 2**20, time.process_time() - start, outcome


def _peak():
    """Bytes held at the most since the last call, by Linux's own count, which can be set back."""
    from pathlib import Path

    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def _forget_peak():
    from pathlib import Path

    Path("/proc/self/clear_refs").write_text("5")
