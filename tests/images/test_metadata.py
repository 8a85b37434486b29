"""What pictures carry beside their pixels, from file to file, byte by byte."""

import hashlib
import io
import pickle
import struct
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from ggt_hub.errors import ImageError
from ggt_hub.images import (
    ImageWarning,
    Metadata,
    Picture,
    check_format,
    encode_image,
    read_image,
    write_image,
)
from tests.images import carriers
from tests.images import odd_files as odd
from tests.images.carriers import below, chunks_of, exif_in, jpeg, riff_of, segments_of, tiff_of, xmp

SUFFIXES = [".jpg", ".png", ".webp", ".tif"]


def converted(data, suffix, quality=95):
    """The file that a file becomes, read and written."""
    return encode_image(read_image(data), suffix, quality)


def carried_exif(file):
    """What a reader finds: texts, numbers, and the place of the maker note."""
    block = exif_in(file)
    first = tiff_of(block)
    camera = below(block, first, 0x8769)
    return block, first, camera


# --- EXIF --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("note", [carriers.canon_note, carriers.nikon_note])
def test_exif_is_the_cameras_block_with_three_numbers_changed(suffix, order, note):
    source = carriers.exif(order, note=note, thumbnail=False)
    result = converted(jpeg((0xE1, b"Exif\0\0" + source)), suffix)
    assert "EXIF" in result.kept
    block, first, camera = carried_exif(result.data)
    assert first[0x010E] == "祖母の写真 1912".encode() + b"\0"
    assert first[0x0112] == struct.pack(order + "H", 1)
    assert camera[0x9204] == struct.pack(order + "ii", -2, 0)
    assert camera[0x9003] == carriers.DATE
    assert camera[0xA002] == struct.pack(order + "I", 48)  # it was turned
    assert camera[0xA003] == struct.pack(order + "I", 64)
    assert below(block, first, 0x8825)[2] == struct.pack(order + "6I", 48, 1, 8, 1, 1234, 100)
    assert below(block, camera, 0xA005)[1] == b"R98\0"
    at = source.find(camera[0x927C])
    assert (
        block[at : at + len(camera[0x927C])] == camera[0x927C] == note(order, at)
    )  # nothing in it has moved
    if suffix != ".tif":
        assert len(block) == len(source)
        assert sum(a != b for a, b in zip(block, source, strict=True)) == 3  # orientation, width, height


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("middle", [".png", ".webp", ".tif"])
def test_exif_survives_a_second_file(suffix, order, middle):
    """A TIFF has its directories elsewhere; the block made of them must still have the note where it was."""
    source = carriers.exif(order, thumbnail=False)
    note = carriers.tiff_of(source, carriers.struct.unpack(order + "I", tiff_of(source)[0x8769])[0])[0x927C]
    again = converted(converted(jpeg((0xE1, b"Exif\0\0" + source)), middle).data, suffix)
    block, first, camera = carried_exif(again.data)
    assert first[0x010E] == "祖母の写真 1912".encode() + b"\0"
    assert block.find(note) == source.find(note)
    assert camera[0x9204] == struct.pack(order + "ii", -2, 0)
    assert below(block, first, 0x8825)[1][:1] == b"N"
    assert "EXIF" in again.kept


@pytest.mark.parametrize("order", ["<", ">"])
def test_thumbnail_is_gone_and_everything_else_where_it_was(order):
    source = carriers.exif(order)
    block = read_image(jpeg((0xE1, b"Exif\0\0" + source))).exif
    assert source.count(b"\xff\xd8\xff") == 1
    assert b"\xff\xd8\xff" not in block
    without = carriers.exif(order, thumbnail=False, orientation=1)
    assert block[: len(without)] == without
    assert not any(block[len(without) :])


def test_thumbnail_that_shares_bytes_with_the_camera_note_costs_it_nothing():
    source = bytearray(carriers.exif())
    at = source.find(b"Anna Muster")
    entry = source.find(struct.pack("<HHI", 0x0201, 4, 1))
    source[entry + 8 : entry + 12] = struct.pack("<I", at)  # "the thumbnail" is where the owner's name is
    assert b"Anna Muster" in read_image(jpeg((0xE1, b"Exif\0\0" + bytes(source)))).exif


