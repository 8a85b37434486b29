"""TIFF and BigTIFF: which page, which of its channels, and what their numbers mean."""

import io

import imagecodecs
import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from ggt_hub.errors import ImageError
from ggt_hub.images import colour, ifd
from ggt_hub.images.convert import (
    check_size,
    finished,
    from_array,
    from_open_file,
    in_sixteen_bits,
    warn_of_others,
)
from ggt_hub.images.faults import DECODER_ERRORS, warn
from ggt_hub.images.picture import Picture
from ggt_hub.images.request import Request

_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS = 254, 255, 256, 257, 258
_COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 259, 262, 274, 277
_COLOUR_MAP, _TILE_WIDTH, _TILE_LENGTH, _SUB_DIRECTORIES, _EXTRA_SAMPLES = 320, 322, 323, 330, 338
_SAMPLE_FORMAT, _DEPTH, _ICC, _DNG_VERSION = 339, 32997, 34675, 50706

# Deflate twice, LZW, PackBits, LZMA, ZSTD: none can unpack to more than it is given room for.
_BOUNDED = {1, 5, 8, 32773, 32946, 34925, 50000}
_BY_PILLOW = {2, 3, 4, 6, 7, 32771}  # fax and JPEG, which libtiff bounds
_OTHER_COMPRESSIONS = {7: "JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC"}
_OTHER_COMPRESSIONS |= {34933: "PNG", 34934: "JPEG XR", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _LAB, _ICC_LAB = 0, 1, 2, 3, 5, 8, 9
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _LAB: 3, _ICC_LAB: 3}
_RAW = {32803: "a colour filter array", 34892: "linear sensor data"}
_OTHER_COLOURS = {10: "ITU-Lab", 32844: "LogL", 32845: "LogLuv"}
_PREMULTIPLIED, _STRAIGHT = 1, 2
_MOST_CHANNELS = 16  # a header may claim 65535, each of which would cost a picture of memory


def read_tiff(data: bytes, request: Request) -> Picture:
    """One page of a TIFF: the first, or `request.page`; thumbnails and masks do not count as pages."""
    name = request.name
    if ifd.repeats_itself(data):
        raise ImageError(f"cannot read {name!r}: its tags point at the same bytes again and again.")
    directories = ifd.chain(data)
    pages = _pages(directories, name)
    page = pages[request.index_among(len(pages), "page")]
    check_size(page.number(_WIDTH), page.number(_HEIGHT), request.max_pixels, name)
    if _TILE_WIDTH in page.entries:
        check_size(
            page.number(_TILE_WIDTH), page.number(_TILE_LENGTH), request.max_pixels, f"a tile of {name}"
        )
    warn_of_others(request, len(pages), "page")
    bits = max(page.numbers(_BITS) or (1,))
    if page.number(_COMPRESSION, 1) in _BOUNDED and page.number(_PHOTOMETRIC) in _COLOURS:
        return _read_samples(data, page, directories, request)
    compression = page.number(_COMPRESSION, 1)
    if bits > 8 or page not in directories or compression not in _BOUNDED | _BY_PILLOW:
        called = _OTHER_COMPRESSIONS.get(compression, f"number {compression}")
        raise ImageError(
            f"{name!r}: TIFF of {bits:g} bits in compression {called} and colours {page.number(_PHOTOMETRIC)} "
            "is not supported. Save it as RGB, uncompressed or with Deflate (ZIP)."
        )
    image = TiffImageFile(io.BytesIO(data))
    image.seek(directories.index(page))
    return from_open_file(image, name, request.max_pixels)


def _pages(directories: list[ifd.Directory], name: str) -> list[ifd.Directory]:
    """The full-size pictures of a file, in its order."""
    below = [each for first in directories[:1] for each in ifd.sub_directories(first, (_SUB_DIRECTORIES,))]
    for directory in (*directories, *below):
        colours = directory.number(_PHOTOMETRIC)
        if _DNG_VERSION in directory.entries or colours in _RAW:
            what = _RAW.get(colours, "DNG")
            raise ImageError(f"{name!r}: this is camera raw ({what}). Develop it into a 16-bit TIFF first.")
        if colours in _OTHER_COLOURS:
            raise ImageError(
                f"{name!r}: colours in {_OTHER_COLOURS[colours]} are not supported. Save it as RGB."
            )
    pictures = [[d for d in some if {_WIDTH, _HEIGHT} <= d.entries.keys()] for some in (directories, below)]
    for some in pictures:
        if full := [directory for directory in some if not _is_aside(directory)]:
            return full
    if not pictures[0]:
        raise ImageError(
            f"cannot read {name!r}: its directory is missing. The file is incomplete or damaged; get a fresh copy."
        )
    return pictures[0]


def _is_aside(directory: ifd.Directory) -> bool:
    """Whether it is a thumbnail (bit 0) or a mask (bit 2 of NewSubfileType)."""
    return bool(directory.number(_SUBFILE_TYPE) & 5) or directory.number(_OLD_SUBFILE_TYPE) == 2


