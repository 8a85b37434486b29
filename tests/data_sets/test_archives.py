"""Archives read in place: what is listed, what is reported by name, and every byte checked."""

import struct
import zipfile
from pathlib import Path

import pytest

from ggt_hub.data.storage.archives import Problem, list_members, summarise, why_nested, why_refused
from ggt_hub.data.storage.fetch import read_member
from ggt_hub.data.storage.trees import File, local_tree
from ggt_hub.errors import DatasetError
from tests.data_sets.layouts import picture, write_zip


def listed(path: Path):
    (file,) = local_tree(path.parent).files
    return list_members(file)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_come_back_byte_for_byte(method, tmp_path):
    members = {"a/1.png": picture(1), "a/ü.png": picture(2), "notes.txt": b"", "big.txt": b"x" * 900}
    write_zip(tmp_path / "x.zip", members, method)
    found, problems = listed(tmp_path / "x.zip")
    assert {member.name: read_member(member) for member in found} == members
    assert not problems


def test_zip64_fields_and_long_local_headers_are_followed(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        with archive.open("a.png", "w", force_zip64=True) as member:
            member.write(picture(1))
        info = zipfile.ZipInfo("b.png")
        info.extra = struct.pack("<HH", 0x9999, 5000) + bytes(5000)
        archive.writestr(info, picture(2))
    found, _ = listed(tmp_path / "x.zip")
    assert [read_member(member) for member in found] == [picture(1), picture(2)]


def test_an_archive_of_more_members_than_zip32_can_count(tmp_path):
    write_zip(tmp_path / "x.zip", {f"{n}.txt": b"%d" % n for n in range(70_000)})
    found, _ = listed(tmp_path / "x.zip")
    assert len(found) == 70_000
    assert read_member(found[69_999]) == b"69999"


def test_what_is_wrong_is_reported_by_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("good.png", picture(1))
        archive.writestr("../../etc/passwd", b"x")
        archive.writestr("/absolute.png", b"x")
        archive.writestr("C:\\drive.png", b"x")
        archive.writestr("twice.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("twice.png", b"2")
        archive.writestr("zeros.png", bytes(1 << 22), zipfile.ZIP_DEFLATED)
        archive.writestr("bzip2.png", picture(2), zipfile.ZIP_BZIP2)
        archive.writestr("__MACOSX/._good.png", b"x")
    found, problems = listed(tmp_path / "x.zip")
    assert [member.name for member in found] == ["good.png"]
    packed = zipfile.ZipFile(tmp_path / "x.zip").getinfo("zeros.png").compress_size
    reasons = {problem.path: problem.reason for problem in problems}
    assert reasons == {
        "x.zip::../../etc/passwd": "the name points outside the archive",
        "x.zip::/absolute.png": "the name points outside the archive",
        "x.zip::C:/drive.png": "the name points outside the archive",
        "x.zip::twice.png": "the archive has several members of this name",
        "x.zip::zeros.png": f"an unpacked size of 4194304 bytes out of {packed} cannot be right",
        "x.zip::bzip2.png": "the member is compressed by bzip2, which cannot be read in place: "
        "download and unpack it (or pack it again as .zip), then load by data_dir=",
    }


def test_encrypted_members_and_sizes_behind_the_end_are_reported(tmp_path):
    write_zip(tmp_path / "x.zip", {"a.png": picture(1), "b.png": picture(2)})
    data = bytearray((tmp_path / "x.zip").read_bytes())
    first = data.index(b"PK\x01\x02")
    data[first + 8] |= 1
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 20 : second + 24] = struct.pack("<I", 1 << 24)
    (tmp_path / "x.zip").write_bytes(data)
    _, problems = listed(tmp_path / "x.zip")
    assert [problem.reason.split(" behind")[0].split(":")[0] for problem in problems] == [
        "the member is encrypted",
        "the data would end",
    ]


def test_every_flipped_byte_of_a_member_is_found_and_named(tmp_path):
    data = picture(1)
    write_zip(tmp_path / "x.zip", {"a.png": data})
    whole = (tmp_path / "x.zip").read_bytes()
    start = whole.index(data)
    for position in range(start, start + len(data), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        (tmp_path / "x.zip").write_bytes(damaged)
        (member,), _ = listed(tmp_path / "x.zip")
        with pytest.raises(DatasetError, match=r"x\.zip::a\.png: size or CRC-32 differ"):
            read_member(member)


def test_a_directory_that_points_elsewhere_is_noticed(tmp_path):
    write_zip(tmp_path / "x.zip", {"a.png": picture(1), "b.png": picture(2)})
    found, _ = listed(tmp_path / "x.zip")
    wrong = found[0].place._replace(offset=found[0].place.offset + 1)
    with pytest.raises(DatasetError, match="no member where the directory says"):
        read_member(type(found[0])(found[0].path, "a.png", found[0].file, wrong))


def test_truncated_and_foreign_files_are_refused(tmp_path):
    write_zip(tmp_path / "x.zip", {"a.png": picture(1)})
    (tmp_path / "x.zip").write_bytes((tmp_path / "x.zip").read_bytes()[:-30])
    with pytest.raises(DatasetError, match=r"x\.zip: not a readable zip archive"):
        listed(tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.7z", "unpack it"),
        ("a.tar.gz", "unpack it"),
        ("a.tar", "unpack it"),
        ("a.rar", "unpack it"),
        ("a.z01", "join them"),
        ("a.zip.001", "join them"),
        ("a.zip.part_aa", "join them"),
        ("a.zip.part1", "join them"),
        ("a.zip.aa", "join them"),
        ("a.zipaa", "join them"),
        ("A.ZIP.002", "join them"),
        ("a.tar.gz.partbc", "join them"),
        ("a.part-aa", "join them"),
        ("a.7z.001", "join them"),
        ("a.r00", "join them"),
        ("a.tgz", "unpack it"),
        ("a.tar.zst", "unpack it"),
        ("a.jsonl.gz", None),
        ("a.zip.md", None),
        ("part1.png", None),
        ("a.png", None),
        ("a.zip", None),
        ("readme", None),
    ],
)
def test_containers_that_cannot_be_read_in_place_come_with_a_way_out(name, hint):
    reason = why_refused(File(name, 1, f"hf://datasets/a/b@c/{name}"))
    assert (hint in reason) if hint else reason is None


@pytest.mark.parametrize(
    ("name", "is_archive"),
    [
        ("a/b.zip", True),
        ("A.ZIP", True),
        ("b.tar.gz", True),
        ("b.7z", True),
        ("notes.v1.2", False),
        ("a.png", False),
    ],
)
def test_archives_inside_archives_are_known_by_their_ending(name, is_archive):
    assert (why_nested(name) is not None) == is_archive


def test_the_last_volume_of_a_split_archive_is_not_taken_for_a_whole_one(tmp_path):
    write_zip(tmp_path / "x.zip", {"a.png": picture(1), "b.png": picture(2)})
    data = bytearray((tmp_path / "x.zip").read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 34] = 1  # the volume on which the first member starts
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DatasetError, match=r"x\.zip: a volume of a split archive .*join them"):
        listed(tmp_path / "x.zip")


def test_problems_of_one_kind_are_told_in_one_line():
    problems = [Problem(f"x.z{n:02d}", "a volume") for n in range(1, 9)] + [Problem("y.7z", "a container")]
    assert summarise(problems) == [
        "x.z01, x.z02, x.z03, x.z04, x.z05 and 3 more: a volume",
        "y.7z: a container",
    ]