def test_maker_note_far_behind_in_a_tiff_is_left_behind_with_a_word_unless_it_may_move():
    for note, kept in [(carriers.canon_note, False), (carriers.nikon_note, True)]:
        pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
        raw = bytearray(b"II*\0" + bytes(4) + pixels.tobytes())
        at = len(raw)
        made = note("<", at + 18)
        raw += carriers.directory("<", [(0x927C, 7, len(made), made)], at)
        tags = [
            (256, 200),
            (257, 200),
            (258, 8),
            (259, 1),
            (262, 2),
            (273, 8),
            (277, 3),
            (278, 200),
            (279, 120000),
        ]
        rows = [(tag, 4, 1, struct.pack("<I", value)) for tag, value in [*tags, (0x8769, at)]]
        raw[4:8] = struct.pack("<I", len(raw))
        result = converted(bytes(raw + carriers.directory("<", rows, len(raw))), ".jpg")
        assert any("maker note" in word for word in result.left_behind) != kept
        assert (made in result.data) == kept


def test_exif_too_large_for_jpeg_goes_without_its_maker_note_first():
    source = carriers.exif(note=lambda order, at: b"x" * 70_000, thumbnail=False)
    png = odd.png_of(odd.RGB, odd.chunk(b"eXIf", source))
    result = converted(png, ".jpg")
    assert any("maker note" in word for word in result.left_behind)
    _, first, camera = carried_exif(result.data)
    assert first[0x010F] == b"Canon\0"
    assert 0x927C not in camera


