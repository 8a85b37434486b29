"""What is in a zip archive, from its central directory alone, and one member's bytes from a piece of it.

CRC-32 and inflate are those of isal: checking by zlib's, three times as slow, took as long as reading.
"""

import re
import struct
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from isal import isal_zlib

from ggt_hub.data.storage.ranges import SourceFile, open_source
from ggt_hub.data.storage.trees import File
from ggt_hub.errors import DatasetError
from ggt_hub.files.folders import is_junk

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
MANIFEST_SUFFIXES = {".json", ".jsonl", ".csv", ".txt"}
WEIGHT_SUFFIXES = {".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".onnx"}
MAX_MEMBER = 1 << 30
MAX_EXPANSION = 1000
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# In a tar a member's bytes lie as they are, behind a header that the offset skips, and without a checksum.
IN_TAR, NO_CRC = -1, -1

_OTHER_METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "xz",
}
_OTHER_METHODS |= {96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES encryption"}
_ENCRYPTED = 0x1
_LOCAL_HEADER = struct.Struct("<4s22xHH")
# A member's local header repeats its name and may carry other extra fields than the directory tells of.
_SPARE = 256

_JOIN = (
    "download its parts, join them (`cat NAME.* > NAME.zip`, or `zip -s 0` for .z01), then load by data_dir="
)
_VOLUME = f"a volume of a split archive cannot be read in place: {_JOIN}"
_UNPACK = "download and unpack it (or pack it again as .zip), then load by data_dir="
_CONTAINERS = re.compile(r"\.(7z|rar|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst|lz4))$")
# .z01, .r00 and .001; .part1 and .zip.part_aa; and what `split` makes: .zipaa, .tar.gz.ab.
_VOLUMES = re.compile(
    r"\.([zr]\d\d+|\d+|part([._-]?\w{1,4})?|(zip|7z|rar|tar|tgz|gz)[._-]?(part[._-]?\w{1,4}|(?!md)[a-z]{2}))$"
)


class Place(NamedTuple):
    """Where a member's bytes are in its archive, and how they are stored there (sizes in bytes)."""

    offset: int
    stored_size: int
    size: int
    method: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, or a file that lies there by itself.

    Attributes:
        path: where it lies in the tree, as if archives were folders.
        name: its path inside the archive; of a file by itself, in the tree.
        file: the archive, or the file itself.
        place: where its bytes are in the archive; None for a file by itself.
    """

    path: str
    name: str
    file: File
    place: Place | None = None

    @property
    def uri(self) -> str:
        """The address by which `datasets` and fsspec read the member."""
        if self.place is None:
            return self.file.uri
        return f"{'tar' if self.place.method == IN_TAR else 'zip'}://{self.name}::{self.file.uri}"


@dataclass(frozen=True)
class Problem:
    """Something in a dataset that is not as it should be: where, and what is wrong with it."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def summarise(problems: Iterable[Problem]) -> list[str]:
    """One line for each reason, naming the first of the places that it is about."""
    places: dict[str, list[str]] = {}
    for problem in problems:
        places.setdefault(problem.reason, []).append(problem.path)
    return [f"{_first_of(paths)}: {reason}" for reason, paths in places.items()]


def _first_of(paths: list[str], count: int = 5) -> str:
    more = f" and {len(paths) - count} more" if len(paths) > count else ""
    return ", ".join(paths[:count]) + more


def why_refused(file: File) -> str | None:
    """Say what to do with a container that cannot be read by ranges; None for any other file.

    A tar has no directory: on disk it is walked through, at the Hub that would take a request for each member.
    """
    name = file.path.lower()
    if name.endswith(".tar") and not file.uri.startswith("hf://"):
        return None
    if container := _CONTAINERS.search(name):
        return f"a {container[0]} container cannot be read in place: {_UNPACK}"
    return _VOLUME if _VOLUMES.search(name) else None


def why_nested(name: str) -> str | None:
    """Say what to do with a member of an archive that is an archive itself; None for any other."""
    if name.lower().endswith(".zip") or _CONTAINERS.search(name.lower()):
        return f"an archive inside an archive cannot be read in place: {_UNPACK}"
    return None


def list_members(archive: File, token: str | bool | None = None) -> tuple[list[Member], list[Problem]]:
    """Read the central directory of a zip archive, Zip64 included.

    Returns:
        The files in it, in the order of their offsets, and what is wrong: unsafe names, duplicates, sizes that
        cannot be, encryption, unknown compression. A member with a problem is left out of the list.

    Raises:
        DatasetError: if the directory cannot be read.
        HubError: if the Hub does not give it.
    """
    if archive.suffix == ".tar":
        return _list_tar(archive)
    try:
        directory = zipfile.ZipFile(SourceFile(open_source(archive.uri, token)))
    except (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError) as error:
        raise DatasetError(
            f"{archive.path}: not a readable zip archive ({error}); if it is a volume of a split archive, {_JOIN}; "
            "else fetch it again"
        ) from error
    if any(entry.volume for entry in directory.infolist()):
        raise DatasetError(f"{archive.path}: {_VOLUME}")
    folder = archive.path.removesuffix(PurePosixPath(archive.path).suffix)
    members: dict[str, Member] = {}
    problems = []
    for entry in sorted(directory.infolist(), key=lambda entry: entry.header_offset):
        if entry.is_dir() or _is_litter(entry.filename):
            continue
        name = entry.filename.replace("\\", "/")
        reason = _what_is_wrong(entry, name, archive.size)
        if name in members:
            reason = "the archive has several members of this name"
        if reason:
            problems.append(Problem(f"{archive.path}::{name}", reason))
            continue
        place = Place(
            entry.header_offset, entry.compress_size, entry.file_size, entry.compress_type, entry.CRC
        )
        members[name] = Member(f"{folder}/{name}", name, archive, place)
    repeated = {problem.path.partition("::")[2] for problem in problems}
    return [member for name, member in members.items() if name not in repeated], problems


def _list_tar(archive: File) -> tuple[list[Member], list[Problem]]:
    """The files in a tar on disk; the last of a name counts, as for whoever unpacks it."""
    folder = archive.path.removesuffix(".tar").removesuffix(".TAR")
    members: dict[str, Member] = {}
    problems = []
    try:
        with tarfile.open(archive.uri, "r:") as directory:
            for entry in directory:
                name = entry.name.removeprefix("./")
                if not entry.isreg() or _is_litter(name):
                    continue
                if name.startswith("/") or ".." in PurePosixPath(name).parts:
                    problems.append(Problem(f"{archive.path}::{name}", "the name points outside the archive"))
                elif entry.offset_data + entry.size > archive.size:
                    problems.append(Problem(f"{archive.path}::{name}", "the archive is cut off here"))
                else:
                    place = Place(entry.offset_data, entry.size, entry.size, IN_TAR, NO_CRC)
                    members[name] = Member(f"{folder}/{name}", name, archive, place)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DatasetError(f"{archive.path}: not a readable tar archive ({error}); fetch it again") from error
    return list(members.values()), problems


def _is_litter(name: str) -> bool:
    """What operating systems and storage boxes leave in archives."""
    return any(is_junk(part, hidden_too=False) for part in PurePosixPath(name).parts)


def _what_is_wrong(entry: zipfile.ZipInfo, name: str, archive_size: int) -> str | None:
    if name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":":
        return "the name points outside the archive"
    if entry.flag_bits & _ENCRYPTED:
        return f"the member is encrypted: {_UNPACK}"
    if entry.compress_type not in METHODS:
        kind = _OTHER_METHODS.get(entry.compress_type, f"method {entry.compress_type}")
        return f"the member is compressed by {kind}, which cannot be read in place: {_UNPACK}"
    if entry.header_offset + entry.compress_size > archive_size:
        return f"the data would end behind the archive's {archive_size} bytes"
    if entry.file_size > MAX_MEMBER or entry.file_size > MAX_EXPANSION * max(entry.compress_size, 1):
        return f"an unpacked size of {entry.file_size} bytes out of {entry.compress_size} cannot be right"
    return None


def span(place: Place, name: str) -> tuple[int, int]:
    """A range of an archive that holds a member, its local header included, unless that header is unusual."""
    if place.method == IN_TAR:
        return place.offset, place.offset + place.size
    return place.offset, header_end(place, name) + _SPARE + place.stored_size


def header_end(place: Place, name: str) -> int:
    """Where a member's local header ends if it has no extra fields; its fixed part is before that in any case."""
    return place.offset + _LOCAL_HEADER.size + len(name.encode())


def payload(header: bytes, place: Place) -> tuple[int, int]:
    """The range of an archive that holds a member's stored bytes.

    Args:
        header: the bytes from `place.offset` up to `header_end`; the directory does not tell how long the rest is.
        place: where the member is.

    Raises:
        DatasetError: if no member begins there.
    """
    signature, name_size, extra_size = _LOCAL_HEADER.unpack_from(header)
    if signature != b"PK\x03\x04":
        raise DatasetError("there is no member where the directory says; the archive or the index is damaged")
    start = place.offset + _LOCAL_HEADER.size + name_size + extra_size
    return start, start + place.stored_size


def unpack(stored: bytes, place: Place) -> bytes:
    """A member's bytes from those that are stored.

    Raises:
        DatasetError: if they are not what the directory promised.
    """
    data = stored if place.method == zipfile.ZIP_STORED else _inflate(stored, place.size)
    if len(data) != place.size or isal_zlib.crc32(data) != place.crc32:
        raise DatasetError("size or CRC-32 differ from the archive's directory; the bytes are damaged")
    return data


def _inflate(stored: bytes, size: int) -> bytes:
    try:
        return isal_zlib.decompressobj(-isal_zlib.MAX_WBITS).decompress(stored, size + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub says that this is an instance
        raise DatasetError(f"the member cannot be unpacked ({error}); the archive is damaged") from error