def _read_samples(
    data: bytes, page: ifd.Directory, directories: list[ifd.Directory], request: Request
) -> Picture:
    """A page whose numbers are decoded here, as they are, and then given their meaning."""
    name, samples, meaning = request.name, page.number(_SAMPLES, 1), page.number(_PHOTOMETRIC)
    bits = set(page.numbers(_BITS) or (1,))
    if samples > _MOST_CHANNELS or len(bits) > 1 or page.number(_DEPTH, 1) != 1:
        raise ImageError(
            f"{name!r}: TIFF of {samples} channels of {sorted(map(int, bits))} bits is not supported. "
            "Save it as RGB with 8 or 16."
        )
    _check_bytes(page, int(max(bits)), samples, name)
    index = directories.index(page) if page in directories else None
    array = _numbers(data, page, index)
    array, alpha_kind = _without_extras(array.reshape(*array.shape[:2], -1), page, name)
    is_float = page.number(_SAMPLE_FORMAT, 1) == 3
    if not is_float and meaning != _PALETTE:
        array = in_sixteen_bits(array, int(bits.pop()))
    colours, alpha = (array[..., :-1], array[..., -1:]) if alpha_kind else (array, None)
    icc: bytes | None = page.value(_ICC) or None
    if meaning == _WHITE_IS_ZERO:
        colours = ~colours if colours.dtype == bool else colour.highest(colours) - colours
    if alpha is not None and alpha_kind == _PREMULTIPLIED:
        colours = colour.unpremultiplied(colours, alpha)
    if meaning == _PALETTE:
        colours = _through_map(colours[..., 0], page)
    elif meaning == _CMYK:
        colours, icc = colour.cmyk_to_srgb(colours, icc, name), None
    elif meaning in (_LAB, _ICC_LAB):
        colours, icc = colour.lab_to_srgb(colours, meaning == _ICC_LAB, name), None
    whole = colours if alpha is None else np.dstack([colours, alpha])
    turn = page.number(_ORIENTATION, 1)
    turn = turn if turn in range(1, 9) else 1
    return finished(from_array(whole, name, request.max_pixels), icc, turn, name)


def _check_bytes(page: ifd.Directory, bits: int, samples: int, name: str) -> None:
    """Refuse many wide channels, which cost far more than RGB of 16 bits in that size; 1 GiB more is granted."""
    for width, height in ((_WIDTH, _HEIGHT), (_TILE_WIDTH, _TILE_LENGTH)):
        pixels = page.number(width) * page.number(height)
        if pixels * bits * samples > 8 * (6 * pixels + 2**30):
            raise ImageError(
                f"{name!r}: {samples} channels of {bits} bits take "
                f"{pixels * bits * samples / 8e9:.1f} GB in this size. "
                "Save it as RGB with 16 bits."
            )


def _numbers(data: bytes, page: ifd.Directory, index: int | None) -> np.ndarray:
    """HW or HWC, as the file holds them.

    tifffile reads every layout; libtiff also strips that hold more than they should. Neither inflates more than
    the page's own size.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            file.filehandle.seek(page.offset)
            read = tifffile.TiffPage(file, index=0)
            _check_strips(read)
            array, axes = read.asarray(maxworkers=1), read.axes
    except DECODER_ERRORS:
        if index is None or page.number(_COMPRESSION, 1) == 1:
            raise
        array = imagecodecs.tiff_decode(data, index)
        axes = "SYX" if page.number(284, 1) == 2 and array.ndim == 3 else "YXS"
    return np.moveaxis(array, 0, -1) if axes == "SYX" else array


def _check_strips(page: "tifffile.TiffPage") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Tifffile would take a picture whose strips are missing for a black one."""
    needed = int(np.prod(page.chunked))
    end = page.parent.filehandle.size
    there = zip(page.dataoffsets[:needed], page.databytecounts[:needed], strict=False)
    if sum(offset > 0 and 0 < count <= end - offset for offset, count in there) < needed:
        raise ValueError("strips or tiles lie beyond its end")


def _without_extras(array: np.ndarray, page: ifd.Directory, name: str) -> tuple[np.ndarray, int]:
    """The colours, and alpha behind them if there is one; 0, or how alpha was stored.

    Only what ExtraSamples calls alpha is transparency: a scanner's fourth channel is infrared, others are masks.
    """
    count = _COLOURS[page.number(_PHOTOMETRIC)]
    kinds = [int(kind) for kind in page.numbers(_EXTRA_SAMPLES)]
    is_alpha = {_PREMULTIPLIED, _STRAIGHT}
    if (
        count == 1
        and array.shape[2] >= 3
        and not is_alpha & set(kinds)
        and page.number(_PHOTOMETRIC) != _PALETTE
    ):
        count, kinds = 3, kinds[2:]  # colours under the name of grey
    extra = array.shape[2] - count
    alpha = next((i for i, kind in enumerate(kinds[:extra]) if kind in is_alpha), None)
    if extra > (alpha is not None):
        warn(name, f"{extra - (alpha is not None)} channels beside colour and transparency were left behind")
    chosen = [*range(count)] + ([] if alpha is None else [count + alpha])
    if len(chosen) < array.shape[2]:
        array = array[..., chosen]
    return array, 0 if alpha is None else kinds[alpha]


def _through_map(indices: np.ndarray, page: ifd.Directory) -> np.ndarray:
    entries = np.array(page.numbers(_COLOUR_MAP), np.uint32).reshape(3, -1).T
    if entries.max(initial=0) > 255:  # some programs write 8 bits there
        entries >>= 8  # writers shift or multiply by 257: this is right for both
    colours = entries.astype(np.uint8)
    is_grey = (colours[:, :1] == colours[:, 1:]).all()
    return (colours[:, :1] if is_grey else colours)[indices.astype(np.intp)]