@pytest.mark.parametrize(
    "block", [b"", b"II*\0", b"nonsense", b"II*\0\xff\xff\xff\x7f", b"MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_costs_nothing_else(block):
    picture = read_image(jpeg((0xE1, b"Exif\0\0" + block), (0xFE, b"Grandma")))
    assert picture.metadata.comments == (b"Grandma",)
    assert picture.pixels.shape == odd.PHOTO.shape


def test_directories_that_point_at_themselves_are_read_once():
    block = bytearray(carriers.exif())
    at = block.find(struct.pack("<HHI", 0x8769, 4, 1))
    block[at + 8 : at + 12] = struct.pack("<I", 8)
    assert len(read_image(jpeg((0xE1, b"Exif\0\0" + bytes(block)))).exif) <= len(block)


def test_a_tiff_whose_values_share_bytes_is_refused():
    """700 tags of 9000 bytes each that all lie in the same 9000 bytes, each a byte further than the one before."""
    size, count = 9_000, 700
    shape = [(256, 16), (257, 12), (258, 8), (259, 1), (262, 1), (277, 1), (278, 12), (279, 192)]
    start = 8 + 2 + 12 * (len(shape) + 1 + count) + 4
    rows = [(tag, 4, 1, value) for tag, value in [*shape, (273, start)]]
    rows += [(40_000 + i, 7, size, start + i) for i in range(count)]
    data = (
        b"II*\0"
        + struct.pack("<IH", 8, len(rows))
        + b"".join(struct.pack("<HHII", *row) for row in sorted(rows))
    )
    with pytest.raises(ImageError, match="its tags point at the same bytes again and again"):
        read_image(data + bytes(4) + bytes(size + count))


# --- XMP, IPTC, comments, texts, resolution -----------------------------------------------------------------


def everything():
    iptc = b"\x1c\x02\x78\0\x0bAt the lake"
    resources = (
        carriers.resource(0x0425, b"d" * 16)
        + carriers.resource(0x0404, iptc, b"IPTC")
        + carriers.resource(1036, b"\xff\xd8thumbnail")
        + carriers.resource(2000, b"a path", b"Path 1")
    )
    segments = [
        (0xE1, carriers.XMP_HEAD + xmp()),
        (0xED, b"Photoshop 3.0\0" + resources),
        (0xFE, b"Grandma 1912"),
        (0xFE, "Größe".encode("latin-1")),
    ]
    return iptc, jpeg(*segments)


def test_jpeg_to_jpeg_keeps_every_segment():
    iptc, source = everything()
    result = converted(source, ".jpg")
    assert result.left_behind == ()
    assert set(result.kept) == {"XMP", "IPTC", "Photoshop resources", "resolution", "comments"}
    found = segments_of(result.data)
    assert [payload for marker, payload in found if marker == 0xFE] == [
        b"Grandma 1912",
        "Größe".encode("latin-1"),
    ]
    assert (0xE1, carriers.XMP_HEAD + xmp()) in found
    (resources,) = (payload for marker, payload in found if marker == 0xED)
    assert carriers.resource(0x0404, iptc) in resources
    assert carriers.resource(0x0425, b"d" * 16) in resources
    assert carriers.resource(2000, b"a path", b"Path 1") in resources
    assert b"thumbnail" not in resources
    assert found[0][1][7:12] == struct.pack(">BHH", 1, 600, 600)


def test_jpeg_to_png_and_back():
    iptc, source = everything()
    result = converted(source, ".png")
    assert result.left_behind == ()
    found = chunks_of(result.data)
    assert (b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp()) in found
    assert (b"tEXt", b"Comment\0Grandma 1912") in found
    assert (b"pHYs", struct.pack(">IIB", 23622, 23622, 1)) in found
    again = read_image(result.data).metadata
    assert again.iptc == iptc
    assert again.photoshop == read_image(source).metadata.photoshop
    assert segments_of(converted(result.data, ".jpg").data)[0][1][7:12] == struct.pack(">BHH", 1, 600, 600)


def test_jpeg_to_tiff_and_back():
    iptc, source = everything()
    result = converted(source, ".tif")
    assert result.left_behind == ("comments (TIFF has no place for it)",)
    tags = tiff_of(result.data)
    assert tags[700] == xmp()
    assert tags[33723] == iptc
    assert tags[282] == struct.pack("<II", 600, 1)
    again = read_image(result.data).metadata
    assert (again.xmp, again.iptc) == (xmp(), iptc)
    assert again.photoshop == read_image(source).metadata.photoshop


def test_jpeg_to_webp_names_what_is_lost():
    result = converted(everything()[1], ".webp")
    assert riff_of(result.data)[b"XMP "] == xmp()
    assert result.kept == ("XMP",)
    words = " ".join(result.left_behind)
    assert all(word in words for word in ("IPTC", "Photoshop resources", "resolution", "comments"))
    assert read_image(result.data).metadata.xmp == xmp()


def test_write_image_warns_of_what_is_lost(tmp_path):
    with pytest.warns(ImageWarning, match="left behind.*IPTC.*WebP"):
        write_image(read_image(everything()[1]), tmp_path / "x.webp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_image(read_image(everything()[1]), tmp_path / "x.jpg")


def test_texts_of_png_stay_as_they_are():
    texts = [
        (b"tEXt", b"Title\0Gro\xdfmutter"),
        (b"zTXt", b"Note\0\0" + zlib.compress(b"long " * 99)),
        (b"iTXt", b"Description\0\0\0de\0Beschreibung\0Gro\xc3\x9fmutter"),
        (b"tEXt", b"Title\0once more"),
    ]
    source = odd.png_of(odd.RGB, b"".join(odd.chunk(*one) for one in texts))
    found = [
        one for one in chunks_of(converted(source, ".png").data) if one[0] in (b"tEXt", b"zTXt", b"iTXt")
    ]
    assert found == texts
    assert any("text chunks" in word for word in converted(source, ".jpg").left_behind)


def test_profiles_that_imagemagick_hides_among_the_texts_are_found_and_not_doubled():
    block = carriers.exif(thumbnail=False)
    digits = (b"Exif\0\0" + block).hex().encode()
    hidden = (
        b"\nexif\n%8d\n" % (len(block) + 6)
        + b"\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
        + b"\n"
    )
    source = odd.png_of(odd.RGB, odd.chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hidden)))
    picture = read_image(source)
    assert picture.size == (9, 13)  # it was turned
    assert carriers.tiff_of(picture.exif)[0x0112] == b"\1\0"
    again = read_image(converted(source, ".png").data)
    assert again.size == (9, 13)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_orientation_and_size_in_xmp_follow_the_pixels(suffix):
    attributes = (
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        b'tiff:Orientation="6" '
        b"exif:PixelXDimension='64'"
    )
    inside = b"<tiff:ImageWidth>64</tiff:ImageWidth><exif:PixelYDimension>48</exif:PixelYDimension>"
    source = jpeg((0xE1, carriers.XMP_HEAD + xmp(inside, attributes)))
    picture = read_image(converted(source, suffix).data)
    assert picture.size == (48, 64)
    wanted = xmp(inside, attributes).replace(b'n="6"', b'n="1"').replace(b"48<", b"@<").replace(b"64", b"48")
    assert picture.metadata.xmp == wanted.replace(b"@<", b"64<")


def extended(packet, block, step=65_400):
    name = hashlib.md5(block).hexdigest().upper().encode()
    note = b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="' + name + b'"'
    head = b"http://ns.adobe.com/xmp/extension/\0" + name
    parts = [
        (0xE1, head + struct.pack(">II", len(block), at) + block[at : at + step])
        for at in range(0, len(block), step)
    ]
    return note, [(0xE1, carriers.XMP_HEAD + packet(note)), *reversed(parts)]


def test_extended_xmp_is_kept_in_jpeg_and_named_elsewhere():
    block = xmp(b"<dc:description>" + b"z" * 150_000 + b"</dc:description>")
    _, segments = extended(lambda note: xmp(attributes=note), block)
    result = converted(jpeg(*segments), ".jpg")
    again = read_image(result.data).metadata
    assert again.extended_xmp == block
    assert hashlib.md5(block).hexdigest().upper().encode() in again.xmp
    elsewhere = converted(jpeg(*segments), ".png")
    assert any("extended XMP" in word for word in elsewhere.left_behind)
    assert b"HasExtendedXMP" not in elsewhere.data
    incomplete = read_image(jpeg(*segments[:-1]))
    assert incomplete.metadata.extended_xmp is None
    assert b"HasExtendedXMP" not in incomplete.metadata.xmp
    assert any("extended XMP" in word for word in incomplete.left_behind)


@pytest.mark.parametrize("packet", [b"<a", b"<a></b>", b"\xff\xfe<\0a\0", b"<a b='1>", b"<!DOCTYPE x><x/>"])
def test_xmp_that_is_no_xml_is_left_behind_with_a_word(packet):
    picture = read_image(jpeg((0xE1, carriers.XMP_HEAD + packet)))
    assert picture.metadata.xmp is None
    assert any("XMP" in word for word in picture.left_behind)


@pytest.mark.parametrize(
    "packet",
    [
        b"<a>" + b"<b/>" * 3_000_000 + b"</a>",
        b"<a>" * 4_000_000,
        b"<a " + b" b='1'" * 2_000_000 + b"/>",
        b"<a" + b" " * 15_000_000 + b"=/>",
        b"<a b='" + b"<" * 15_000_000,
        b" " * 100_000_000,
    ],
    ids=["tags", "depth", "attributes", "spaces", "quote", "size"],
)
def test_xmp_bombs_are_left_behind_at_once(packet):
    """Each is a chunk of a few KB. Bytes that are looked at twice for each byte would take hours, not a second."""
    text = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet)
    picture = read_image(odd.png_of(odd.RGB, odd.chunk(b"tEXt", b"A\0b") + odd.chunk(b"iTXt", text)))
    assert picture.metadata.xmp is None
    assert any("damaged" in word for word in picture.left_behind)
    assert picture.metadata.texts == ((b"tEXt", b"A\0b"),)


