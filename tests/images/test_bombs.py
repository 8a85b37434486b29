"""Small files that unpack to far more than they are worth cost no more than a plain picture of their size."""

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from ggt_hub.images import ifd, read_image
from tests.images import bombs

_BOUND = 64  # MB; the issue grants 1 GiB, and none of these pictures has more than 4 megapixels
_READ_WITHOUT = "points at the same bytes again and again"


@pytest.fixture(scope="module")
def measured():
    """All bombs in one process, which is not this one: its peak of memory is set back before each."""
    code = "import json, tests.images.bombs as b; print(json.dumps(list(b.measure(b.BOMBS))))"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return {name: (size, megabytes) for name, size, megabytes, *_ in json.loads(run.stdout)}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process set its peak of memory back")
@pytest.mark.parametrize("name", bombs.BOMBS)
def test_bomb_takes_little_memory(measured, name):
    size, megabytes = measured[name]
    assert size < 3_000_000
    assert megabytes < _BOUND


def test_exif_that_repeats_itself_is_left_behind_and_the_picture_is_read():
    for data in (
        bombs.jpeg_with(bombs.repeating_directory(700, 9000)),
        bombs.jpeg_with(bombs.repeating_directory(700, 9000, sub=True)),
        bombs.webp_with(b"Exif\0\0" + bombs.repeating_directory(700, 9000)),
    ):
        picture = read_image(data)
        assert picture.exif is None
        assert any(re.search(_READ_WITHOUT, words) for words in picture.left_behind)


@pytest.mark.parametrize("sub", [False, True])
def test_directories_are_weighed_without_reading_their_values(sub):
    assert not ifd.repeats_itself(bombs.repeating_directory(1, 9000, sub))
    assert ifd.repeats_itself(bombs.repeating_directory(3, 9000, sub))


def test_chain_of_directories_ends_where_it_loops():
    (only,) = ifd.chain(bombs.looping_directories())
    assert only.following == only.offset == 8
    assert list(ifd.sub_directories(only)) == []


def test_directories_that_overlap_are_too_many():
    """A thousand sub-directories, each of them the tail of one long directory of tags without a size."""
    offsets = struct.pack("<1000I", *(4040 + 12 * i for i in range(1000)))
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 330, 4, 1000, 30) + bytes(8)
    body = b"\xff\xff" * 60_000
    assert ifd.repeats_itself(head + offsets + bytes(10) + body)


def test_scans_are_counted_before_decoding():
    with pytest.raises(ValueError, match="in 106 scans"):
        read_image(bombs.scans(2000, 100))
    assert read_image(bombs.scans(64, 100)).size == (64, 64)  # which cost nothing at this size
