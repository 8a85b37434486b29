"""AVIF: all its bits, its clean aperture, and what its boxes say before anything is decoded."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import imagecodecs
import numpy as np
from PIL.AvifImagePlugin import AvifImageFile

from ggt_hub.errors import ImageError
from ggt_hub.images import hdr, ifd
from ggt_hub.images.convert import (
    check_size,
    exif_of,
    finished,
    from_array,
    from_open_file,
    in_sixteen_bits,
    warn_of_others,
)
from ggt_hub.images.metadata import orientation_of
from ggt_hub.images.picture import Picture
from ggt_hub.images.request import Request

_Box = tuple[bytes, int, int]  # kind, begin and end of its content


@dataclass
class _Item:
    """What the boxes say of the picture itself (ISO/IEC 23008-12, 6.5 and 9.3)."""

    size: tuple[int, int] = (0, 0)
    bits: int = 8
    nclx: tuple[int, int, int] | None = None  # primaries, transfer, matrix
    clap: tuple[int, ...] | None = None
    exif: list[bytes] = field(default_factory=list)


def read_avif(data: bytes, request: Request) -> Picture:
    """An AVIF picture, or a frame of a sequence."""
    item = _primary_item(data, request.name)
    primaries, transfer, _ = item.nclx or (2, 2, 2)
    return hdr.to_sdr(_read(data, item, request), primaries, transfer)


def _read(data: bytes, item: _Item, request: Request) -> Picture:
    name = request.name
    check_size(*item.size, request.max_pixels, name)
    if any(ifd.repeats_itself(block[4:]) for block in item.exif):  # Pillow reads it on opening
        raise ImageError(f"cannot read {name!r}: its EXIF points at the same bytes again and again.")
    image = AvifImageFile(io.BytesIO(data))
    check_size(*image.size, request.max_pixels, name)
    frames = getattr(image, "n_frames", 1)
    index = request.index_among(frames, "frame")
    warn_of_others(request, frames, "frame")
    if item.bits == 8:
        image.seek(index)
        if item.clap is None:
            return from_open_file(image, name, request.max_pixels)
        array = np.asarray(image)
    else:
        array = in_sixteen_bits(imagecodecs.avif_decode(data, index, numthreads=1), item.bits)
    array = _clean_aperture(array, item.clap, name)
    return finished(
        from_array(array, name, request.max_pixels),
        image.info.get("icc_profile"),
        orientation_of(exif_of(image, name)),
        name,
    )


def _clean_aperture(array: np.ndarray, clap: tuple[int, ...] | None, name: str) -> np.ndarray:
    """The part that is meant to be seen (ISO/IEC 14496-12, 12.1.4); it is cut before the picture is turned."""
    if clap is None:
        return array
    height, width = array.shape[:2]
    (w, h, x, y) = (
        top / bottom if bottom else -1.0 for top, bottom in zip(clap[::2], clap[1::2], strict=True)
    )
    left, top = (width - w) / 2 + x, (height - h) / 2 + y
    box = [round(value) for value in (left, top, left + w, top + h)]
    if w < 1 or h < 1 or box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height:
        raise ImageError(
            f"cannot read {name!r}: its clean aperture lies outside the picture. Convert it to PNG."
        )
    return array[box[1] : box[3], box[0] : box[2]]


def _primary_item(data: bytes, name: str) -> _Item:
    meta = _find(data, _boxes(data, 0, len(data)), b"meta")
    if meta is None:
        raise ImageError(f"cannot read {name!r}: it has no picture. The file is incomplete or damaged.")
    boxes = list(_boxes(data, meta[1] + 4, meta[2]))
    item = _Item(exif=_exif(data, boxes))
    pitm = _find(data, boxes, b"pitm")
    primary = _number(data, pitm[1] + 4, 4 if data[pitm[1]] else 2) if pitm else 1
    properties = _find(data, boxes, b"iprp")
    if properties is None:
        return item
    inside = list(_boxes(data, properties[1], properties[2]))
    container = _find(data, inside, b"ipco")
    shared = list(_boxes(data, container[1], container[2])) if container else []
    for kind, begin, end in _associated(data, inside, shared, primary):
        content = data[begin:end]
        if kind == b"ispe":
            width, height = struct.unpack_from(">II", content, 4)
            item.size = (width, height)
        elif kind == b"pixi":
            item.bits = max(content[5 : 5 + content[4]], default=8)
        elif kind == b"av1C":  # high_bitdepth and twelve_bit, AV1-ISOBMFF 2.3.3
            item.bits = 8 if not content[2] & 0x40 else 12 if content[2] & 0x20 else 10
        elif kind == b"colr" and content[:4] == b"nclx":
            item.nclx = struct.unpack_from(">HHH", content, 4)
        elif kind == b"clap":
            item.clap = struct.unpack_from(">IIIIiIiI", content)
    return item


def _boxes(data: bytes, begin: int, end: int) -> Iterator[_Box]:
    while begin + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, begin)
        head = 8
        if size == 1 and begin + 16 <= end:
            size, head = _number(data, begin + 8, 8), 16
        last = end if size == 0 else begin + size
        if last < begin + head or last > end:
            return
        yield kind, begin + head, last
        begin = last


def _find(data: bytes, boxes: "Iterator[_Box] | list[_Box]", kind: bytes) -> _Box | None:
    return next((box for box in boxes if box[0] == kind), None)


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _associated(data: bytes, inside: list[_Box], shared: list[_Box], item: int) -> Iterator[_Box]:
    """The property boxes of one item (ipma)."""
    for kind, begin, end in inside:
        if kind != b"ipma":
            continue
        id_size, index_size = 4 if data[begin] else 2, 2 if data[begin + 3] & 1 else 1
        at = begin + 8
        for _ in range(_number(data, begin + 4, 4)):
            if at + id_size >= end:
                break
            owner, count = _number(data, at, id_size), data[at + id_size]
            at += id_size + 1
            for _ in range(count):
                index = _number(data, at, index_size) & (0x7FFF if index_size == 2 else 0x7F)
                at += index_size
                if owner == item and 0 < index <= len(shared):
                    yield shared[index - 1]


def _exif(data: bytes, boxes: list[_Box]) -> list[bytes]:
    """The contents of the items of type Exif (iinf, iloc), no more in all than the file has bytes."""
    infos, places, ids = _find(data, boxes, b"iinf"), _find(data, boxes, b"iloc"), set()
    if infos is None or places is None:
        return []
    for kind, begin, _end in _boxes(data, infos[1] + (8 if data[infos[1]] else 6), infos[2]):
        id_size = 4 if data[begin] > 2 else 2
        if kind == b"infe" and data[begin + 6 + id_size : begin + 10 + id_size] == b"Exif":
            ids.add(_number(data, begin + 4, id_size))
    return [block for owner, block in _located(data, places) if owner in ids]


def _located(data: bytes, places: _Box) -> Iterator[tuple[int, bytes]]:
    version, at, end = data[places[1]], places[1] + 4, places[2]
    sizes = data[at] >> 4, data[at] & 15, data[at + 1] >> 4, data[at + 1] & 15 if version else 0
    id_size = 4 if version == 2 else 2
    count, at = _number(data, at + 2, id_size), at + 2 + id_size
    budget = len(data)
    for _ in range(count):
        if at >= end:
            return
        owner = _number(data, at, id_size)
        at += id_size + (2 if version else 0) + 2
        base, at = _number(data, at, sizes[2]), at + sizes[2]
        extents, at = _number(data, at, 2), at + 2
        block = b""
        for _ in range(extents):
            if at >= end:
                break
            at += sizes[3]
            offset, length = _number(data, at, sizes[0]), _number(data, at + sizes[0], sizes[1])
            at += sizes[0] + sizes[1]
            part = data[base + offset : base + offset + length] if length else data[base + offset :]
            budget -= len(part)
            if budget < 0:
                raise ValueError("its items lie on the same bytes again and again")
            block += part
        yield owner, block