def test_avif_carries_exif_xmp_and_profile():
    block = odd.exif()[6:]
    data = odd.encode(odd.PHOTO, "AVIF", exif=b"Exif\0\0" + block, xmp=xmp(), icc_profile=odd.SRGB)
    picture = read_image(data)
    with Image.open(io.BytesIO(data)) as image:
        assert b"Exif\0\0" + picture.exif == image.info["exif"]
    assert carriers.DATE in picture.exif
    assert (picture.metadata.xmp, picture.icc) == (xmp(), odd.SRGB)


def test_webp_and_png_carry_their_blocks_on():
    block = carriers.exif(">", thumbnail=False, orientation=1)
    webp = odd.encode(odd.PHOTO, "WEBP", exif=block, xmp=xmp(), icc_profile=odd.SRGB)
    png = odd.png_of(
        odd.RGB, odd.chunk(b"eXIf", block) + odd.chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp())
    )
    for source in (webp, png):
        metadata = read_image(source).metadata
        assert (metadata.exif, metadata.xmp) == (block, xmp())


def test_resolution_is_turned_with_the_picture():
    order, block = "<", carriers.exif(thumbnail=False)
    at = block.find(struct.pack("<HHI", 0x011B, 5, 1))
    (place,) = struct.unpack_from("<I", block, at + 8)
    uneven = block[:place] + struct.pack("<II", 150, 1) + block[place + 8 :]
    result = converted(jpeg((0xE1, b"Exif\0\0" + uneven), density=(1, 300, 150)), ".jpg")
    first = carried_exif(result.data)[1]
    assert (first[0x011A], first[0x011B]) == (
        struct.pack(order + "II", 150, 1),
        struct.pack(order + "II", 300, 1),
    )
    assert segments_of(result.data)[0][1][7:12] == struct.pack(">BHH", 1, 150, 300)


def test_chunks_that_png_calls_safe_to_copy_are_copied_and_others_named():
    safe, unsafe = (b"oFFs", struct.pack(">iiB", 1, 2, 0)), (b"pRVT", b"private")
    source = odd.png_of(odd.RGB, odd.chunk(*safe) + odd.chunk(*unsafe) + odd.chunk(b"tIME", bytes(7)))
    result = converted(source, ".png")
    assert safe in chunks_of(result.data)
    assert result.left_behind == ("PNG chunk pRVT",)


def test_damaged_chunk_costs_only_itself():
    damaged = odd.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0nozlib")
    metadata = read_image(odd.png_of(odd.RGB, damaged + odd.chunk(b"tEXt", b"A\0b"))).metadata
    assert metadata.texts == ((b"tEXt", b"A\0b"),)
    assert metadata.xmp is None


def test_panorama_that_is_enlarged_says_so():
    attributes = (
        b'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:FullPanoWidthPixels="128" '
        b'GPano:CroppedAreaImageWidthPixels="64" GPano:CroppedAreaLeftPixels="32" '
        b'GPano:InitialViewHeadingDegrees="9"'
    )
    picture = read_image(jpeg((0xE1, carriers.XMP_HEAD + xmp(attributes=attributes))))
    larger = encode_image(picture.with_rgb(np.zeros((96, 128, 3), np.float32)), ".jpg")
    for said in (b'FullPanoWidthPixels="256"', b'ImageWidthPixels="128"', b'LeftPixels="64"', b'Degrees="9"'):
        assert said in larger.data


def test_exif_and_xmp_that_only_photoshop_has_are_found():
    block = carriers.exif(thumbnail=False)
    resources = carriers.resource(1058, block) + carriers.resource(1060, xmp())
    metadata = read_image(jpeg((0xED, b"Photoshop 3.0\0" + resources))).metadata
    assert "祖母".encode() in metadata.exif
    assert metadata.xmp == xmp()
    assert metadata.photoshop is None  # and so `strip` knows where positions are


def test_comments_of_gif_are_kept():
    source = odd.encode(odd.GREY, "GIF", comment=b"Grandma 1912")
    assert (b"tEXt", b"Comment\0Grandma 1912") in chunks_of(converted(source, ".png").data)


def test_resolution_of_bmp_and_tiff_goes_to_the_others():
    bmp = odd.encode(odd.RGB, "BMP", dpi=(300, 300))
    assert segments_of(converted(bmp, ".jpg").data)[0][1][7:12] == struct.pack(">BHH", 1, 300, 300)
    tiff = odd.encode(odd.RGB, "TIFF", dpi=(300, 300))
    assert dict(chunks_of(converted(tiff, ".png").data))[b"pHYs"] == struct.pack(">IIB", 11811, 11811, 1)
    assert not any("resolution" in word for word in converted(tiff, ".webp").left_behind)  # it is in EXIF


# --- what lies beside the picture ---------------------------------------------------------------------------


GAIN_MAP = (
    b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" '
    b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
)
ITEMS = (
    b'<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" '
    b'Item:Mime="image/jpeg"/></rdf:li><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" '
    b'Item:Length="999"/></rdf:li></rdf:Seq></Container:Directory>'
)
FILM = (
    b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1" '
    b'GCamera:MotionPhotoVersion="1" '
    b'GCamera:MicroVideoOffset="1234" GCamera:BurstID="b"'
)


def test_gain_map_is_named_and_nothing_points_at_it():
    source = jpeg((0xE1, carriers.XMP_HEAD + xmp(ITEMS, GAIN_MAP)), (0xE2, b"MPF\0II*\0")) + odd.jpeg(
        odd.PHOTO[::2, ::2]
    )
    result = converted(source, ".jpg")
    assert result.left_behind == ("gain map (HDR)",)
    assert "XMP" in result.kept
    for word in (b"hdrgm", b"hdr-gain-map", b"Container", b"GainMap", b"MPF"):
        assert word not in result.data
    assert "Größe".encode() in result.data
    assert result.data.count(b"\xff\xd8\xff") == 1


def test_film_of_a_motion_photo_is_named_and_nothing_points_at_it():
    source = jpeg((0xE1, carriers.XMP_HEAD + xmp(attributes=FILM))) + b"\0\0\0\x18ftypmp42" + bytes(2000)
    result = converted(source, ".jpg")
    assert result.left_behind == ("film of a motion photo",)
    assert b"MotionPhoto" not in result.data
    assert b"MicroVideo" not in result.data
    assert b'GCamera:BurstID="b"' in result.data


@pytest.mark.parametrize("padding", [b"", b"\0" * 4096, b"\xff" * 16])
def test_padding_behind_a_picture_is_no_loss(padding):
    assert read_image(jpeg() + padding).left_behind == ()


def test_thumbnail_in_exif_is_not_taken_for_the_end_of_the_picture():
    assert read_image(jpeg((0xE1, b"Exif\0\0" + carriers.exif()))).left_behind == ()
    progressive = odd.encode(odd.PHOTO, "JPEG", progressive=True)
    assert read_image(progressive).left_behind == ()
    assert read_image(progressive + odd.jpeg()).left_behind != ()


def test_content_credentials_and_unknown_segments_are_named():
    source = jpeg((0xEB, b"JP\0\1\0\0\0\1jumb"), (0xE5, b"Samsung\0\0"))
    words = read_image(source).left_behind
    assert any("content credentials" in word for word in words)
    assert any("APP5" in word for word in words)
    assert any(
        "C2PA" in word for word in read_image(odd.png_of(odd.RGB, odd.chunk(b"caBX", b"jumb"))).left_behind
    )


# --- colour -------------------------------------------------------------------------------------------------


def grey_profile():
    """A grey profile of the least tags (ICC.1:2001), gamma 2.2."""
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, 563)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    table = (
        struct.pack(">I", 2) + b"wtpt" + struct.pack(">II", 156, 20) + b"kTRC" + struct.pack(">II", 176, 16)
    )
    head = bytearray(128)
    head[0:4] = struct.pack(">I", 192)
    head[8:24] = b"\2\x40\0\0mntrGRAYXYZ "
    head[36:40] = b"acsp"
    head[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    return bytes(head) + table + white + curve


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_grey_profile_stays_on_grey(suffix):
    picture = read_image(odd.jpeg(odd.GREY, icc_profile=grey_profile()))
    result = encode_image(picture, suffix)
    assert read_image(result.data).icc == grey_profile()


def test_grey_profile_never_lands_on_colours():
    picture = read_image(odd.jpeg(odd.GREY, icc_profile=grey_profile()))
    result = encode_image(picture, ".webp")
    assert b"ICCP" not in riff_of(result.data)
    assert any("ICC profile" in word for word in result.left_behind)
    coloured = picture.to_pil().convert("RGB")
    buffer = io.BytesIO()
    with pytest.warns(ImageWarning, match="describes GRAY"):
        coloured.save(buffer, "PNG")
    assert b"iCCP" not in dict(chunks_of(buffer.getvalue()))


def test_what_png_says_of_colours_is_carried_to_png_and_named_elsewhere():
    colours = [(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", struct.pack(">8I", *range(8)))]
    source = odd.png_of(odd.RGB, b"".join(odd.chunk(*one) for one in colours))
    assert set(colours) <= set(chunks_of(converted(source, ".png").data))
    assert [word.split(" (")[0] for word in converted(source, ".jpg").left_behind] == [
        "gamma",
        "chromaticities",
    ]
    intent = odd.png_of(odd.RGB, odd.chunk(b"sRGB", b"\1"))
    assert (b"sRGB", b"\1") in chunks_of(converted(intent, ".png").data)


def test_cicp_is_carried_to_png_and_becomes_a_profile_elsewhere():
    """The profile must bring the primaries of Display P3 to where CIE arithmetic has them (Bradford, D50)."""
    source = odd.png_of(odd.RGB, odd.chunk(b"cICP", b"\x0c\x0d\0\1"))
    assert (b"cICP", b"\x0c\x0d\0\1") in chunks_of(converted(source, ".png").data)
    for suffix in (".jpg", ".webp", ".tif"):
        result = converted(source, suffix)
        assert "ICC profile" in result.kept
        assert not any("CICP" in word for word in result.left_behind)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(read_image(result.data).icc)).profile
        # As in Apple's own "Display P3.icc": XYZ under D50. Apple rounds the white of D65 elsewhere.
        for measured, wanted in [
            (profile.red_colorant[0], (0.5151, 0.2412, -0.0011)),
            (profile.green_colorant[0], (0.2920, 0.6922, 0.0419)),
            (profile.blue_colorant[0], (0.1571, 0.0666, 0.7841)),
        ]:
            np.testing.assert_allclose(measured, wanted, atol=5e-4)


def test_profile_made_of_srgb_numbers_leaves_srgb_pixels_alone():
    """Through the profile of CICP 1/13 to Pillow's own sRGB: the same levels, but for the rounding of one."""
    picture = Picture(odd.PHOTO, metadata=Metadata(cicp=b"\1\x0d\0\1"))
    icc = read_image(encode_image(picture, ".tif").data).icc
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    turned = ImageCms.profileToProfile(Image.fromarray(odd.PHOTO), source, ImageCms.createProfile("sRGB"))
    assert np.abs(np.asarray(turned).astype(int) - odd.PHOTO).max() <= 1


def test_cicp_that_no_profile_can_say_is_named():
    picture = read_image(odd.png_of(odd.RGB16, odd.chunk(b"cICP", bytes([22, 13, 0, 1]))))
    assert picture.metadata.cicp == bytes([22, 13, 0, 1])
    assert any("CICP" in word for word in encode_image(picture, ".tif").left_behind)


def test_what_was_converted_from_hdr_is_written_as_srgb():
    picture = read_image(odd.png_of(odd.RGB16, odd.chunk(b"cICP", bytes([9, 16, 0, 1]))))
    assert picture.metadata.cicp == bytes([1, 13, 0, 1])
    again = read_image(encode_image(picture, ".png").data)
    assert again.metadata.cicp == bytes([1, 13, 0, 1])
    np.testing.assert_array_equal(again.pixels, picture.pixels)


@pytest.mark.parametrize("frame", ["12 bits", "lossless", "JPEG-LS"])
def test_rare_kinds_of_jpeg_are_turned_and_keep_their_profile(frame):
    encode = {
        "12 bits": lambda a: imagecodecs.jpeg8_encode(a, bitspersample=12),
        "lossless": lambda a: imagecodecs.jpeg8_encode(a, bitspersample=8, lossless=True),
        "JPEG-LS": imagecodecs.jpegls_encode,
    }[frame]
    array = (odd.RGB16 >> 4 if frame == "12 bits" else odd.RGB).astype(
        np.uint16 if frame == "12 bits" else np.uint8
    )
    plain = encode(array)
    block = carriers.exif(thumbnail=False)
    segment = b"Exif\0\0" + block
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
    upright, stored = read_image(turned), read_image(plain)
    np.testing.assert_array_equal(upright.pixels, np.rot90(stored.pixels, -1))
    assert upright.exif is not None


def test_lossless_webp_stays_lossless():
    source = odd.encode(odd.RGB, "WEBP", lossless=True, exact=True)
    again = read_image(converted(source, ".webp").data)
    np.testing.assert_array_equal(again.pixels, odd.RGB)
    assert b"VP8L" in riff_of(converted(source, ".webp").data)
    assert b"VP8 " in riff_of(converted(odd.encode(odd.RGB, "WEBP"), ".webp").data)


# --- stripping, saving --------------------------------------------------------------------------------------


GPS = (
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="48,8.5N" '
    b'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" drone-dji:GpsLongitude="11.5" exif:FNumber="28/10"'
)


@pytest.mark.parametrize("order", ["<", ">"])
def test_strip_gps_takes_positions_and_nothing_else(order):
    block = carriers.exif(order, thumbnail=False)
    where = struct.pack(order + "6I", 48, 1, 8, 1, 1234, 100)
    inside = b"<exif:GPSLongitude>11,34.1E</exif:GPSLongitude>"
    source = jpeg((0xE1, b"Exif\0\0" + block), (0xE1, carriers.XMP_HEAD + xmp(inside, GPS)))
    assert where in block
    result = encode_image(read_image(source).strip("gps"), ".jpg")
    for secret in (where, b"48,8.5N", b"11,34.1E", b"11.5"):
        assert secret not in result.data
    assert b'exif:FNumber="28/10"' in result.data
    found, first, camera = carried_exif(result.data)
    assert 0x8825 not in first
    assert first[0x010E] == "祖母の写真 1912".encode() + b"\0"
    assert below(found, camera, 0xA005)[1] == b"R98\0"
    assert found.find(camera[0x927C]) == block.find(camera[0x927C])
    assert camera[0x9003] == carriers.DATE


def test_strip_gps_of_extended_xmp_names_the_new_part():
    block = xmp(b"<dc:title>kept</dc:title>", GPS)
    _, segments = extended(lambda note: xmp(attributes=note), block)
    stripped = read_image(jpeg(*segments)).strip("gps").metadata
    assert b"48,8.5N" not in stripped.extended_xmp
    assert hashlib.md5(stripped.extended_xmp).hexdigest().upper().encode() in stripped.xmp


def test_strip_all_leaves_what_colours_look_like():
    icc = odd.jpeg(icc_profile=odd.SRGB)
    source = icc[:2] + b"".join(
        odd.segment(*one)
        for one in [
            (0xE1, b"Exif\0\0" + carriers.exif()),
            (0xE1, carriers.XMP_HEAD + xmp()),
            (0xFE, b"Grandma"),
        ]
    )
    picture = read_image(source + icc[2:]).strip("all")  # noqa: B005 - it is no text
    assert picture.metadata == Metadata(icc=odd.SRGB)
    assert encode_image(picture, ".jpg").kept == ("ICC profile",)
    with pytest.raises(ImageError, match="gps or all"):
        picture.strip("xmp")


def pil_of_everything():
    block = carriers.exif(thumbnail=False)
    source = jpeg(
        (0xE1, b"Exif\0\0" + block),
        (0xE1, carriers.XMP_HEAD + xmp()),
        (0xED, b"Photoshop 3.0\0" + carriers.resource(0x0404, b"\x1c\x02\x78\0\4Lake")),
        (0xFE, b"Grandma"),
    )
    return read_image(source).to_pil()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pil_image_saves_what_the_picture_carries(tmp_path, suffix):
    image = pil_of_everything()
    image.save(tmp_path / f"x{suffix}")
    write_image(image, tmp_path / f"y{suffix}")
    data = (tmp_path / f"x{suffix}").read_bytes()
    assert data == (tmp_path / f"y{suffix}").read_bytes()
    found = read_image(data).metadata
    assert found.xmp == xmp()
    assert "祖母".encode() in found.exif
    if suffix != ".webp":
        assert found.iptc == b"\x1c\x02\x78\0\4Lake"


@pytest.mark.parametrize(
    ("edit", "size"),
    [
        (lambda image: image.resize((24, 32)), (24, 32)),
        (lambda image: image.crop((0, 0, 10, 20)), (10, 20)),
        (lambda image: image.copy(), (48, 64)),
        (lambda image: image.convert("L"), (48, 64)),
        (lambda image: pickle.loads(pickle.dumps(image)), (48, 64)),
        (lambda image: image.transpose(Image.Transpose.ROTATE_90), (64, 48)),
        (lambda image: ImageOps.invert(image), (48, 64)),
    ],
)
def test_edited_pil_image_saves_its_new_pixels_and_size(tmp_path, edit, size):
    image = edit(pil_of_everything())
    image.save(tmp_path / "x.png")
    again = read_image(tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(again), np.asarray(image))
    _, _, camera = carried_exif((tmp_path / "x.png").read_bytes())
    assert again.size == size
    assert (camera[0xA002], camera[0xA003]) == (struct.pack("<I", size[0]), struct.pack("<I", size[1]))
    assert again.metadata.xmp == xmp()


def test_pil_image_changed_in_place_saves_that(tmp_path):
    image = pil_of_everything()
    image.paste((1, 2, 3), (0, 0, 48, 64))
    image.getexif()[0x010F] = "Somebody"
    image.save(tmp_path / "x.png")
    assert np.unique(read_image(tmp_path / "x.png").pixels).tolist() == [1, 2, 3]
    _, first, camera = carried_exif((tmp_path / "x.png").read_bytes())
    assert first[0x010F] == b"Somebody\0"
    assert camera[0x9204] == struct.pack("<ii", -2, 0)  # which Pillow could not have written
    del image.getexif()[0x010E]
    image.save(tmp_path / "x.png")
    assert 0x010E not in carried_exif((tmp_path / "x.png").read_bytes())[1]


def test_pil_image_saves_to_streams_with_options_and_in_other_formats(tmp_path):
    image = pil_of_everything()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    assert len(buffer.getvalue()) < len(encode_image(read_image(image), ".jpg").data)
    assert "祖母".encode() in read_image(buffer.getvalue()).exif
    with pytest.warns(ImageWarning, match="leave behind: IPTC, resolution, comments"):
        image.save(tmp_path / "x.jpg", progressive=True, quality=80)
    assert "祖母".encode() in read_image(tmp_path / "x.jpg").exif
    image.save(tmp_path / "x.gif")
    image.save(tmp_path / "x.jpg", exif=b"")
    assert image.size == Image.open(tmp_path / "x.gif").size


def test_pil_image_of_others_keeps_what_pillow_shows_of_it():
    source = odd.encode(odd.PHOTO, "JPEG", exif=odd.exif(6), xmp=xmp(), comment=b"Grandma", dpi=(300, 300))
    metadata = read_image(Image.open(io.BytesIO(source))).metadata
    assert metadata.xmp == xmp()
    assert metadata.comments == (b"Grandma",)
    assert metadata.resolution.per("inch") == (300, 300)
    assert tiff_of(metadata.exif)[0x0112] == b"\0\1"


# --- sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "suffix"),
    [
        ((65_501, 1), ".jpg"),
        ((1, 65_501), ".JPEG"),
        ((16_384, 1), ".webp"),
        ((40_000, 40_000), ".tif"),
        ((40_000, 40_000), ".bmp"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_the_work(size, suffix):
    with pytest.raises(ImageError, match=f"{size[0]}x{size[1]} pixels do not fit.*PNG"):
        check_format(size, suffix)


def test_what_a_format_can_hold_is_let_through(tmp_path):
    for size, suffix in [
        ((65_500, 1), ".jpg"),
        ((16_383, 1), ".webp"),
        ((66_000, 1), ".png"),
        ((66_000, 1), ".tif"),
    ]:
        check_format(size, suffix)
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        assert read_image(write_image(pixels, tmp_path / f"x{suffix}")).size == size
    check_format((12_000, 9_000), ".tif")
    with pytest.raises(ImageError, match="names no format"):
        check_format((1, 1), ".gif")
